//! The engine as a [`Scheduler`]: checks input, plans with the pure engine, writes, and wakes whom it concerns.

use std::sync::Arc;

use async_trait::async_trait;

use super::engine::Engine;
use super::enqueue::{Hints, TriggerPlan, changed_job, no_such_job, triggered};
use crate::attempt::{Attempt, LogChunk};
use crate::engine::fire;
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::id::{ExecutorId, JobId, TaskId};
use crate::job::Job;
use crate::schedule::PreviewEntry;
use crate::scheduler::{
    Cancel, CancelSummary, CancelTarget, ExecutorOrder, PauseRequest, Preview, PreviewOf, PutJobRequest,
    Scheduler, SystemStatus, Trigger, Triggered,
};
use crate::store::{
    AttemptFilter, CancelTasks, CancelWhich, Cancelled, ChangeOutcome, ChangeTask, Changes, Cursor, Decision,
    DeleteJob, DeleteJobOutcome, ExecutorFilter, ExecutorRecord, ExecutorStatus, FinishedFilter, JobFilter,
    MAX_BATCH, Page, PageRequest, PauseJob, PauseState, PutJobOutcome, ReadLogs, SetExecutorStatus,
    SetExecutorStatusOutcome, TaskFilter,
};
use crate::task::{Task, TaskState};
use crate::time::Timestamp;

#[async_trait]
impl Scheduler for Engine {
    async fn put_jobs(&self, jobs: Vec<PutJobRequest>) -> Result<Vec<PutJobOutcome>> {
        let plan = self.plan_jobs(jobs).await?;
        let mut outcomes = Vec::with_capacity(plan.jobs.len());
        for batch in plan.jobs.chunks(MAX_BATCH) {
            outcomes.extend(self.shared.node.store.put_jobs(batch.to_vec()).await?);
        }
        self.jobs_changed(outcomes.iter().filter_map(changed_job));
        Ok(outcomes)
    }

    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>> {
        let mut jobs = Vec::with_capacity(job_ids.len());
        for batch in job_ids.chunks(MAX_BATCH) {
            jobs.extend(self.shared.node.store.get_jobs(batch).await?);
        }
        Ok(jobs)
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Arc<Job>>> {
        self.shared.node.store.list_jobs(filter, page).await
    }

    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>> {
        self.check_open()?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for batch in jobs.chunks(MAX_BATCH) {
            outcomes.extend(self.shared.node.store.delete_jobs(batch.to_vec()).await?);
        }
        let deleted = |(job, outcome): (&DeleteJob, &DeleteJobOutcome)| {
            (*outcome == DeleteJobOutcome::Deleted).then(|| job.job_id.clone())
        };
        let gone: Vec<JobId> = jobs.iter().zip(&outcomes).filter_map(deleted).collect();
        self.jobs_changed(gone.iter().cloned());
        for job_id in gone {
            // What is left if this fails is settled when it is claimed, promoted or recovered.
            self.cancel(Cancel::job(job_id, "job deleted")).await?;
        }
        Ok(outcomes)
    }

    async fn pause_jobs(&self, jobs: Vec<PauseRequest>) -> Result<Vec<PutJobOutcome>> {
        self.check_open()?;
        let node = &self.shared.node;
        let now = node.now();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.job_id.clone()).collect();
        let existing = self.get_jobs(&ids).await?;
        let plan = |(request, job): (PauseRequest, Option<Arc<Job>>)| PauseJob {
            job_id: request.job_id,
            expected: request.expected,
            to: request.to,
            next_fire_time: job
                .filter(|_| request.to == PauseState::Active)
                .and_then(|job| first_fire(&job, now)),
            now,
        };
        let plans: Vec<_> = jobs.into_iter().zip(existing).map(plan).collect();
        let mut outcomes = Vec::with_capacity(plans.len());
        for batch in plans.chunks(MAX_BATCH) {
            outcomes.extend(node.store.pause_jobs(batch.to_vec()).await?);
        }
        self.jobs_changed(outcomes.iter().filter_map(changed_job));
        Ok(outcomes)
    }

    async fn trigger(&self, triggers: Vec<Trigger>) -> Result<Vec<Triggered>> {
        let TriggerPlan { tasks, now, .. } = self.plan_triggers(triggers).await?;
        let node = &self.shared.node;
        let mut outcomes = Vec::with_capacity(tasks.len());
        for batch in tasks.chunks(MAX_BATCH) {
            let mut hints = Hints::of_tasks(batch, now);
            let insert = node.store.insert_tasks(batch.to_vec(), now);
            let inserted = match hints.claim_beside(&self.shared) {
                true => node.then_claim(insert).await?,
                false => insert.await?,
            };
            hints.give(&self.shared);
            outcomes.extend(triggered(batch, inserted));
        }
        Ok(outcomes)
    }

    async fn cancel(&self, cancel: Cancel) -> Result<CancelSummary> {
        let mut summary = CancelSummary::default();
        match cancel.tasks {
            CancelTarget::Job(job_id) => {
                while self
                    .cancel_some(
                        CancelWhich::Job(job_id.clone()),
                        &cancel.reason,
                        cancel.grace,
                        &mut summary,
                    )
                    .await?
                {}
            }
            CancelTarget::Tasks(task_ids) => {
                for batch in task_ids.chunks(MAX_BATCH) {
                    let which = CancelWhich::Tasks(batch.to_vec());
                    self.cancel_some(which, &cancel.reason, cancel.grace, &mut summary)
                        .await?;
                }
            }
        }
        Ok(summary)
    }

    async fn retry(&self, task_ids: &[TaskId]) -> Result<Vec<Option<TaskId>>> {
        self.check_open()?;
        let tasks = self.get_tasks(task_ids).await?;
        let finals: Vec<Option<Task>> = tasks
            .into_iter()
            .map(|task| task.filter(|task| task.state.is_final()))
            .collect();
        let triggers = finals.iter().flatten().map(again).collect();
        let mut made = self.trigger(triggers).await?.into_iter();
        let ids = finals.iter().map(|task| task.as_ref().and_then(|_| made.next()));
        Ok(ids.map(|made| made.map(|made| made.task_id().clone())).collect())
    }

    async fn change_tasks(&self, changes: Vec<ChangeTask>) -> Result<Vec<ChangeOutcome>> {
        let node = &self.shared.node;
        let mut outcomes = Vec::with_capacity(changes.len());
        for batch in changes.chunks(MAX_BATCH) {
            outcomes.extend(node.store.change_tasks(batch.to_vec(), node.now()).await?);
        }
        if let Some(due) = changes.iter().filter_map(|change| change.due_time).min() {
            node.wake.promote.due(due);
        }
        node.wake.claim.notify_one();
        Ok(outcomes)
    }

    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>> {
        let mut tasks = Vec::with_capacity(task_ids.len());
        for batch in task_ids.chunks(MAX_BATCH) {
            tasks.extend(self.shared.node.store.get_tasks(batch).await?);
        }
        Ok(tasks)
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.shared.node.store.list_tasks(filter, page).await
    }

    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.shared.node.store.list_finished(filter, page).await
    }

    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>> {
        self.shared.node.store.list_attempts(filter, page).await
    }

    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>> {
        self.shared.node.store.list_decisions(job_id, page).await
    }

    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>> {
        self.shared.node.store.read_logs(read).await
    }

    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes> {
        self.shared.node.store.changes(cursor, limit).await
    }

    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>> {
        self.shared.node.store.list_executors(filter).await
    }

    async fn order_executor(
        &self,
        executor_id: &ExecutorId,
        order: ExecutorOrder,
    ) -> Result<SetExecutorStatusOutcome> {
        let executor_id = executor_id.clone();
        let change = match order {
            ExecutorOrder::Disable => SetExecutorStatus::Disable(executor_id),
            ExecutorOrder::Enable => SetExecutorStatus::Enable(executor_id),
            ExecutorOrder::Drain => SetExecutorStatus::Drain(executor_id),
        };
        let outcome = self.shared.node.store.set_executor_status(change).await?;
        self.shared.node.wake.heartbeat.notify_one();
        Ok(outcome)
    }

    async fn preview(&self, preview: Preview) -> Result<Vec<PreviewEntry>> {
        let count = preview.count;
        if !(1..=1_000).contains(&count) {
            return Err(Error::invalid(
                "count",
                format_args!("must be 1 to 1000, is {count}"),
            ));
        }
        let now = self.shared.node.now();
        let after = preview.after.unwrap_or(now);
        match preview.of {
            PreviewOf::Schedule(schedule) => Ok(schedule.preview(after, now, count)),
            PreviewOf::Job(job_id) => {
                let job = self
                    .get_jobs(std::slice::from_ref(&job_id))
                    .await?
                    .pop()
                    .flatten();
                let job = job.ok_or_else(|| no_such_job(&job_id))?;
                let schedule = job.definition.schedule.as_ref();
                Ok(schedule.map_or_else(Vec::new, |schedule| {
                    schedule.preview(after, job.create_time, count)
                }))
            }
        }
    }

    async fn status(&self) -> Result<SystemStatus> {
        let node = &self.shared.node;
        let tasks = node.store.task_counts().await?;
        let executors = node.store.list_executors(&ExecutorFilter::default()).await?;
        let alive = |executor: &&ExecutorRecord| executor.status != ExecutorStatus::Offline;
        let served = |lane: &crate::lane::Lane| {
            executors
                .iter()
                .filter(alive)
                .any(|executor| executor.profile.serves(&executor.executor_id, lane))
        };
        let waiting = tasks.iter().filter(|count| count.state.is_waiting());
        let mut unserved_lanes: Vec<String> = waiting
            .filter(|count| !served(&count.lane))
            .map(|count| count.lane.to_string())
            .collect();
        unserved_lanes.dedup();
        Ok(SystemStatus {
            now: node.now(),
            store: node.store.name().to_owned(),
            executor_id: node.executor_id.clone(),
            tasks,
            unserved_lanes,
            executors,
            troubles: node.health.troubles(),
        })
    }

    fn subscribe(&self) -> Events {
        let node = &self.shared.node;
        Events::new(node.events.subscribe(), node.killed.clone())
    }
}

impl Engine {
    fn jobs_changed(&self, job_ids: impl Iterator<Item = JobId>) {
        Hints::of_jobs(job_ids).give(&self.shared);
    }

    /// Cancels a batch; says whether there are more.
    async fn cancel_some(
        &self,
        which: CancelWhich,
        reason: &str,
        grace: Option<std::time::Duration>,
        summary: &mut CancelSummary,
    ) -> Result<bool> {
        let node = &self.shared.node;
        let request = CancelTasks {
            which,
            reason: reason.to_owned(),
            grace,
            now: node.now(),
            limit: MAX_BATCH,
        };
        let Cancelled {
            settled,
            requested,
            not_live,
            gates,
            more,
        } = node.store.cancel_tasks(request).await?;
        summary.cancelled += settled.len();
        summary.requested += requested.len();
        summary.not_live += not_live.len();
        self.shared.crew.starter.cancel(&requested, grace);
        if let Some(dispatcher) = &self.shared.dispatcher {
            dispatcher.cancel(&requested).await;
        }
        node.wake.promote.gates(&gates);
        for (task_id, job_id) in settled {
            node.emit(|| Event::Task {
                task_id,
                job_id,
                state: TaskState::Cancelled,
                attempt: 0,
            });
        }
        Ok(more)
    }
}

fn first_fire(job: &Job, now: Timestamp) -> Option<Timestamp> {
    fire::first_fire_time(job.definition.schedule.as_ref(), job.create_time, now)
}

/// A trigger that repeats a final task.
fn again(task: &Task) -> Trigger {
    Trigger {
        arguments: task.arguments.clone(),
        priority: Some(task.priority),
        ..Trigger::new(task.job_id.clone())
    }
}
