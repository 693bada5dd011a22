//! Inserting tasks, and promoting them.

use crate::gate::GateKey;
use crate::id::{JobId, TaskId};
use crate::task::TaskState;
use crate::time::Timestamp;

/// What became of an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum InsertOutcome {
    /// It is there.
    Inserted,
    /// The id, or its unique key, was taken by this task.
    Duplicate {
        /// The task that is there.
        task_id: TaskId,
    },
}

/// What to move on.
#[derive(Clone, Debug, PartialEq)]
pub struct PromoteRequest {
    /// The present time.
    pub now: Timestamp,
    /// Only these gates; `None`: everything that is due, and all gates where something waits (the sweep).
    pub gates: Option<Vec<GateKey>>,
    /// How many tasks at the most.
    pub limit: usize,
}

/// What moved on.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Promoted {
    /// How many became `Ready`.
    pub ready: usize,
    /// Tasks that became final: skipped or cancelled by an overlap policy, or of a deleted job.
    pub settled: Vec<(TaskId, JobId, TaskState)>,
    /// Held tasks that an overlap policy asked to cancel.
    pub cancelling: Vec<TaskId>,
    /// Whether more can move on at once.
    pub more: bool,
    /// A hint when to come back: the earliest due time later than now of any `Scheduled` or `Blocked` task, or the
    /// instant from which a rate lets the next one pass, if that is earlier.
    pub next_due_time: Option<Timestamp>,
}
