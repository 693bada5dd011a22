//! Time zones: which instants a civil time stands for, and where clocks jump.
//!
//! A change of a zone's offset makes civil time jump. Forwards, it leaves a *gap* of civil times that no instant has;
//! backwards, civil times are *repeated* and have a first and a second pass. Everything a schedule needs to know
//! about a zone is the three cases of [`Occurrence`].

use std::str::FromStr;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{GapInfo, Tz};

use super::civil::CivilTime;
use crate::{Error, Result};

/// The version of the IANA zone data that schedules are evaluated with, such as `"2025b"`.
///
/// An engine keeps it beside the next fire times that it stores, and computes them anew when it changes: a country
/// may have changed its rules for a fire time that was computed earlier.
pub fn zone_data_version() -> &'static str {
    chrono_tz::IANA_TZDB_VERSION
}

/// A zone of the IANA data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Zone(Tz);

/// A jump of civil time at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    /// The instant of the jump, in seconds since the epoch.
    pub(crate) instant: i64,
    /// The civil time that the clock would have shown without the jump.
    pub(crate) before: CivilTime,
    /// The civil time that it shows instead.
    pub(crate) after: CivilTime,
}

/// The instants that show a civil time, in seconds since the epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Occurrence {
    Once(i64),
    Twice { first: i64, second: i64 },
    Never(Change),
}

impl Zone {
    pub(crate) const UTC: Self = Self(Tz::UTC);

    /// The zone of that IANA name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        Tz::from_str(name).map(Self).map_err(|_| unknown(name))
    }

    pub(crate) fn name(self) -> &'static str {
        self.0.name()
    }

    /// The seconds that local time is ahead of UTC at an instant.
    pub(crate) fn offset_at(self, instant: i64) -> i64 {
        i64::from(
            self.0
                .offset_from_utc_datetime(&naive(instant))
                .fix()
                .local_minus_utc(),
        )
    }

    pub(crate) fn civil_at(self, instant: i64) -> CivilTime {
        CivilTime::from_secs(instant + self.offset_at(instant))
    }

    /// When `civil` is shown in this zone.
    pub(crate) fn occurrence(self, civil: CivilTime) -> Occurrence {
        let secs = civil.as_secs();
        let instant = |offset: chrono_tz::TzOffset| secs - i64::from(offset.fix().local_minus_utc());
        match self.0.offset_from_local_datetime(&naive(secs)) {
            LocalResult::Single(offset) => Occurrence::Once(instant(offset)),
            LocalResult::Ambiguous(first, second) => Occurrence::Twice {
                first: instant(first),
                second: instant(second),
            },
            LocalResult::None => Occurrence::Never(self.gap(civil)),
        }
    }

    /// The jump backwards that lies between the two passes of a repeated civil time.
    pub(crate) fn change_between(self, first: i64, second: i64) -> Change {
        let (old, new) = (self.offset_at(first), self.offset_at(second));
        let (mut still_old, mut already_new) = (first, second);
        while already_new - still_old > 1 {
            let middle = still_old + (already_new - still_old) / 2;
            if self.offset_at(middle) == old {
                still_old = middle;
            } else {
                already_new = middle;
            }
        }
        Change {
            instant: already_new,
            before: CivilTime::from_secs(already_new + old),
            after: CivilTime::from_secs(already_new + new),
        }
    }

    fn gap(self, civil: CivilTime) -> Change {
        let (before, offset) = GapInfo::new(&naive(civil.as_secs()), &self.0)
            .and_then(|gap| gap.begin)
            .expect("invariant: a civil time without an offset lies in a gap, and time precedes every gap");
        let before = CivilTime::from_secs(before.and_utc().timestamp());
        let instant = before.as_secs() - i64::from(offset.fix().local_minus_utc());
        Change {
            instant,
            before,
            after: self.civil_at(instant),
        }
    }
}

fn naive(secs: i64) -> NaiveDateTime {
    DateTime::from_timestamp(secs, 0)
        .expect("invariant: schedules stay within the years 1 to 9999, and a day around them")
        .naive_utc()
}

fn unknown(name: &str) -> Error {
    let near = chrono_tz::TZ_VARIANTS
        .iter()
        .map(|zone| zone.name())
        .find(|known| known.eq_ignore_ascii_case(name) || city(known).eq_ignore_ascii_case(name));
    let hint = match near {
        Some(known) => format!("did you mean `{known}`?"),
        None => "write a name of the IANA zone data, such as `Europe/Berlin` or `UTC`".to_owned(),
    };
    Error::invalid("time_zone", format_args!("`{name}` is no time zone; {hint}"))
}

fn city(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
