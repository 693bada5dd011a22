//! Links: the way of a process to the store, on which calls are refused, delayed, lost, or arrive too late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcore::attempt::{Attempt, LogChunk};
use jobcore::id::{JobId, RunId, TaskId};
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::lease::Holder;
use jobcore::store::*;
use jobcore::task::{NewTask, Task};
use jobcore::{Error, ErrorKind, Result, Timestamp};

use super::call::{Answer, Call};
use super::process::Process;
use super::world::World;

/// A process's handle on the shared store.
pub(super) struct Link {
    world: Arc<World>,
    process: Arc<Process>,
}

/// What becomes of a call.
enum Fate {
    Delivered,
    Refused,
    Unanswered,
    Late(Duration),
}

impl Link {
    pub(super) const fn new(world: Arc<World>, process: Arc<Process>) -> Self {
        Self { world, process }
    }

    fn fate(&self) -> Fate {
        let weather = *self.process.weather.lock();
        let chance = &self.world.chance;
        if chance.happens(weather.refused) {
            self.world.count("refused_call");
            Fate::Refused
        } else if chance.happens(weather.unanswered) {
            self.world.count("lost_answer");
            Fate::Unanswered
        } else if chance.happens(weather.late) {
            self.world.count("late_commit");
            Fate::Late(chance.millis(1, 6_000))
        } else {
            Fate::Delivered
        }
    }

    /// The way there or back.
    async fn travel(&self) {
        let chance = &self.world.chance;
        let slow = self.process.weather.lock().slow;
        let millis = if chance.happens(slow) {
            chance.between(20, 1_500)
        } else {
            // Mostly so quick that calls of several nodes meet in the same millisecond.
            chance.between(0, 5).saturating_sub(3)
        };
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    fn is_cut(&self) -> bool {
        self.process.is_cut() || self.world.is_out()
    }

    async fn send(&self, call: Call) -> Result<Answer> {
        self.process.runs().await;
        let fate = self.fate();
        self.travel().await;
        if self.is_cut() || matches!(fate, Fate::Refused) {
            self.give_up().await;
            return Err(unavailable());
        }
        if let Fate::Late(delay) = fate {
            self.arrive_late(call, delay);
            self.give_up().await;
            return Err(indeterminate());
        }
        let answer = self.world.apply(self.process.caller, call);
        self.travel().await;
        let lost = self.is_cut() || matches!(fate, Fate::Unanswered);
        if lost {
            self.give_up().await;
            return Err(indeterminate());
        }
        self.process.runs().await;
        answer
    }

    /// The call is on its way, whatever becomes of the caller.
    fn arrive_late(&self, call: Call, delay: Duration) {
        let (world, caller) = (self.world.clone(), self.process.caller);
        self.world.spawn(async move {
            tokio::time::sleep(delay).await;
            // Nobody waits for the answer any more.
            let _ = world.apply(caller, call);
        });
    }

    /// Waits as long as a caller waits for an answer that doesn't come.
    async fn give_up(&self) {
        let patience = self.world.chance.millis(1, 400);
        tokio::time::sleep(patience).await;
        self.process.runs().await;
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.process.runs().await;
        self.travel().await;
        let refused = self.world.chance.happens(self.process.weather.lock().refused);
        if self.is_cut() || refused {
            self.give_up().await;
            return Err(unavailable());
        }
        let answer = read.await;
        self.travel().await;
        self.process.runs().await;
        answer
    }
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "simulated: the store can't be reached").backend("simulated")
}

fn indeterminate() -> Error {
    Error::new(ErrorKind::Indeterminate, "simulated: the answer was lost").backend("simulated")
}

macro_rules! ask {
    ($link:ident, $name:ident($($argument:expr),*)) => {
        match $link.send(Call::$name($($argument),*)).await? {
            Answer::$name(answer) => Ok(answer),
            other => unreachable!("invariant: a call gets its own answer, not {other:?}"),
        }
    };
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl JobStore for Link {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn now(&self) -> Result<Timestamp> {
        self.read(self.world.store.now()).await
    }

    async fn put_jobs(&self, jobs: Vec<PutJob>) -> Result<Vec<PutJobOutcome>> {
        ask!(self, PutJobs(jobs))
    }

    async fn pause_jobs(&self, jobs: Vec<PauseJob>) -> Result<Vec<PutJobOutcome>> {
        ask!(self, PauseJobs(jobs))
    }

    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>> {
        ask!(self, DeleteJobs(jobs))
    }

    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>> {
        self.read(self.world.store.get_jobs(job_ids)).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Arc<Job>>> {
        self.read(self.world.store.list_jobs(filter, page)).await
    }

    async fn due_jobs(&self, due: &DueJobs) -> Result<Vec<Arc<Job>>> {
        self.read(self.world.store.due_jobs(due)).await
    }

    async fn next_due_time(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        self.read(self.world.store.next_due_time(after)).await
    }

    async fn unplanned_jobs(&self, zone_version: &str, limit: usize) -> Result<Vec<Arc<Job>>> {
        self.read(self.world.store.unplanned_jobs(zone_version, limit))
            .await
    }

    async fn fire(&self, fires: Vec<Fire>) -> Result<Vec<FireOutcome>> {
        ask!(self, Fire(fires))
    }

    async fn put_records(&self, records: Vec<PutRecord>) -> Result<Vec<PutRecordOutcome>> {
        self.read(self.world.store.put_records(records)).await
    }

    async fn get_record(&self, namespace: &str, key: &str) -> Result<Option<Record>> {
        self.read(self.world.store.get_record(namespace, key)).await
    }

    async fn list_records(&self, namespace: &str, page: &PageRequest) -> Result<Page<Record>> {
        self.read(self.world.store.list_records(namespace, page)).await
    }

    async fn register_executor(&self, registration: RegisterExecutor) -> Result<Registration> {
        ask!(self, Register(registration))
    }

    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>> {
        self.read(self.world.store.list_executors(filter)).await
    }

    async fn set_executor_status(&self, change: SetExecutorStatus) -> Result<SetExecutorStatusOutcome> {
        ask!(self, SetStatus(change))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl TaskStore for Link {
    /// Messages overtake each other.
    fn is_ordered(&self) -> bool {
        false
    }

    async fn insert_tasks(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<InsertOutcome>> {
        ask!(self, Insert(tasks, now))
    }

    async fn promote(&self, request: PromoteRequest) -> Result<Promoted> {
        ask!(self, Promote(request))
    }

    async fn lanes(&self) -> Result<Vec<Lane>> {
        self.read(self.world.store.lanes()).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimOutcome> {
        ask!(self, Claim(request))
    }

    async fn start(&self, starts: Vec<Start>) -> Result<Vec<StartOutcome>> {
        ask!(self, Start(starts))
    }

    async fn heartbeat(&self, heartbeats: Vec<Heartbeat>) -> Result<Vec<HeartbeatOutcome>> {
        ask!(self, Heartbeat(heartbeats))
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<SettleOutcome>> {
        ask!(self, Settle(settlements, now))
    }

    async fn save(&self, updates: Vec<SaveProgress>) -> Result<Vec<SaveOutcome>> {
        ask!(self, Save(updates))
    }

    async fn expire_executors(&self, request: ExpireExecutors) -> Result<Vec<Holder>> {
        ask!(self, Expire(request))
    }

    async fn recover(&self, request: RecoverRequest) -> Result<Recovered> {
        ask!(self, Recover(request))
    }

    async fn change_tasks(&self, changes: Vec<ChangeTask>, now: Timestamp) -> Result<Vec<ChangeOutcome>> {
        ask!(self, Change(changes, now))
    }

    async fn cancel_tasks(&self, request: CancelTasks) -> Result<Cancelled> {
        ask!(self, Cancel(request))
    }

    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>> {
        self.read(self.world.store.get_tasks(task_ids)).await
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.read(self.world.store.list_tasks(filter, page)).await
    }

    async fn task_counts(&self) -> Result<Vec<TaskCount>> {
        self.read(self.world.store.task_counts()).await
    }

    async fn insert_run(&self, run: NewRun) -> Result<InsertRunOutcome> {
        self.read(self.world.store.insert_run(run)).await
    }

    async fn get_run(&self, run_id: &RunId) -> Result<Option<WorkflowRun>> {
        self.read(self.world.store.get_run(run_id)).await
    }

    async fn advance_run(&self, advance: AdvanceRun) -> Result<AdvanceRunOutcome> {
        self.read(self.world.store.advance_run(advance)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl HistoryStore for Link {
    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>> {
        self.read(self.world.store.list_attempts(filter, page)).await
    }

    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.read(self.world.store.list_finished(filter, page)).await
    }

    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>> {
        self.read(self.world.store.list_decisions(job_id, page)).await
    }

    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<()> {
        self.read(self.world.store.append_logs(chunks)).await
    }

    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>> {
        self.read(self.world.store.read_logs(read)).await
    }

    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes> {
        self.read(self.world.store.changes(cursor, limit)).await
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged> {
        self.read(self.world.store.purge(purge)).await
    }
}
