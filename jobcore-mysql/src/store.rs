//! [`MySqlStore`]: the traits' methods, each handed to the store's threads as an operation.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcore::attempt::{Attempt, LogChunk};
use jobcore::id::{JobId, RunId, TaskId};
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::lease::{Holder, MIN_LEASE};
use jobcore::store::*;
use jobcore::task::{NewTask, Task};
use jobcore::{Error, Result, Timestamp};

use crate::BACKEND;
use crate::config::MySqlConfig;
use crate::connection::{Operation, Shared};
use crate::coordinator::MySqlCoordinator;
use crate::database::Database;
use crate::enqueuer::Enqueuer;
use crate::queries::{
    cancel, changes, claim, clock, decisions, executors, fire, heartbeat, history, jobs, lanes, promote,
    purge, records, recover, runs, settle, start, tasks,
};
use crate::server;

/// A [`Store`] on MySQL, MariaDB or TiDB. See the [crate](crate) for how it works and what it promises.
#[derive(Debug)]
pub struct MySqlStore {
    database: Arc<Database>,
    enqueuer: Enqueuer,
    /// How long a coordinator's session lasts.
    session: Duration,
}

impl MySqlStore {
    /// Opens the store in the database of `url` with the default settings.
    ///
    /// # Errors
    /// As [`MySqlConfig::url`] and [`MySqlConfig::open`].
    pub async fn open(url: &str) -> Result<Self> {
        MySqlConfig::url(url)?.open().await
    }

    pub(crate) async fn open_with(config: MySqlConfig) -> Result<Self> {
        let found = server::prepare(&config).await?;
        let shared = Arc::new(Shared {
            caches: Default::default(),
            clock: config.store_clock(),
            skip_locked: config.skips_locked().unwrap_or(found.knows_skip_locked),
        });
        Ok(Self {
            database: Arc::new(Database::new(&config, shared)?),
            enqueuer: Enqueuer::default(),
            session: config.session_lease(),
        })
    }

    /// A node's place among those that share the database: membership, election, locks and configuration, on the threads
    /// and connections of this store. Each call makes another node; clone what it gives to share one.
    pub fn coordinator(&self) -> MySqlCoordinator {
        MySqlCoordinator::new(Arc::clone(&self.database), self.session)
    }

    /// Closes the connections. What is under way ends first; later calls fail.
    pub async fn close(&self) {
        self.database.close();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.database.shared()
    }

    pub(crate) async fn call<O: Operation>(&self, operation: O) -> Result<O::Answer> {
        self.database.carry_out(operation).await
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
impl JobStore for MySqlStore {
    fn name(&self) -> &'static str {
        BACKEND
    }

    async fn now(&self) -> Result<Timestamp> {
        self.call(clock::ReadClock).await
    }

    async fn put_jobs(&self, jobs: Vec<PutJob>) -> Result<Vec<PutJobOutcome>> {
        check_batch("put_jobs", jobs.len())?;
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.call(jobs::PutJobs(jobs)).await
    }

    async fn pause_jobs(&self, jobs: Vec<PauseJob>) -> Result<Vec<PutJobOutcome>> {
        check_batch("pause_jobs", jobs.len())?;
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.call(jobs::PauseJobs(jobs)).await
    }

    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>> {
        check_batch("delete_jobs", jobs.len())?;
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.call(jobs::DeleteJobs(jobs)).await
    }

    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>> {
        if job_ids.is_empty() {
            return Ok(Vec::new());
        }
        self.call(jobs::GetJobs(job_ids.to_vec())).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Arc<Job>>> {
        self.call(jobs::ListJobs {
            filter: filter.clone(),
            page: clamp_page(page),
        })
        .await
    }

    async fn due_jobs(&self, due: &DueJobs) -> Result<Vec<Arc<Job>>> {
        self.call(fire::ListDueJobs(DueJobs {
            limit: clamp(due.limit),
            ..due.clone()
        }))
        .await
    }

    async fn next_due_time(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        self.call(fire::NextDueTime(after)).await
    }

    async fn unplanned_jobs(&self, zone_version: &str, limit: usize) -> Result<Vec<Arc<Job>>> {
        self.call(fire::ListUnplannedJobs {
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
        self.call(fire::FireJobs(fires)).await
    }

    async fn put_records(&self, records: Vec<PutRecord>) -> Result<Vec<PutRecordOutcome>> {
        check_batch("put_records", records.len())?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.call(records::PutRecords(records)).await
    }

    async fn get_record(&self, namespace: &str, key: &str) -> Result<Option<Record>> {
        self.call(records::GetRecord {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
        })
        .await
    }

    async fn list_records(&self, namespace: &str, page: &PageRequest) -> Result<Page<Record>> {
        self.call(records::ListRecords {
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
        self.call(executors::Register(registration)).await
    }

    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>> {
        self.call(executors::ListExecutors(filter.clone())).await
    }

    async fn set_executor_status(&self, change: SetExecutorStatus) -> Result<SetExecutorStatusOutcome> {
        self.call(executors::SetStatus(change)).await
    }
}

#[async_trait]
impl TaskStore for MySqlStore {
    async fn insert_tasks(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<InsertOutcome>> {
        check_batch("insert_tasks", tasks.len())?;
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        self.enqueuer.insert(&self.database, tasks, now).await
    }

    async fn promote(&self, request: PromoteRequest) -> Result<Promoted> {
        self.call(promote::Promote(PromoteRequest {
            limit: clamp(request.limit),
            ..request
        }))
        .await
    }

    async fn lanes(&self) -> Result<Vec<Lane>> {
        self.call(lanes::ListLanes).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimOutcome> {
        self.call(claim::Claim(ClaimRequest {
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
        self.call(start::StartTasks(starts)).await
    }

    async fn heartbeat(&self, heartbeats: Vec<Heartbeat>) -> Result<Vec<HeartbeatOutcome>> {
        check_batch("heartbeat", heartbeats.len())?;
        if heartbeats.is_empty() {
            return Ok(Vec::new());
        }
        self.database.beat(heartbeat::Beat(heartbeats)).await
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<SettleOutcome>> {
        check_batch("settle", settlements.len())?;
        settle::check(&settlements)?;
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        self.call(settle::Settle { settlements, now }).await
    }

    async fn save(&self, updates: Vec<SaveProgress>) -> Result<Vec<SaveOutcome>> {
        check_batch("save", updates.len())?;
        if updates.is_empty() {
            return Ok(Vec::new());
        }
        self.call(start::Save(updates)).await
    }

    async fn expire_executors(&self, request: ExpireExecutors) -> Result<Vec<Holder>> {
        self.call(executors::Expire(ExpireExecutors {
            limit: clamp(request.limit),
            ..request
        }))
        .await
    }

    async fn recover(&self, request: RecoverRequest) -> Result<Recovered> {
        self.call(recover::Recover(RecoverRequest {
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
        self.call(cancel::Change { changes, now }).await
    }

    async fn cancel_tasks(&self, request: CancelTasks) -> Result<Cancelled> {
        if let CancelWhich::Tasks(task_ids) = &request.which {
            check_batch("cancel_tasks", task_ids.len())?;
        }
        self.call(cancel::Cancel(CancelTasks {
            limit: clamp(request.limit),
            ..request
        }))
        .await
    }

    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>> {
        if task_ids.is_empty() {
            return Ok(Vec::new());
        }
        self.call(tasks::GetTasks(task_ids.to_vec())).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.call(tasks::ListTasks {
            filter: filter.clone(),
            page: clamp_page(page),
        })
        .await
    }

    async fn task_counts(&self) -> Result<Vec<TaskCount>> {
        self.call(tasks::CountTasks).await
    }

    async fn insert_run(&self, run: NewRun) -> Result<InsertRunOutcome> {
        check_batch("insert_run", run.tasks.len())?;
        self.call(runs::InsertRun(run)).await
    }

    async fn get_run(&self, run_id: &RunId) -> Result<Option<WorkflowRun>> {
        self.call(runs::GetRun(run_id.clone())).await
    }

    async fn advance_run(&self, advance: AdvanceRun) -> Result<AdvanceRunOutcome> {
        check_batch("advance_run", advance.tasks.len())?;
        self.call(runs::Advance(advance)).await
    }
}

#[async_trait]
impl HistoryStore for MySqlStore {
    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>> {
        self.call(history::ListAttempts {
            filter: filter.clone(),
            page: clamp_page(page),
        })
        .await
    }

    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.call(history::ListFinished {
            filter: filter.clone(),
            page: clamp_page(page),
        })
        .await
    }

    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>> {
        self.call(decisions::ListDecisions {
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
        self.call(history::AppendLogs(chunks)).await
    }

    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>> {
        self.call(history::ReadChunks(ReadLogs {
            limit: clamp(read.limit),
            ..read.clone()
        }))
        .await
    }

    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes> {
        self.call(changes::ListChanges {
            cursor: cursor.cloned(),
            limit: clamp(limit),
        })
        .await
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged> {
        self.call(purge::PurgeHistory(Purge {
            limit: clamp(purge.limit),
            ..purge.clone()
        }))
        .await
    }
}
