//! [`SqliteStore`]: the traits' methods, each handed to the writer or to a reader.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcore::attempt::{Attempt, LogChunk};
use jobcore::clock::Clock;
use jobcore::id::{JobId, RunId, TaskId};
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::lease::{Holder, MIN_LEASE};
use jobcore::store::*;
use jobcore::task::{NewTask, Task};
use jobcore::{Error, Result, Timestamp};
use parking_lot::Mutex;

use crate::BACKEND;
use crate::config::SqliteConfig;
use crate::connection::Operation;
use crate::queries::{
    cancel, changes, claim, decisions, executors, fire, heartbeat, history, insert, jobs, lanes, promote,
    purge, records, recover, runs, settle, start, tasks,
};
use crate::readers::Readers;
use crate::writer::Writer;

/// How old counts of tasks may be.
const COUNTS_AGE: Duration = Duration::from_secs(1);

/// A [`Store`] in one SQLite file. See the [crate](crate) for how it works and what it promises.
///
/// When it is dropped, what was queued is still carried out; [`close`](Self::close) waits for that.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    /// None in memory, where only the writer sees the data.
    readers: Option<Readers>,
    pub(crate) clock: Arc<dyn Clock>,
    counts: Mutex<Option<(Timestamp, Vec<TaskCount>)>>,
}

impl SqliteStore {
    /// Opens the store in the file at `path` with the default settings; a new file is made if there is none.
    ///
    /// # Errors
    /// As [`SqliteConfig::open`].
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        SqliteConfig::file(path).open().await
    }

    pub(crate) async fn open_with(config: SqliteConfig) -> Result<Self> {
        let writer = Writer::start(&config).await?;
        let readers = (config.reader_count() > 0).then(|| Readers::new(&config));
        Ok(Self {
            writer,
            readers,
            clock: config.own_clock(),
            counts: Mutex::default(),
        })
    }

    /// Waits until everything that was queued is written and the file is closed.
    pub async fn close(self) {
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
        self.writer.close().await;
    }

    async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer> {
        self.writer.carry_out(operation).await
    }

    async fn read<O: Operation>(&self, operation: O) -> Result<O::Answer> {
        match &self.readers {
            Some(readers) => readers.carry_out(operation).await,
            None => self.writer.carry_out(operation).await,
        }
    }
}

/// Refuses a batch that is too long.
fn check_batch(operation: &'static str, length: usize) -> Result<()> {
    if length <= MAX_BATCH {
        return Ok(());
    }
    let error = Error::invalid(
        "batch",
        format_args!("has {length} items; split it, {MAX_BATCH} are the most"),
    );
    Err(error.backend(BACKEND).operation(operation))
}

/// The nearest limit within bounds.
fn clamp(limit: usize) -> usize {
    limit.clamp(1, MAX_BATCH)
}

fn clamp_page(page: &PageRequest) -> PageRequest {
    PageRequest {
        cursor: page.cursor.clone(),
        limit: clamp(page.limit),
    }
}

#[async_trait]
impl JobStore for SqliteStore {
    fn name(&self) -> &'static str {
        BACKEND
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    async fn put_jobs(&self, jobs: Vec<PutJob>) -> Result<Vec<PutJobOutcome>> {
        check_batch("put_jobs", jobs.len())?;
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.write(jobs::PutJobs(jobs)).await
    }

    async fn pause_jobs(&self, jobs: Vec<PauseJob>) -> Result<Vec<PutJobOutcome>> {
        check_batch("pause_jobs", jobs.len())?;
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.write(jobs::PauseJobs(jobs)).await
    }

    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>> {
        check_batch("delete_jobs", jobs.len())?;
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.write(jobs::DeleteJobs(jobs)).await
    }

    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>> {
        if job_ids.is_empty() {
            return Ok(Vec::new());
        }
        self.read(jobs::GetJobs(job_ids.to_vec())).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Arc<Job>>> {
        self.read(jobs::ListJobs {
            filter: filter.clone(),
            page: clamp_page(page),
        })
        .await
    }

    async fn due_jobs(&self, due: &DueJobs) -> Result<Vec<Arc<Job>>> {
        self.read(fire::ListDueJobs(DueJobs {
            limit: clamp(due.limit),
            ..due.clone()
        }))
        .await
    }

    async fn next_due_time(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        self.read(fire::NextDueTime(after)).await
    }

    async fn unplanned_jobs(&self, zone_version: &str, limit: usize) -> Result<Vec<Arc<Job>>> {
        self.read(fire::ListUnplannedJobs {
            zone_version: zone_version.to_owned(),
            limit: clamp(limit),
        })
        .await
    }

    async fn fire(&self, fires: Vec<Fire>) -> Result<Vec<FireOutcome>> {
        check_batch("fire", fires.len())?;
        if fires.is_empty() {
            return Ok(Vec::new());
        }
        self.write(fire::FireJobs(fires)).await
    }

    async fn put_records(&self, records: Vec<PutRecord>) -> Result<Vec<PutRecordOutcome>> {
        check_batch("put_records", records.len())?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.write(records::PutRecords(records)).await
    }

    async fn get_record(&self, namespace: &str, key: &str) -> Result<Option<Record>> {
        self.read(records::GetRecord {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
        })
        .await
    }

    async fn list_records(&self, namespace: &str, page: &PageRequest) -> Result<Page<Record>> {
        self.read(records::ListRecords {
            namespace: namespace.to_owned(),
            page: clamp_page(page),
        })
        .await
    }

    async fn register_executor(&self, registration: RegisterExecutor) -> Result<Registration> {
        if registration.lease_duration < MIN_LEASE {
            let given = registration.lease_duration;
            let error = Error::invalid(
                "lease_duration",
                format_args!("must be at least {MIN_LEASE:?}, is {given:?}"),
            );
            return Err(error.backend(BACKEND).operation("register_executor"));
        }
        self.write(executors::Register(registration)).await
    }

    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>> {
        self.read(executors::ListExecutors(filter.clone())).await
    }

    async fn set_executor_status(&self, change: SetExecutorStatus) -> Result<SetExecutorStatusOutcome> {
        self.write(executors::SetStatus(change)).await
    }
}

#[async_trait]
impl TaskStore for SqliteStore {
    /// The writer's queue keeps the order.
    fn is_ordered(&self) -> bool {
        true
    }

    async fn insert_tasks(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<InsertOutcome>> {
        check_batch("insert_tasks", tasks.len())?;
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        self.write(insert::InsertTasks { tasks, now }).await
    }

    async fn promote(&self, request: PromoteRequest) -> Result<Promoted> {
        self.write(promote::Promote(PromoteRequest {
            limit: clamp(request.limit),
            ..request
        }))
        .await
    }

    async fn lanes(&self) -> Result<Vec<Lane>> {
        self.read(lanes::ListLanes).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimOutcome> {
        self.write(claim::Claim(ClaimRequest {
            limit: clamp(request.limit),
            ..request
        }))
        .await
    }

    async fn start(&self, starts: Vec<Start>) -> Result<Vec<StartOutcome>> {
        check_batch("start", starts.len())?;
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        self.write(start::StartTasks(starts)).await
    }

    async fn heartbeat(&self, heartbeats: Vec<Heartbeat>) -> Result<Vec<HeartbeatOutcome>> {
        check_batch("heartbeat", heartbeats.len())?;
        if heartbeats.is_empty() {
            return Ok(Vec::new());
        }
        self.write(heartbeat::Beat(heartbeats)).await
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<SettleOutcome>> {
        check_batch("settle", settlements.len())?;
        settle::check(&settlements)?;
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        self.write(settle::Settle { settlements, now }).await
    }

    async fn save(&self, updates: Vec<SaveProgress>) -> Result<Vec<SaveOutcome>> {
        check_batch("save", updates.len())?;
        if updates.is_empty() {
            return Ok(Vec::new());
        }
        self.write(start::Save(updates)).await
    }

    async fn expire_executors(&self, request: ExpireExecutors) -> Result<Vec<Holder>> {
        self.write(executors::Expire(ExpireExecutors {
            limit: clamp(request.limit),
            ..request
        }))
        .await
    }

    async fn recover(&self, request: RecoverRequest) -> Result<Recovered> {
        self.write(recover::Recover(RecoverRequest {
            limit: clamp(request.limit),
            ..request
        }))
        .await
    }

    async fn change_tasks(&self, changes: Vec<ChangeTask>, now: Timestamp) -> Result<Vec<ChangeOutcome>> {
        check_batch("change_tasks", changes.len())?;
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        self.write(cancel::Change { changes, now }).await
    }

    async fn cancel_tasks(&self, request: CancelTasks) -> Result<Cancelled> {
        if let CancelWhich::Tasks(task_ids) = &request.which {
            check_batch("cancel_tasks", task_ids.len())?;
        }
        self.write(cancel::Cancel(CancelTasks {
            limit: clamp(request.limit),
            ..request
        }))
        .await
    }

    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>> {
        if task_ids.is_empty() {
            return Ok(Vec::new());
        }
        self.read(tasks::GetTasks(task_ids.to_vec())).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.read(tasks::ListTasks {
            filter: filter.clone(),
            page: clamp_page(page),
        })
        .await
    }

    async fn task_counts(&self) -> Result<Vec<TaskCount>> {
        let now = self.clock.now();
        if let Some((time, counts)) = &*self.counts.lock()
            && now.since(*time) < COUNTS_AGE
        {
            return Ok(counts.clone());
        }
        let counts = self.read(tasks::CountTasks).await?;
        *self.counts.lock() = Some((now, counts.clone()));
        Ok(counts)
    }

    async fn insert_run(&self, run: NewRun) -> Result<InsertRunOutcome> {
        check_batch("insert_run", run.tasks.len())?;
        self.write(runs::InsertRun(run)).await
    }

    async fn get_run(&self, run_id: &RunId) -> Result<Option<WorkflowRun>> {
        self.read(runs::GetRun(run_id.clone())).await
    }

    async fn advance_run(&self, advance: AdvanceRun) -> Result<AdvanceRunOutcome> {
        check_batch("advance_run", advance.tasks.len())?;
        self.write(runs::Advance(advance)).await
    }
}

#[async_trait]
impl HistoryStore for SqliteStore {
    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>> {
        self.read(history::ListAttempts {
            filter: filter.clone(),
            page: clamp_page(page),
        })
        .await
    }

    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.read(history::ListFinished {
            filter: filter.clone(),
            page: clamp_page(page),
        })
        .await
    }

    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>> {
        self.read(decisions::ListDecisions {
            job_id: job_id.cloned(),
            page: clamp_page(page),
        })
        .await
    }

    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<()> {
        check_batch("append_logs", chunks.len())?;
        if chunks.is_empty() {
            return Ok(());
        }
        self.write(history::AppendLogs(chunks)).await
    }

    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>> {
        self.read(history::ReadChunks(ReadLogs {
            limit: clamp(read.limit),
            ..read.clone()
        }))
        .await
    }

    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes> {
        self.read(changes::ListChanges {
            cursor: cursor.cloned(),
            limit: clamp(limit),
        })
        .await
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged> {
        self.write(purge::PurgeHistory(Purge {
            limit: clamp(purge.limit),
            ..purge.clone()
        }))
        .await
    }
}
