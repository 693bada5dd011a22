//! The leases that a node holds, until all their tasks are settled and the store was told so.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::lease::FencingToken;
use crate::store::Held;

/// The leases that a node holds.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How many tasks under each are not settled.
    open: BTreeMap<FencingToken, usize>,
    /// Those without any, of which the store wasn't told yet.
    closed: Vec<FencingToken>,
    /// How many claims wait for their answer.
    claiming: usize,
}

impl Leases {
    /// A claim got this many tasks.
    pub(crate) fn opened(&self, token: FencingToken, tasks: usize) {
        self.0.lock().open.insert(token, tasks);
    }

    /// This many tasks under a lease are settled, or known to be lost.
    pub(crate) fn settled(&self, token: FencingToken, tasks: usize) {
        let mut inner = self.0.lock();
        let Some(left) = inner.open.get_mut(&token) else {
            return;
        };
        *left = left.saturating_sub(tasks);
        if *left == 0 {
            inner.open.remove(&token);
            inner.closed.push(token);
        }
    }

    /// A claim is on its way.
    pub(crate) fn claiming(&self) {
        self.0.lock().claiming += 1;
    }

    /// A claim was answered, and its lease opened if it got something.
    pub(crate) fn claimed(&self) {
        self.0.lock().claiming -= 1;
    }

    /// Whether the node holds this lease, or may be about to learn of it.
    pub(crate) fn may_know(&self, token: FencingToken) -> bool {
        let inner = self.0.lock();
        inner.claiming > 0 || inner.open.contains_key(&token)
    }

    /// What to say in a heartbeat: the leases held, and those to close.
    pub(crate) fn report(&self) -> (Held, Vec<FencingToken>) {
        let mut inner = self.0.lock();
        let closed = std::mem::take(&mut inner.closed);
        (Held::Leases(inner.open.keys().copied().collect()), closed)
    }

    /// A heartbeat that named these closed leases got no answer: they are named again.
    pub(crate) fn not_told(&self, closed: Vec<FencingToken>) {
        self.0.lock().closed.extend(closed);
    }

    /// The node was declared dead: it holds nothing any more.
    pub(crate) fn forget_all(&self) {
        let mut inner = self.0.lock();
        inner.open.clear();
        inner.closed.clear();
    }
}
