//! Calendars of times at which nothing fires: holidays, weekends, freezes, nightly windows.
//!
//! ```
//! use jobcore::schedule::{Calendar, Schedule};
//!
//! let holidays = Calendar::new()
//!     .dates("2026-12-24/2027-01-01")?
//!     .yearly("05-01")?
//!     .weekdays("SAT")?
//!     .weekdays("SUN")?;
//! let schedule = Schedule::cron("0 9 * * *")?.in_zone("Europe/Berlin")?.excluding(holidays);
//! # schedule.validate()?;
//! # Ok::<(), jobcore::Error>(())
//! ```

use std::fmt;

use chrono::{Datelike, NaiveDate};

use super::civil::{CivilTime, date_of};
use super::zone::{Occurrence, Zone};
use crate::{Error, Result, Timestamp};

/// The most entries of a calendar: a schedule is held in memory by every engine.
pub const MAX_CALENDAR_ENTRIES: usize = 1_000;

const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const DAY: u32 = 86_400;
/// How many neighbouring stretches are joined into one before the search looks at the rule again.
const MAX_JOINED: usize = 400;

/// Times at which a schedule doesn't fire. A fire time within them is passed over; the next one outside counts.
///
/// Entries are civil times in the calendar's zone; without one, in the zone of the schedule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Calendar {
    pub(super) zone: Option<Zone>,
    /// Sorted by their first day.
    pub(super) dates: Vec<Dates>,
    pub(super) yearly: Vec<Yearly>,
    /// Bit 0 is Sunday.
    pub(super) weekdays: u8,
    pub(super) daily: Vec<Daily>,
}

/// Days since 1970-01-01, both included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Dates {
    first: i32,
    last: i32,
}

/// A day of every year.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Yearly {
    month: u8,
    day: u8,
}

/// A part of every day, in seconds since midnight, without its end; it may pass midnight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Daily {
    from: u32,
    to: u32,
}

/// Why a calendar excludes an instant; its text is the entry, such as `2026-12-24/2027-01-01` or `22:00/06:00`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exclusion(Entry);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Entry {
    Dates(Dates),
    Yearly(Yearly),
    Weekday(u8),
    Daily(Daily),
}

/// A stretch that a calendar excludes, from the instant asked for on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Excluded {
    pub(super) why: Exclusion,
    /// The last instant of the stretch.
    pub(super) last: Timestamp,
}

impl Calendar {
    /// A calendar that excludes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the entries in that zone of the IANA data instead of the schedule's.
    ///
    /// **Errors.** `InvalidInput`, if there is no such zone.
    pub fn in_zone(mut self, name: &str) -> Result<Self> {
        self.zone = Some(Zone::named(name)?);
        Ok(self)
    }

    /// Excludes a date (`2026-12-24`) or all dates from one to another, both included (`2026-12-24/2027-01-01`).
    ///
    /// **Errors.** `InvalidInput` for anything else.
    pub fn dates(mut self, text: &str) -> Result<Self> {
        let (first, last) = text.split_once('/').unwrap_or((text, text));
        let (first, last) = (date(first)?, date(last)?);
        if last < first {
            return Err(wrong(format_args!(
                "`{text}` ends before it begins; write the earlier date first"
            )));
        }
        let position = self.dates.partition_point(|known| known.first <= first);
        self.dates.insert(position, Dates { first, last });
        self.checked()
    }

    /// Excludes a day of every year: `12-25`. `02-29` counts in leap years only.
    ///
    /// **Errors.** `InvalidInput` for anything else.
    pub fn yearly(mut self, text: &str) -> Result<Self> {
        // 2000 is a leap year.
        let date = NaiveDate::parse_from_str(&format!("2000-{text}"), "%Y-%m-%d").map_err(|_| {
            wrong(format_args!(
                "`{text}` is no day of the year; write month and day, such as `12-25`"
            ))
        })?;
        self.yearly.push(Yearly {
            month: date.month() as u8,
            day: date.day() as u8,
        });
        self.checked()
    }

    /// Excludes a day of the week: `SUN`, `MON`, … `SAT`, in any case.
    ///
    /// **Errors.** `InvalidInput` for anything else, and if no day would be left.
    pub fn weekdays(mut self, name: &str) -> Result<Self> {
        let weekday = WEEKDAYS
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                wrong(format_args!(
                    "`{name}` is no weekday; write SUN, MON, TUE, WED, THU, FRI or SAT"
                ))
            })?;
        self.weekdays |= 1 << weekday;
        self.checked()
    }

    /// Excludes a part of every day, without its end: `22:00/06:00` passes midnight, `18:00/24:00` doesn't.
    ///
    /// **Errors.** `InvalidInput` for anything else, and if nothing of the day would be left.
    pub fn daily(mut self, text: &str) -> Result<Self> {
        let (from, to) = text.split_once('/').ok_or_else(|| {
            wrong(format_args!(
                "`{text}` is no part of a day; write it as `22:00/06:00`"
            ))
        })?;
        let (from, to) = (time_of_day(from)?, time_of_day(to)?);
        if from % DAY == to % DAY {
            return Err(wrong(format_args!(
                "`{text}` is the whole day; leave a part of it"
            )));
        }
        self.daily.push(Daily { from, to });
        self.checked()
    }

    fn checked(self) -> Result<Self> {
        let entries = self.dates.len() + self.yearly.len() + self.daily.len();
        if entries > MAX_CALENDAR_ENTRIES {
            return Err(wrong(format_args!(
                "more than {MAX_CALENDAR_ENTRIES} entries; join dates to ranges"
            )));
        }
        if self.weekdays == 0x7f {
            return Err(wrong("all seven weekdays; nothing would ever fire"));
        }
        if self.covers_every_day() {
            return Err(wrong(
                "the daily entries leave nothing of a day; nothing would ever fire",
            ));
        }
        Ok(self)
    }

    fn covers_every_day(&self) -> bool {
        let mut second = 0;
        // A part that passes midnight can count twice, once at either end of the day.
        for _ in 0..=self.daily.len() {
            match self.daily.iter().find(|part| part.contains(second)) {
                Some(part) if part.ends_today(second) && part.to < DAY => second = part.to,
                Some(_) => return true,
                None => return false,
            }
        }
        false
    }

    /// The excluded stretch that `at` lies in, if any.
    pub(super) fn excluded(&self, at: Timestamp, schedule_zone: Zone) -> Option<Excluded> {
        let zone = self.zone.unwrap_or(schedule_zone);
        let mut end = at.as_micros().div_euclid(1_000_000);
        let mut civil = zone.civil_at(end);
        let why = self.entry_at(civil)?;
        let mut entry = Some(why);
        for _ in 0..MAX_JOINED {
            let Some(current) = entry else { break };
            end = first_shown(zone, end, current.end(civil));
            civil = zone.civil_at(end);
            entry = self.entry_at(civil);
        }
        Some(Excluded {
            why: Exclusion(why),
            last: Timestamp::from_micros(end.saturating_mul(1_000_000) - 1),
        })
    }

    fn entry_at(&self, civil: CivilTime) -> Option<Entry> {
        let day = civil.day();
        let begun = self.dates.partition_point(|dates| i64::from(dates.first) <= day);
        let date = date_of(day);
        let weekday = date.weekday().num_days_from_sunday() as u8;
        let dates = self.dates[..begun]
            .iter()
            .find(|dates| day <= i64::from(dates.last));
        let yearly = || self.yearly.iter().find(|yearly| yearly.is(date));
        let daily = || {
            self.daily
                .iter()
                .find(|part| part.contains(civil.second_of_day()))
        };
        dates
            .map(|dates| Entry::Dates(*dates))
            .or_else(|| yearly().map(|yearly| Entry::Yearly(*yearly)))
            .or_else(|| (self.weekdays & 1 << weekday != 0).then_some(Entry::Weekday(weekday)))
            .or_else(|| daily().map(|part| Entry::Daily(*part)))
    }
}

/// The first instant after `from` at which the clock shows `civil`, or has jumped over it; earlier, if the clock
/// goes back before, because then it shows times again that may be allowed.
fn first_shown(zone: Zone, from: i64, civil: CivilTime) -> i64 {
    let instant = match zone.occurrence(civil) {
        Occurrence::Once(instant) => instant,
        Occurrence::Twice { first, second } => {
            if first > from {
                first
            } else {
                second
            }
        }
        Occurrence::Never(change) => change.instant,
    };
    let goes_back = instant > from && zone.offset_at(instant) < zone.offset_at(from);
    if goes_back {
        zone.change_between(from, instant).instant
    } else {
        instant.max(from + 1)
    }
}

impl Entry {
    /// Where the entry ends that `civil` lies in, or a point before it that is safe to go on from.
    fn end(self, civil: CivilTime) -> CivilTime {
        let today = civil.day();
        let tomorrow = CivilTime::at(today + 1, 0);
        match self {
            // The first day alone: a clock that goes back on it may show the day before again, which is allowed.
            Self::Dates(dates) if i64::from(dates.first) < today && today < i64::from(dates.last) => {
                CivilTime::at(i64::from(dates.last), 0)
            }
            Self::Dates(_) | Self::Yearly(_) | Self::Weekday(_) => tomorrow,
            Self::Daily(part) if part.ends_today(civil.second_of_day()) => CivilTime::at(today, part.to),
            Self::Daily(part) => CivilTime::at(today + 1, part.to),
        }
    }
}

impl Daily {
    fn contains(self, second: u32) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&second)
        } else {
            second >= self.from || second < self.to
        }
    }

    fn ends_today(self, second: u32) -> bool {
        second < self.to
    }
}

impl Yearly {
    fn is(self, date: NaiveDate) -> bool {
        date.month() == u32::from(self.month) && date.day() == u32::from(self.day)
    }
}

fn date(text: &str) -> Result<i32> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|date| (1..=9_999).contains(&date.year()))
        .map(|date| date.to_epoch_days())
        .ok_or_else(|| wrong(format_args!("`{text}` is no date; write it as `2026-12-24`")))
}

fn time_of_day(text: &str) -> Result<u32> {
    let mut parts = text.split(':').map(|part| match part.len() {
        2 => part.parse::<u32>().ok(),
        _ => None,
    });
    let (hour, minute) = (parts.next().flatten(), parts.next().flatten());
    let second = parts.next().unwrap_or(Some(0));
    match (hour, minute, second, parts.next()) {
        (Some(24), Some(0), Some(0), None) => Ok(DAY),
        (Some(hour @ 0..24), Some(minute @ 0..60), Some(second @ 0..60), None) => {
            Ok(hour * 3_600 + minute * 60 + second)
        }
        _ => Err(wrong(format_args!(
            "`{text}` is no time of day; write it as `22:00` or `22:00:30`"
        ))),
    }
}

fn wrong(message: impl fmt::Display) -> Error {
    Error::invalid("excluding", message)
}

pub(super) fn weekday_names(weekdays: u8) -> Vec<&'static str> {
    (0..7)
        .filter(|bit| weekdays & 1 << bit != 0)
        .map(|bit| WEEKDAYS[bit])
        .collect()
}

impl fmt::Display for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |day: i32| CivilTime::at(i64::from(day), 0).date();
        f.write_str(&text(self.first))?;
        if self.last != self.first {
            write!(f, "/{}", text(self.last))?;
        }
        Ok(())
    }
}

impl fmt::Display for Yearly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-{:02}", self.month, self.day)
    }
}

impl fmt::Display for Daily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |second| match second {
            DAY => "24:00".to_owned(),
            _ => CivilTime::at(0, second).time_of_day(),
        };
        write!(f, "{}/{}", text(self.from), text(self.to))
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Entry::Dates(dates) => dates.fmt(f),
            Entry::Yearly(yearly) => yearly.fmt(f),
            Entry::Weekday(weekday) => f.write_str(WEEKDAYS[usize::from(weekday)]),
            Entry::Daily(part) => part.fmt(f),
        }
    }
}
