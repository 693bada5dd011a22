//! The search for the next fire: rule, bounds and calendar together.

use std::time::Duration;

use super::calendar::Excluded;
use super::civil::CivilTime;
use super::interval::next_on_grid;
use super::{Fire, Gap, OwnedRule, Schedule};
use crate::Timestamp;

/// So many excluded stretches in a row, each with a fire time in it, count as "never fires"; 27 years of a daily rule.
const MAX_PASSED_OVER: usize = 10_000;

/// What hears of the times that the search passes over, and says where it goes on.
pub(super) trait Skips {
    /// `civil` lies in a gap and doesn't fire; the search goes on at the civil time returned.
    fn in_gap(&mut self, civil: CivilTime, gap: Gap) -> CivilTime;

    /// The calendar excludes a fire; the search goes on after the instant returned.
    fn excluded(&mut self, fire: Fire, excluded: Excluded) -> Timestamp;
}

/// Takes no notice and goes on behind the whole gap or excluded stretch.
pub(super) struct Unnoticed;

impl Skips for Unnoticed {
    fn in_gap(&mut self, _civil: CivilTime, gap: Gap) -> CivilTime {
        gap.end
    }

    fn excluded(&mut self, _fire: Fire, excluded: Excluded) -> Timestamp {
        excluded.last
    }
}

impl Schedule {
    pub(super) fn search(&self, after: Timestamp, anchor: Timestamp, skips: &mut impl Skips) -> Option<Fire> {
        let grid = self.grid_origin(after, anchor);
        let mut after = match self.start_time() {
            Some(start) => after.max(start - Duration::from_micros(1)),
            None => after,
        };
        for _ in 0..MAX_PASSED_OVER {
            let fire = self.next_of_rule(after, grid, skips)?;
            if self.end_time().is_some_and(|end| fire.scheduled_for > end) {
                return None;
            }
            let excluded = self
                .calendar()
                .and_then(|calendar| calendar.excluded(fire.scheduled_for, self.zone()));
            match excluded {
                None => return Some(fire),
                Some(excluded) => after = skips.excluded(fire, excluded),
            }
        }
        None
    }

    /// Where the grid of an interval rule begins: the first instant at which it may fire.
    fn grid_origin(&self, after: Timestamp, anchor: Timestamp) -> Timestamp {
        match (&self.rule, self.start_time()) {
            (OwnedRule::EveryAfter(_), Some(start)) if after < start => start,
            (OwnedRule::EveryAfter(interval), None) => after.max(anchor) + *interval,
            (OwnedRule::EveryAfter(interval), Some(_)) => after + *interval,
            (OwnedRule::Every(_), Some(start)) => start,
            (OwnedRule::Every(interval), None) => anchor + *interval,
            _ => anchor,
        }
    }

    fn next_of_rule(&self, after: Timestamp, grid: Timestamp, skips: &mut impl Skips) -> Option<Fire> {
        let plain = |scheduled_for| Fire {
            scheduled_for,
            reason: None,
        };
        match &self.rule {
            OwnedRule::Cron(rule) => {
                let (second, reason) = rule.next_after(after.as_micros().div_euclid(1_000_000), skips)?;
                let scheduled_for = Timestamp::from_secs(second);
                (scheduled_for < Timestamp::MAX).then_some(Fire {
                    scheduled_for,
                    reason,
                })
            }
            OwnedRule::Every(interval) | OwnedRule::EveryAfter(interval) => {
                next_on_grid(grid, *interval, after).map(plain)
            }
            OwnedRule::Once(time) => (*time > after).then(|| plain(*time)),
        }
    }
}
