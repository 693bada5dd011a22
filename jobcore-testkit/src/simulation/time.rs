//! Time: the world's own, which nobody can see, and the skewed clocks of the store and of each process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jobcore::Timestamp;
use jobcore::clock::Clock;
use tokio::time::Instant;

use super::process::Process;

/// Where the world's time begins: 2026-01-01T00:00:00Z.
pub(super) const ORIGIN: Timestamp = Timestamp::from_secs(1_767_225_600);

/// The world's time: tokio's paused one.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorldTime(Instant);

impl WorldTime {
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    pub(super) fn passed(self) -> Duration {
        self.0.elapsed()
    }

    fn now(self) -> Timestamp {
        ORIGIN + self.passed()
    }
}

/// The store's clock: by it leases are judged. Now and then it jumps, in both directions.
#[derive(Debug)]
pub(super) struct StoreTime {
    time: WorldTime,
    offset_micros: AtomicI64,
}

impl StoreTime {
    pub(super) const fn new(time: WorldTime) -> Self {
        Self {
            time,
            offset_micros: AtomicI64::new(0),
        }
    }

    pub(super) fn jump(&self, millis: i64) {
        self.offset_micros.fetch_add(millis * 1_000, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for StoreTime {
    fn now(&self) -> Timestamp {
        shifted(self.time.now(), &self.offset_micros)
    }

    /// The store only reads its clock.
    async fn sleep_until(&self, time: Timestamp) {
        tokio::time::sleep(time.since(self.now())).await;
    }
}

/// The clock of a process's machine: wrong by hours, and it jumps forward; whoever sleeps by it is stopped with the
/// process.
#[derive(Debug)]
pub(super) struct ProcessClock {
    time: WorldTime,
    process: Arc<Process>,
}

impl ProcessClock {
    pub(super) const fn new(time: WorldTime, process: Arc<Process>) -> Self {
        Self { time, process }
    }
}

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        shifted(self.time.now(), &self.process.offset_micros)
    }

    async fn sleep_until(&self, time: Timestamp) {
        loop {
            let changed = self.process.changed.notified();
            self.process.runs().await;
            let left = time.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

fn shifted(time: Timestamp, offset_micros: &AtomicI64) -> Timestamp {
    Timestamp::from_micros(time.as_micros() + offset_micros.load(Ordering::Relaxed))
}
