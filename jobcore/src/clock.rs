//! Time and randomness, injected everywhere: what makes every decision repeatable in a test.
//!
//! This is the only module that asks the operating system for either.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::time::Timestamp;

/// A source of the present instant, and a way to wait for a later one.
///
/// An engine asks its store for the time at every heartbeat and adds the difference to its clock, so a clock only has
/// to advance steadily; it need not be right.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present instant. Never goes backwards.
    fn now(&self) -> Timestamp;

    /// Returns once [`now`](Self::now) is `time` or later.
    ///
    /// **Cancellation**: dropping the future leaves nothing behind.
    async fn sleep_until(&self, time: Timestamp);
}

/// The machine's own clock: wall time at its creation, then the time that has passed since, suspended time included.
///
/// A step of the wall clock by hand or NTP doesn't move it.
#[derive(Debug)]
pub struct SystemClock {
    wall: Timestamp,
    boot: Duration,
}

impl SystemClock {
    /// Starts from the present wall time.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    pub fn new() -> Self {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall: Timestamp::EPOCH + wall,
            boot: since_boot(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

/// How long one wait of the timer may last before the clock is looked at again: a machine that was suspended
/// notices at most this much late.
const LONGEST_NAP: Duration = Duration::from_secs(2);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.wall + since_boot().saturating_sub(self.boot)
    }

    async fn sleep_until(&self, time: Timestamp) {
        loop {
            let left = time.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST_NAP)).await;
        }
    }
}

/// The time since the machine was started, suspended time included.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    clock.now().map(Duration::from).unwrap_or_default()
}

/// A source of random numbers: for ids, jitter and back-off. Not for secrets.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// 64 random bits.
    fn next_u64(&self) -> u64;
}

/// Randomness of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// Repeatable randomness from a seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }
}
