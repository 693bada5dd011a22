//! A clock that stands still until a test moves it.

use std::time::Duration;

use async_trait::async_trait;
use jobcore::Timestamp;
use jobcore::clock::Clock;
use tokio::sync::watch;

/// A [`Clock`] that a test moves by hand.
///
/// Give the same one to a store as its own clock, to an engine, or to both.
///
/// ```
/// use jobcore::{Timestamp, clock::Clock};
/// use jobcore_testkit::clock::ManualClock;
/// use std::time::Duration;
///
/// let clock = ManualClock::new(Timestamp::from_secs(1_000));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now(), Timestamp::from_secs(1_005));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Timestamp>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now: watch::Sender::new(now),
        }
    }

    /// Moves it on, and wakes those who wait for an instant up to then.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = *now + by);
    }

    /// Moves it to `time`, unless it is past that already.
    pub fn advance_to(&self, time: Timestamp) {
        self.now.send_modify(|now| *now = time.max(*now));
    }
}

impl Default for ManualClock {
    /// A clock that shows 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(Timestamp::from_secs(1_767_225_600))
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, time: Timestamp) {
        let mut now = self.now.subscribe();
        now.wait_for(|now| *now >= time)
            .await
            .expect("invariant: the sender lives as long as the clock");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn sleepers_wake_when_their_instant_comes() {
        let clock = Arc::new(ManualClock::default());
        let end = clock.now() + Duration::from_secs(10);
        let sleeper = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move {
                clock.sleep_until(end).await;
                clock.now()
            }
        });
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance_to(end);
        assert_eq!(sleeper.await.unwrap(), end);
        clock.advance_to(Timestamp::EPOCH);
        assert_eq!(clock.now(), end, "a clock never goes backwards");
    }
}
