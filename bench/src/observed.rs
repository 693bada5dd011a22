//! A store that says what the engine does to it: when it first claimed, what it started, when it last settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use jobcore::Timestamp;
use jobcore::attempt::{Attempt, LogChunk};
use jobcore::clock::Clock;
use jobcore::id::{JobId, RunId, TaskId};
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::lease::Holder;
use jobcore::store::*;
use jobcore::task::{NewTask, Task};
use tokio::sync::watch;

/// Passes every call on to another store, and notes what a benchmark asks about.
pub(crate) struct Observed {
    inner: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    first_claim: AtomicI64,
    last_settle: AtomicI64,
    start_rows: AtomicU64,
    finished: watch::Sender<u64>,
}

impl Observed {
    pub(crate) fn new(inner: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            clock,
            first_claim: AtomicI64::new(i64::MAX),
            last_settle: AtomicI64::new(i64::MIN),
            start_rows: AtomicU64::new(0),
            finished: watch::Sender::new(0),
        })
    }

    /// When the first claim that got something was asked for.
    pub(crate) fn first_claim(&self) -> Timestamp {
        Timestamp::from_micros(self.first_claim.load(Relaxed))
    }

    /// When the last settle that made a task final was answered, and so was durable.
    pub(crate) fn last_settle(&self) -> Timestamp {
        Timestamp::from_micros(self.last_settle.load(Relaxed))
    }

    /// How many starts were written by themselves.
    pub(crate) fn start_rows(&self) -> u64 {
        self.start_rows.load(Relaxed)
    }

    /// How many tasks became final.
    pub(crate) fn finished(&self) -> u64 {
        *self.finished.borrow()
    }

    /// How many tasks became final, whenever that changes.
    pub(crate) fn settled(&self) -> watch::Receiver<u64> {
        self.finished.subscribe()
    }

    /// Returns once that many tasks have become final.
    pub(crate) async fn until_finished(&self, tasks: u64) {
        let mut finished = self.finished.subscribe();
        // The sender lives in `self`, so the wait can't fail.
        let _ = finished.wait_for(|&so_far| so_far >= tasks).await;
    }

    fn note_finished(&self, outcomes: &[SettleOutcome]) {
        let is_final = |outcome: &&SettleOutcome| matches!(outcome, SettleOutcome::Settled { state, .. } if state.is_final());
        let finals = outcomes.iter().filter(is_final).count() as u64;
        if finals > 0 {
            self.last_settle.fetch_max(self.clock.now().as_micros(), Relaxed);
            self.finished.send_modify(|finished| *finished += finals);
        }
    }
}

type Result<T> = jobcore::Result<T>;

/// Methods that only pass the call on.
macro_rules! pass_on {
    ($store:ident { $($method:ident($($argument:ident: $of:ty),*) -> $answer:ty;)* } $($own:item)*) => {
        #[async_trait]
        impl $store for Observed {
            $(async fn $method(&self, $($argument: $of),*) -> Result<$answer> {
                self.inner.$method($($argument),*).await
            })*
            $($own)*
        }
    };
}

pass_on!(JobStore {
    now() -> Timestamp;
    put_jobs(jobs: Vec<PutJob>) -> Vec<PutJobOutcome>;
    pause_jobs(jobs: Vec<PauseJob>) -> Vec<PutJobOutcome>;
    delete_jobs(jobs: Vec<DeleteJob>) -> Vec<DeleteJobOutcome>;
    get_jobs(job_ids: &[JobId]) -> Vec<Option<Arc<Job>>>;
    list_jobs(filter: &JobFilter, page: &PageRequest) -> Page<Arc<Job>>;
    due_jobs(due: &DueJobs) -> Vec<Arc<Job>>;
    next_due_time(after: Timestamp) -> Option<Timestamp>;
    unplanned_jobs(zone_version: &str, limit: usize) -> Vec<Arc<Job>>;
    fire(fires: Vec<Fire>) -> Vec<FireOutcome>;
    put_records(records: Vec<PutRecord>) -> Vec<PutRecordOutcome>;
    get_record(namespace: &str, key: &str) -> Option<Record>;
    list_records(namespace: &str, page: &PageRequest) -> Page<Record>;
    register_executor(registration: RegisterExecutor) -> Registration;
    list_executors(filter: &ExecutorFilter) -> Vec<ExecutorRecord>;
    set_executor_status(change: SetExecutorStatus) -> SetExecutorStatusOutcome;
}
fn name(&self) -> &'static str {
    self.inner.name()
});

pass_on!(TaskStore {
    insert_tasks(tasks: Vec<NewTask>, now: Timestamp) -> Vec<InsertOutcome>;
    promote(request: PromoteRequest) -> Promoted;
    lanes() -> Vec<Lane>;
    heartbeat(heartbeats: Vec<Heartbeat>) -> Vec<HeartbeatOutcome>;
    save(updates: Vec<SaveProgress>) -> Vec<SaveOutcome>;
    expire_executors(request: ExpireExecutors) -> Vec<Holder>;
    recover(request: RecoverRequest) -> Recovered;
    change_tasks(changes: Vec<ChangeTask>, now: Timestamp) -> Vec<ChangeOutcome>;
    cancel_tasks(request: CancelTasks) -> Cancelled;
    get_tasks(task_ids: &[TaskId]) -> Vec<Option<Task>>;
    list_tasks(filter: &TaskFilter, page: &PageRequest) -> Page<Task>;
    task_counts() -> Vec<TaskCount>;
    insert_run(run: NewRun) -> InsertRunOutcome;
    get_run(run_id: &RunId) -> Option<WorkflowRun>;
    advance_run(advance: AdvanceRun) -> AdvanceRunOutcome;
}
fn is_ordered(&self) -> bool {
    self.inner.is_ordered()
}
async fn claim(&self, request: ClaimRequest) -> Result<ClaimOutcome> {
    let asked = self.clock.now().as_micros();
    let outcome = self.inner.claim(request).await?;
    if matches!(outcome, ClaimOutcome::Claimed(_)) {
        self.first_claim.fetch_min(asked, Relaxed);
    }
    Ok(outcome)
}
async fn start(&self, starts: Vec<Start>) -> Result<Vec<StartOutcome>> {
    let outcomes = self.inner.start(starts).await?;
    let started = outcomes.iter().filter(|outcome| matches!(outcome, StartOutcome::Started)).count();
    self.start_rows.fetch_add(started as u64, Relaxed);
    Ok(outcomes)
}
async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<SettleOutcome>> {
    let outcomes = self.inner.settle(settlements, now).await?;
    self.note_finished(&outcomes);
    Ok(outcomes)
});

pass_on!(HistoryStore {
    list_attempts(filter: &AttemptFilter, page: &PageRequest) -> Page<Attempt>;
    list_finished(filter: &FinishedFilter, page: &PageRequest) -> Page<Task>;
    list_decisions(job_id: Option<&JobId>, page: &PageRequest) -> Page<Decision>;
    append_logs(chunks: Vec<LogChunk>) -> ();
    read_logs(read: &ReadLogs) -> Vec<LogChunk>;
    changes(cursor: Option<&Cursor>, limit: usize) -> Changes;
    purge(purge: &Purge) -> Purged;
});
