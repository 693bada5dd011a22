//! What is watched, by name, and who asked to.

use std::collections::BTreeMap;

use jobcore::{Error, ErrorKind, Result};
use tokio::sync::{oneshot, watch};

use crate::BACKEND;

/// How many names are watched at the most, of each sort.
const MAX_SUBJECTS: usize = 10_000;

/// Where a watch is wanted.
pub(crate) type Reply<T> = oneshot::Sender<Result<watch::Receiver<T>>>;

/// Names with their latest values.
#[derive(Debug)]
pub(crate) struct Subjects<T> {
    values: BTreeMap<String, watch::Sender<T>>,
    /// Who gets a watch as soon as it shows the present value.
    new: Vec<(Reply<T>, watch::Receiver<T>)>,
}

impl<T> Default for Subjects<T> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            new: Vec::new(),
        }
    }
}

impl<T: Default + PartialEq> Subjects<T> {
    /// Somebody wants to watch a name.
    pub(crate) fn add(&mut self, name: String, reply: Reply<T>) {
        if self.values.len() >= MAX_SUBJECTS && !self.values.contains_key(&name) {
            let message = format!("this node watches {MAX_SUBJECTS} names; drop some");
            // Whoever went away needs no answer.
            drop(reply.send(Err(Error::new(ErrorKind::Unavailable, message).backend(BACKEND))));
            return;
        }
        let value = self
            .values
            .entry(name)
            .or_insert_with(|| watch::Sender::new(T::default()));
        self.new.push((reply, value.subscribe()));
    }

    /// Forgets what nobody watches any more.
    pub(crate) fn prune(&mut self) {
        self.new.retain(|(reply, _)| !reply.is_closed());
        self.values.retain(|_, value| value.receiver_count() > 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether somebody waits for a first value.
    pub(crate) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }

    /// These are the values now; what is missing has none. Answers whether something changed.
    pub(crate) fn publish(&mut self, mut values: BTreeMap<String, T>) {
        for (name, watched) in &self.values {
            let value = values.remove(name).unwrap_or_default();
            watched.send_if_modified(|last| {
                let changed = *last != value;
                *last = value;
                changed
            });
        }
        for (reply, mut receiver) in self.new.drain(..) {
            receiver.mark_unchanged();
            drop(reply.send(Ok(receiver)));
        }
    }

    /// The values can't be read: who waits for a first one is told.
    pub(crate) fn fail(&mut self, error: &Error) {
        for (reply, _) in self.new.drain(..) {
            let copy = Error::new(error.kind(), error.message()).backend(BACKEND);
            drop(reply.send(Err(copy)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_begins_with_the_present_value_and_is_forgotten_when_dropped() {
        let mut subjects = Subjects::<u32>::default();
        let (reply, mut answer) = oneshot::channel();
        subjects.add("a".to_owned(), reply);
        assert!(subjects.has_new());
        subjects.publish([("a".to_owned(), 7)].into());
        let mut watch = answer.try_recv().unwrap().unwrap();
        assert!(*watch.borrow() == 7 && !watch.has_changed().unwrap());
        subjects.publish([("a".to_owned(), 7)].into());
        assert!(!watch.has_changed().unwrap());
        subjects.publish(BTreeMap::new());
        assert_eq!(*watch.borrow_and_update(), 0);
        drop(watch);
        subjects.prune();
        assert!(subjects.is_empty());
    }
}
