//! Processes: single lives of a node's program, which can be stopped, cut off and killed.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use jobcore::id::ExecutorId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::program::Program;
use super::wire::Post;

/// Names a process: which node, and which of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Caller {
    pub(super) node: usize,
    pub(super) life: u32,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}.{}", self.node, self.life)
    }
}

/// How likely the calls of a process go wrong, in 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// Refused before they took effect.
    pub(super) refused: u64,
    /// Carried out, and the answer lost.
    pub(super) unanswered: u64,
    /// Carried out long after the caller was told that the answer was lost.
    pub(super) late: u64,
    /// Slow.
    pub(super) slow: u64,
}

/// One life of a node's program.
pub(super) struct Process {
    pub(super) caller: Caller,
    pub(super) executor_id: ExecutorId,
    /// By how much the clock of its machine is wrong.
    pub(super) offset_micros: AtomicI64,
    /// Something below changed.
    pub(super) changed: Notify,
    frozen: AtomicBool,
    dead: AtomicBool,
    cut: AtomicBool,
    unplugged: AtomicBool,
    pub(super) weather: Mutex<Weather>,
    pub(super) post: Mutex<Post>,
    pub(super) program: Mutex<Option<Program>>,
    /// How long after its death it is started again, and whether under a new id.
    pub(super) revival: Mutex<(Duration, Identity)>,
}

/// The id under which a node is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Same,
    New,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.caller, self.executor_id)
    }
}

impl Process {
    pub(super) fn new(caller: Caller, executor_id: ExecutorId, offset_micros: i64) -> Self {
        Self {
            caller,
            executor_id,
            offset_micros: AtomicI64::new(offset_micros),
            changed: Notify::new(),
            frozen: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            unplugged: AtomicBool::new(false),
            weather: Mutex::default(),
            post: Mutex::default(),
            program: Mutex::new(None),
            revival: Mutex::new((Duration::from_millis(500), Identity::Same)),
        }
    }

    /// Stops it as SIGSTOP does, or lets it go on.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Kills it.
    pub(super) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Parts it from the store, or joins them again.
    pub(super) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// Parts it from the wire, or joins them again.
    pub(super) fn unplug(&self, unplugged: bool) {
        self.unplugged.store(unplugged, Ordering::Relaxed);
    }

    pub(super) fn jump(&self, millis: i64) {
        self.offset_micros.fetch_add(millis * 1_000, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub(super) fn is_unplugged(&self) -> bool {
        self.unplugged.load(Ordering::Relaxed)
    }

    /// Returns while it runs; never once it is dead.
    pub(super) async fn runs(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.is_dead() && !self.frozen.load(Ordering::Relaxed) {
                return;
            }
            changed.await;
        }
    }

    /// Returns once it is dead.
    pub(super) async fn died(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_dead() {
                return;
            }
            changed.await;
        }
    }
}
