//! Leases and fencing tokens: who may carry out a task now, and the number that proves it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ClaimId, ExecutorId, TaskId};
use crate::job::Job;
use crate::task::Task;

/// The shortest lease that an executor may ask for: below it, one slow heartbeat counts as a death.
pub const MIN_LEASE: Duration = Duration::from_millis(100);

/// The strictly increasing number of a lease. Every write under a lease names it, and an older one changes nothing.
///
/// Tokens compare within one task, or within a key whose limit is 1, and nowhere else. Pass it to whatever the handler
/// writes to, and let that refuse an older one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which life of an executor: each registration under the same `executor_id` gets a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// Who holds a lease: an executor in one of its incarnations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The executor.
    pub executor_id: ExecutorId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

/// What every write under a lease names; a mismatch is `Fenced` and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The task.
    pub task_id: TaskId,
    /// The lease's number.
    pub token: FencingToken,
    /// The attempt's number.
    pub attempt: u32,
    /// Who holds the lease.
    pub holder: Holder,
}

/// A claimed batch: the tasks, all under one token.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The number that all writes under this lease name.
    pub token: FencingToken,
    /// The call that made it.
    pub claim_id: ClaimId,
    /// Who holds it.
    pub holder: Holder,
    /// What was claimed.
    pub tasks: Vec<ClaimedTask>,
}

/// A task under a lease, with the job as it was at the claim.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedTask {
    /// The task, state `Leased`; `attempt` is the number of the attempt that this lease is for.
    pub task: Task,
    /// Its job.
    pub job: Arc<Job>,
}

impl ClaimedTask {
    /// What writes for this task name.
    pub fn fence(&self, lease_token: FencingToken, holder: &Holder) -> Fence {
        Fence {
            task_id: self.task.task_id.clone(),
            token: lease_token,
            attempt: self.task.attempt,
            holder: holder.clone(),
        }
    }
}
