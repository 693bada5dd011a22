//! A fire: an instant at which a schedule comes due, and why it isn't simply the civil time of the rule.

use std::fmt;

use super::civil::CivilTime;
use crate::Timestamp;

/// A schedule coming due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fire {
    /// The nominal instant, before jitter. It identifies the fire.
    pub scheduled_for: Timestamp,
    /// Set where clocks jump; `None` on all ordinary days.
    pub reason: Option<Reason>,
}

/// Civil times that a zone leaves out: from `begin` up to, not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The first civil time that no clock shows.
    pub begin: CivilTime,
    /// What clocks show instead.
    pub end: CivilTime,
}

/// What a jump of the zone's clocks has to do with a fire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The rule's civil time doesn't exist that day; the fire stands at the end of the gap. It also stands for all
    /// further civil times of the rule within the same gap.
    EndOfGap {
        /// The first civil time of the rule in the gap.
        civil: CivilTime,
        /// The gap.
        gap: Gap,
    },
    /// The civil time comes twice, and this is the first time.
    FirstPass {
        /// The repeated civil time.
        civil: CivilTime,
    },
    /// The civil time comes twice, and this is the second time.
    SecondPass {
        /// The repeated civil time.
        civil: CivilTime,
    },
}

impl fmt::Display for Gap {
    /// `02:00 to 03:00`, with dates where the gap is longer than a day's change.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (begin, end) = (self.begin, self.end);
        if begin.day() == end.day() {
            write!(f, "{} to {}", begin.time_of_day(), end.time_of_day())
        } else {
            let (from, to) = (begin.date(), end.date());
            write!(f, "{from} {} to {to} {}", begin.time_of_day(), end.time_of_day())
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndOfGap { civil, gap } => {
                if gap.begin.day() != gap.end.day() {
                    write!(f, "{} ", civil.date())?;
                }
                let time = civil.time_of_day();
                write!(
                    f,
                    "{time} does not exist: clocks jump from {gap}; moved to the end of the gap"
                )
            }
            Self::FirstPass { civil } => {
                write!(
                    f,
                    "{} comes twice: clocks go back; this is the first pass",
                    civil.time_of_day()
                )
            }
            Self::SecondPass { civil } => {
                write!(
                    f,
                    "{} comes twice: clocks go back; this is the second pass",
                    civil.time_of_day()
                )
            }
        }
    }
}
