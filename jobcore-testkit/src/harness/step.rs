//! The loops of the engine, taken one step at a time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use jobcore::attempt::{LogChunk, LogStream};
use jobcore::clock::Entropy;
use jobcore::engine::attempt::{Ended, decide};
use jobcore::engine::fire;
use jobcore::executor::{AttemptSetup, Outcome, Output, Reporter, TaskContext};
use jobcore::handler::panic_outcome;
use jobcore::id::ClaimId;
use jobcore::job::Job;
use jobcore::json::Json;
use jobcore::lease::{ClaimedTask, Fence, FencingToken};
use jobcore::memory::MemoryStore;
use jobcore::store::*;
use jobcore::task::{Progress, TaskState};
use jobcore::{Error, ErrorKind, HandlerError, Result, Timestamp};

use super::Harness;

/// More than this in one drain, and each task makes another.
const MOST_ATTEMPTS: usize = 100_000;

/// The in-memory store refuses nothing that the harness asks for.
const STORE: &str = "invariant: the in-memory store doesn't fail";

impl Harness {
    pub(super) async fn drain_due(&self) -> usize {
        let mut attempts = 0;
        loop {
            let fired = self.fire_due().await.expect(STORE);
            self.promote().await.expect(STORE);
            let claimed = self.claim_one().await.expect(STORE);
            let Some((claimed, token)) = claimed else {
                if fired {
                    continue;
                }
                return attempts;
            };
            self.carry_out(claimed, token).await.expect(STORE);
            attempts += 1;
            assert!(
                attempts < MOST_ATTEMPTS,
                "{attempts} attempts and still something is due at {}: does each task make another?",
                self.now()
            );
        }
    }

    /// From one due instant to the next.
    pub(super) async fn pass_until(&self, end: Timestamp) -> usize {
        let mut attempts = self.drain_due().await;
        while let Some(next) = self.next_instant(end).await.expect(STORE) {
            self.clock.advance_to(next);
            attempts += self.drain_due().await;
        }
        self.clock.advance_to(end);
        attempts + self.drain_due().await
    }

    /// When something comes due next, up to `end`.
    async fn next_instant(&self, end: Timestamp) -> Result<Option<Timestamp>> {
        let now = self.now();
        let fires = self.due_jobs(end).await?;
        let waiting = self.promote().await?;
        let times = fires.iter().filter_map(|job| fire::due_time(job)).chain(waiting);
        Ok(times.filter(|time| *time > now && *time <= end).min())
    }

    /// Jobs whose next fire time isn't later than `until`. Jitter may make them due later.
    async fn due_jobs(&self, until: Timestamp) -> Result<Vec<Arc<Job>>> {
        let mut due = DueJobs {
            until,
            after: None,
            limit: MAX_BATCH,
        };
        let mut jobs = Vec::new();
        loop {
            let page = self.store.due_jobs(&due).await?;
            let is_last = page.len() < due.limit;
            due.after = page
                .last()
                .and_then(|job| Some((job.next_fire_time?, job.job_id.clone())));
            jobs.extend(page);
            if is_last {
                return Ok(jobs);
            }
        }
    }

    /// Fires what is due; says whether anything was.
    async fn fire_due(&self) -> Result<bool> {
        let now = self.now();
        let mut fired = false;
        for job in self.due_jobs(now).await? {
            if fire::due_time(&job).is_some_and(|time| time <= now) {
                let fire = self.plan_fire(&job, now).await?;
                fired |= self.store.fire(vec![fire]).await?.contains(&FireOutcome::Fired);
            }
        }
        Ok(fired)
    }

    async fn plan_fire(&self, job: &Job, now: Timestamp) -> Result<Fire> {
        if fire::counts_from_end(job) {
            let of_job = TaskFilter {
                job_id: Some(job.job_id.clone()),
                ..TaskFilter::default()
            };
            let live = self
                .store
                .list_tasks(&of_job, &PageRequest::first(1))
                .await?
                .items
                .pop();
            if let Some(task) = live {
                // The end of the task sets the true time.
                let next = fire::next_after_end(job, now.max(task.due_time));
                return Ok(fire::reschedule(job, next, now));
            }
        }
        let executors = self.store.list_executors(&ExecutorFilter::default()).await?;
        let online = fire::broadcast_targets(job, &executors);
        Ok(fire::plan(job, &online, &*self.entropy, now)
            .unwrap_or_else(|error| fire::refuse(job, error.to_string(), now)))
    }

    /// Moves on what waits; says when to come back.
    async fn promote(&self) -> Result<Option<Timestamp>> {
        loop {
            let request = PromoteRequest {
                now: self.now(),
                gates: None,
                limit: MAX_BATCH,
            };
            let promoted = self.store.promote(request).await?;
            if !promoted.more {
                return Ok(promoted.next_due_time);
            }
        }
    }

    /// Whatever its lane: where a task may run is none of an application test's concern.
    async fn claim_one(&self) -> Result<Option<(ClaimedTask, FencingToken)>> {
        let now = self.now();
        let mut lanes = self.store.lanes().await?;
        lanes.sort_by_key(|lane| lane.is_quarantine());
        let request = ClaimRequest {
            claim_id: ClaimId::generate(now, &*self.entropy),
            replay: false,
            holder: self.holder.clone(),
            lanes,
            limit: 1,
            max_held: None,
            start_before: None,
            now,
        };
        match self.store.claim(request).await? {
            ClaimOutcome::Claimed(lease) => {
                let token = lease.token;
                Ok(lease.tasks.into_iter().next().map(|claimed| (claimed, token)))
            }
            ClaimOutcome::Nothing => Ok(None),
            refused => Err(Error::new(
                ErrorKind::Corrupt,
                format!("the harness was refused a claim: {refused:?}"),
            )),
        }
    }

    async fn carry_out(&self, claimed: ClaimedTask, token: FencingToken) -> Result<()> {
        let fence = claimed.fence(token, &self.holder);
        let (job, failures, start_time) = (claimed.job.clone(), claimed.task.failures, self.now());
        let start = Start {
            fence: fence.clone(),
            start_time,
        };
        let started = self.store.start(vec![start]).await?;
        let (attempt, next) = if started.contains(&StartOutcome::Started) {
            let cx = TaskContext::new(AttemptSetup {
                claimed,
                fence: fence.clone(),
                start_time,
                clock: self.clock.clone(),
                reporter: Arc::new(Direct(self.store.clone())),
            });
            let outcome = self.execute(&job, cx).await;
            let ended = Ended {
                retry: &job.definition.retry,
                failures,
                ending: None,
                start_time,
                end_time: self.now(),
                random: self.entropy.next_u64(),
            };
            let (attempt, next) = decide(outcome, &ended);
            (Some(attempt), next)
        } else {
            let next = Next::Final {
                state: TaskState::Cancelled,
                reason: None,
            };
            (None, next)
        };
        let settlement = Settlement {
            fence,
            attempt,
            next,
            checkpoint: None,
        };
        let settled = self.store.settle(vec![settlement], self.now()).await?;
        if let [SettleOutcome::Settled { state, .. }] = settled.as_slice()
            && state.is_final()
        {
            self.follow(&job).await?;
        }
        Ok(())
    }

    /// The next fire of a fixed delay counts from the end of its task.
    async fn follow(&self, job: &Job) -> Result<()> {
        let found = self.store.get_jobs(std::slice::from_ref(&job.job_id)).await?;
        let counting = found
            .into_iter()
            .flatten()
            .filter(|job| fire::counts_from_end(job));
        for job in counting.filter(|job| job.next_fire_time.is_some()) {
            let next = fire::next_after_end(&job, self.now());
            let fire = fire::reschedule(&job, next, self.now());
            // A conflict would mean that the handler changed its own job, whose new plan then holds.
            let _ = self.store.fire(vec![fire]).await?;
        }
        Ok(())
    }

    async fn execute(&self, job: &Job, cx: TaskContext) -> Outcome {
        let kind = job.definition.command.kind;
        let Some((_, executor)) = self.executors.0.iter().rfind(|(own, _)| *own == kind) else {
            let message =
                format!("the harness has no executor for jobs of kind {kind}; add one to its builder");
            return HandlerError::fatal(message).into_outcome();
        };
        let work = AssertUnwindSafe(executor.execute(cx)).catch_unwind();
        let answer = match job.definition.timeout {
            None => work.await,
            Some(timeout) => match tokio::time::timeout(timeout, work).await {
                Ok(answer) => answer,
                Err(_) => return Outcome::TimedOut(Output::default()),
            },
        };
        answer.unwrap_or_else(|panic| panic_outcome(&*panic))
    }
}

/// Writes what an attempt reports straight to the store.
struct Direct(Arc<MemoryStore>);

impl Direct {
    async fn save(&self, fence: Fence, checkpoint: Option<Json>, progress: Option<Progress>) -> Result<()> {
        let update = SaveProgress {
            fence,
            checkpoint,
            progress,
        };
        match self.0.save(vec![update]).await?.as_slice() {
            [SaveOutcome::Saved] => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Conflict,
                "the lease is no longer valid; stop",
            )),
        }
    }
}

#[async_trait]
impl Reporter for Direct {
    async fn log(&self, cx: &TaskContext, stream: LogStream, text: String) {
        let chunk = LogChunk {
            task_id: cx.task_id().clone(),
            attempt: cx.attempt(),
            sequence: cx.next_log_sequence(),
            stream,
            log_time: cx.clock().now(),
            text,
        };
        self.0.append_logs(vec![chunk]).await.expect(STORE);
    }

    fn progress(&self, cx: &TaskContext, progress: Progress) {
        let saved = self.save(cx.fence().clone(), None, Some(progress)).now_or_never();
        // What a stale attempt says of its progress is of no interest.
        let _ = saved.expect("invariant: the in-memory store answers at once");
    }

    async fn checkpoint(&self, cx: &TaskContext, checkpoint: Json) -> Result<()> {
        self.save(cx.fence().clone(), Some(checkpoint), None).await
    }

    fn lease_until(&self) -> Option<Timestamp> {
        None
    }
}
