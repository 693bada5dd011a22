//! Events: hints that something changed, for whoever wants to react at once.
//!
//! A subscriber that falls behind loses the oldest events and is told how many. After that, or after silence, read the
//! changes since the last known cursor ([`HistoryStore::changes`](crate::store::HistoryStore::changes)): events are hints.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::id::{ExecutorId, JobId, TaskId};
use crate::task::{Progress, TaskState};

/// How many events a subscriber may fall behind.
pub const EVENT_BACKLOG: usize = 4_096;

/// Something that this engine did or saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A job was created, changed, paused, resumed or deleted.
    Job {
        /// The job.
        job_id: JobId,
    },
    /// A task changed its state.
    Task {
        /// The task.
        task_id: TaskId,
        /// Its job.
        job_id: JobId,
        /// Its state now.
        state: TaskState,
        /// The attempt it is at.
        attempt: u32,
    },
    /// An attempt said how far it is.
    Progress {
        /// The task.
        task_id: TaskId,
        /// How far it is.
        progress: Progress,
    },
    /// Recovery took tasks from an executor that was lost.
    ExecutorLost {
        /// The executor.
        executor_id: ExecutorId,
    },
}

/// A subscription to events.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

/// What a subscription gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// The next event.
    Event(Event),
    /// This many were lost: the subscriber was too slow.
    Missed(u64),
}

impl Events {
    pub(crate) const fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self(receiver)
    }

    /// The next event; waits for it. `None` once the engine has stopped.
    pub async fn next(&mut self) -> Option<Received> {
        match self.0.recv().await {
            Ok(event) => Some(Received::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Received::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
