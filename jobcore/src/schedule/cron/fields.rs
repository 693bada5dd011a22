//! A parsed cron expression as bit sets, and the search for the next civil time that it matches.

use chrono::{Datelike, NaiveDate};

use super::super::civil::{CivilTime, date_of};

/// Years that a seventh field can name; beyond them a rule with such a field doesn't fire.
pub(super) const YEARS: std::ops::RangeInclusive<u16> = 1970..=2099;
/// The Gregorian calendar repeats after so many years, weekdays included: what doesn't match in one cycle never does.
const CYCLE: i32 = 400;
const LAST_YEAR: i32 = 9_999;

/// What each field allows; bit `n` stands for the value `n`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fields {
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u32,
    /// Bits 1 to 12.
    pub(super) months: u16,
    pub(super) days: Days,
    /// `None`: every year. Boxed because few rules name years.
    pub(super) years: Option<Box<[u64; 3]>>,
    /// The minute or hour field begins with `*`.
    pub(super) follows_elapsed_time: bool,
}

/// The two day fields.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Days {
    /// Days of the month, bits 1 to 31.
    pub(super) of_month: u32,
    /// Bit `n`: the day `n` days before the last of the month (`L` is bit 0).
    pub(super) from_last: u32,
    /// Bit `d`: the weekday nearest to day `d` (`15W`). Bit 0: the last weekday (`LW`).
    pub(super) nearest_weekday: u32,
    /// Days of the week, bit 0 is Sunday.
    pub(super) of_week: u8,
    /// `nth[0]` the first such weekday of the month (`MON#1`) … `nth[4]` the fifth, `nth[5]` the last (`5L`).
    pub(super) nth: [u8; 6],
    /// A day must match both fields; else one of them is enough.
    pub(super) both: bool,
}

impl Fields {
    /// Whether any date at all matches; a time of day always does.
    pub(super) fn ever_match(&self) -> bool {
        let first = if self.years.is_some() { 1970 } else { 2000 };
        self.day_from(first, 1, 1).is_some()
    }

    pub(super) fn every_hour(&self) -> bool {
        self.hours == (1 << 24) - 1
    }

    /// The first match at or after `from`.
    pub(super) fn next_match(&self, from: CivilTime) -> Option<CivilTime> {
        let date = date_of(from.day());
        let found = self.day_from(date.year(), date.month(), date.day())?;
        if i64::from(found.to_epoch_days()) != from.day() {
            return Some(self.first_time_on(found));
        }
        if let Some(second) = self.time_from(from.second_of_day()) {
            return Some(CivilTime::at(from.day(), second));
        }
        let next = found.succ_opt()?;
        self.day_from(next.year(), next.month(), next.day())
            .map(|day| self.first_time_on(day))
    }

    fn first_time_on(&self, date: NaiveDate) -> CivilTime {
        let hour = self.hours.trailing_zeros();
        CivilTime::at(i64::from(date.to_epoch_days()), hour * 3_600 + self.in_hour())
    }

    /// The first matching second within an hour.
    fn in_hour(&self) -> u32 {
        self.minutes.trailing_zeros() * 60 + self.seconds.trailing_zeros()
    }

    /// The first matching second of the day at or after `second`.
    fn time_from(&self, second: u32) -> Option<u32> {
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        if self.hours & 1 << hour != 0 {
            if self.minutes & 1 << minute != 0
                && let Some(second) = next_bit(self.seconds, second)
            {
                return Some(hour * 3_600 + minute * 60 + second);
            }
            if let Some(minute) = next_bit(self.minutes, minute + 1) {
                return Some(hour * 3_600 + minute * 60 + self.seconds.trailing_zeros());
            }
        }
        next_bit(u64::from(self.hours), hour + 1).map(|hour| hour * 3_600 + self.in_hour())
    }

    /// The first matching date at or after the given one.
    fn day_from(&self, mut year: i32, mut month: u32, mut day: u32) -> Option<NaiveDate> {
        let last = LAST_YEAR.min(self.year_from(year)? + CYCLE);
        while year <= last {
            let allowed = self.year_from(year)?;
            if allowed != year {
                (year, month, day) = (allowed, 1, 1);
                continue;
            }
            let Some(allowed) = next_bit(u64::from(self.months), month) else {
                (year, month, day) = (year + 1, 1, 1);
                continue;
            };
            if allowed != month {
                (month, day) = (allowed, 1);
            }
            let first = NaiveDate::from_ymd_opt(year, month, 1)?;
            if let Some(day) = next_bit(u64::from(self.days.in_month(first)), day) {
                return first.with_day(day);
            }
            (month, day) = (month + 1, 1);
        }
        None
    }

    /// The first allowed year at or after `year`.
    fn year_from(&self, year: i32) -> Option<i32> {
        let Some(years) = &self.years else {
            return Some(year);
        };
        let first = i32::from(*YEARS.start());
        let index = u32::try_from(year - first).unwrap_or(0);
        (index / 64..3)
            .find_map(|word| {
                let from = if word == index / 64 { index % 64 } else { 0 };
                next_bit(years[word as usize], from).map(|bit| word * 64 + bit)
            })
            .map(|index| first + index as i32)
    }
}

impl Days {
    /// The matching days of the month that begins at `first`, bits 1 to 31.
    fn in_month(&self, first: NaiveDate) -> u32 {
        let month = Month::beginning(first);
        let of_month = self.by_date(month);
        let of_week = self.by_weekday(month);
        if self.both {
            of_month & of_week
        } else {
            of_month | of_week
        }
    }

    fn by_date(&self, month: Month) -> u32 {
        let mut days = self.of_month & month.days;
        for before in bits(u64::from(self.from_last)) {
            days |= 1u32.checked_shl(month.length.wrapping_sub(before)).unwrap_or(0) & month.days;
        }
        for day in bits(u64::from(self.nearest_weekday)) {
            days |= month.nearest_weekday(if day == 0 { month.length } else { day });
        }
        days
    }

    fn by_weekday(&self, month: Month) -> u32 {
        let mut days = 0;
        for weekday in bits(u64::from(self.of_week)) {
            days |= month.every(weekday);
        }
        for (index, weekdays) in (0..).zip(self.nth) {
            for weekday in bits(u64::from(weekdays)) {
                days |= month.nth(weekday, index);
            }
        }
        days & month.days
    }
}

/// What the day fields need to know about a month.
#[derive(Clone, Copy)]
struct Month {
    length: u32,
    /// Weekday of the first, 0 is Sunday.
    first: u32,
    /// Bits 1 to `length`.
    days: u32,
}

impl Month {
    fn beginning(first: NaiveDate) -> Self {
        let length = u32::from(first.num_days_in_month());
        Self {
            length,
            first: first.weekday().num_days_from_sunday(),
            days: u32::MAX >> (31 - length) & !1,
        }
    }

    fn weekday(self, day: u32) -> u32 {
        (self.first + day - 1) % 7
    }

    fn first_such(self, weekday: u32) -> u32 {
        1 + (weekday + 7 - self.first) % 7
    }

    fn every(self, weekday: u32) -> u32 {
        // Days 0, 7, 14, 21 and 28 moved to the first such weekday.
        0x1020_4081 << self.first_such(weekday)
    }

    /// The first, second, … fifth such weekday for index 0 to 4; the last for 5.
    fn nth(self, weekday: u32, index: u32) -> u32 {
        let first = self.first_such(weekday);
        let weeks = if index == 5 {
            (self.length - first) / 7
        } else {
            index
        };
        1u32.checked_shl(first + weeks * 7).unwrap_or(0)
    }

    /// The weekday nearest to `day` within the month; none if the month has no such day.
    fn nearest_weekday(self, day: u32) -> u32 {
        if day > self.length {
            return 0;
        }
        let day = match self.weekday(day) {
            6 if day > 1 => day - 1,
            6 => day + 2,
            0 if day < self.length => day + 1,
            0 => day - 2,
            _ => day,
        };
        1 << day
    }
}

/// The lowest bit of `set` at `from` or above.
fn next_bit(set: u64, from: u32) -> Option<u32> {
    let rest = set & u64::MAX.checked_shl(from).unwrap_or(0);
    (rest != 0).then(|| rest.trailing_zeros())
}

/// The bits of `set`, lowest first.
fn bits(mut set: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = next_bit(set, 0)?;
        set &= set - 1;
        Some(bit)
    })
}
