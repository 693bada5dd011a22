//! Chance: everything that a seed decides.

use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// A stream of decisions that is the same for the same seed.
#[derive(Debug)]
pub(super) struct Chance(Mutex<StdRng>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    pub(super) fn bits(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low + 1)
    }

    /// True in `per_mille` of 1,000 cases.
    pub(super) fn happens(&self, per_mille: u64) -> bool {
        per_mille > 0 && self.bits() % 1_000 < per_mille
    }

    pub(super) fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    pub(super) fn index(&self, length: usize) -> usize {
        (self.bits() % length.max(1) as u64) as usize
    }

    pub(super) fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }
}
