//! Wake-ups between the loops of one process: a signal where polling would cost time or work.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::gate::GateKey;
use crate::time::Timestamp;

/// The signals of one node. All are hints: every loop also looks by itself now and then.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Something may be ready to claim.
    pub(crate) claim: ClaimSignal,
    /// The crew has room again, or soon will.
    pub(crate) room: Notify,
    /// Jobs changed: the fire loop reads anew.
    pub(crate) fire: Notify,
    /// The node must join anew, or beat now.
    pub(crate) heartbeat: Notify,
    /// Something may pass a gate or come due.
    pub(crate) promote: PromoteHint,
}

/// Wakes those who claim: for the node's own crew, and for remote executors.
#[derive(Debug, Default)]
pub(crate) struct ClaimSignal {
    crew: Notify,
    dispatch: Notify,
}

impl ClaimSignal {
    pub(crate) fn notify_one(&self) {
        self.crew.notify_one();
        self.dispatch.notify_one();
    }

    /// Waits for work for the crew.
    pub(crate) async fn notified(&self) {
        self.crew.notified().await;
    }

    /// Waits for work for remote executors.
    pub(crate) async fn for_dispatch(&self) {
        self.dispatch.notified().await;
    }
}

/// What the promoter should look at.
#[derive(Debug, Default)]
pub(crate) struct PromoteHint {
    pub(crate) signal: Notify,
    wanted: Mutex<Wanted>,
}

/// What was hinted since the promoter last looked.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Gates before which something may pass.
    pub(crate) gates: BTreeSet<GateKey>,
    /// The earliest instant at which something comes due.
    pub(crate) due: Option<Timestamp>,
}

/// Above this many hinted gates the sweep over all is cheaper, and memory stays bounded.
const MOST_GATES: usize = 1_000;

impl PromoteHint {
    /// Something may pass these gates.
    pub(crate) fn gates(&self, gates: &[GateKey]) {
        if gates.is_empty() {
            return;
        }
        let mut wanted = self.wanted.lock();
        let before = wanted.gates.len();
        wanted.gates.extend(gates.iter().cloned());
        let grown = wanted.gates.len() > before;
        drop(wanted);
        if grown {
            self.signal.notify_one();
        }
    }

    /// Something comes due at `time`.
    pub(crate) fn due(&self, time: Timestamp) {
        let mut wanted = self.wanted.lock();
        let earlier = wanted.due.is_none_or(|due| time < due);
        if earlier {
            wanted.due = Some(time);
        }
        drop(wanted);
        if earlier {
            self.signal.notify_one();
        }
    }

    /// Takes what was hinted.
    pub(crate) fn take(&self) -> Wanted {
        std::mem::take(&mut self.wanted.lock())
    }
}

impl Wanted {
    /// Which gates to ask for; `None` when there are too many to name.
    pub(crate) fn named_gates(self) -> Option<Vec<GateKey>> {
        (self.gates.len() <= MOST_GATES).then(|| self.gates.into_iter().collect())
    }
}
