//! Health: what goes wrong at present, by loop, and how long to wait before trying again.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Entropy;
use crate::error::Error;
use crate::scheduler::Trouble;
use crate::time::Timestamp;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause: what a store that came back waits for at the most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What goes wrong at present.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<BTreeMap<&'static str, Trouble>>);

impl Health {
    /// A part works.
    pub(crate) fn works(&self, part: &'static str) {
        let mut troubles = self.0.lock();
        if !troubles.is_empty()
            && let Some(trouble) = troubles.remove(part)
        {
            tracing::info!(part, failures = trouble.failures, since = %trouble.since_time, "works again");
        }
    }

    /// A part failed; says how long to wait: doubling, with half of it up to chance so that nodes don't come back in
    /// step.
    pub(crate) fn failed(
        &self,
        part: &'static str,
        error: &Error,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Duration {
        metrics::counter!(crate::telemetry::ERRORS, "part" => part, "kind" => error.kind().as_str())
            .increment(1);
        let mut troubles = self.0.lock();
        let trouble = troubles.entry(part).or_insert_with(|| Trouble {
            part: part.to_owned(),
            since_time: now,
            failures: 0,
            error: String::new(),
        });
        trouble.failures += 1;
        trouble.error = error.to_string();
        let failures = trouble.failures;
        drop(troubles);
        // Each outage is told once per power of two, not once per try.
        if failures.is_power_of_two() {
            tracing::warn!(part, failures, %error, "failed; trying again");
        }
        let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        let share = (entropy.next_u64() % 1_000) as u32;
        pause / 2 + (pause / 2) * share / 1_000
    }

    /// What goes wrong at present.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        self.0.lock().values().cloned().collect()
    }
}
