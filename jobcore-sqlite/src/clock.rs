//! The store's own clock, by which leases are judged.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use jobcore::Timestamp;
use jobcore::clock::Clock;

/// The machine's wall clock, read anew each time, so that all processes on one file agree; never backwards within one.
#[derive(Debug, Default)]
pub(crate) struct WallClock {
    latest: AtomicI64,
}

#[async_trait]
impl Clock for WallClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this crate that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(wall.as_micros()).unwrap_or(i64::MAX);
        let before = self.latest.fetch_max(wall, Ordering::Relaxed);
        Timestamp::from_micros(before.max(wall))
    }

    async fn sleep_until(&self, time: Timestamp) {
        /// A clock that is set forward is noticed this much late at the most.
        const LONGEST_NAP: Duration = Duration::from_secs(1);
        loop {
            let left = time.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST_NAP)).await;
        }
    }
}
