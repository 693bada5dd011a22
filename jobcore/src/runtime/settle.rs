//! Settling: results gather for a moment and are recorded together.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::fire::reschedule_after;
use super::leases::Leases;
use super::node::Node;
use crate::engine::fire::counts_from_end;
use crate::error::Result;
use crate::event::Event;
use crate::gate::GateKey;
use crate::job::Job;
use crate::lease::FencingToken;
use crate::store::{Next, SettleOutcome, Settlement};
use crate::task::TaskState;
use crate::telemetry;
use crate::time::Timestamp;

/// How many batches of results may wait before workers are slowed.
const MOST_BATCHES: usize = 8;

/// Gathers results and records them.
pub(crate) struct Settler {
    node: Arc<Node>,
    leases: Arc<Leases>,
    pending: Mutex<Pending>,
    /// There is something to record.
    work: Notify,
    /// There is a batch, or no reason to wait for one.
    hurry: Notify,
    /// Something was recorded.
    recorded: Notify,
}

#[derive(Default)]
struct Pending {
    results: Vec<Settlement>,
    /// Its job, unless nobody knows: then it is only handed back.
    jobs: Vec<Option<Arc<Job>>>,
    /// How many are being recorded.
    in_flight: usize,
}

impl Pending {
    fn is_done(&self) -> bool {
        self.results.is_empty() && self.in_flight == 0
    }
}

impl Settler {
    pub(crate) fn new(node: Arc<Node>, leases: Arc<Leases>) -> Self {
        let pending = Mutex::new(Pending::default());
        Self {
            node,
            leases,
            pending,
            work: Notify::new(),
            hurry: Notify::new(),
            recorded: Notify::new(),
        }
    }

    /// Hands over a result; waits while too many others wait, so that a slow store slows the workers.
    pub(crate) async fn push(&self, settlement: Settlement, job: &Arc<Job>) {
        let most = self.node.config.settle_batch * MOST_BATCHES;
        loop {
            let recorded = self.recorded.notified();
            if self.pending.lock().results.len() < most {
                break;
            }
            recorded.await;
        }
        self.push_at_once(settlement, Some(job));
    }

    /// Hands over a result without waiting: for hand-backs, which are bounded by what was claimed.
    pub(crate) fn push_at_once(&self, settlement: Settlement, job: Option<&Arc<Job>>) {
        let mut pending = self.pending.lock();
        pending.results.push(settlement);
        pending.jobs.push(job.cloned());
        let waiting = pending.results.len();
        drop(pending);
        if waiting == 1 {
            self.work.notify_one();
        }
        if waiting == self.node.config.settle_batch {
            self.hurry.notify_one();
        }
    }

    /// No more results are to be expected soon.
    pub(crate) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Waits until everything that was handed over is recorded.
    pub(crate) async fn flushed(&self) {
        loop {
            let recorded = self.recorded.notified();
            if self.pending.lock().is_done() {
                return;
            }
            self.hurry();
            recorded.await;
        }
    }

    /// Runs until the node ends.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let waiting = self.pending.lock().results.len();
            if waiting == 0 {
                self.work.notified().await;
            }
            if waiting < self.node.config.settle_batch {
                self.gather().await;
            }
            self.record().await;
            self.recorded.notify_waiters();
        }
    }

    async fn gather(&self) {
        let until = self.node.now() + self.node.config.settle_delay;
        tokio::select! {
            biased;
            () = self.hurry.notified() => {}
            () = self.node.sleep_until(until) => {}
        }
    }

    async fn record(&self) {
        let (batch, jobs) = self.take();
        if batch.is_empty() {
            return;
        }
        metrics::histogram!(telemetry::SETTLE_BATCH).record(batch.len() as f64);
        if self.record_batch(&batch, &jobs).await.is_err() {
            // One result that the store refuses must not take the others with it.
            for (settlement, job) in batch.iter().zip(&jobs) {
                let one = (std::slice::from_ref(settlement), std::slice::from_ref(job));
                // Refused by itself: the error is in the log, and the task is handed back when its lease is closed.
                let _ = self.record_batch(one.0, one.1).await;
            }
        }
        self.close_leases(&batch);
        self.pending.lock().in_flight = 0;
    }

    /// Records results until there is an answer: recording again what was recorded is answered as such, so an answer
    /// that got lost does no harm.
    async fn record_batch(&self, batch: &[Settlement], jobs: &[Option<Arc<Job>>]) -> Result<()> {
        let now = self.node.now();
        let settle = || self.node.store.settle(batch.to_vec(), now);
        let outcomes = self.node.persist("settle", settle).await?;
        self.digest(batch, jobs, &outcomes, now);
        Ok(())
    }

    fn take(&self) -> (Vec<Settlement>, Vec<Option<Arc<Job>>>) {
        let mut pending = self.pending.lock();
        let count = pending.results.len().min(self.node.config.settle_batch);
        pending.in_flight = count;
        (
            pending.results.drain(..count).collect(),
            pending.jobs.drain(..count).collect(),
        )
    }

    /// Draws the consequences of what was recorded.
    pub(crate) fn digest(
        &self,
        batch: &[Settlement],
        jobs: &[Option<Arc<Job>>],
        outcomes: &[SettleOutcome],
        now: Timestamp,
    ) {
        let mut fenced = 0;
        let mut ended = Vec::new();
        for ((settlement, job), outcome) in batch.iter().zip(jobs).zip(outcomes) {
            match outcome {
                SettleOutcome::Settled { state, gates } => {
                    self.follow(settlement, job.as_deref(), *state, gates);
                    if let Some(job) = job
                        .as_ref()
                        .filter(|job| state.is_final() && counts_from_end(job))
                    {
                        let end_time = settlement
                            .attempt
                            .as_ref()
                            .map_or(now, |attempt| attempt.end_time);
                        ended.push((job.job_id.clone(), end_time));
                    }
                }
                SettleOutcome::AlreadySettled => {}
                SettleOutcome::Fenced => fenced += 1,
            }
        }
        if !ended.is_empty() {
            let node = self.node.clone();
            self.node
                .spawn(async move { reschedule_after(&node, &ended).await });
        }
        metrics::counter!(telemetry::FENCED, "write" => "settle").increment(fenced);
    }

    /// What a recorded result leads to: an event, and wake-ups for what can go on now.
    fn follow(&self, settlement: &Settlement, job: Option<&Job>, state: TaskState, gates: &[GateKey]) {
        if let Some(job) = job {
            self.node.emit(|| Event::Task {
                task_id: settlement.fence.task_id.clone(),
                job_id: job.job_id.clone(),
                state,
                attempt: settlement.fence.attempt,
            });
        }
        let wake = &self.node.wake;
        wake.promote.gates(gates);
        match &settlement.next {
            _ if state == TaskState::Ready => wake.claim.notify_one(),
            Next::Retry { due_time } | Next::Again { due_time } if !state.is_final() => {
                wake.promote.due(*due_time)
            }
            _ => {}
        }
    }

    fn close_leases(&self, batch: &[Settlement]) {
        // Neighbours in a batch mostly belong to one lease: one look-up for each run of them.
        let mut tokens = batch.iter().map(|settlement| settlement.fence.token);
        let Some(mut token) = tokens.next() else { return };
        let mut count = 1;
        for next in tokens.chain([FencingToken(u64::MAX)]) {
            if next == token {
                count += 1;
            } else {
                self.leases.settled(token, count);
                (token, count) = (next, 1);
            }
        }
    }
}
