//! Durations as people write them: `90s`, `1h 30m`, `250ms`; in JSON also as a number of seconds, the form in which
//! they are written back like all other durations.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::{Error, Result};

/// Microseconds of each unit, longest first.
const UNITS: [(&str, u64); 7] = [
    ("w", 7 * 86_400_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Reads whole numbers with units, such as `1h30m`; spaces between them are allowed. A bare number counts seconds.
pub(super) fn parse(text: &str) -> Result<Duration> {
    let wrong = || {
        Error::invalid(
            "duration",
            format_args!(
                "`{text}` is no duration; write numbers with the units w d h m s ms us, such as `1h 30m`"
            ),
        )
    };
    let mut rest = text.trim();
    let mut micros: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit());
        let (unit, after) = split(after.trim_start(), |byte| byte.is_ascii_alphabetic());
        let unit = if unit.is_empty() && after.is_empty() && rest.len() == text.trim().len() {
            "s"
        } else {
            unit
        };
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        micros = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*length))
            .and_then(|part| micros.checked_add(part))
            .ok_or_else(wrong)?;
        rest = after.trim_start();
    }
    Ok(Duration::from_micros(micros))
}

/// The shortest text that reads back as the same duration, in whole microseconds.
pub(super) fn format(duration: Duration) -> String {
    let mut micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, length) in &UNITS[1..] {
        if micros >= *length {
            text += &format!("{}{name}", micros / length);
            micros %= length;
        }
    }
    text
}

fn split(text: &str, wanted: impl Fn(u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().position(|byte| !wanted(byte)).unwrap_or(text.len()))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a duration is a text such as \"1h 30m\", or a number of seconds"
    )]
    enum Form {
        Seconds(#[serde(with = "crate::duration")] Duration),
        Text(String),
    }
    match Form::deserialize(deserializer)? {
        Form::Seconds(duration) => Ok(duration),
        Form::Text(text) => parse(&text).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_written_back_short() {
        for (text, micros, short) in [
            ("90s", 90_000_000, "1m30s"),
            ("90", 90_000_000, "1m30s"),
            ("1h 30m", 5_400_000_000, "1h30m"),
            ("250ms", 250_000, "250ms"),
            ("2w", 1_209_600_000_000, "14d"),
            (" 1 d 5us ", 86_400_000_005, "1d5us"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_micros(micros), "{text}");
            assert_eq!(format(Duration::from_micros(micros)), short);
            assert_eq!(parse(short).unwrap(), Duration::from_micros(micros), "{short}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "h", "5 parsecs", "-5s", "1h30", "1.5h", "99999999999999999w"] {
            assert!(parse(text).unwrap_err().message().contains(text), "{text}");
        }
    }
}
