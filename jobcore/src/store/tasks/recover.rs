//! Executors that died, and what is taken back from them.

use std::time::Duration;

use crate::gate::GateKey;
use crate::id::{ExecutorId, JobId, TaskId};
use crate::lease::Holder;
use crate::task::TaskState;
use crate::time::Timestamp;

/// Whom to declare dead.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpireExecutors {
    /// Executors to leave, because their silence may be ours.
    pub spare: Vec<ExecutorId>,
    /// How much longer than its lease an executor may have been silent.
    pub grace: Duration,
    /// How many at the most.
    pub limit: usize,
}

/// What to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoverRequest {
    /// The present time: due times of what is taken back.
    pub now: Timestamp,
    /// How many tasks at the most.
    pub limit: usize,
}

/// What was recovered.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Recovered {
    /// The tasks, whom they were taken from, and their state now.
    pub tasks: Vec<RecoveredTask>,
    /// Gates before which something may be able to pass now.
    pub gates: Vec<GateKey>,
    /// Whether there are more.
    pub more: bool,
}

/// A task that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredTask {
    /// The task.
    pub task_id: TaskId,
    /// Its job.
    pub job_id: JobId,
    /// Whom it was taken from.
    pub holder: Holder,
    /// Its state now.
    pub state: TaskState,
}
