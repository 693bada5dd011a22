//! Where a reader of changes is: behind the highest numbers that it saw, but for those that were missing below them.
//!
//! Numbers are given out before commits, so that a row may appear below higher ones. What was missing is looked for again
//! until no transaction can bring it any more. Most of it never comes: the numbers of what was rolled back, and those that
//! the server gave out and nobody used.

use std::fmt;
use std::time::Duration;

use jobcore::store::Cursor;
use jobcore::{Error, Result, Timestamp};

/// How long missing numbers are looked for: longer than any transaction may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many ranges of missing numbers a cursor holds for each table, some ten bytes each. Where there are more, those that
/// have been missing longest are given up.
const MAX_GAPS: usize = 64;

/// Marks cursors of this store.
const MARK: &str = "m";

/// Where a reader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangeCursor {
    /// In `job_logs`.
    pub(crate) logs: Track,
    /// In `job_changes`.
    pub(crate) jobs: Track,
}

/// Where a reader is in one table.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Track {
    highest: i64,
    /// Ascending, all below `highest`.
    gaps: Vec<Gap>,
}

/// Numbers that were missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// When that was first seen, in milliseconds.
    seen: i64,
}

impl Track {
    /// Behind rows with these numbers, ascending: the latest that there are.
    pub(crate) fn behind(numbers: &[i64], now: Timestamp) -> Self {
        let mut track = Self {
            highest: numbers.first().copied().unwrap_or(0),
            gaps: Vec::new(),
        };
        for number in numbers.iter().skip(1) {
            track.advance(*number, now);
        }
        track.bound();
        track
    }

    /// The highest number that was seen.
    pub(crate) fn highest(&self) -> i64 {
        self.highest
    }

    /// What was missing below it.
    pub(crate) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The row with this number, the next above the highest one, was seen.
    pub(crate) fn advance(&mut self, number: i64, now: Timestamp) {
        if number > self.highest + 1 {
            self.gaps.push(Gap {
                first: self.highest + 1,
                last: number - 1,
                seen: millis(now),
            });
        }
        self.highest = self.highest.max(number);
    }

    /// The row with this number, which was missing, was seen.
    pub(crate) fn fill(&mut self, number: i64) {
        let place = self
            .gaps
            .iter()
            .position(|gap| (gap.first..=gap.last).contains(&number));
        let Some(place) = place else { return };
        let gap = self.gaps.remove(place);
        let rest = [
            Gap {
                last: number - 1,
                ..gap
            },
            Gap {
                first: number + 1,
                ..gap
            },
        ];
        let rest = rest.into_iter().filter(|gap| gap.first <= gap.last);
        self.gaps.splice(place..place, rest);
    }

    /// Gives up what has been missing for too long. To be called when it was looked for once more.
    pub(crate) fn give_up(&mut self, now: Timestamp) {
        let patience = i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX);
        self.gaps.retain(|gap| millis(now) - gap.seen < patience);
        self.bound();
    }

    fn bound(&mut self) {
        while self.gaps.len() > MAX_GAPS {
            let oldest = self.gaps.iter().map(|gap| gap.seen).min();
            let place = self.gaps.iter().position(|gap| Some(gap.seen) == oldest);
            place.map(|place| self.gaps.remove(place));
        }
    }
}

fn millis(time: Timestamp) -> i64 {
    time.as_micros() / 1_000
}

impl ChangeCursor {
    /// Reads a cursor.
    ///
    /// # Errors
    /// `InvalidInput` if this store didn't make it.
    pub(crate) fn parse(cursor: &Cursor) -> Result<Self> {
        Self::read(&cursor.0).ok_or_else(|| {
            let message = format_args!("`{}` isn't one of this listing; begin without a cursor", cursor.0);
            Error::invalid("cursor", message)
        })
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(MARK)?.split('.');
        let mut logs = Track::read(parts.next()?)?;
        let mut jobs = Track::read(parts.next()?)?;
        if let Some(seen) = parts.next() {
            let seen: i64 = seen.parse().ok()?;
            logs.gaps = logs.read_gaps(parts.next()?, seen)?;
            jobs.gaps = jobs.read_gaps(parts.next()?, seen)?;
        }
        parts.next().is_none().then_some(Self { logs, jobs })
    }
}

impl Track {
    fn read(highest: &str) -> Option<Self> {
        let highest = highest.parse().ok().filter(|highest| *highest >= 0)?;
        Some(Self {
            highest,
            gaps: Vec::new(),
        })
    }

    fn read_gaps(&self, text: &str, seen: i64) -> Option<Vec<Gap>> {
        let gaps: Option<Vec<Gap>> = text
            .split('_')
            .filter(|gap| !gap.is_empty())
            .map(|gap| Gap::read(gap, self.highest, seen))
            .collect();
        gaps.filter(|gaps| gaps.len() <= MAX_GAPS && gaps.windows(2).all(|pair| pair[0].last < pair[1].first))
    }
}

impl Gap {
    /// Reads `distance-length-delay`: how far below the highest number it begins, how long it is, and how much later than the
    /// earliest one it was seen.
    fn read(text: &str, highest: i64, seen: i64) -> Option<Self> {
        let mut parts = text.split('-').map(|number| number.parse::<i64>().ok());
        let (distance, length, delay) = (parts.next()??, parts.next()??, parts.next()??);
        let first = highest.checked_sub(distance)?;
        let gap = Self {
            first,
            last: first.checked_add(length)?.checked_sub(1)?,
            seen: seen.checked_add(delay)?,
        };
        (parts.next().is_none() && gap.first > 0 && gap.first <= gap.last && gap.last < highest)
            .then_some(gap)
    }

    fn write(self, highest: i64, seen: i64) -> String {
        let length = self.last - self.first + 1;
        format!("{}-{length}-{}", highest - self.first, self.seen - seen)
    }
}

impl fmt::Display for ChangeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { logs, jobs } = self;
        write!(f, "{MARK}{}.{}", logs.highest, jobs.highest)?;
        // The same text while nothing changes: so no present time.
        let Some(seen) = logs.gaps.iter().chain(&jobs.gaps).map(|gap| gap.seen).min() else {
            return Ok(());
        };
        let gaps = |track: &Track| {
            let gaps = track.gaps.iter().map(|gap| gap.write(track.highest, seen));
            gaps.collect::<Vec<_>>().join("_")
        };
        write!(f, ".{seen}.{}.{}", gaps(logs), gaps(jobs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + second)
    }

    fn missing(track: &Track) -> Vec<(i64, i64)> {
        track.gaps().iter().map(|gap| (gap.first, gap.last)).collect()
    }

    #[test]
    fn what_is_missing_is_looked_for_until_it_comes() {
        let mut track = Track::behind(&[], at(0));
        for number in [1, 2, 6, 7, 9] {
            track.advance(number, at(0));
        }
        assert_eq!((track.highest(), missing(&track)), (9, vec![(3, 5), (8, 8)]));
        track.fill(4);
        assert_eq!(missing(&track), [(3, 3), (5, 5), (8, 8)]);
        track.fill(8);
        track.fill(8);
        track.fill(3);
        assert_eq!(missing(&track), [(5, 5)]);
        track.give_up(at(59));
        assert_eq!(missing(&track), [(5, 5)]);
        track.give_up(at(60));
        assert_eq!((track.highest(), missing(&track)), (9, vec![]));
    }

    #[test]
    fn a_reader_that_begins_looks_for_what_is_under_way() {
        let track = Track::behind(&[5, 6, 9], at(0));
        assert_eq!((track.highest(), missing(&track)), (9, vec![(7, 8)]));
        let from_the_beginning = Track::behind(&[0, 3], at(0));
        assert_eq!(missing(&from_the_beginning), [(1, 2)]);
    }

    #[test]
    fn the_longest_missing_is_given_up_first() {
        let mut track = Track::default();
        for place in 0..100 {
            track.advance(place * 2 + 2, at(if place == 50 { 0 } else { 1 }));
        }
        track.give_up(at(1));
        assert_eq!(track.gaps().len(), MAX_GAPS);
        assert!(!missing(&track).contains(&(101, 101)), "it was missing longest");
        assert_eq!(missing(&track).last(), Some(&(199, 199)));
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let mut logs = Track::behind(&[7], at(0));
        let mut jobs = Track::default();
        let plain = ChangeCursor {
            logs: logs.clone(),
            jobs: jobs.clone(),
        };
        assert_eq!(plain.to_string(), "m7.0");
        logs.advance(10, at(1));
        logs.advance(1_000_000_000_000, at(5));
        logs.advance(1_000_000_000_002, at(6));
        jobs.advance(2, at(2));
        for cursor in [plain, ChangeCursor { logs, jobs }] {
            let read =
                ChangeCursor::parse(&Cursor(cursor.to_string())).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(read, cursor);
        }
    }

    #[test]
    fn what_others_made_is_refused() {
        for text in [
            "",
            "m",
            "1.2",
            "m1",
            "m1.x",
            "m1.2.3",
            "m-1.2",
            "m1.2.3.4.5",
            "m9.9.0.3-9-0.",
            "m9.9.0.3-0-0.",
            "m9.9.0.12-1-0.",
            "m9.9.0.3-1-0_5-1-0.",
            "m9.9.0.3-1.",
            "m9.9.0.3-1-0..",
            "not a cursor of this store",
        ] {
            let refused = ChangeCursor::parse(&Cursor(text.to_owned()));
            let kind = refused.map_err(|error| error.kind());
            assert_eq!(kind, Err(jobcore::ErrorKind::InvalidInput), "{text}");
        }
        assert!(ChangeCursor::parse(&Cursor("m9.9.0.5-1-0_3-1-7.".into())).is_ok());
    }
}
