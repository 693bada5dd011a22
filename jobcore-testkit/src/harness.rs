//! A harness for application tests: jobs run in memory, on a clock that the test moves, step by step.
//!
//! ```
//! use std::time::Duration;
//! use jobcore::{HandlerError, JobBuilder, SchedulerExt, TaskContext};
//! use jobcore_testkit::harness::Harness;
//!
//! async fn report((): (), _: TaskContext) -> Result<&'static str, HandlerError> {
//!     Ok("sent")
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> jobcore::Result<()> {
//! let harness = Harness::builder().handler("report", report).start().await?;
//! harness.put_job(JobBuilder::handler("report").cron("0 9 * * *")).await?;
//!
//! // The harness begins at 2026-01-01T00:00:00Z.
//! harness.assert_scheduled("report", "2026-01-01T09:00:00Z");
//! harness.advance(Duration::from_secs(3 * 86_400)).await;
//! let ran = harness.assert_ran_times("report", 3);
//! assert_eq!(ran[0].output::<String>(), "sent");
//! # Ok(()) }
//! ```
//!
//! The harness is itself a [`Scheduler`](jobcore::Scheduler), so the code under test can be given it. Two modes:
//!
//! - **drain** (default): a trigger only makes a task, as in production; [`drain`](Harness::drain) carries out
//!   everything that is due, with what it leads to, and [`advance`](Harness::advance) and
//!   [`travel_to`](Harness::travel_to) do so at each instant on the way.
//! - **inline** ([`HarnessBuilder::inline`]): what is triggered for now is carried out before `trigger` returns, and
//!   a task that doesn't succeed is the error that `trigger` returns.
//!
//! # How it works, and what it leaves out
//!
//! The harness steps through the pure engine and the in-memory store: it fires, promotes, claims, carries out and
//! settles one task after the other, in the caller's own async task. An engine under paused time would need no such
//! loop, but handlers that wait for a socket or a database misbehave while time is paused, thousands of heartbeats
//! would have to run for each hour travelled, and what runs first would be up to the runtime. So schedules, misfires,
//! gates, retries, snoozes, checkpoints, unique keys and at-most-once are the real ones; concurrency, leases that run
//! out, draining, and the cancelling of a running attempt are not simulated. Which group or labels a job wants of its
//! executor is ignored. An attempt's timeout counts real time, everything else the harness's clock.

mod assertions;
mod builder;
mod ran;
mod scheduler;
mod step;

use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::{Clock, SeededEntropy};
use jobcore::executor::Executor;
use jobcore::job::JobKind;
use jobcore::lease::Holder;
use jobcore::memory::MemoryStore;
use jobcore::{Engine, Timestamp};

use crate::clock::ManualClock;
pub use assertions::Instant;
pub use builder::HarnessBuilder;
pub use ran::Ran;

/// Carries out an application's jobs in memory, step by step. See the [module](self).
#[derive(Debug)]
pub struct Harness {
    /// Answers as a scheduler; carries out nothing.
    engine: Engine,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    entropy: Arc<SeededEntropy>,
    executors: Executors,
    holder: Holder,
    mode: Mode,
}

/// When tasks are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Drain,
    Inline,
}

struct Executors(Vec<(JobKind, Arc<dyn Executor>)>);

impl std::fmt::Debug for Executors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(kind, _)| kind))
            .finish()
    }
}

impl Harness {
    /// Begins to set a harness up.
    pub fn builder() -> HarnessBuilder {
        HarnessBuilder::new()
    }

    /// The present instant of the harness.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The store, for what the assertions don't cover.
    pub fn store(&self) -> &Arc<MemoryStore> {
        &self.store
    }

    /// Carries out everything that is due now, and what that leads to now, until nothing is left; says how many
    /// attempts that took. What is due later stays, retries with a pause included.
    ///
    /// # Panics
    /// After 100,000 attempts: then each of them makes another.
    pub async fn drain(&self) -> usize {
        self.drain_due().await
    }

    /// Lets time pass: carries out everything that comes due meanwhile at its own instant, and what is due at the end.
    /// Says how many attempts that took.
    ///
    /// # Panics
    /// As [`drain`](Self::drain).
    pub async fn advance(&self, by: Duration) -> usize {
        self.pass_until(self.now() + by).await
    }

    /// As [`advance`](Self::advance), until `time`.
    ///
    /// # Panics
    /// As [`drain`](Self::drain), and if `time` has passed already.
    pub async fn travel_to(&self, time: impl Instant) -> usize {
        let (time, now) = (time.instant(), self.now());
        assert!(
            time >= now,
            "the harness is at {now} and can't travel back to {time}"
        );
        self.pass_until(time).await
    }

    /// Lets time pass without anybody there to carry anything out, as when the service is down. What the
    /// [misfire policy](jobcore::misfire) makes of it shows at the next [`drain`](Self::drain).
    pub fn sleep_through(&self, time: Duration) {
        self.clock.advance(time);
    }
}
