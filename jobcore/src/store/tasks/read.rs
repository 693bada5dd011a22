//! Listings and counts.

use serde::{Deserialize, Serialize};

use crate::id::{ExecutorId, JobId};
use crate::lane::Lane;
use crate::task::TaskState;
use crate::time::Timestamp;

/// Which live tasks to list. Empty fields match everything.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskFilter {
    /// Only tasks of this job.
    pub job_id: Option<JobId>,
    /// Only tasks in one of these states.
    pub states: Vec<TaskState>,
    /// Only tasks that this executor holds.
    pub executor_id: Option<ExecutorId>,
}

/// How many live tasks a lane has in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCount {
    /// The lane.
    pub lane: Lane,
    /// The state.
    pub state: TaskState,
    /// How many.
    pub count: u64,
    /// The earliest due time among them.
    pub oldest_due_time: Timestamp,
}
