//! Overlap: what becomes of a task while an earlier one of the same job isn't final.

use serde::{Deserialize, Serialize};

/// What to do with a new task while an earlier task of its job isn't final (waiting, running or to be retried).
///
/// Decided by the promoter under the job's gate, so that two nodes can't both find the way free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlapPolicy {
    /// Run it beside the others. Default.
    #[default]
    Allow,
    /// Settle it as `Skipped`.
    Skip,
    /// Let one wait for its turn; settle those that come while one waits as `Skipped`.
    QueueOne,
    /// Let all wait for their turn, in order of creation.
    QueueAll,
    /// Cancel all earlier ones; the newest waits until they are final.
    CancelPrevious,
}
