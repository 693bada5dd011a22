//! Instants with the precision that every store keeps: whole microseconds, UTC.
//!
//! One type for all instants makes equality exact across memory, SQL and JSON, and takes eight bytes where a job is
//! held in memory a million times. Names of instants end in `_time`; durations are [`std::time::Duration`].

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in whole microseconds since 1970-01-01T00:00:00Z.
///
/// In text and JSON it is RFC 3339 in UTC, for example `2026-03-28T00:00:00Z`. Arithmetic saturates at the ends of
/// the range instead of wrapping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// The earliest instant that can also be written as a date (year 1).
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// The latest instant that can also be written as a date (end of year 9999).
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The instant `micros` microseconds after the epoch, limited to [`MIN`](Self::MIN)`..=`[`MAX`](Self::MAX).
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// The instant `millis` milliseconds after the epoch, limited as in [`from_micros`](Self::from_micros).
    pub const fn from_millis(millis: i64) -> Self {
        Self::from_micros(millis.saturating_mul(1_000))
    }

    /// The instant `secs` seconds after the epoch, limited as in [`from_micros`](Self::from_micros).
    pub const fn from_secs(secs: i64) -> Self {
        Self::from_micros(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Microseconds from `earlier` to `self`; negative if `earlier` is later.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// The same instant as a `chrono` date and time.
    pub fn to_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).expect("invariant: MIN..=MAX is within chrono's range")
    }
}

impl From<DateTime<Utc>> for Timestamp {
    /// Drops what is finer than a microsecond.
    fn from(time: DateTime<Utc>) -> Self {
        Self::from_micros(time.timestamp_micros())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self::from_micros(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self::from_micros(
            self.0
                .saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_datetime().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = chrono::ParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc).into())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            serde::de::Error::custom(format_args!(
                "`{text}` is no RFC 3339 instant such as 2026-03-28T00:00:00Z"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_round_trip_at_microseconds() {
        let time: Timestamp = "2026-03-28T01:02:03.000004Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-03-28T01:02:03.000004Z");
        assert_eq!(
            serde_json::from_str::<Timestamp>(&serde_json::to_string(&time).unwrap()).unwrap(),
            time
        );
        assert!(
            serde_json::from_str::<Timestamp>("\"tomorrow\"")
                .unwrap_err()
                .to_string()
                .contains("tomorrow")
        );
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Duration::from_secs(1), Timestamp::MIN);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::MAX), Duration::ZERO);
        let (min, max) = (Timestamp::MIN.to_string(), Timestamp::MAX.to_string());
        assert_eq!(
            (min.parse(), max.parse()),
            (Ok(Timestamp::MIN), Ok(Timestamp::MAX))
        );
    }
}
