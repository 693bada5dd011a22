//! Which gates are decided together.

use std::collections::BTreeSet;

use crate::gate::GateKey;

/// Follows gates over the tasks that wait behind several of them, until all that are connected are found.
///
/// A *queue* is the tasks with just the same gates, and is named by these: what stands in a queue is alike but for its
/// order, so a store needn't read tasks to find what is connected.
///
/// ```
/// use jobcore::engine::gate::Connected;
/// use jobcore::gate::GateKey;
///
/// let [a, b, c] = ["a", "b", "c"].map(GateKey::of_key);
/// let queues = [vec![a.clone(), b.clone()], vec![b.clone()], vec![c]];
/// let mut connected = Connected::with([a.clone()]);
/// while let Some(key) = connected.next_gate() {
///     queues.iter().filter(|queue| queue.contains(&key)).for_each(|queue| connected.add_queue(queue));
/// }
/// assert_eq!(connected.gates().collect::<Vec<_>>(), [&a, &b]);
/// assert_eq!(connected.queues().count(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Connected {
    open: BTreeSet<GateKey>,
    gates: BTreeSet<GateKey>,
    queues: BTreeSet<Vec<GateKey>>,
}

impl Connected {
    /// Begins with these gates.
    pub fn with(gates: impl IntoIterator<Item = GateKey>) -> Self {
        Self {
            open: gates.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The next gate whose queues are to be [added](Self::add_queue); `None` once all are.
    pub fn next_gate(&mut self) -> Option<GateKey> {
        let key = self.open.pop_first()?;
        self.gates.insert(key.clone());
        Some(key)
    }

    /// Adds a queue that something waits in.
    pub fn add_queue(&mut self, queue: &[GateKey]) {
        if self.queues.contains(queue) {
            return;
        }
        let new = queue.iter().filter(|key| !self.gates.contains(*key));
        self.open.extend(new.cloned());
        self.queues.insert(queue.to_vec());
    }

    /// The gates, in the order in which they are to be locked.
    pub fn gates(&self) -> impl Iterator<Item = &GateKey> {
        self.gates.iter()
    }

    /// The queues, in order.
    pub fn queues(&self) -> impl Iterator<Item = &[GateKey]> {
        self.queues.iter().map(Vec::as_slice)
    }
}
