//! A lane whose batches come again until they are acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::MemoryTransportConfig;
use crate::clock::Clock;
use crate::store::MAX_BATCH;
use crate::time::Timestamp;
use crate::transport::{Batch, BatchId};

pub(super) struct Redelivery<T> {
    clock: Arc<dyn Clock>,
    config: MemoryTransportConfig,
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    waiting: VecDeque<T>,
    open: BTreeMap<BatchId, Open<T>>,
}

/// A batch that was handed out.
struct Open<T> {
    reader: u64,
    until: Timestamp,
    messages: Vec<T>,
}

impl<T: Clone> Redelivery<T> {
    pub(super) fn new(clock: Arc<dyn Clock>, config: MemoryTransportConfig) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            open: BTreeMap::new(),
        };
        Self {
            clock,
            config,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Appends all, as soon as there is room.
    pub(super) async fn push_all(&self, messages: Vec<T>) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.state.lock();
                // An empty lane takes a batch of any size, so that none waits for ever.
                if state.waiting.is_empty() || state.waiting.len() + messages.len() <= self.config.lane {
                    state.waiting.extend(messages);
                    break;
                }
            }
            changed.await;
        }
        self.changed.notify_waiters();
    }

    /// The next batch for `reader`, under a new name.
    pub(super) async fn next(&self, reader: u64, name: impl Fn() -> BatchId) -> Batch<T> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let wake = match self.take(reader, &name) {
                Ok(batch) => return batch,
                Err(wake) => wake,
            };
            match wake {
                Some(wake) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = self.clock.sleep_until(wake) => {}
                },
                None => changed.await,
            }
        }
    }

    /// A batch, or when to look again.
    fn take(&self, reader: u64, name: &impl Fn() -> BatchId) -> Result<Batch<T>, Option<Timestamp>> {
        let now = self.clock.now();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.put_back(|open| open.until <= now);
        let full =
            state.open.values().filter(|open| open.reader == reader).count() >= self.config.open_batches;
        if full || state.waiting.is_empty() {
            return Err(state.open.values().map(|open| open.until).min());
        }
        let count = state.waiting.len().min(MAX_BATCH);
        let messages: Vec<T> = state.waiting.drain(..count).collect();
        let id = name();
        let open = Open {
            reader,
            until: now + self.config.redeliver_after,
            messages: messages.clone(),
        };
        state.open.insert(id, open);
        drop(guard);
        self.changed.notify_waiters();
        Ok(Batch { id, messages })
    }

    pub(super) fn acknowledge(&self, id: BatchId) {
        if self.state.lock().open.remove(&id).is_some() {
            self.changed.notify_waiters();
        }
    }

    /// What a reader had open is for the others.
    pub(super) fn leave(&self, reader: u64) {
        self.state.lock().put_back(|open| open.reader == reader);
        self.changed.notify_waiters();
    }
}

impl<T> State<T> {
    /// Closes the batches that `which` says, and puts their messages first again, in their old order.
    fn put_back(&mut self, which: impl Fn(&Open<T>) -> bool) {
        let ids: Vec<BatchId> = self
            .open
            .iter()
            .filter(|(_, open)| which(open))
            .map(|(id, _)| *id)
            .collect();
        for id in ids.into_iter().rev() {
            let messages = self
                .open
                .remove(&id)
                .map(|open| open.messages)
                .unwrap_or_default();
            for message in messages.into_iter().rev() {
                self.waiting.push_front(message);
            }
        }
    }
}
