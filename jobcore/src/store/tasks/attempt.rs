//! What holders write while an attempt runs.

use crate::json::Json;
use crate::lease::Fence;
use crate::task::Progress;
use crate::time::Timestamp;

/// An attempt that begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Under which lease.
    pub fence: Fence,
    /// When.
    pub start_time: Timestamp,
}

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum StartOutcome {
    /// Recorded.
    Started,
    /// Not recorded: it is to be cancelled.
    CancelRequested,
    /// The lease is no longer valid.
    Fenced,
}

/// A checkpoint or progress to save.
#[derive(Clone, Debug, PartialEq)]
pub struct SaveProgress {
    /// Under which lease.
    pub fence: Fence,
    /// What the next attempt shall find; `None` leaves what is there.
    pub checkpoint: Option<Json>,
    /// How far it is; `None` leaves what is there.
    pub progress: Option<Progress>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SaveOutcome {
    /// It is saved.
    Saved,
    /// The lease is no longer valid; nothing was changed.
    Fenced,
}
