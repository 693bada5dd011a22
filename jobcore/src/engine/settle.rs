//! Settling: what a finished attempt makes of its task.

use super::record;
use crate::attempt::{Attempt, AttemptStatus};
use crate::lease::Fence;
use crate::store::{AttemptEnd, Next, Settlement};
use crate::task::{Began, Rank, Task, TaskState};
use crate::time::Timestamp;

/// The reason of tasks that are settled as `Cancelled` because their job is gone.
pub const JOB_DELETED: &str = "job deleted";

/// What a settlement does to a live task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The lease is no longer valid: change nothing.
    Fenced,
    /// The task becomes final.
    Final {
        /// The final state.
        state: TaskState,
        /// Why, where the attempt doesn't say so.
        reason: Option<String>,
    },
    /// The task waits again.
    Wait {
        /// `Blocked`, `Scheduled` or `Ready`.
        state: TaskState,
        /// When it is due.
        due_time: Timestamp,
        /// Its place in the lane.
        rank: Rank,
        /// How many failures it has now.
        failures: u32,
    },
}

/// Whether `fence` is the task's present lease.
pub fn holds(task: &Task, fence: &Fence) -> bool {
    task.state.is_held()
        && task.task_id == fence.task_id
        && task.token == fence.token
        && task.attempt == fence.attempt
        && task.holder.as_ref() == Some(&fence.holder)
}

/// The attempt of a settlement that is an ordinary success: [`resolve`] grants it whatever else is asked of the task, and
/// history gets to know no more of it than when it ran and what it returned. A store may take a short way for those.
pub fn ordinary_success(settlement: &Settlement) -> Option<&AttemptEnd> {
    let succeeds = matches!(
        settlement.next,
        Next::Final {
            state: TaskState::Succeeded,
            reason: None
        }
    );
    let ordinary = |end: &&AttemptEnd| {
        end.status == AttemptStatus::Success && end.exit_code.is_none() && end.error.is_empty()
    };
    settlement.attempt.as_ref().filter(|_| succeeds).filter(ordinary)
}

/// Decides what settling `task` under `fence` with the wish `next` does.
///
/// A success counts whatever else was asked for; a repetition doesn't survive a request to cancel.
pub fn resolve(task: &Task, fence: &Fence, next: &Next, now: Timestamp) -> Resolution {
    if !holds(task, fence) {
        return Resolution::Fenced;
    }
    let (due_time, failures) = match next {
        Next::Final { state, reason } => {
            return Resolution::Final {
                state: *state,
                reason: reason.clone(),
            };
        }
        Next::Retry { due_time } => (*due_time, task.failures + 1),
        Next::Again { due_time } => (*due_time, task.failures),
    };
    if let Some(cancel) = &task.cancel {
        return Resolution::Final {
            state: TaskState::Cancelled,
            reason: Some(cancel.reason.clone()),
        };
    }
    let state = Task::waiting_state(task.is_gated(), due_time, now);
    Resolution::Wait {
        state,
        due_time,
        rank: Rank::new(due_time, task.priority),
        failures,
    }
}

/// What becomes of a task that is held, and of the attempt that its lease was for.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The task from now on: final, as history keeps it, or among those that wait.
    pub after: Task,
    /// The attempt's record, in the place of the one that its start wrote; `None` if it never began.
    pub attempt: Option<Attempt>,
}

/// What `settlement` makes of `task`, for stores that keep tasks and attempts as they are; `None` if its fence is stale.
pub fn settle(task: &Task, settlement: &Settlement, now: Timestamp) -> Option<Change> {
    let fence = &settlement.fence;
    let resolution = resolve(task, fence, &settlement.next, now);
    let attempt = match &settlement.attempt {
        Some(end) => Some(record::ended(task, fence, end)),
        None => record::abandoned(task, AttemptStatus::Released, Some(now)),
    };
    let began = match attempt {
        Some(_) => Began::Yes,
        None => Began::No,
    };
    let after = match resolution {
        Resolution::Fenced => return None,
        Resolution::Final { state, reason } => Task {
            attempt: task.attempt.saturating_sub(u32::from(began == Began::No)),
            start_time: attempt.as_ref().map(|attempt| attempt.start_time),
            ..task.clone().finish(state, reason, now)
        },
        Resolution::Wait {
            state,
            due_time,
            rank,
            failures,
        } => {
            let task = task.clone().wait_again(state, due_time, began);
            let checkpoint = settlement.checkpoint.clone().or(task.checkpoint);
            Task {
                rank,
                failures,
                checkpoint,
                ..task
            }
        }
    };
    Some(Change { after, attempt })
}
