//! The harness as a scheduler: the engine answers, and in inline mode what is triggered is carried out at once.

use std::sync::Arc;

use async_trait::async_trait;
use jobcore::attempt::{Attempt, LogChunk};
use jobcore::event::Events;
use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::job::Job;
use jobcore::schedule::PreviewEntry;
use jobcore::scheduler::{
    Cancel, CancelSummary, ExecutorOrder, PauseRequest, Preview, PutJobRequest, SystemStatus, Trigger,
    Triggered,
};
use jobcore::store::*;
use jobcore::task::{Task, TaskState};
use jobcore::{Error, ErrorKind, Result, Scheduler};

use super::{Harness, Mode};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scheduler for Harness {
    async fn put_jobs(&self, jobs: Vec<PutJobRequest>) -> Result<Vec<PutJobOutcome>> {
        self.engine.put_jobs(jobs).await
    }

    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>> {
        self.engine.get_jobs(job_ids).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Arc<Job>>> {
        self.engine.list_jobs(filter, page).await
    }

    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>> {
        self.engine.delete_jobs(jobs).await
    }

    async fn pause_jobs(&self, jobs: Vec<PauseRequest>) -> Result<Vec<PutJobOutcome>> {
        self.engine.pause_jobs(jobs).await
    }

    async fn trigger(&self, triggers: Vec<Trigger>) -> Result<Vec<Triggered>> {
        let triggered = self.engine.trigger(triggers).await?;
        self.carry_out_inline(triggered.iter().map(Triggered::task_id))
            .await?;
        Ok(triggered)
    }

    async fn cancel(&self, cancel: Cancel) -> Result<CancelSummary> {
        self.engine.cancel(cancel).await
    }

    async fn retry(&self, task_ids: &[TaskId]) -> Result<Vec<Option<TaskId>>> {
        let made = self.engine.retry(task_ids).await?;
        self.carry_out_inline(made.iter().flatten()).await?;
        Ok(made)
    }

    async fn change_tasks(&self, changes: Vec<ChangeTask>) -> Result<Vec<ChangeOutcome>> {
        self.engine.change_tasks(changes).await
    }

    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>> {
        self.engine.get_tasks(task_ids).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.engine.list_tasks(filter, page).await
    }

    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.engine.list_finished(filter, page).await
    }

    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>> {
        self.engine.list_attempts(filter, page).await
    }

    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>> {
        self.engine.list_decisions(job_id, page).await
    }

    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>> {
        self.engine.read_logs(read).await
    }

    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes> {
        self.engine.changes(cursor, limit).await
    }

    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>> {
        self.engine.list_executors(filter).await
    }

    async fn order_executor(
        &self,
        executor_id: &ExecutorId,
        order: ExecutorOrder,
    ) -> Result<SetExecutorStatusOutcome> {
        self.engine.order_executor(executor_id, order).await
    }

    async fn preview(&self, preview: Preview) -> Result<Vec<PreviewEntry>> {
        self.engine.preview(preview).await
    }

    async fn status(&self) -> Result<SystemStatus> {
        self.engine.status().await
    }

    fn subscribe(&self) -> Events {
        self.engine.subscribe()
    }
}

impl Harness {
    async fn carry_out_inline(&self, task_ids: impl Iterator<Item = &TaskId>) -> Result<()> {
        if self.mode == Mode::Drain {
            return Ok(());
        }
        self.drain().await;
        let task_ids: Vec<TaskId> = task_ids.cloned().collect();
        for task in self.engine.get_tasks(&task_ids).await?.into_iter().flatten() {
            self.check_inline(&task)?;
        }
        Ok(())
    }

    /// Errors surface: a task that was tried and didn't succeed is an error of the trigger.
    fn check_inline(&self, task: &Task) -> Result<()> {
        let tried = self.ran(task.job_id.as_str());
        let own = tried.iter().find(|ran| ran.task.task_id == task.task_id);
        match own {
            Some(ran) if task.state != TaskState::Succeeded && !ran.error().is_empty() => {
                Err(Error::new(ErrorKind::Conflict, ran.describe()))
            }
            _ => Ok(()),
        }
    }
}
