//! Retry: whether and when a failed attempt is followed by another.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How often, and after which pause, a failed or timed-out attempt is repeated.
///
/// Orphaned attempts (their node died), snoozes and hand-backs of a draining node never count against it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// How many further attempts follow a failed first one. 0 (default): none.
    pub retry_count: u32,
    /// The pause before the first retry. Default 0.
    #[serde(with = "crate::duration")]
    pub retry_interval: Duration,
    /// How the pause grows. Default: not at all.
    pub backoff: Backoff,
    /// The share of the pause, 0 to 1, by which chance may lengthen it, so that many failures at once don't come
    /// back at once. Default 0.
    pub jitter: f64,
    /// Other policies for errors of a class, as the handler names it; classes without an entry follow the policy
    /// itself. Empty by default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, ClassPolicy>,
}

/// What to do about errors of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassPolicy {
    /// Never repeat.
    Fail,
    /// Repeat as often as `retry_count` says, after this pause instead of the policy's.
    RetryAfter(#[serde(with = "crate::duration")] Duration),
}

/// How the pause between attempts grows.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always `retry_interval`.
    #[default]
    Fixed,
    /// `retry_interval` × `factor`^(retries so far), but never above `max`.
    Exponential {
        /// Growth per retry, at least 1.
        factor: f64,
        /// The longest pause.
        #[serde(with = "crate::duration")]
        max: Duration,
    },
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retry_count: 0,
            retry_interval: Duration::ZERO,
            backoff: Backoff::Fixed,
            jitter: 0.0,
            classes: BTreeMap::new(),
        }
    }
}

impl RetryPolicy {
    /// `retry_count` retries, each after `retry_interval`.
    pub fn fixed(retry_count: u32, retry_interval: Duration) -> Self {
        Self {
            retry_count,
            retry_interval,
            ..Self::default()
        }
    }

    /// `retry_count` retries after 1, 2, 4, … times `retry_interval`, at most an hour, with 20 % jitter.
    pub fn exponential(retry_count: u32, retry_interval: Duration) -> Self {
        let backoff = Backoff::Exponential {
            factor: 2.0,
            max: Duration::from_secs(3600),
        };
        Self {
            retry_count,
            retry_interval,
            backoff,
            jitter: 0.2,
            ..Self::default()
        }
    }

    /// Refuses values outside their range.
    pub(crate) fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::invalid(
                "retry.jitter",
                format_args!("must be 0 to 1, is {}", self.jitter),
            ));
        }
        if let Backoff::Exponential { factor, .. } = self.backoff
            && !(factor >= 1.0 && factor.is_finite())
        {
            return Err(Error::invalid(
                "retry.backoff.factor",
                format_args!("must be at least 1, is {factor}"),
            ));
        }
        Ok(())
    }

    /// The pause before the next attempt after `failures` failed ones (at least 1), or `None` when no retry is left.
    ///
    /// `random` is 64 random bits for the jitter.
    pub fn pause(&self, failures: u32, class: Option<&str>, random: u64) -> Option<Duration> {
        if failures > self.retry_count {
            return None;
        }
        match class.and_then(|class| self.classes.get(class)) {
            Some(ClassPolicy::Fail) => None,
            Some(ClassPolicy::RetryAfter(pause)) => Some(*pause),
            None => Some(self.jittered(self.grown(failures), random)),
        }
    }

    fn grown(&self, failures: u32) -> Duration {
        match self.backoff {
            Backoff::Fixed => self.retry_interval,
            Backoff::Exponential { factor, max } => {
                let secs =
                    self.retry_interval.as_secs_f64() * factor.powf(f64::from(failures.saturating_sub(1)));
                if secs < max.as_secs_f64() {
                    Duration::from_secs_f64(secs)
                } else {
                    max
                }
            }
        }
    }

    fn jittered(&self, pause: Duration, random: u64) -> Duration {
        // 53 bits are what an f64 holds exactly.
        let unit = (random >> 11) as f64 / (1u64 << 53) as f64;
        let extra = Duration::try_from_secs_f64(pause.as_secs_f64() * self.jitter * unit).unwrap_or_default();
        pause.saturating_add(extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_cap_and_end() {
        let mut policy = RetryPolicy::exponential(4, Duration::from_secs(1));
        policy.backoff = Backoff::Exponential {
            factor: 2.0,
            max: Duration::from_secs(3),
        };
        policy.jitter = 0.0;
        let pauses: Vec<_> = (1..=5)
            .map(|n| policy.pause(n, None, 7).map(|p| p.as_secs()))
            .collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(3), Some(3), None]);
    }

    #[test]
    fn jitter_only_lengthens_and_is_bounded() {
        let policy = RetryPolicy {
            jitter: 0.5,
            ..RetryPolicy::fixed(1, Duration::from_secs(10))
        };
        assert_eq!(policy.pause(1, None, 0), Some(Duration::from_secs(10)));
        let most = policy.pause(1, None, u64::MAX).unwrap();
        assert!(most > Duration::from_secs(14) && most <= Duration::from_secs(15));
    }

    #[test]
    fn a_class_overrides_the_policy() {
        let mut policy = RetryPolicy::fixed(3, Duration::from_secs(1));
        policy.classes.insert("bad_card".into(), ClassPolicy::Fail);
        policy
            .classes
            .insert("busy".into(), ClassPolicy::RetryAfter(Duration::from_secs(60)));
        assert_eq!(policy.pause(1, Some("bad_card"), 0), None);
        assert_eq!(policy.pause(1, Some("busy"), 0), Some(Duration::from_secs(60)));
        assert_eq!(
            policy.pause(4, Some("busy"), 0),
            None,
            "the count still bounds it"
        );
        assert_eq!(policy.pause(1, Some("other"), 0), Some(Duration::from_secs(1)));
    }
}
