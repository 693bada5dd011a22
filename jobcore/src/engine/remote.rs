//! Remote attempts: what their reports say, in the words of the store.

use std::time::Duration;

use crate::attempt::AttemptStatus;
use crate::engine::attempt::{Ended, Ending, capped, decide};
use crate::executor::{Failure, Outcome, Output, Repeat};
use crate::job::Delivery;
use crate::lease::{Fence, Holder};
use crate::retry::RetryPolicy;
use crate::store::{AttemptEnd, Next, Settlement};
use crate::task::{Task, TaskState};
use crate::time::Timestamp;
use crate::transport::{Finished, RemoteRepeat, Report};

/// What an executor reports of an attempt that ended: the outcome, and why the node ended it, if it did.
pub fn finished(
    outcome: Outcome,
    ending: Option<Ending>,
    start_time: Timestamp,
    end_time: Timestamp,
) -> Finished {
    let failed = |status, output, repeat| (status, output, None, repeat);
    let (status, output, class, repeat) = match (ending, outcome) {
        (_, Outcome::Success(output)) => failed(AttemptStatus::Success, output, RemoteRepeat::ByPolicy),
        (Some(ending), outcome) => {
            let (status, repeat) = match ending {
                Ending::Cancel => (AttemptStatus::Cancelled, RemoteRepeat::ByPolicy),
                Ending::Timeout => (AttemptStatus::TimedOut, RemoteRepeat::ByPolicy),
                Ending::Drain | Ending::LeaseLost => (AttemptStatus::Released, RemoteRepeat::SnoozeMillis(0)),
            };
            failed(status, output_of(outcome), repeat)
        }
        (None, Outcome::Cancelled(output)) => {
            failed(AttemptStatus::Cancelled, output, RemoteRepeat::ByPolicy)
        }
        (None, Outcome::TimedOut(output)) => failed(AttemptStatus::TimedOut, output, RemoteRepeat::ByPolicy),
        (None, Outcome::Snooze(pause)) => {
            let repeat = RemoteRepeat::SnoozeMillis(millis(pause));
            failed(AttemptStatus::Released, Output::default(), repeat)
        }
        (None, Outcome::Failure(failure)) => {
            let repeat = match failure.repeat {
                Repeat::ByPolicy => RemoteRepeat::ByPolicy,
                Repeat::After(pause) => RemoteRepeat::AfterMillis(millis(pause)),
                Repeat::Never => RemoteRepeat::Never,
            };
            (AttemptStatus::Failed, failure.output, failure.class, repeat)
        }
    };
    Finished {
        status,
        start_time,
        end_time,
        exit_code: output.exit_code,
        output: capped(output.output),
        error: capped(output.error),
        class,
        repeat,
        checkpoint: None,
    }
}

/// What becomes of a task whose remote attempt ended so.
///
/// An attempt that says it still runs or was lost says nothing: `None`.
pub fn settlement(
    fence: Fence,
    finished: Finished,
    failures: u32,
    retry: &RetryPolicy,
    random: u64,
) -> Option<Settlement> {
    let ended = Ended {
        retry,
        failures,
        ending: None,
        start_time: finished.start_time,
        end_time: finished.end_time.max(finished.start_time),
        random,
    };
    let checkpoint = finished.checkpoint.clone();
    let (attempt, next) = decide(outcome(finished)?, &ended);
    Some(Settlement {
        fence,
        attempt: Some(attempt),
        next,
        checkpoint,
    })
}

/// What the executor meant.
fn outcome(finished: Finished) -> Option<Outcome> {
    let output = Output {
        output: finished.output,
        error: finished.error,
        exit_code: finished.exit_code,
    };
    Some(match finished.status {
        AttemptStatus::Success => Outcome::Success(output),
        AttemptStatus::TimedOut => Outcome::TimedOut(output),
        AttemptStatus::Cancelled => Outcome::Cancelled(output),
        AttemptStatus::Released => Outcome::Snooze(pause(finished.repeat)),
        AttemptStatus::Failed => match finished.repeat {
            RemoteRepeat::SnoozeMillis(_) => Outcome::Snooze(pause(finished.repeat)),
            RemoteRepeat::ByPolicy => failure(output, finished.class, Repeat::ByPolicy),
            RemoteRepeat::AfterMillis(_) => {
                failure(output, finished.class, Repeat::After(pause(finished.repeat)))
            }
            RemoteRepeat::Never => failure(output, finished.class, Repeat::Never),
        },
        AttemptStatus::Running | AttemptStatus::Lost => return None,
    })
}

const fn failure(output: Output, class: Option<String>, repeat: Repeat) -> Outcome {
    Outcome::Failure(Failure {
        output,
        class,
        repeat,
    })
}

const fn pause(repeat: RemoteRepeat) -> Duration {
    match repeat {
        RemoteRepeat::AfterMillis(millis) | RemoteRepeat::SnoozeMillis(millis) => {
            Duration::from_millis(millis)
        }
        RemoteRepeat::ByPolicy | RemoteRepeat::Never => Duration::ZERO,
    }
}

/// The lease that a report stands on: the one it names, or else the one under which its sender holds the task.
pub fn fence(report: &Report, task: Option<&Task>) -> Option<Fence> {
    if let Some(lease) = report.lease {
        let holder = Holder {
            executor_id: report.executor_id.clone(),
            incarnation: lease.incarnation,
        };
        return Some(Fence {
            task_id: report.task_id.clone(),
            token: lease.token,
            attempt: lease.attempt,
            holder,
        });
    }
    let task = task.filter(|task| task.state.is_held())?;
    let holder = task
        .holder
        .clone()
        .filter(|holder| holder.executor_id == report.executor_id)?;
    Some(Fence {
        task_id: task.task_id.clone(),
        token: task.token,
        attempt: task.attempt,
        holder,
    })
}

/// What becomes of a task that its executor doesn't hold: its message was lost, or it handed it back.
///
/// Where the start is recorded and the job wants it at most once, it isn't repeated.
pub fn taken_back(fence: Fence, task: &Task, now: Timestamp) -> Settlement {
    let started = task.state == TaskState::Running;
    let next = if started && task.delivery == Delivery::AtMostOnce {
        let reason = "its executor forgot it after the start, and the job asks for at most once".to_owned();
        Next::Final {
            state: TaskState::Failed,
            reason: Some(reason),
        }
    } else {
        Next::Again { due_time: now }
    };
    let attempt = started.then(|| AttemptEnd {
        status: AttemptStatus::Released,
        start_time: task.start_time.unwrap_or(now),
        end_time: now,
        exit_code: None,
        output: String::new(),
        error: String::new(),
    });
    Settlement {
        fence,
        attempt,
        next,
        checkpoint: None,
    }
}

fn output_of(outcome: Outcome) -> Output {
    match outcome {
        Outcome::Success(output) | Outcome::Cancelled(output) | Outcome::TimedOut(output) => output,
        Outcome::Failure(failure) => failure.output,
        Outcome::Snooze(_) => Output::default(),
    }
}

fn millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ExecutorId, TaskId};
    use crate::lease::{FencingToken, Incarnation};

    fn a_fence() -> Fence {
        Fence {
            task_id: TaskId::new("t").unwrap(),
            token: FencingToken(3),
            attempt: 1,
            holder: Holder {
                executor_id: ExecutorId::new("e").unwrap(),
                incarnation: Incarnation(1),
            },
        }
    }

    /// A remote attempt must have the same consequences as a local one.
    #[test]
    fn a_report_carries_everything_that_the_decision_needs() {
        let retry = RetryPolicy::fixed(1, Duration::from_secs(5));
        let output = || Output {
            output: "out".into(),
            error: "err".into(),
            exit_code: Some(3),
        };
        let outcomes = [
            Outcome::Success(output()),
            failure(output(), None, Repeat::ByPolicy),
            failure(output(), Some("io".into()), Repeat::Never),
            failure(output(), None, Repeat::After(Duration::from_secs(60))),
            Outcome::Snooze(Duration::from_secs(9)),
            Outcome::Cancelled(output()),
            Outcome::TimedOut(output()),
        ];
        let endings = [
            None,
            Some(Ending::Cancel),
            Some(Ending::Timeout),
            Some(Ending::Drain),
            Some(Ending::LeaseLost),
        ];
        let (start_time, end_time) = (Timestamp::from_secs(1), Timestamp::from_secs(2));
        for outcome in &outcomes {
            for ending in endings {
                for failures in 0..3 {
                    let ended = Ended {
                        retry: &retry,
                        failures,
                        ending,
                        start_time,
                        end_time,
                        random: 7,
                    };
                    let (mut attempt, next) = decide(outcome.clone(), &ended);
                    let report = finished(outcome.clone(), ending, start_time, end_time);
                    let settled = settlement(a_fence(), report, failures, &retry, 7).unwrap();
                    let remote = settled.attempt.unwrap();
                    if attempt.status == AttemptStatus::Released {
                        // What was printed before a hand-back is in the log.
                        (attempt.output, attempt.error) = (remote.output.clone(), remote.error.clone());
                        attempt.exit_code = remote.exit_code;
                    }
                    assert_eq!(
                        (remote, settled.next),
                        (attempt, next),
                        "{outcome:?} {ending:?} {failures}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_attempt_that_did_not_end_settles_nothing() {
        let at = Timestamp::from_secs(1);
        for status in [AttemptStatus::Running, AttemptStatus::Lost] {
            let mut report = finished(Outcome::Success(Output::default()), None, at, at);
            report.status = status;
            assert_eq!(settlement(a_fence(), report, 0, &RetryPolicy::default(), 0), None);
        }
    }
}
