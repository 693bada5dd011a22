//! When a job comes due: pure rules that give instants.
//!
//! A [`Schedule`] is a value. It knows no clock; the one question to it is [`next_after`](Schedule::next_after):
//! the first instant after another at which it fires. The same schedule gives the same answers on every node, in
//! every process and after a restart, as long as the [zone data](zone_data_version) is the same.
//!
//! ```
//! use jobcore::schedule::{GapPolicy, Schedule};
//! use jobcore::Timestamp;
//!
//! let nightly = Schedule::cron("30 2 * * *")?
//!     .in_zone("Europe/Berlin")?
//!     .on_gap(GapPolicy::Skip);
//! let evening: Timestamp = "2026-03-28T18:00:00Z".parse()?;
//! let next = nightly.next_after(evening, evening).ok_or("never")?;
//! // 02:30 doesn't exist on the 29th.
//! assert_eq!(next.scheduled_for.to_string(), "2026-03-30T00:30:00Z");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # In JSON
//!
//! One rule, and what may be said beside each:
//!
//! ```json
//! {
//!   "cron": {"expression": "30 2 * * *", "time_zone": "Europe/Berlin", "gap": "after", "overlap": "once"},
//!   "start_time": "2026-01-01T00:00:00Z",
//!   "end_time": "2026-12-31T23:59:59Z",
//!   "jitter": "30s",
//!   "excluding": {
//!     "time_zone": "Europe/Berlin",
//!     "dates": ["2026-12-24/2027-01-01"],
//!     "yearly": ["05-01"],
//!     "weekdays": ["SAT", "SUN"],
//!     "daily": ["22:00/06:00"]
//!   }
//! }
//! ```
//!
//! The other rules are `{"every": "5m"}` (fixed rate), `{"every_after": "5m"}` (fixed delay) and
//! `{"once": "2026-03-28T09:00:00Z"}`. A cron rule without further wishes may be just `{"cron": "0 9 * * *"}`.
//! Durations are texts with the units `w d h m s ms us`, or seconds as a JSON number, as which they are written back.
//! Everything but the rule may be left out; an unknown name is refused.
//!
//! # Invariants
//!
//! - Fires are strictly increasing: `next_after(t, anchor)` is later than `t`, whatever clocks do.
//! - It is the *least* such instant: iterating gives every fire, and asking from any instant in between agrees.
//! - Every search is bounded, also over rules that fire once in forty years or are excluded for ever.
//! - Jitter delays a fire, never past the next one; the nominal instant remains its identity.

mod calendar;
mod civil;
mod cron;
mod duration;
mod fire;
mod interval;
mod jitter;
mod preview;
mod search;
mod text;
mod zone;

use std::time::Duration;

pub use calendar::{Calendar, Exclusion, MAX_CALENDAR_ENTRIES};
pub use civil::CivilTime;
pub use cron::{CronError, GapPolicy, MAX_EXPRESSION, RepeatPolicy};
pub use fire::{Fire, Gap, Reason};
pub use jitter::jitter_seed;
pub use preview::{LocalTime, MAX_PREVIEW, PreviewEntry, SkipReason};
pub use zone::zone_data_version;

use self::cron::CronRule;
use self::search::Unnoticed;
use self::zone::Zone;
use crate::{Error, Result, Timestamp};

/// The shortest interval of `every` and `every_after`: a finer one would say more than any clock here keeps.
pub const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// A rule for the instants at which a job comes due, with bounds, a calendar of exceptions and jitter.
///
/// See the [module](self) for an example, the JSON and the invariants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    rule: OwnedRule,
    /// Boxed: most schedules have none, and a process holds a million schedules.
    limits: Option<Box<Limits>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum OwnedRule {
    Cron(CronRule),
    Every(Duration),
    EveryAfter(Duration),
    Once(Timestamp),
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Limits {
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    jitter: Duration,
    excluding: Option<Calendar>,
}

/// What kind of rule a schedule has, and its settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Rule<'a> {
    /// Civil times that match an expression.
    Cron {
        /// As it was written.
        expression: &'a str,
        /// IANA name.
        time_zone: &'static str,
        /// What becomes of times that don't exist.
        gap: GapPolicy,
        /// What becomes of times that come twice.
        overlap: RepeatPolicy,
    },
    /// Fixed rate.
    Every {
        /// From one fire to the next.
        interval: Duration,
    },
    /// Fixed delay.
    EveryAfter {
        /// From the end of a task to the next fire.
        interval: Duration,
    },
    /// A single fire.
    Once {
        /// When.
        time: Timestamp,
    },
}

impl Schedule {
    /// Fires at the civil times that match a cron expression, in UTC unless [`in_zone`](Self::in_zone) says otherwise.
    ///
    /// Five fields `minute hour day month weekday`; six with a `second` before them; seven with a `year` (1970 to
    /// 2099) after them as well. Names and letters may be in any case.
    ///
    /// | written | means |
    /// |---|---|
    /// | `*` | every value; in the day and the weekday field also `?` |
    /// | `1,15` `9-17` `*/10` `9-17/2` `5/10` | lists, ranges, every nth value; `5/10` goes to the end of the field |
    /// | `FRI-MON` `22-2` | a range may run past the end of its field and goes on at its beginning (not for years) |
    /// | `JAN`…`DEC`, `SUN`…`SAT` | months 1 to 12, weekdays 0 to 6; 7 is Sunday too |
    /// | `L` `L-3` `LW` | day: the last of the month, three days before it, the last from Monday to Friday |
    /// | `15W` | day: the weekday from Monday to Friday nearest to the 15th, within the month |
    /// | `5L` `FRIL` | weekday: the last Friday of the month |
    /// | `MON#2` | weekday: the second Monday of the month |
    /// | `@yearly` `@annually` `@monthly` `@weekly` `@daily` `@midnight` `@hourly` | in place of all fields |
    ///
    /// If both day fields are restricted, a day needs to match only one of them (`0 0 13 * FRI`: every 13th and every
    /// Friday). If one begins with `*` or is `?`, it must match both.
    ///
    /// **Errors.** `InvalidInput` with the column and what would be right, for an expression that can't be read, is
    /// longer than [`MAX_EXPRESSION`] or never fires; the source is a [`CronError`].
    pub fn cron(expression: &str) -> Result<Self> {
        CronRule::parse(expression).map(|rule| OwnedRule::Cron(rule).into())
    }

    /// Fires at a fixed rate, at whole intervals after [`starting`](Self::starting) and then also at that instant
    /// itself, or after the anchor that the engine passes in, the creation of the job. How long tasks take is of no
    /// influence.
    pub fn every(interval: Duration) -> Self {
        OwnedRule::Every(interval).into()
    }

    /// Fires one interval after the end of the last task, and the first time like [`every`](Self::every).
    ///
    /// The end of the task is the instant that [`next_after`](Self::next_after) is asked with; see
    /// [`counts_from_end`](Self::counts_from_end).
    pub fn every_after(interval: Duration) -> Self {
        OwnedRule::EveryAfter(interval).into()
    }

    /// Fires once.
    pub fn once(time: Timestamp) -> Self {
        OwnedRule::Once(time).into()
    }

    /// Reads a cron rule in this zone of the IANA data.
    ///
    /// **Errors.** `InvalidInput`, if there is no such zone, or if the rule isn't cron and has no use for one.
    pub fn in_zone(mut self, name: &str) -> Result<Self> {
        match &mut self.rule {
            OwnedRule::Cron(rule) => rule.zone = Zone::named(name)?,
            _ => {
                return Err(Error::invalid(
                    "time_zone",
                    "only a cron rule has one; leave it out",
                ));
            }
        }
        Ok(self)
    }

    /// What becomes of a cron rule's civil times that don't exist. Without effect on other rules, and on cron rules
    /// whose minute or hour field begins with `*`: those follow elapsed time and make nothing up.
    #[must_use]
    pub fn on_gap(mut self, policy: GapPolicy) -> Self {
        if let OwnedRule::Cron(rule) = &mut self.rule {
            rule.gap = policy;
        }
        self
    }

    /// What becomes of a cron rule's civil times that come twice. Without effect on other rules, and on cron rules
    /// whose minute or hour field begins with `*`: those follow elapsed time and fire in both passes.
    #[must_use]
    pub fn on_overlap(mut self, policy: RepeatPolicy) -> Self {
        if let OwnedRule::Cron(rule) = &mut self.rule {
            rule.repeat = policy;
        }
        self
    }

    /// Doesn't fire before `time`.
    #[must_use]
    pub fn starting(mut self, time: Timestamp) -> Self {
        self.limits_mut().start_time = Some(time);
        self
    }

    /// Doesn't fire after `time`; a fire at that very instant still counts.
    #[must_use]
    pub fn ending(mut self, time: Timestamp) -> Self {
        self.limits_mut().end_time = Some(time);
        self
    }

    /// Delays each fire by up to `longest`, differently for each job and fire; see [`due_time`](Self::due_time).
    #[must_use]
    pub fn jitter(mut self, longest: Duration) -> Self {
        if longest != self.max_jitter() {
            self.limits_mut().jitter = longest;
        }
        self
    }

    /// Passes over fire times that the calendar excludes.
    #[must_use]
    pub fn excluding(mut self, calendar: Calendar) -> Self {
        self.limits_mut().excluding = Some(calendar);
        self
    }

    /// Refuses what the other methods can't see alone. An engine calls it when a job is saved.
    ///
    /// It doesn't look at today: a schedule whose last fire is over is valid, and `next_after` gives `None`.
    ///
    /// **Errors.** `InvalidInput` for an interval below [`MIN_INTERVAL`], an end before the start, and a schedule
    /// that never fires between its bounds, outside its calendar.
    pub fn validate(&self) -> Result<()> {
        self.check_settings()?;
        let ever = self.next_after(Timestamp::MIN, Timestamp::MIN).is_some();
        if ever { Ok(()) } else { Err(self.never_fires()) }
    }

    /// The part of [`validate`](Self::validate) that reading from JSON includes. Whether a schedule fires may depend
    /// on the zone data, and what was saved must stay readable under later ones.
    fn check_settings(&self) -> Result<()> {
        if let OwnedRule::Every(interval) | OwnedRule::EveryAfter(interval) = self.rule
            && interval < MIN_INTERVAL
        {
            return Err(Error::invalid(
                "every",
                format_args!("interval {} is shorter than 1ms", duration::format(interval)),
            ));
        }
        if let (Some(start), Some(end)) = (self.start_time(), self.end_time())
            && end < start
        {
            return Err(Error::invalid(
                "end_time",
                format_args!("{end} is before start_time {start}"),
            ));
        }
        Ok(())
    }

    fn never_fires(&self) -> Error {
        let (start, end) = (self.start_time(), self.end_time());
        let message = if self.calendar().is_some() {
            "never fires: every fire time is excluded; exclude less"
        } else if start.is_some() || end.is_some() {
            "never fires between start_time and end_time; move them apart"
        } else {
            "never fires: its civil times fall into gaps of the time zone; set gap to `after`"
        };
        Error::invalid("schedule", message)
    }

    /// The first fire after `after`, or `None` if there is none any more.
    ///
    /// `anchor` is where a fixed rate without a start begins, the creation of the job; other rules don't look at it.
    /// For a fixed delay, `after` is the end of the last task.
    pub fn next_after(&self, after: Timestamp, anchor: Timestamp) -> Option<Fire> {
        self.search(after, anchor, &mut Unnoticed)
    }

    /// All fires after `after`, in order. A fixed delay is shown as if tasks took no time.
    pub fn fires_after(&self, after: Timestamp, anchor: Timestamp) -> impl Iterator<Item = Fire> + '_ {
        let next = move |after| self.next_after(after, anchor);
        std::iter::successors(next(after), move |fire| next(fire.scheduled_for))
    }

    /// The rule and its settings.
    pub fn rule(&self) -> Rule<'_> {
        match &self.rule {
            OwnedRule::Cron(rule) => Rule::Cron {
                expression: rule.expression(),
                time_zone: rule.zone.name(),
                gap: rule.gap,
                overlap: rule.repeat,
            },
            OwnedRule::Every(interval) => Rule::Every { interval: *interval },
            OwnedRule::EveryAfter(interval) => Rule::EveryAfter { interval: *interval },
            OwnedRule::Once(time) => Rule::Once { time: *time },
        }
    }

    /// Whether the next fire counts from the end of a task: then the engine asks [`next_after`](Self::next_after)
    /// when a task becomes final, not when it fires.
    pub fn counts_from_end(&self) -> bool {
        matches!(self.rule, OwnedRule::EveryAfter(_))
    }

    /// Whether it is a cron rule whose minute or hour field begins with `*`: it fires in both passes of a repeated
    /// time and makes nothing up after a gap, whatever the policies say.
    pub fn follows_elapsed_time(&self) -> bool {
        matches!(&self.rule, OwnedRule::Cron(rule) if rule.follows_elapsed_time())
    }

    /// The instant before which it doesn't fire.
    pub fn start_time(&self) -> Option<Timestamp> {
        self.limits.as_ref()?.start_time
    }

    /// The last instant at which it may fire.
    pub fn end_time(&self) -> Option<Timestamp> {
        self.limits.as_ref()?.end_time
    }

    /// The calendar of exceptions.
    pub fn calendar(&self) -> Option<&Calendar> {
        self.limits.as_ref()?.excluding.as_ref()
    }

    fn zone(&self) -> Zone {
        match &self.rule {
            OwnedRule::Cron(rule) => rule.zone,
            _ => Zone::UTC,
        }
    }

    fn limits_mut(&mut self) -> &mut Limits {
        self.limits.get_or_insert_default()
    }
}

impl From<OwnedRule> for Schedule {
    fn from(rule: OwnedRule) -> Self {
        Self { rule, limits: None }
    }
}

#[cfg(test)]
mod tests;
