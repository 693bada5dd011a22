//! The load: a client that submits work, and watches what becomes of it.

use std::time::Duration;

use jobcore::clock::{Clock, Entropy, SeededEntropy, SystemClock};
use jobcore::id::{JobId, TaskId};
use jobcore::scheduler::PauseRequest;
use jobcore::store::{Expected, FinishedFilter, PageRequest, PauseState, TaskFilter};
use jobcore::task::TaskState;
use jobcore::{Engine, Result, Scheduler, Timestamp, Trigger};

use crate::fleet::{LEASE, STEP};
use crate::jobs::{SCHEDULED, TRIGGERED};

/// Submits work through an engine that neither schedules nor carries anything out, and is never harmed.
#[derive(Debug)]
pub struct Load {
    /// The engine.
    pub client: Engine,
    chance: SeededEntropy,
    clock: SystemClock,
    /// Tasks whose insert was acknowledged.
    pub accepted: Vec<TaskId>,
    /// Final tasks as they were seen on the way.
    pub seen_final: Vec<(TaskId, TaskState, Option<Timestamp>)>,
}

impl Load {
    /// A load by this engine.
    pub fn new(client: Engine, seed: u64) -> Self {
        Self {
            client,
            chance: SeededEntropy::new(seed),
            clock: SystemClock::new(),
            accepted: Vec::new(),
            seen_final: Vec::new(),
        }
    }

    /// Submits work until this instant.
    pub async fn submit_until(&mut self, end: Timestamp) {
        while self.clock.now() < end {
            self.submit().await;
            self.look().await;
            self.clock.sleep_until(self.clock.now() + STEP).await;
        }
    }

    /// A few tasks of each kind, some for later.
    async fn submit(&mut self) {
        let mut triggers = Vec::new();
        for _ in 0..12 {
            let random = self.chance.next_u64();
            let job = TRIGGERED[(random % 5) as usize];
            let seconds = match random >> 8 & 15 {
                0 => 2.0,
                1..4 => 0.3,
                _ => 0.01,
            };
            let delay = [Duration::ZERO, LEASE * 2][(random >> 16 & 1) as usize];
            let trigger = Trigger::new(job_id(job)).arguments(&seconds);
            let trigger = trigger.expect("invariant: a number is JSON");
            triggers.push(trigger.priority((random >> 24) as i32 % 3).after(delay));
        }
        // What isn't acknowledged may be there or not; what is must be.
        match self.client.trigger(triggers).await {
            Ok(made) => self
                .accepted
                .extend(made.iter().map(|made| made.task_id().clone())),
            Err(error) => println!("not accepted: {error}"),
        }
    }

    /// Notes what is final by now, to see later that it stayed so.
    async fn look(&mut self) {
        let newest = PageRequest::first(100);
        let finished = self
            .client
            .list_finished(&FinishedFilter::default(), &newest)
            .await;
        // Without an answer, as while the server is away, nothing was seen.
        let tasks = finished.into_iter().flat_map(|page| page.items);
        self.seen_final
            .extend(tasks.map(|task| (task.task_id, task.state, task.end_time)));
    }

    /// Stops the schedules.
    ///
    /// # Errors
    /// The store's.
    pub async fn pause_schedules(&self) -> Result<()> {
        let pause = |name: &&str| PauseRequest {
            job_id: job_id(name),
            expected: Expected::Any,
            to: PauseState::Paused,
        };
        let pauses = SCHEDULED.iter().map(pause).collect();
        self.client.pause_jobs(pauses).await.map(drop)
    }

    /// Waits until nothing is live, but no longer than `bound`.
    ///
    /// # Errors
    /// The store's.
    pub async fn all_final(&self, bound: Timestamp) -> Result<()> {
        let any = TaskFilter::default();
        while self.clock.now() < bound {
            let live = self.client.list_tasks(&any, &PageRequest::first(1)).await?;
            if live.items.is_empty() {
                break;
            }
            self.clock.sleep_until(self.clock.now() + STEP).await;
        }
        Ok(())
    }
}

/// The id of one of the [`jobs`](crate::jobs).
///
/// # Panics
/// If it can't be one.
pub fn job_id(name: &str) -> JobId {
    JobId::new(name).expect("invariant: the names of the jobs are ids")
}
