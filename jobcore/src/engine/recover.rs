//! Recovery: what becomes of a task whose holder died.

use super::record;
use super::settle::Change;
use crate::attempt::AttemptStatus;
use crate::job::Delivery;
use crate::task::{Began, POISON_AFTER, SUSPECT_AFTER, Task, TaskState};
use crate::time::Timestamp;

/// What recovery does to an orphan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// The task becomes final.
    Final {
        /// The final state.
        state: TaskState,
        /// Why, for people.
        reason: String,
    },
    /// The task waits again, due at once.
    Wait {
        /// `Blocked` or `Ready`.
        state: TaskState,
        /// How often it was orphaned by now.
        orphanings: u32,
        /// How often as a started suspect.
        suspect_orphanings: u32,
    },
}

/// Decides about `task`, which is held by a dead executor.
///
/// Whether the attempt started is judged by its state: `Running` means that the start is durable. An orphan never uses
/// up a retry. After [`SUSPECT_AFTER`] orphanings a task goes to the quarantine of its lane, where it is claimed alone
/// and started durably; only if its node dies [`POISON_AFTER`] times after such a start does it fail, as poison: so a
/// task that kills its process neither visits every node nor takes its neighbours with it.
pub fn decide(task: &Task, now: Timestamp) -> Orphan {
    let started = task.state == TaskState::Running;
    if let Some(cancel) = &task.cancel {
        return Orphan::Final {
            state: TaskState::Cancelled,
            reason: cancel.reason.clone(),
        };
    }
    if started && task.delivery == Delivery::AtMostOnce {
        let reason = "its executor was lost after the start, and the job asks for at most once".to_owned();
        return Orphan::Final {
            state: TaskState::Failed,
            reason,
        };
    }
    let suspect_orphanings = task.suspect_orphanings + u32::from(started && task.is_suspect());
    if suspect_orphanings >= POISON_AFTER {
        let reason = format!(
            "poison: {} executors were lost while they carried it out",
            task.orphanings + 1
        );
        return Orphan::Final {
            state: TaskState::Failed,
            reason,
        };
    }
    let orphanings = task.orphanings.saturating_add(1);
    Orphan::Wait {
        state: Task::waiting_state(task.is_gated(), now, now),
        orphanings,
        suspect_orphanings,
    }
}

/// Whether a task with this many orphanings belongs into the quarantine of its lane.
pub const fn is_suspect(orphanings: u32) -> bool {
    orphanings >= SUSPECT_AFTER
}

/// What becomes of an orphan as [`decide`] says, for stores that keep tasks and attempts as they are: due at once, in
/// the quarantine of its lane if it is a suspect by now; its attempt `Lost` without an end, if the start was recorded.
pub fn take_back(task: &Task, now: Timestamp) -> Change {
    let attempt = record::abandoned(task, AttemptStatus::Lost, None);
    let after = match decide(task, now) {
        Orphan::Final { state, reason } => end_taken_back(task, state, reason, now),
        Orphan::Wait {
            state,
            orphanings,
            suspect_orphanings,
        } => {
            let began = match attempt {
                Some(_) => Began::Yes,
                None => Began::No,
            };
            let task = task.clone().wait_again(state, now, began);
            let lane = match is_suspect(orphanings) {
                true => task.lane.quarantine(),
                false => task.lane.clone(),
            };
            Task {
                orphanings,
                suspect_orphanings,
                lane,
                ..task
            }
        }
    };
    Change { after, attempt }
}

/// What becomes of a held task past its cancel deadline: `Cancelled`, and so is its attempt, if the start was recorded.
pub fn cancel_by_force(task: &Task, now: Timestamp) -> Change {
    let attempt = record::abandoned(task, AttemptStatus::Cancelled, Some(now));
    let reason = task.cancel.as_ref().map(|cancel| cancel.reason.clone());
    let after = end_taken_back(task, TaskState::Cancelled, reason.unwrap_or_default(), now);
    Change { after, attempt }
}

/// The task as final, without its holder, so that what the holder settles later is refused.
fn end_taken_back(task: &Task, state: TaskState, reason: String, now: Timestamp) -> Task {
    let began = task.state == TaskState::Running;
    Task {
        attempt: task.attempt.saturating_sub(u32::from(!began)),
        holder: None,
        ..task.clone().finish(state, Some(reason), now)
    }
}
