//! Civil time: what a clock on the wall shows, without saying where the wall is.
//!
//! The evaluator works on civil seconds and asks the [`zone`](super::zone) only at the end, so that a rule is
//! compared with the calendar exactly as a person would do it.

use std::fmt;

use chrono::{Datelike, NaiveDate};

const SECONDS_A_DAY: i64 = 86_400;

/// A date and a time of day as a clock on the wall shows them, to the second.
///
/// In text and JSON it is written without an offset, for example `2026-03-29T02:30:00`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CivilTime(i64);

impl CivilTime {
    /// The civil time `secs` civil seconds after 1970-01-01T00:00:00 on the same wall.
    pub(crate) const fn from_secs(secs: i64) -> Self {
        Self(secs)
    }

    pub(crate) const fn as_secs(self) -> i64 {
        self.0
    }

    pub(crate) const fn at(day: i64, second_of_day: u32) -> Self {
        Self(day * SECONDS_A_DAY + second_of_day as i64)
    }

    /// Days since 1970-01-01.
    pub(crate) const fn day(self) -> i64 {
        self.0.div_euclid(SECONDS_A_DAY)
    }

    /// Seconds since midnight as the wall clock counts them, `0..86_400`.
    pub(crate) const fn second_of_day(self) -> u32 {
        self.0.rem_euclid(SECONDS_A_DAY) as u32
    }

    pub(crate) const fn next_second(self) -> Self {
        Self(self.0 + 1)
    }

    /// The time of day: `02:30`, or `02:30:15` where the seconds aren't zero.
    pub fn time_of_day(self) -> String {
        let (hour, minute, second) = self.clock();
        if second == 0 {
            format!("{hour:02}:{minute:02}")
        } else {
            format!("{hour:02}:{minute:02}:{second:02}")
        }
    }

    /// The date: `2026-03-29`.
    pub fn date(self) -> String {
        let (year, month, day) = self.ymd();
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// The day of the week, in three letters: `Sun`.
    pub fn weekday(self) -> &'static str {
        const NAMES: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        // 1970-01-01 was a Thursday.
        NAMES[self.day().rem_euclid(7) as usize]
    }

    fn clock(self) -> (u32, u32, u32) {
        let second = self.second_of_day();
        (second / 3_600, second / 60 % 60, second % 60)
    }

    fn ymd(self) -> (i32, u32, u32) {
        let date = date_of(self.day());
        (date.year(), date.month(), date.day())
    }
}

/// The date `day` days after 1970-01-01; days beyond what can be written are taken for the last that can.
pub(crate) fn date_of(day: i64) -> NaiveDate {
    i32::try_from(day)
        .ok()
        .and_then(NaiveDate::from_epoch_days)
        .unwrap_or(if day < 0 { NaiveDate::MIN } else { NaiveDate::MAX })
}

impl fmt::Display for CivilTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = self.clock();
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}", self.date())
    }
}

impl fmt::Debug for CivilTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
