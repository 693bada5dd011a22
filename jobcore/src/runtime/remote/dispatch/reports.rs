//! Reports: starts, progress and ends of remote attempts, recorded in batches and only then acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use super::Dispatcher;
use crate::engine::remote::{fence, settlement};
use crate::error::Result;
use crate::event::Event;
use crate::id::{ExecutorId, JobId, TaskId};
use crate::job::{Delivery, Job};
use crate::lease::Fence;
use crate::retry::RetryPolicy;
use crate::runtime::remote::ledger::Key;
use crate::store::{
    AttemptEnd, MAX_BATCH, Next, SaveOutcome, SaveProgress, SettleOutcome, Settlement, Start, StartOutcome,
};
use crate::task::{Task, TaskState};
use crate::telemetry;
use crate::transport::{ControlMessage, Report, ReportEvent, StartMode};

/// Records reports; runs until the node ends.
pub(super) async fn run(dispatcher: Arc<Dispatcher>) {
    let node = &dispatcher.node;
    loop {
        match dispatcher.transport.reports().await {
            Ok(batch) => {
                dispatcher.record(batch.messages).await;
                if let Err(error) = dispatcher.transport.acknowledge(batch.id).await {
                    node.back_off("acknowledge", &error).await;
                }
            }
            Err(error) => node.back_off("reports", &error).await,
        }
    }
}

/// What the store knows of the tasks that reports are about.
struct Known {
    tasks: BTreeMap<TaskId, Task>,
    jobs: BTreeMap<JobId, Arc<Job>>,
}

/// What reports lead to.
#[derive(Default)]
struct Plan {
    starts: Vec<(Start, JobId, StartMode)>,
    saves: Vec<(SaveProgress, Option<u64>)>,
    settlements: Vec<(Settlement, Option<Arc<Job>>)>,
}

/// What to tell executors.
#[derive(Default)]
struct Replies(BTreeMap<ExecutorId, Vec<ControlMessage>>);

impl Replies {
    fn add(
        &mut self,
        fence: &Fence,
        message: impl FnOnce(TaskId, crate::lease::FencingToken) -> ControlMessage,
    ) {
        let messages = self.0.entry(fence.holder.executor_id.clone()).or_default();
        messages.push(message(fence.task_id.clone(), fence.token));
    }

    fn close(&mut self, fence: &Fence) {
        self.add(fence, |task_id, token| ControlMessage::Closed { task_id, token });
    }
}

impl Dispatcher {
    async fn record(&self, reports: Vec<Report>) {
        let Ok(known) = self.look_up(&reports).await else {
            // What can't be read was counted; the executors repeat what matters.
            return;
        };
        let mut plan = self.plan(reports, &known);
        let mut replies = Replies::default();
        self.record_starts(&mut plan, &mut replies).await;
        self.record_saves(plan.saves, &mut replies).await;
        self.record_ends(plan.settlements, &mut replies).await;
        for (executor_id, messages) in replies.0 {
            let mut address = self.fleet.lock().address(&executor_id);
            if address.is_none() && self.refresh().await.is_ok() {
                address = self.fleet.lock().address(&executor_id);
            }
            if let Some(address) = address {
                self.tell(&address, messages).await;
            }
        }
    }

    async fn look_up(&self, reports: &[Report]) -> Result<Known> {
        let node = &self.node;
        let ids: BTreeSet<&TaskId> = reports.iter().map(|report| &report.task_id).collect();
        let ids: Vec<TaskId> = ids.into_iter().cloned().collect();
        let mut tasks = BTreeMap::new();
        for ids in ids.chunks(MAX_BATCH) {
            let found = node.persist("reports", || node.store.get_tasks(ids)).await?;
            tasks.extend(
                found
                    .into_iter()
                    .flatten()
                    .map(|task| (task.task_id.clone(), task)),
            );
        }
        let ended = reports
            .iter()
            .filter(|report| matches!(report.event, ReportEvent::Finished(_)));
        let ids: BTreeSet<JobId> = ended
            .filter_map(|report| tasks.get(&report.task_id))
            .map(|task: &Task| task.job_id.clone())
            .collect();
        let ids: Vec<JobId> = ids.into_iter().collect();
        let mut jobs = BTreeMap::new();
        for ids in ids.chunks(MAX_BATCH) {
            let found = node.persist("reports", || node.store.get_jobs(ids)).await?;
            jobs.extend(found.into_iter().flatten().map(|job| (job.job_id.clone(), job)));
        }
        Ok(Known { tasks, jobs })
    }

    fn plan(&self, reports: Vec<Report>, known: &Known) -> Plan {
        let mut plan = Plan::default();
        let mut over: BTreeSet<Key> = BTreeSet::new();
        // The last report of a task first: after its end nothing else about it matters.
        for report in reports.into_iter().rev() {
            let task = known.tasks.get(&report.task_id);
            let Some((fence, task)) = fence(&report, task).zip(task) else {
                metrics::counter!(telemetry::REPORTS_DROPPED, "reason" => "unknown").increment(1);
                continue;
            };
            let key = (fence.task_id.clone(), fence.token);
            if over.contains(&key) {
                continue;
            }
            match report.event {
                ReportEvent::Started { start_time } => {
                    let start = Start { fence, start_time };
                    plan.starts.push((start, task.job_id.clone(), start_mode(task)));
                }
                ReportEvent::Progress { progress, checkpoint } => {
                    let sequence = checkpoint.as_ref().map(|checkpoint| checkpoint.sequence);
                    let checkpoint = checkpoint.map(|checkpoint| checkpoint.value);
                    let save = SaveProgress {
                        fence,
                        checkpoint,
                        progress,
                    };
                    plan.saves.push((save, sequence));
                }
                ReportEvent::Finished(finished) => {
                    let job = known.jobs.get(&task.job_id).cloned();
                    let never = RetryPolicy::default();
                    let retry = job.as_ref().map_or(&never, |job| &job.definition.retry);
                    let random = self.node.entropy.next_u64();
                    match settlement(fence, finished, task.failures, retry, random) {
                        Some(settlement) => {
                            over.insert(key);
                            plan.settlements.push((settlement, job));
                        }
                        None => metrics::counter!(telemetry::REPORTS_DROPPED, "reason" => "not_an_end")
                            .increment(1),
                    }
                }
                ReportEvent::Returned { reason } => {
                    tracing::debug!(task_id = %fence.task_id, executor_id = %report.executor_id, reason, "task handed back");
                    over.insert(key);
                    plan.settlements.push((self.returned(fence, task), None));
                }
            }
        }
        plan.starts.reverse();
        plan.saves.reverse();
        plan.settlements.reverse();
        plan
    }

    /// A task that its executor says didn't begin: it waits again, also if its start was recorded.
    fn returned(&self, fence: Fence, task: &Task) -> Settlement {
        let now = self.node.now();
        let attempt = (task.state == TaskState::Running).then(|| AttemptEnd {
            status: crate::attempt::AttemptStatus::Released,
            start_time: task.start_time.unwrap_or(now),
            end_time: now,
            exit_code: None,
            output: String::new(),
            error: String::new(),
        });
        Settlement {
            fence,
            attempt,
            next: Next::Again { due_time: now },
            checkpoint: None,
        }
    }

    async fn record_starts(&self, plan: &mut Plan, replies: &mut Replies) {
        let (starts, about): (Vec<_>, Vec<_>) = plan
            .starts
            .drain(..)
            .map(|(start, job_id, mode)| (start, (job_id, mode)))
            .unzip();
        let store = &self.node.store;
        let outcomes = self
            .each("start", starts.clone(), |starts| store.start(starts))
            .await;
        for ((start, (job_id, mode)), outcome) in starts.into_iter().zip(about).zip(outcomes) {
            let fence = start.fence;
            match (outcome, mode) {
                (Some(StartOutcome::Started), mode) => {
                    metrics::counter!(telemetry::STARTS).increment(1);
                    self.tell_start(&fence, job_id);
                    if mode == StartMode::Confirm {
                        replies.add(&fence, |task_id, token| ControlMessage::Go { task_id, token });
                    }
                }
                (Some(StartOutcome::CancelRequested), StartMode::AtOnce) => {
                    replies.add(&fence, |task_id, token| ControlMessage::Cancel { task_id, token });
                }
                (Some(StartOutcome::CancelRequested), StartMode::Confirm) => {
                    let next = Next::Final {
                        state: TaskState::Cancelled,
                        reason: None,
                    };
                    let settlement = Settlement {
                        fence,
                        attempt: None,
                        next,
                        checkpoint: None,
                    };
                    plan.settlements.push((settlement, None));
                }
                (Some(StartOutcome::Fenced), _) => {
                    metrics::counter!(telemetry::FENCED, "write" => "start").increment(1);
                    replies.close(&fence);
                }
                (None, _) => {}
            }
        }
    }

    fn tell_start(&self, fence: &Fence, job_id: JobId) {
        self.node.emit(|| Event::Task {
            task_id: fence.task_id.clone(),
            job_id,
            state: TaskState::Running,
            attempt: fence.attempt,
        });
    }

    async fn record_saves(&self, saves: Vec<(SaveProgress, Option<u64>)>, replies: &mut Replies) {
        let (saves, sequences): (Vec<_>, Vec<_>) = saves.into_iter().unzip();
        let store = &self.node.store;
        let outcomes = self
            .each("progress", saves.clone(), |saves| store.save(saves))
            .await;
        for ((save, sequence), outcome) in saves.into_iter().zip(sequences).zip(outcomes) {
            match (outcome, sequence) {
                (Some(SaveOutcome::Saved), Some(sequence)) => {
                    replies.add(&save.fence, |task_id, token| ControlMessage::Saved {
                        task_id,
                        token,
                        sequence,
                    })
                }
                (Some(SaveOutcome::Fenced), _) => replies.close(&save.fence),
                (Some(SaveOutcome::Saved), None) | (None, _) => {}
            }
            if let (Some(SaveOutcome::Saved), Some(progress)) = (outcome, save.progress) {
                let task_id = save.fence.task_id;
                self.node.emit(|| Event::Progress { task_id, progress });
            }
        }
    }

    async fn record_ends(&self, settlements: Vec<(Settlement, Option<Arc<Job>>)>, replies: &mut Replies) {
        let now = self.node.now();
        let (settlements, jobs): (Vec<_>, Vec<_>) = settlements.into_iter().unzip();
        metrics::histogram!(telemetry::SETTLE_BATCH).record(settlements.len() as f64);
        let store = &self.node.store;
        let outcomes = self
            .each("settle", settlements.clone(), |batch| store.settle(batch, now))
            .await;
        let mut recorded = (Vec::new(), Vec::new(), Vec::new());
        for ((settlement, job), outcome) in settlements.into_iter().zip(jobs).zip(outcomes) {
            // What the store refuses to take is not repeated: the lease will tell what becomes of the task.
            let outcome = outcome.unwrap_or(SettleOutcome::Fenced);
            replies.close(&settlement.fence);
            let key = (settlement.fence.task_id.clone(), settlement.fence.token);
            self.closed(&settlement.fence.holder.executor_id, &key);
            recorded.0.push(settlement);
            recorded.1.push(job);
            recorded.2.push(outcome);
        }
        self.settler.digest(&recorded.0, &recorded.1, &recorded.2, now);
    }

    /// Has the store carry out all items, however long that takes: together, or if it can't take them together, one by
    /// one, so that a bad item costs only itself. `None` for what it can't take at all.
    async fn each<T, R, F>(
        &self,
        part: &'static str,
        items: Vec<T>,
        call: impl Fn(Vec<T>) -> F,
    ) -> Vec<Option<R>>
    where
        T: Clone,
        F: Future<Output = Result<Vec<R>>>,
    {
        let mut outcomes = Vec::with_capacity(items.len());
        for batch in items.chunks(MAX_BATCH) {
            if let Ok(together) = self.node.persist(part, || call(batch.to_vec())).await {
                outcomes.extend(together.into_iter().map(Some));
                continue;
            }
            for item in batch {
                let one = self.node.persist(part, || call(vec![item.clone()])).await;
                outcomes.push(one.ok().and_then(|outcomes| outcomes.into_iter().next()));
            }
        }
        outcomes
    }
}

/// How the task was to be started, as at its claim.
pub(super) fn start_mode(task: &Task) -> StartMode {
    if task.delivery == Delivery::AtMostOnce || task.is_suspect() {
        StartMode::Confirm
    } else {
        StartMode::AtOnce
    }
}
