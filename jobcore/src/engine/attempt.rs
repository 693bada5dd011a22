//! The end of an attempt: what is recorded, and what becomes of its task.

use std::time::Duration;

use crate::attempt::AttemptStatus;
use crate::executor::{Failure, Outcome, Output, Repeat};
use crate::job::Delivery;
use crate::retry::RetryPolicy;
use crate::store::{AttemptEnd, Next};
use crate::task::TaskState;
use crate::time::Timestamp;

/// The longest output or error that an attempt's record keeps, in bytes; the rest belongs into the log.
pub const MAX_RECORDED: usize = 64 * 1024;

/// Why a node ended an attempt, where it was the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somebody asked to cancel it.
    Cancel,
    /// Its time was up.
    Timeout,
    /// The node drains and hands it back.
    Drain,
    /// The lease could not be renewed, and the job says `stop`.
    LeaseLost,
}

/// What the decision depends on besides the outcome.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The job's policy.
    pub retry: &'a RetryPolicy,
    /// How many attempts failed before this one.
    pub failures: u32,
    /// Why the node ended it; `None`: it ended by itself.
    pub ending: Option<Ending>,
    /// When it began.
    pub start_time: Timestamp,
    /// When it ended.
    pub end_time: Timestamp,
    /// 64 random bits for the jitter.
    pub random: u64,
}

/// What an attempt that its node cuts off without a word of it, to hand it back, comes to under an at-most-once job: a
/// failure for good, as recovery would have it. Everything else stays as it is.
pub fn cut_off(outcome: Outcome, ending: Option<Ending>, delivery: Delivery) -> (Outcome, Option<Ending>) {
    let why = match ending {
        Some(Ending::Drain) => "its node drained before it ended",
        Some(Ending::LeaseLost) => "its lease ran out before it ended",
        Some(Ending::Cancel | Ending::Timeout) | None => return (outcome, ending),
    };
    if delivery == Delivery::AtLeastOnce || matches!(outcome, Outcome::Success(_)) {
        return (outcome, ending);
    }
    let mut output = output_of(outcome);
    if !output.error.is_empty() {
        output.error.push('\n');
    }
    output.error.push_str(why);
    output.error.push_str(", and the job asks for at most once");
    let failure = Failure {
        output,
        class: Some(CUT_OFF.to_owned()),
        repeat: Repeat::Never,
    };
    (Outcome::Failure(failure), None)
}

/// The error class of at-most-once attempts that were cut off.
pub const CUT_OFF: &str = "cut_off";

/// Decides what to record of an attempt, and what becomes of its task.
///
/// A success counts even if the attempt was asked to end; else the node's reason comes before what the attempt says.
pub fn decide(outcome: Outcome, ended: &Ended<'_>) -> (AttemptEnd, Next) {
    let again = |pause: Duration| Next::Again {
        due_time: ended.end_time + pause,
    };
    match (ended.ending, outcome) {
        (_, Outcome::Success(output)) => (
            ended.record(AttemptStatus::Success, output),
            final_in(TaskState::Succeeded),
        ),
        (Some(Ending::Cancel), outcome) => (
            ended.record(AttemptStatus::Cancelled, output_of(outcome)),
            final_in(TaskState::Cancelled),
        ),
        (Some(Ending::Timeout), outcome) => ended.timed_out(output_of(outcome)),
        (Some(Ending::Drain | Ending::LeaseLost), outcome) => (
            ended.record(AttemptStatus::Released, output_of(outcome)),
            again(Duration::ZERO),
        ),
        (None, Outcome::Cancelled(output)) => (
            ended.record(AttemptStatus::Cancelled, output),
            final_in(TaskState::Cancelled),
        ),
        (None, Outcome::TimedOut(output)) => ended.timed_out(output),
        (None, Outcome::Snooze(pause)) => (
            ended.record(AttemptStatus::Released, Output::default()),
            again(pause),
        ),
        (None, Outcome::Failure(failure)) => {
            let record = ended.record(AttemptStatus::Failed, failure.output);
            let next = ended.repeat(failure.repeat, failure.class.as_deref(), TaskState::Failed);
            (record, next)
        }
    }
}

impl Ended<'_> {
    fn timed_out(&self, output: Output) -> (AttemptEnd, Next) {
        let next = self.repeat(Repeat::ByPolicy, None, TaskState::TimedOut);
        (self.record(AttemptStatus::TimedOut, output), next)
    }

    fn repeat(&self, wish: Repeat, class: Option<&str>, otherwise: TaskState) -> Next {
        let by_policy = self.retry.pause(self.failures + 1, class, self.random);
        let pause = match wish {
            Repeat::ByPolicy => by_policy,
            Repeat::After(pause) => by_policy.map(|_| pause),
            Repeat::Never => None,
        };
        pause.map_or(final_in(otherwise), |pause| Next::Retry {
            due_time: self.end_time + pause,
        })
    }

    fn record(&self, status: AttemptStatus, output: Output) -> AttemptEnd {
        AttemptEnd {
            status,
            start_time: self.start_time,
            end_time: self.end_time,
            exit_code: output.exit_code,
            output: capped(output.output),
            error: capped(output.error),
        }
    }
}

const fn final_in(state: TaskState) -> Next {
    Next::Final { state, reason: None }
}

fn output_of(outcome: Outcome) -> Output {
    match outcome {
        Outcome::Success(output) | Outcome::Cancelled(output) | Outcome::TimedOut(output) => output,
        Outcome::Failure(failure) => failure.output,
        Outcome::Snooze(_) => Output::default(),
    }
}

/// Keeps the head of what is too long, and says so.
pub(crate) fn capped(mut text: String) -> String {
    if text.len() > MAX_RECORDED {
        let dropped = text.len();
        text.truncate(text.floor_char_boundary(MAX_RECORDED - 64));
        let dropped = dropped - text.len();
        text.push_str(&format!("\n[{dropped} more bytes were dropped]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(retry: &RetryPolicy, failures: u32, ending: Option<Ending>) -> Ended<'_> {
        let (start_time, end_time) = (Timestamp::from_secs(1), Timestamp::from_secs(2));
        Ended {
            retry,
            failures,
            ending,
            start_time,
            end_time,
            random: 0,
        }
    }

    fn failure(repeat: Repeat) -> Outcome {
        Outcome::Failure(Failure {
            output: Output::default(),
            class: None,
            repeat,
        })
    }

    #[test]
    fn what_becomes_of_a_task() {
        let retry = RetryPolicy::fixed(1, Duration::from_secs(5));
        let at = Timestamp::from_secs;
        let retried = |second| Next::Retry { due_time: at(second) };
        let again = |second| Next::Again { due_time: at(second) };
        let cases = [
            (
                Outcome::Success(Output::default()),
                0,
                None,
                final_in(TaskState::Succeeded),
            ),
            (
                Outcome::Success(Output::default()),
                0,
                Some(Ending::Cancel),
                final_in(TaskState::Succeeded),
            ),
            (failure(Repeat::ByPolicy), 0, None, retried(7)),
            (failure(Repeat::ByPolicy), 1, None, final_in(TaskState::Failed)),
            (failure(Repeat::Never), 0, None, final_in(TaskState::Failed)),
            (
                failure(Repeat::After(Duration::from_secs(60))),
                0,
                None,
                retried(62),
            ),
            (
                failure(Repeat::After(Duration::from_secs(60))),
                1,
                None,
                final_in(TaskState::Failed),
            ),
            (
                failure(Repeat::ByPolicy),
                0,
                Some(Ending::Cancel),
                final_in(TaskState::Cancelled),
            ),
            (failure(Repeat::ByPolicy), 0, Some(Ending::Drain), again(2)),
            (
                failure(Repeat::ByPolicy),
                1,
                Some(Ending::Timeout),
                final_in(TaskState::TimedOut),
            ),
            (failure(Repeat::ByPolicy), 0, Some(Ending::Timeout), retried(7)),
            (Outcome::Snooze(Duration::from_secs(9)), 1, None, again(11)),
            (
                Outcome::Cancelled(Output::default()),
                0,
                None,
                final_in(TaskState::Cancelled),
            ),
        ];
        for (outcome, failures, ending, expected) in cases {
            let label = format!("{outcome:?} after {failures} failures, {ending:?}");
            assert_eq!(
                decide(outcome, &ended(&retry, failures, ending)).1,
                expected,
                "{label}"
            );
        }
    }

    #[test]
    fn an_at_most_once_attempt_that_is_cut_off_fails() {
        let retry = RetryPolicy::fixed(3, Duration::from_secs(5));
        for ending in [Ending::Drain, Ending::LeaseLost] {
            let decided = |outcome: Outcome, delivery| {
                let (outcome, ending) = cut_off(outcome, Some(ending), delivery);
                decide(outcome, &ended(&retry, 0, ending))
            };
            for outcome in [failure(Repeat::ByPolicy), Outcome::Snooze(Duration::from_secs(9))] {
                let (end, next) = decided(outcome.clone(), Delivery::AtMostOnce);
                assert_eq!(next, final_in(TaskState::Failed), "{outcome:?}, {ending:?}");
                assert!(end.error.ends_with("at most once"), "{}", end.error);
                let due_time = Timestamp::from_secs(2);
                assert_eq!(
                    decided(outcome, Delivery::AtLeastOnce).1,
                    Next::Again { due_time }
                );
            }
            let success = Outcome::Success(Output::default());
            assert_eq!(
                decided(success, Delivery::AtMostOnce).1,
                final_in(TaskState::Succeeded)
            );
        }
    }

    #[test]
    fn long_output_is_cut_and_says_so() {
        let text = capped("é".repeat(MAX_RECORDED));
        assert!(text.len() <= MAX_RECORDED && text.ends_with("more bytes were dropped]"));
    }
}
