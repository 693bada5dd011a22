//! Changes and cancellations.

use std::time::Duration;

use crate::gate::GateKey;
use crate::id::{JobId, TaskId};
use crate::time::Timestamp;

/// A change of a waiting task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeTask {
    /// The task.
    pub task_id: TaskId,
    /// Its new priority; `None` leaves it.
    pub priority: Option<i32>,
    /// Its new due time; `None` leaves it.
    pub due_time: Option<Timestamp>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ChangeOutcome {
    /// It is changed.
    Changed,
    /// It is held already; nothing was changed.
    Held,
    /// It is final, or doesn't exist; nothing was changed.
    NotWaiting,
}

/// Which tasks to cancel.
#[derive(Clone, Debug, PartialEq)]
pub struct CancelTasks {
    /// Which.
    pub which: CancelWhich,
    /// Why, for people.
    pub reason: String,
    /// How long a running attempt may take to end; `None`: what its job says.
    pub grace: Option<Duration>,
    /// The present time.
    pub now: Timestamp,
    /// How many at the most.
    pub limit: usize,
}

/// Which tasks to cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelWhich {
    /// These.
    Tasks(Vec<TaskId>),
    /// All live ones of a job that have no request yet.
    Job(JobId),
}

/// What was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cancelled {
    /// Waiting tasks that are `Cancelled` now.
    pub settled: Vec<(TaskId, JobId)>,
    /// Held tasks that have the request now.
    pub requested: Vec<TaskId>,
    /// Named tasks that are final or don't exist.
    pub not_live: Vec<TaskId>,
    /// Gates before which something may be able to pass now.
    pub gates: Vec<GateKey>,
    /// Whether there are more.
    pub more: bool,
}
