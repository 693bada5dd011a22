//! Logs, progress and checkpoints of attempts on their way through the transport.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::link::Link;
use crate::attempt::{LogChunk, LogStream};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::{Reporter, TaskContext};
use crate::json::Json;
use crate::runtime::journal::{LONGEST_CHECKPOINT, pieces};
use crate::runtime::node::StoreClock;
use crate::runtime::remote::ledger::Key;
use crate::task::Progress;
use crate::time::Timestamp;
use crate::transport::{Checkpoint, Report, ReportEvent, ReportLease};

/// How long logs gather.
const GATHER: Duration = Duration::from_millis(100);

/// How many chunks are sent together, and how many may wait before attempts are slowed.
const CHUNKS: usize = 256;
const MOST_CHUNKS: usize = CHUNKS * 4;

/// How many attempts' progress may wait; more is dropped, as newer progress follows.
const MOST_PROGRESS: usize = 10_000;

/// Takes what attempts report.
pub(super) struct TransportReporter {
    clock: Arc<StoreClock>,
    state: Mutex<State>,
    /// There is something to report.
    report: Arc<Notify>,
    /// There are logs.
    logged: Notify,
    /// Logs were sent.
    shipped: Notify,
}

struct State {
    lease_until: Timestamp,
    chunks: VecDeque<LogChunk>,
    shipping: usize,
    progress: BTreeMap<Key, Report>,
    checkpoints: BTreeMap<Key, Saving>,
    /// The latest checkpoint of each attempt that runs, to be saved again with its end: repeated messages may have
    /// brought an earlier one back.
    latest: BTreeMap<Key, Json>,
    sequence: u64,
}

/// A checkpoint that an attempt waits for.
struct Saving {
    report: Report,
    sequence: u64,
    sent: Option<Timestamp>,
    /// Answered when it is durable; dropped when the lease is closed.
    saved: oneshot::Sender<()>,
}

impl TransportReporter {
    pub(super) fn new(clock: Arc<StoreClock>, report: Arc<Notify>) -> Self {
        let state = State {
            lease_until: clock.now(),
            chunks: VecDeque::new(),
            shipping: 0,
            progress: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            latest: BTreeMap::new(),
            sequence: 0,
        };
        Self {
            clock,
            state: Mutex::new(state),
            report,
            logged: Notify::new(),
            shipped: Notify::new(),
        }
    }

    /// The lease holds at least that long.
    pub(super) fn lease_until(&self, until: Timestamp) {
        self.state.lock().lease_until = until;
    }

    /// Progress and checkpoints to report now, at most `most`.
    pub(super) fn updates(&self, now: Timestamp, patience: Duration, most: usize) -> Vec<Report> {
        let mut state = self.state.lock();
        let due = |saving: &&mut Saving| saving.sent.is_none_or(|sent| now >= sent + patience);
        let mut updates: Vec<Report> = Vec::new();
        for saving in state.checkpoints.values_mut().filter(due).take(most) {
            saving.sent = Some(now);
            updates.push(saving.report.clone());
        }
        while updates.len() < most
            && let Some((_, report)) = state.progress.pop_first()
        {
            updates.push(report);
        }
        updates
    }

    /// A checkpoint is durable.
    pub(super) fn saved(&self, key: &Key, sequence: u64) {
        let mut state = self.state.lock();
        if state
            .checkpoints
            .get(key)
            .is_some_and(|saving| saving.sequence == sequence)
            && let Some(saving) = state.checkpoints.remove(key)
        {
            // Nobody waits any more if the attempt has ended meanwhile.
            let _ = saving.saved.send(());
        }
    }

    /// The lease was closed: checkpoints under it will never be durable.
    pub(super) fn closed(&self, key: &Key) {
        let mut state = self.state.lock();
        state.checkpoints.remove(key);
        state.progress.remove(key);
    }

    /// The attempt is over: gives its latest checkpoint.
    pub(super) fn forget(&self, key: &Key) -> Option<Json> {
        self.closed(key);
        self.state.lock().latest.remove(key)
    }

    /// Whether all logs are on their way.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.chunks.is_empty() && state.shipping == 0
    }

    async fn append(&self, mut chunk: LogChunk) {
        loop {
            let shipped = self.shipped.notified();
            match self.try_append(chunk) {
                Ok(()) => break,
                Err(refused) => chunk = refused,
            }
            self.logged.notify_one();
            shipped.await;
        }
        self.logged.notify_one();
    }

    /// Gives the chunk back if there is no room.
    fn try_append(&self, chunk: LogChunk) -> Result<(), LogChunk> {
        let mut state = self.state.lock();
        if state.chunks.len() >= MOST_CHUNKS {
            return Err(chunk);
        }
        state.chunks.push_back(chunk);
        Ok(())
    }

    /// Puts a checkpoint on its way, in place of one that waits: answered when it is durable.
    fn save(&self, cx: &TaskContext, checkpoint: Json) -> oneshot::Receiver<()> {
        let (saved, durable) = oneshot::channel();
        let key = (cx.task_id().clone(), cx.fencing_token());
        let mut state = self.state.lock();
        state.sequence += 1;
        let sequence = state.sequence;
        let value = checkpoint.clone();
        let event = ReportEvent::Progress {
            progress: None,
            checkpoint: Some(Checkpoint { value, sequence }),
        };
        let saving = Saving {
            report: report(cx, event),
            sequence,
            sent: None,
            saved,
        };
        state.checkpoints.insert(key.clone(), saving);
        state.latest.insert(key, checkpoint);
        durable
    }

    fn take_logs(&self) -> Vec<LogChunk> {
        let mut state = self.state.lock();
        let count = state.chunks.len().min(CHUNKS);
        state.shipping = count;
        state.chunks.drain(..count).collect()
    }
}

/// Sends logs; runs until the node ends.
pub(super) async fn ship_logs(link: Arc<Link>) {
    loop {
        link.reporter.logged.notified().await;
        link.clock.sleep_until(link.now() + GATHER).await;
        loop {
            let chunks = link.reporter.take_logs();
            if chunks.is_empty() {
                break;
            }
            while let Err(error) = link.transport.log(chunks.clone()).await {
                link.back_off("log", &error).await;
            }
            link.reporter.state.lock().shipping = 0;
            link.reporter.shipped.notify_waiters();
        }
        link.changed.notify_waiters();
    }
}

#[async_trait]
impl Reporter for TransportReporter {
    async fn log(&self, cx: &TaskContext, stream: LogStream, text: String) {
        let log_time = self.clock.now();
        for text in pieces(&text) {
            let chunk = LogChunk {
                task_id: cx.task_id().clone(),
                attempt: cx.attempt(),
                sequence: cx.next_log_sequence(),
                stream,
                log_time,
                text: text.to_owned(),
            };
            self.append(chunk).await;
        }
    }

    fn progress(&self, cx: &TaskContext, progress: Progress) {
        let event = ReportEvent::Progress {
            progress: Some(progress),
            checkpoint: None,
        };
        let key = (cx.task_id().clone(), cx.fencing_token());
        let mut state = self.state.lock();
        if state.progress.len() < MOST_PROGRESS || state.progress.contains_key(&key) {
            state.progress.insert(key, report(cx, event));
            drop(state);
            self.report.notify_one();
        }
    }

    async fn checkpoint(&self, cx: &TaskContext, checkpoint: Json) -> Result<()> {
        let length = checkpoint.as_str().len();
        if length > LONGEST_CHECKPOINT {
            let message = format_args!(
                "must have at most {LONGEST_CHECKPOINT} bytes, has {length}; save a reference to it"
            );
            return Err(Error::invalid("checkpoint", message));
        }
        let durable = self.save(cx, checkpoint);
        self.report.notify_one();
        durable.await.map_err(|_| {
            let task_id = cx.task_id();
            let message = format!(
                "the checkpoint of task {task_id} was not saved: its lease was closed, or a newer one came"
            );
            Error::new(ErrorKind::Conflict, message).operation("checkpoint")
        })
    }

    fn lease_until(&self) -> Option<Timestamp> {
        Some(self.state.lock().lease_until)
    }
}

fn report(cx: &TaskContext, event: ReportEvent) -> Report {
    let fence = cx.fence();
    let lease = ReportLease {
        token: fence.token,
        attempt: fence.attempt,
        incarnation: fence.holder.incarnation,
    };
    Report {
        task_id: fence.task_id.clone(),
        job_id: cx.job_id().clone(),
        executor_id: fence.holder.executor_id.clone(),
        lease: Some(lease),
        event,
    }
}
