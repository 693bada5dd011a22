//! The journal: logs, progress and checkpoints of attempts on their way to the store.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::node::Node;
use crate::attempt::{LogChunk, LogStream};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::executor::{Reporter, TaskContext};
use crate::id::TaskId;
use crate::json::Json;
use crate::lease::FencingToken;
use crate::store::{SaveOutcome, SaveProgress};
use crate::task::Progress;
use crate::time::Timestamp;

/// How long logs and progress gather.
const GATHER: Duration = Duration::from_millis(100);

/// How many chunks are written together, and how many times that may wait.
const CHUNKS: usize = 256;
const MOST_CHUNKS: usize = CHUNKS * 4;

/// How many attempts' progress may wait; more is dropped, as newer progress follows.
const MOST_PROGRESS: usize = 10_000;

/// The longest log chunk, in bytes; longer text is split.
const LONGEST_CHUNK: usize = 64 * 1024;

/// The longest checkpoint, in bytes.
pub(super) const LONGEST_CHECKPOINT: usize = 1024 * 1024;

/// Takes what attempts report, and writes it in batches.
pub(crate) struct Journal {
    node: Arc<Node>,
    state: Mutex<State>,
    work: Notify,
    written: Notify,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<LogChunk>,
    progress: BTreeMap<(TaskId, FencingToken), SaveProgress>,
}

impl Journal {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            state: Mutex::new(State::default()),
            work: Notify::new(),
            written: Notify::new(),
        }
    }

    /// Runs until the node ends.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.work.notified().await;
            self.node.sleep_until(self.node.now() + GATHER).await;
            self.write_all().await;
        }
    }

    /// Writes everything that was reported so far.
    pub(crate) async fn write_all(&self) {
        while self.write_logs().await {}
        self.write_progress().await;
        self.written.notify_waiters();
    }

    async fn write_logs(&self) -> bool {
        let chunks = self.take_chunks();
        if chunks.is_empty() {
            return false;
        }
        // An error that no repetition mends was logged; these chunks are lost, the attempt isn't.
        let written = self
            .node
            .persist("log", || self.node.store.append_logs(chunks.clone()))
            .await;
        self.written.notify_waiters();
        if written.is_ok() {
            self.tell(&chunks);
        }
        true
    }

    /// One event for each attempt that has chunks among these.
    fn tell(&self, chunks: &[LogChunk]) {
        let mut told = HashSet::new();
        for chunk in chunks {
            if told.insert((&chunk.task_id, chunk.attempt)) {
                self.node.emit(|| Event::Log {
                    task_id: chunk.task_id.clone(),
                    attempt: chunk.attempt,
                    first_sequence: chunk.sequence,
                });
            }
        }
    }

    fn take_chunks(&self) -> Vec<LogChunk> {
        let mut state = self.state.lock();
        let count = state.chunks.len().min(CHUNKS);
        state.chunks.drain(..count).collect()
    }

    async fn write_progress(&self) {
        let updates: Vec<_> = std::mem::take(&mut self.state.lock().progress)
            .into_values()
            .collect();
        for batch in updates.chunks(crate::store::MAX_BATCH) {
            let _ = self
                .node
                .persist("progress", || self.node.store.save(batch.to_vec()))
                .await;
        }
    }

    async fn append(&self, mut chunk: LogChunk) {
        loop {
            let written = self.written.notified();
            match self.try_append(chunk) {
                None => return,
                Some(refused) => chunk = refused,
            }
            written.await;
        }
    }

    /// Takes a chunk, or gives it back while too many wait.
    fn try_append(&self, chunk: LogChunk) -> Option<LogChunk> {
        let mut state = self.state.lock();
        let refused = if state.chunks.len() < MOST_CHUNKS {
            state.chunks.push_back(chunk);
            None
        } else {
            Some(chunk)
        };
        drop(state);
        self.work.notify_one();
        refused
    }
}

#[async_trait]
impl Reporter for Journal {
    async fn log(&self, cx: &TaskContext, stream: LogStream, text: String) {
        let log_time = self.node.now();
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
        self.node.emit(|| Event::Progress {
            task_id: cx.task_id().clone(),
            progress: progress.clone(),
        });
        let fence = cx.fence().clone();
        let key = (fence.task_id.clone(), fence.token);
        let update = SaveProgress {
            fence,
            checkpoint: None,
            progress: Some(progress),
        };
        let mut state = self.state.lock();
        if state.progress.len() < MOST_PROGRESS || state.progress.contains_key(&key) {
            state.progress.insert(key, update);
            self.work.notify_one();
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
        let update = SaveProgress {
            fence: cx.fence().clone(),
            checkpoint: Some(checkpoint),
            progress: None,
        };
        let outcomes = self
            .node
            .persist("checkpoint", || self.node.store.save(vec![update.clone()]))
            .await?;
        match outcomes.first() {
            Some(SaveOutcome::Saved) => Ok(()),
            _ => {
                let task_id = cx.task_id();
                let message =
                    format!("the lease on task {task_id} is no longer valid; stop, another attempt has it");
                Err(Error::new(ErrorKind::Conflict, message).operation("checkpoint"))
            }
        }
    }

    fn lease_until(&self) -> Option<Timestamp> {
        Some(self.node.standing.lock().beat_time + self.node.config.lease_duration)
    }
}

/// Splits text into chunks at character boundaries; empty text gives one empty chunk.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (piece, left) = text.split_at(text.floor_char_boundary(LONGEST_CHUNK));
        rest = (!left.is_empty()).then_some(left);
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_split_at_characters() {
        let text = "é".repeat(LONGEST_CHUNK);
        let parts: Vec<_> = pieces(&text).collect();
        assert_eq!(parts.concat(), text);
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= LONGEST_CHUNK));
        assert_eq!(pieces("").count(), 1);
    }
}
