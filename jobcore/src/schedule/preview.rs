//! The next fires as a person wants to see them: in local time, with the reason of every shift and omission.

use std::fmt;

use chrono::{DateTime, FixedOffset, SecondsFormat};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::calendar::{Excluded, Exclusion};
use super::civil::CivilTime;
use super::search::Skips;
use super::zone::Zone;
use super::{Fire, Gap, Schedule};
use crate::Timestamp;

/// The most fires of one preview; for more, iterate over [`Schedule::fires_after`].
pub const MAX_PREVIEW: usize = 10_000;

/// So many omissions between two fires are listed one by one; an entry with `through` stands for the rest.
const MAX_LISTED: usize = 20;

/// A line of a preview.
///
/// In JSON, a fire is `{"at": "2026-03-29T03:00:00+02:00"}` with a `reason` where clocks jump; a civil time that gave
/// no fire is `{"skipped": "2026-03-29T02:30:00", "reason": "…"}`, with `through` where it stands for more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PreviewEntry {
    /// The schedule fires.
    Fire {
        /// When, and why not as written.
        fire: Fire,
        /// The instant as clocks show it there.
        at: LocalTime,
    },
    /// The rule names this civil time, and it doesn't fire.
    Skipped {
        /// As the rule names it.
        civil: CivilTime,
        /// If set, the entry stands for all of the rule's civil times from `civil` through this one.
        through: Option<CivilTime>,
        /// Why.
        reason: SkipReason,
    },
}

/// Why a civil time gives no fire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SkipReason {
    /// The zone leaves it out.
    Gap(Gap),
    /// The calendar excludes it.
    Excluded(Exclusion),
}

/// An instant with the offset of a zone; its text is RFC 3339, for example `2026-03-29T03:00:00+02:00`.
///
/// RFC 3339 has no seconds in offsets. Where a zone had them (before it introduced a standard time), the text is in
/// UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalTime {
    instant: Timestamp,
    /// Seconds that the clock is ahead of UTC.
    offset: i32,
}

impl Schedule {
    /// The next `count` fires after `after`, at most [`MAX_PREVIEW`], with the civil times in between that give none.
    ///
    /// `anchor` is as for [`next_after`](Self::next_after); a fixed delay is shown as if tasks took no time.
    pub fn preview(&self, after: Timestamp, anchor: Timestamp, count: usize) -> Vec<PreviewEntry> {
        let mut recorder = Recorder {
            zone: self.zone(),
            entries: Vec::new(),
            listed: 0,
        };
        let mut after = after;
        for _ in 0..count.min(MAX_PREVIEW) {
            let Some(fire) = self.search(after, anchor, &mut recorder) else {
                break;
            };
            recorder.fire(fire);
            after = fire.scheduled_for;
        }
        recorder.entries
    }
}

/// Notes what the search passes over.
struct Recorder {
    zone: Zone,
    entries: Vec<PreviewEntry>,
    /// Omissions since the last fire.
    listed: usize,
}

impl Recorder {
    fn fire(&mut self, fire: Fire) {
        self.listed = 0;
        self.entries.push(PreviewEntry::Fire {
            fire,
            at: LocalTime::new(fire.scheduled_for, self.zone),
        });
    }

    /// Lists an omission, or lets the last entry stand for it too. Says whether it was listed by itself.
    fn skipped(&mut self, civil: CivilTime, end: CivilTime, reason: SkipReason) -> bool {
        self.listed += 1;
        if self.listed > MAX_LISTED + 1
            && let Some(PreviewEntry::Skipped { through, .. }) = self.entries.last_mut()
        {
            *through = Some(end);
            return false;
        }
        let by_itself = self.listed <= MAX_LISTED;
        self.entries.push(PreviewEntry::Skipped {
            civil,
            through: (!by_itself).then_some(end),
            reason,
        });
        by_itself
    }
}

impl Skips for Recorder {
    fn in_gap(&mut self, civil: CivilTime, gap: Gap) -> CivilTime {
        let last = CivilTime::from_secs(gap.end.as_secs() - 1);
        if self.skipped(civil, last, SkipReason::Gap(gap)) {
            civil.next_second()
        } else {
            gap.end
        }
    }

    fn excluded(&mut self, fire: Fire, excluded: Excluded) -> Timestamp {
        let civil = |time: Timestamp| self.zone.civil_at(time.as_micros().div_euclid(1_000_000));
        let (first, last) = (civil(fire.scheduled_for), civil(excluded.last));
        if self.skipped(first, last, SkipReason::Excluded(excluded.why)) {
            fire.scheduled_for
        } else {
            excluded.last
        }
    }
}

impl LocalTime {
    fn new(instant: Timestamp, zone: Zone) -> Self {
        let offset = zone.offset_at(instant.as_micros().div_euclid(1_000_000));
        Self {
            instant,
            offset: offset as i32,
        }
    }

    /// The instant, without the place.
    pub fn instant(self) -> Timestamp {
        self.instant
    }

    /// Seconds that the clock is ahead of UTC.
    pub fn offset_seconds(self) -> i32 {
        self.offset
    }

    /// What the clock shows, to the second.
    pub fn civil(self) -> CivilTime {
        CivilTime::from_secs(self.instant.as_micros().div_euclid(1_000_000) + i64::from(self.offset))
    }

    fn to_datetime(self) -> Option<DateTime<FixedOffset>> {
        let whole_minutes = self.offset % 60 == 0;
        let offset = FixedOffset::east_opt(self.offset).filter(|_| whole_minutes)?;
        Some(self.instant.to_datetime().with_timezone(&offset))
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_datetime() {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, false)),
            None => self.instant.fmt(f),
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap(gap) => write!(f, "does not exist: clocks jump from {gap}"),
            Self::Excluded(exclusion) => write!(f, "excluded by {exclusion}"),
        }
    }
}

impl Serialize for PreviewEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Fire { fire, at } => {
                map.serialize_entry("at", &at.to_string())?;
                if let Some(reason) = fire.reason {
                    map.serialize_entry("reason", &reason.to_string())?;
                }
            }
            Self::Skipped {
                civil,
                through,
                reason,
            } => {
                map.serialize_entry("skipped", &civil.to_string())?;
                if let Some(through) = through {
                    map.serialize_entry("through", &through.to_string())?;
                }
                map.serialize_entry("reason", &reason.to_string())?;
            }
        }
        map.end()
    }
}
