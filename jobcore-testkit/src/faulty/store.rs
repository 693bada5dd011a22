//! A faulty store: each method of the three traits, through the faults.

use std::sync::Arc;

use async_trait::async_trait;
use jobcore::attempt::{Attempt, LogChunk};
use jobcore::id::{JobId, RunId, TaskId};
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::lease::Holder;
use jobcore::store::*;
use jobcore::task::{NewTask, Task};
use jobcore::{Result, Timestamp};

use super::Faulty;

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: JobStore + ?Sized> JobStore for Faulty<S> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn now(&self) -> Result<Timestamp> {
        self.read("now", self.inner.now()).await
    }

    async fn put_jobs(&self, jobs: Vec<PutJob>) -> Result<Vec<PutJobOutcome>> {
        self.write("put_jobs", move |inner| async move { inner.put_jobs(jobs).await })
            .await
    }

    async fn pause_jobs(&self, jobs: Vec<PauseJob>) -> Result<Vec<PutJobOutcome>> {
        self.write(
            "pause_jobs",
            move |inner| async move { inner.pause_jobs(jobs).await },
        )
        .await
    }

    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>> {
        self.write("delete_jobs", move |inner| async move {
            inner.delete_jobs(jobs).await
        })
        .await
    }

    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>> {
        self.read("get_jobs", self.inner.get_jobs(job_ids)).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Arc<Job>>> {
        self.read("list_jobs", self.inner.list_jobs(filter, page)).await
    }

    async fn due_jobs(&self, due: &DueJobs) -> Result<Vec<Arc<Job>>> {
        self.read("due_jobs", self.inner.due_jobs(due)).await
    }

    async fn next_due_time(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        self.read("next_due_time", self.inner.next_due_time(after)).await
    }

    async fn unplanned_jobs(&self, zone_version: &str, limit: usize) -> Result<Vec<Arc<Job>>> {
        self.read("unplanned_jobs", self.inner.unplanned_jobs(zone_version, limit))
            .await
    }

    async fn fire(&self, fires: Vec<Fire>) -> Result<Vec<FireOutcome>> {
        self.write("fire", move |inner| async move { inner.fire(fires).await })
            .await
    }

    async fn put_records(&self, records: Vec<PutRecord>) -> Result<Vec<PutRecordOutcome>> {
        self.write("put_records", move |inner| async move {
            inner.put_records(records).await
        })
        .await
    }

    async fn get_record(&self, namespace: &str, key: &str) -> Result<Option<Record>> {
        self.read("get_record", self.inner.get_record(namespace, key))
            .await
    }

    async fn list_records(&self, namespace: &str, page: &PageRequest) -> Result<Page<Record>> {
        self.read("list_records", self.inner.list_records(namespace, page))
            .await
    }

    async fn register_executor(&self, registration: RegisterExecutor) -> Result<Registration> {
        self.write("register_executor", move |inner| async move {
            inner.register_executor(registration).await
        })
        .await
    }

    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>> {
        self.read("list_executors", self.inner.list_executors(filter))
            .await
    }

    async fn set_executor_status(&self, change: SetExecutorStatus) -> Result<SetExecutorStatusOutcome> {
        self.write("set_executor_status", move |inner| async move {
            inner.set_executor_status(change).await
        })
        .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: TaskStore + ?Sized> TaskStore for Faulty<S> {
    /// A call that is held up is overtaken.
    fn is_ordered(&self) -> bool {
        false
    }

    async fn insert_tasks(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<InsertOutcome>> {
        self.write("insert_tasks", move |inner| async move {
            inner.insert_tasks(tasks, now).await
        })
        .await
    }

    async fn promote(&self, request: PromoteRequest) -> Result<Promoted> {
        self.write(
            "promote",
            move |inner| async move { inner.promote(request).await },
        )
        .await
    }

    async fn lanes(&self) -> Result<Vec<Lane>> {
        self.read("lanes", self.inner.lanes()).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimOutcome> {
        self.write("claim", move |inner| async move { inner.claim(request).await })
            .await
    }

    async fn start(&self, starts: Vec<Start>) -> Result<Vec<StartOutcome>> {
        self.write("start", move |inner| async move { inner.start(starts).await })
            .await
    }

    async fn heartbeat(&self, heartbeats: Vec<Heartbeat>) -> Result<Vec<HeartbeatOutcome>> {
        self.write("heartbeat", move |inner| async move {
            inner.heartbeat(heartbeats).await
        })
        .await
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<SettleOutcome>> {
        self.write("settle", move |inner| async move {
            inner.settle(settlements, now).await
        })
        .await
    }

    async fn save(&self, updates: Vec<SaveProgress>) -> Result<Vec<SaveOutcome>> {
        self.write("save", move |inner| async move { inner.save(updates).await })
            .await
    }

    async fn expire_executors(&self, request: ExpireExecutors) -> Result<Vec<Holder>> {
        self.write("expire_executors", move |inner| async move {
            inner.expire_executors(request).await
        })
        .await
    }

    async fn recover(&self, request: RecoverRequest) -> Result<Recovered> {
        self.write(
            "recover",
            move |inner| async move { inner.recover(request).await },
        )
        .await
    }

    async fn change_tasks(&self, changes: Vec<ChangeTask>, now: Timestamp) -> Result<Vec<ChangeOutcome>> {
        self.write("change_tasks", move |inner| async move {
            inner.change_tasks(changes, now).await
        })
        .await
    }

    async fn cancel_tasks(&self, request: CancelTasks) -> Result<Cancelled> {
        self.write("cancel_tasks", move |inner| async move {
            inner.cancel_tasks(request).await
        })
        .await
    }

    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>> {
        self.read("get_tasks", self.inner.get_tasks(task_ids)).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.read("list_tasks", self.inner.list_tasks(filter, page)).await
    }

    async fn task_counts(&self) -> Result<Vec<TaskCount>> {
        self.read("task_counts", self.inner.task_counts()).await
    }

    async fn insert_run(&self, run: NewRun) -> Result<InsertRunOutcome> {
        self.write(
            "insert_run",
            move |inner| async move { inner.insert_run(run).await },
        )
        .await
    }

    async fn get_run(&self, run_id: &RunId) -> Result<Option<WorkflowRun>> {
        self.read("get_run", self.inner.get_run(run_id)).await
    }

    async fn advance_run(&self, advance: AdvanceRun) -> Result<AdvanceRunOutcome> {
        self.write("advance_run", move |inner| async move {
            inner.advance_run(advance).await
        })
        .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: HistoryStore + ?Sized> HistoryStore for Faulty<S> {
    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>> {
        self.read("list_attempts", self.inner.list_attempts(filter, page))
            .await
    }

    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.read("list_finished", self.inner.list_finished(filter, page))
            .await
    }

    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>> {
        self.read("list_decisions", self.inner.list_decisions(job_id, page))
            .await
    }

    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<()> {
        self.write("append_logs", move |inner| async move {
            inner.append_logs(chunks).await
        })
        .await
    }

    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>> {
        self.read("read_logs", self.inner.read_logs(read)).await
    }

    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes> {
        self.read("changes", self.inner.changes(cursor, limit)).await
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged> {
        let purge = purge.clone();
        self.write("purge", |inner| async move { inner.purge(&purge).await })
            .await
    }
}
