//! How attempts ended, and what becomes of their tasks.

use crate::attempt::AttemptStatus;
use crate::gate::GateKey;
use crate::json::Json;
use crate::lease::Fence;
use crate::task::TaskState;
use crate::time::Timestamp;

/// How an attempt ended, and what should become of its task.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Under which lease.
    pub fence: Fence,
    /// The attempt's record; `None` if it never began.
    pub attempt: Option<AttemptEnd>,
    /// What should become of the task.
    pub next: Next,
    /// What the attempt saved for the next one; `None` leaves what is there.
    pub checkpoint: Option<Json>,
}

/// The record of an attempt that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    /// How.
    pub status: AttemptStatus,
    /// When it began.
    pub start_time: Timestamp,
    /// When it ended.
    pub end_time: Timestamp,
    /// The exit code of a process.
    pub exit_code: Option<i32>,
    /// What it returned or printed, capped.
    pub output: String,
    /// What went wrong, capped; empty for none.
    pub error: String,
}

/// What should become of a task whose attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is final: `Succeeded`, `Failed`, `TimedOut`, `Cancelled` or `Skipped`.
    Final {
        /// The final state.
        state: TaskState,
        /// Why, where the attempt doesn't say so.
        reason: Option<String>,
    },
    /// It failed, and is repeated from this instant on. Counts as a failure.
    Retry {
        /// When.
        due_time: Timestamp,
    },
    /// It asked to be repeated later, or is handed back: doesn't count as a failure.
    Again {
        /// When.
        due_time: Timestamp,
    },
}

/// What became of a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum SettleOutcome {
    /// Recorded; the task is in this state now.
    Settled {
        /// The state, which differs from the wish if a cancel came first.
        state: TaskState,
        /// Gates before which something may be able to pass now.
        gates: Vec<GateKey>,
    },
    /// This very settlement was recorded before.
    AlreadySettled,
    /// The lease is no longer valid; nothing was changed.
    Fenced,
}
