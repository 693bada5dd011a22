//! Reads one field of a cron expression from left to right, and says precisely what it can't read.

use super::error::CronError;
use super::fields::{Days, YEARS};

const MONTHS: &[&str] = &[
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

pub(super) const SECOND: Field = Field::numbers("second", 0, 59);
pub(super) const MINUTE: Field = Field::numbers("minute", 0, 59);
pub(super) const HOUR: Field = Field::numbers("hour", 0, 23);
pub(super) const DAY: Field = Field::numbers("day of the month", 1, 31);
pub(super) const MONTH: Field = Field {
    names: MONTHS,
    first_name: 1,
    ..Field::numbers("month", 1, 12)
};
pub(super) const WEEKDAY: Field = Field {
    names: WEEKDAYS,
    first_name: 0,
    ..Field::numbers("day of the week", 0, 7)
};
pub(super) const YEAR: Field = Field::numbers("year", *YEARS.start(), *YEARS.end());

/// What a field may hold.
#[derive(Clone, Copy)]
pub(super) struct Field {
    name: &'static str,
    pub(super) min: u16,
    max: u16,
    names: &'static [&'static str],
    first_name: u16,
}

impl Field {
    const fn numbers(name: &'static str, min: u16, max: u16) -> Self {
        Self {
            name,
            min,
            max,
            names: &[],
            first_name: 0,
        }
    }

    /// The ordinary values that `word` names, and the days that aren't numbers, such as `L`.
    pub(super) fn read(self, word: Word<'_>) -> Result<(Set, Days), CronError> {
        let mut reader = Reader::new(self, word);
        reader.read()?;
        Ok((reader.set, reader.days))
    }

    /// How many distinct values there are; Sunday is both 0 and 7.
    fn values(&self) -> u16 {
        if self.is(&WEEKDAY) {
            7
        } else {
            self.max - self.min + 1
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.name == other.name
    }

    fn allowed(&self) -> String {
        match (self.names.first(), self.names.last()) {
            _ if self.is(&WEEKDAY) => "0-7 (0 and 7 are Sunday) or SUN-SAT".to_owned(),
            (Some(first), Some(last)) => format!("{}-{} or {first}-{last}", self.min, self.max),
            _ => format!("{}-{}", self.min, self.max),
        }
    }
}

/// Values of one field, counted from its least one. Years need more than 128 bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Set(pub(super) [u64; 3]);

impl Set {
    fn insert(&mut self, index: u16) {
        self.0[usize::from(index / 64)] |= 1 << (index % 64);
    }

    /// The set with bit `n` for the value `n`, of a field whose least value is `min`.
    pub(super) fn values(self, min: u16) -> u64 {
        self.0[0] << min
    }
}

/// One field of the expression and where it begins.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) at: usize,
    pub(super) text: &'a str,
}

impl Word<'_> {
    /// Begins with `*`, or is the `?` that means the same.
    pub(super) fn is_star(&self) -> bool {
        self.text.starts_with(['*', '?'])
    }
}

/// Reads one field from left to right.
struct Reader<'a> {
    field: Field,
    word: Word<'a>,
    position: usize,
    set: Set,
    /// Only what the sets of ordinary values can't hold.
    days: Days,
}

impl<'a> Reader<'a> {
    fn new(field: Field, word: Word<'a>) -> Self {
        Self {
            field,
            word,
            position: 0,
            set: Set::default(),
            days: Days::default(),
        }
    }

    fn read(&mut self) -> Result<(), CronError> {
        loop {
            self.item()?;
            match self.peek() {
                None => return Ok(()),
                Some(b',') => self.position += 1,
                Some(_) => return Err(self.unexpected()),
            }
        }
    }

    fn item(&mut self) -> Result<(), CronError> {
        match self.peek() {
            Some(b'*') => {
                self.position += 1;
                let last = self.field.min + self.field.values() - 1;
                self.steps(self.field.min, last)
            }
            Some(b'?') => self.any_day(),
            Some(b'L') => self.last(),
            Some(_) => self.value_and_suffix(),
            None => Err(self.error(
                self.position,
                1,
                format!("a {} is missing here: {}", self.field.name, self.field.allowed()),
            )),
        }
    }

    /// `?`: any day.
    fn any_day(&mut self) -> Result<(), CronError> {
        let day_field = self.field.is(&DAY) || self.field.is(&WEEKDAY);
        if !day_field || self.word.text != "?" {
            let message = "`?` stands alone in the day or the weekday field; elsewhere write `*`";
            return Err(self.error(self.position, 1, message));
        }
        self.position += 1;
        self.insert_range(self.field.min, self.field.min + self.field.values() - 1, 1);
        Ok(())
    }

    /// `L`, `L-3` or `LW` in the day field.
    fn last(&mut self) -> Result<(), CronError> {
        if !self.field.is(&DAY) {
            let message = if self.field.is(&WEEKDAY) {
                "`L` follows a weekday: `5L` or `FRIL` is the last Friday of the month".to_owned()
            } else {
                format!("`L` means the last day of the month and no {}", self.field.name)
            };
            return Err(self.error(self.position, 1, message));
        }
        self.position += 1;
        match self.peek() {
            Some(b'W') => {
                self.position += 1;
                self.days.nearest_weekday |= 1;
            }
            Some(b'-') => {
                self.position += 1;
                let before = self.number("days before the last", 1, 30)?;
                self.days.from_last |= 1 << before;
            }
            _ => self.days.from_last |= 1,
        }
        Ok(())
    }

    /// A value and what may follow it: `5`, `5-7`, `5/10`, `5-7/2`, `15W`, `5L`, `MON#2`.
    fn value_and_suffix(&mut self) -> Result<(), CronError> {
        let start = self.value()?;
        let weekday = self.field.is(&WEEKDAY);
        match self.peek() {
            Some(b'-') => {
                let dash = self.position;
                self.position += 1;
                let end = self.value()?;
                let end = self.unwrapped(dash, start, end)?;
                self.steps(start, end)
            }
            Some(b'/') => {
                let last = self.field.min + self.field.values() - 1;
                self.steps(if weekday { start % 7 } else { start }, last)
            }
            Some(b'W') if self.field.is(&DAY) => {
                self.position += 1;
                self.days.nearest_weekday |= 1 << start;
                Ok(())
            }
            Some(b'L') if weekday => {
                self.position += 1;
                self.nth_weekday(start, 6);
                Ok(())
            }
            Some(b'#') if weekday => self.numbered_weekday(start),
            _ => {
                self.insert_range(start, start, 1);
                Ok(())
            }
        }
    }

    /// `#2` or `#L` after a weekday.
    fn numbered_weekday(&mut self, weekday: u16) -> Result<(), CronError> {
        self.position += 1;
        let nth = if self.peek() == Some(b'L') {
            self.position += 1;
            6
        } else {
            self.number("week of the month", 1, 5)?
        };
        self.nth_weekday(weekday, nth);
        Ok(())
    }

    fn nth_weekday(&mut self, weekday: u16, nth: u16) {
        self.days.nth[usize::from(nth - 1)] |= 1 << (weekday % 7);
    }

    /// The end of a range, moved on by one round if the range runs past the end of the field (`22-2`).
    fn unwrapped(&self, dash: usize, start: u16, end: u16) -> Result<u16, CronError> {
        if end >= start {
            return Ok(end);
        }
        if self.field.is(&YEAR) {
            let message = format!("{start}-{end} runs backwards; write {end}-{start}");
            return Err(self.error(dash, 1, message));
        }
        Ok(end + self.field.values())
    }

    /// Inserts `start..=end`, or every nth of it if `/n` follows.
    fn steps(&mut self, start: u16, end: u16) -> Result<(), CronError> {
        let mut step = 1;
        if self.peek() == Some(b'/') {
            self.position += 1;
            let at = self.position;
            step = self.number("step", 1, u16::MAX)?;
            if step > self.field.values() {
                let message = format!(
                    "step {step} is longer than the {} values of a {}; for every {step} {}s use `every`",
                    self.field.values(),
                    self.field.name,
                    self.field.name,
                );
                return Err(self.error(at, self.position - at, message));
            }
        }
        self.insert_range(start, end, step);
        Ok(())
    }

    /// Inserts every `step`th value; values past the end of the field go on at its beginning.
    fn insert_range(&mut self, start: u16, end: u16, step: u16) {
        for value in (start..=end).step_by(usize::from(step)) {
            self.set.insert((value - self.field.min) % self.field.values());
        }
    }

    /// A number or a name of this field.
    fn value(&mut self) -> Result<u16, CronError> {
        let begin = self.position;
        let letters = self.take_while(|byte| byte.is_ascii_alphabetic());
        if letters.is_empty() {
            return self.number(self.field.name, self.field.min, self.field.max);
        }
        let known = letters.get(..3).and_then(|name| {
            self.field
                .names
                .iter()
                .position(|known| known.eq_ignore_ascii_case(name))
        });
        match (known, &letters[letters.len().min(3)..]) {
            (Some(index), "") => Ok(self.field.first_name + index as u16),
            (Some(index), "L" | "l") if self.field.is(&WEEKDAY) => {
                self.position -= 1;
                Ok(self.field.first_name + index as u16)
            }
            (Some(_), _) => {
                let message = format!("`{letters}` is too long a name; write `{}`", &letters[..3]);
                Err(self.error(begin, letters.len(), message))
            }
            (None, _) => {
                let message = format!(
                    "`{letters}` is no {}; write {}",
                    self.field.name,
                    self.field.allowed()
                );
                Err(self.error(begin, letters.len(), message))
            }
        }
    }

    fn number(&mut self, name: &str, min: u16, max: u16) -> Result<u16, CronError> {
        let begin = self.position;
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() {
            let message = match self.peek() {
                Some(_) => format!("`{}` is no {name}; write {}", self.rest(), allowed(min, max)),
                None => format!("a {name} is missing here: {}", allowed(min, max)),
            };
            return Err(self.error(begin, self.word.text.len() - begin, message));
        }
        match digits.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => {
                let message = format!("{name} {digits} is not in {}", allowed(min, max));
                Err(self.error(begin, digits.len(), message))
            }
        }
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let begin = self.position;
        let rest = &self.word.text[begin..];
        let length = rest.bytes().position(|byte| !wanted(byte)).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    /// What comes after the items that were read: up to the next comma.
    fn rest(&self) -> &'a str {
        let rest = &self.word.text[self.position..];
        rest.split(',').next().unwrap_or(rest)
    }

    fn unexpected(&self) -> CronError {
        let rest = self.rest();
        let hint = match rest.as_bytes().first() {
            Some(b'#') => "only a weekday takes `#`: `MON#2` is the second Monday of the month",
            Some(b'W' | b'w') => {
                "`W` follows a single day of the month: `15W` is the weekday nearest to the 15th"
            }
            Some(b'L' | b'l') => "`L` follows a single weekday: `5L` is the last Friday of the month",
            _ => "a comma, or the next field after a space, was expected",
        };
        self.error(
            self.position,
            rest.len(),
            format!("`{rest}` can't stand here; {hint}"),
        )
    }

    fn peek(&self) -> Option<u8> {
        self.word
            .text
            .as_bytes()
            .get(self.position)
            .map(u8::to_ascii_uppercase)
    }

    fn error(&self, position: usize, length: usize, message: impl Into<String>) -> CronError {
        CronError::new(self.word.at + position, length, message)
    }
}

fn allowed(min: u16, max: u16) -> String {
    if max == u16::MAX {
        format!("{min} or more")
    } else {
        format!("{min}-{max}")
    }
}
