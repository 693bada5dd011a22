//! Who waits for a leadership or a lock, in the order in which they came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::sync::oneshot;

use super::seat::Kind;

/// How many wait at the most; who is one too many is told that its seat is free, and finds out itself.
const MAX_WAITING: usize = 10_000;

/// Lines of those who wait on this node, by what they wait for.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: BTreeMap<(Kind, String), VecDeque<oneshot::Sender<()>>>,
    waiting: usize,
    /// Somebody came, or was called while others stand behind: the next look must not wait for news.
    unsettled: bool,
}

impl Lines {
    pub(crate) fn add(&mut self, kind: Kind, name: String, reply: oneshot::Sender<()>) {
        self.unsettled = true;
        if self.waiting >= MAX_WAITING {
            // Whoever went away needs no answer.
            let _ = reply.send(());
            return;
        }
        self.waiting += 1;
        self.lines.entry((kind, name)).or_default().push_back(reply);
    }

    /// Forgets who went away.
    pub(crate) fn prune(&mut self) {
        self.lines.retain(|_, line| {
            line.retain(|reply| !reply.is_closed());
            !line.is_empty()
        });
        self.waiting = self.lines.values().map(VecDeque::len).sum();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    pub(crate) fn seats(&self) -> Vec<(Kind, String)> {
        self.lines.keys().cloned().collect()
    }

    /// Calls the first of each line whose seat isn't taken.
    pub(crate) fn call(&mut self, taken: &BTreeSet<(i8, String)>) {
        self.unsettled = false;
        for ((kind, name), line) in &mut self.lines {
            if taken.contains(&(kind.code(), name.clone())) {
                continue;
            }
            while let Some(first) = line.pop_front() {
                if first.send(()).is_ok() {
                    break;
                }
            }
            // Who was called may go away instead: the next is called if the seat is still free then.
            self.unsettled |= !line.is_empty();
        }
        self.prune();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_still_waits_is_called_when_its_seat_is_free() {
        let mut lines = Lines::default();
        let mut add = |name: &str| {
            let (reply, answer) = oneshot::channel();
            lines.add(Kind::Lock, name.to_owned(), reply);
            answer
        };
        let (gone, mut first, mut second, mut other) = (add("a"), add("a"), add("a"), add("b"));
        drop(gone);
        lines.call(&[(Kind::Lock.code(), "b".to_owned())].into());
        assert!(first.try_recv().is_ok());
        assert!(second.try_recv().is_err() && other.try_recv().is_err());
        assert!(lines.is_unsettled(), "the first may not take it");
        lines.call(&BTreeSet::new());
        assert!(second.try_recv().is_ok() && other.try_recv().is_ok());
        assert!(!lines.is_unsettled() && lines.is_empty());
    }
}
