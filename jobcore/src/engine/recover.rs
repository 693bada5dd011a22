//! Recovery: what becomes of a task whose holder died.

use crate::job::Delivery;
use crate::task::{POISON_AFTER, SUSPECT_AFTER, Task, TaskState};
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
