//! Events: hints that something changed, for whoever wants to react at once.
//!
//! A subscriber that falls behind loses the oldest events and is told how many. After that, or after silence, read the
//! changes since the last known cursor ([`HistoryStore::changes`](crate::store::HistoryStore::changes)): events are hints.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::id::{ExecutorId, JobId, TaskId};
use crate::store::Decision;
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
    /// An attempt's log chunks from this one on can be read
    /// ([`read_logs`](crate::scheduler::Scheduler::read_logs)).
    Log {
        /// The task.
        task_id: TaskId,
        /// The attempt.
        attempt: u32,
        /// The first of the chunks that were just written.
        first_sequence: u64,
    },
    /// Fire times were not given a task of their own; says which, and why.
    Decision(Decision),
    /// An executor was silent for longer than its lease and is declared dead.
    ExecutorLost {
        /// The executor.
        executor_id: ExecutorId,
    },
    /// Recovery took a task back from an executor that is gone.
    Recovered {
        /// The task.
        task_id: TaskId,
        /// Its job.
        job_id: JobId,
        /// Whom it was taken from.
        executor_id: ExecutorId,
        /// Its state now: it waits again, or it may not be repeated and is final.
        state: TaskState,
    },
}

/// A subscription to events.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    stopped: CancellationToken,
}

/// What a subscription gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// The next event.
    Event(Event),
    /// This many were lost: the subscriber was too slow.
    Missed(u64),
}

impl Events {
    pub(crate) const fn new(receiver: broadcast::Receiver<Event>, stopped: CancellationToken) -> Self {
        Self { receiver, stopped }
    }

    /// The next event; waits for it. `None` once the engine has stopped and all its events were read.
    ///
    /// **Cancellation**: dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Received> {
        let received = tokio::select! {
            biased;
            received = self.receiver.recv() => received,
            () = self.stopped.cancelled() => return None,
        };
        match received {
            Ok(event) => Some(Received::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Received::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
