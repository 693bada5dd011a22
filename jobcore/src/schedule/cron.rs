//! Cron rules: an expression, a zone, and what happens where clocks jump.

mod error;
mod fields;
mod parse;
mod reader;

use serde::{Deserialize, Serialize};

pub use error::CronError;
pub use parse::MAX_EXPRESSION;

use self::fields::Fields;
use super::civil::CivilTime;
use super::search::Skips;
use super::zone::{Change, Occurrence, Zone};
use super::{Gap, Reason};
use crate::{Error, Result};

/// What becomes of a civil time that a gap leaves out, such as 02:30 in the night in which summer time begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapPolicy {
    /// Fires once, at the end of the gap. The default: a nightly job runs every night.
    #[default]
    After,
    /// Doesn't fire; the preview says so.
    Skip,
}

/// What becomes of a civil time that comes twice, such as 02:30 in the night in which summer time ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepeatPolicy {
    /// Fires once, in the first pass. The default: a nightly job runs once a night.
    #[default]
    Once,
    /// Fires in both passes.
    Twice,
}

/// A parsed rule. Small on purpose: an engine holds a million of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CronRule {
    expression: Box<str>,
    fields: Fields,
    pub(super) zone: Zone,
    pub(super) gap: GapPolicy,
    pub(super) repeat: RepeatPolicy,
}

impl CronRule {
    pub(super) fn parse(expression: &str) -> Result<Self> {
        let fields =
            parse::parse(expression).map_err(|error| Error::invalid("cron", &error).source(error))?;
        Ok(Self {
            expression: expression.trim().into(),
            fields,
            zone: Zone::UTC,
            gap: GapPolicy::default(),
            repeat: RepeatPolicy::default(),
        })
    }

    pub(super) fn expression(&self) -> &str {
        &self.expression
    }

    /// The first instant after `after` at which the rule fires, both in seconds since the epoch.
    ///
    /// Every civil time fires when the clock first shows it, or first shows a later one (the end of a gap). That
    /// instant never falls as civil time grows, so the least matching civil time that the clock hasn't reached yet
    /// gives the next instant. Second passes are the only fires outside this order, and only a repeated civil time
    /// at `after` itself can have one that comes before.
    pub(super) fn next_after(&self, after: i64, skips: &mut impl Skips) -> Option<(i64, Option<Reason>)> {
        let now = self.zone.civil_at(after);
        match self.zone.occurrence(now) {
            Occurrence::Twice { first, second } => {
                let change = self.zone.change_between(first, second);
                self.next_in_repeat(after, now, change)
                    .or_else(|| self.next_first_pass(change.before, skips))
            }
            Occurrence::Once(_) | Occurrence::Never(_) => self.next_first_pass(now.next_second(), skips),
        }
    }

    /// The next fire while the clock shows times that it shows twice, in either pass.
    fn next_in_repeat(&self, after: i64, now: CivilTime, change: Change) -> Option<(i64, Option<Reason>)> {
        let matching = |from| {
            self.fields
                .next_match(from)
                .filter(|civil| *civil < change.before)
        };
        let since_change = |civil: CivilTime, shown: CivilTime| civil.as_secs() - shown.as_secs();
        let first_pass = after < change.instant;
        if first_pass && let Some(civil) = matching(now.next_second()) {
            return Some((
                change.instant + since_change(civil, change.before),
                Some(Reason::FirstPass { civil }),
            ));
        }
        if !self.fires_in_both_passes() {
            return None;
        }
        let from = if first_pass {
            change.after
        } else {
            now.next_second()
        };
        let civil = matching(from)?;
        Some((
            change.instant + since_change(civil, change.after),
            Some(Reason::SecondPass { civil }),
        ))
    }

    /// The fire of the first match at or after `from`, a civil time that the clock hasn't shown yet.
    fn next_first_pass(&self, mut from: CivilTime, skips: &mut impl Skips) -> Option<(i64, Option<Reason>)> {
        loop {
            let civil = self.fields.next_match(from)?;
            match self.zone.occurrence(civil) {
                Occurrence::Once(instant) => return Some((instant, None)),
                Occurrence::Twice { first, .. } => return Some((first, Some(Reason::FirstPass { civil }))),
                Occurrence::Never(change) => {
                    let gap = Gap::from(change);
                    if self.fires_after_gaps() {
                        return Some((change.instant, Some(Reason::EndOfGap { civil, gap })));
                    }
                    from = if self.misses_civil_times() {
                        skips.in_gap(civil, gap)
                    } else {
                        gap.end
                    };
                }
            }
        }
    }

    pub(super) fn follows_elapsed_time(&self) -> bool {
        self.fields.follows_elapsed_time
    }

    fn fires_in_both_passes(&self) -> bool {
        self.fields.follows_elapsed_time || self.repeat == RepeatPolicy::Twice
    }

    fn fires_after_gaps(&self) -> bool {
        !self.fields.follows_elapsed_time && self.gap == GapPolicy::After
    }

    /// Whether a gap costs fires. A rule of every hour that follows elapsed time goes on as if nothing had happened.
    fn misses_civil_times(&self) -> bool {
        !(self.fields.follows_elapsed_time && self.fields.every_hour())
    }
}

impl From<Change> for Gap {
    fn from(change: Change) -> Self {
        Self {
            begin: change.before,
            end: change.after,
        }
    }
}
