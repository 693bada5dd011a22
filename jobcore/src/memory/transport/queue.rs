//! A bounded queue that a reader can wait for.

use std::collections::VecDeque;
use std::pin::pin;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::store::MAX_BATCH;

pub(super) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    capacity: usize,
    filled: Notify,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            items: Mutex::default(),
            capacity,
            filled: Notify::new(),
        }
    }

    /// Appends all, or none if there is no room for all.
    #[must_use]
    pub(super) fn push_all(&self, new: impl ExactSizeIterator<Item = T>) -> bool {
        {
            let mut items = self.items.lock();
            if items.len() + new.len() > self.capacity {
                return false;
            }
            items.extend(new);
        }
        self.filled.notify_waiters();
        true
    }

    /// Appends one, and drops the oldest if there is no room.
    pub(super) fn push_over_oldest(&self, item: T) {
        {
            let mut items = self.items.lock();
            if items.len() >= self.capacity {
                items.pop_front();
            }
            items.push_back(item);
        }
        self.filled.notify_waiters();
    }

    /// Drops what `keep` doesn't want, and lets readers look again.
    pub(super) fn retain(&self, keep: impl FnMut(&T) -> bool) {
        self.items.lock().retain(keep);
        self.filled.notify_waiters();
    }

    /// What is there and `wanted`, at most a batch; and whether that was all. The rest stays.
    pub(super) fn take(&self, wanted: impl Fn(&T) -> bool) -> (Vec<T>, bool) {
        let mut items = self.items.lock();
        let mut taken = Vec::new();
        let mut rest = VecDeque::new();
        let mut all = true;
        for item in items.drain(..) {
            match (wanted(&item), taken.len() < MAX_BATCH) {
                (true, true) => taken.push(item),
                (wanted, _) => {
                    all &= !wanted;
                    rest.push_back(item);
                }
            }
        }
        *items = rest;
        (taken, all)
    }

    /// Waits until there is something wanted, and takes it.
    pub(super) async fn next(&self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        loop {
            let mut filled = pin!(self.filled.notified());
            filled.as_mut().enable();
            let (taken, _) = self.take(&wanted);
            if !taken.is_empty() {
                return taken;
            }
            filled.await;
        }
    }
}
