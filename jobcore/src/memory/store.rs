//! [`MemoryStore`]: the traits' methods over the state behind its lock.

mod attempts;
mod cancel;
#[cfg(test)]
mod check;
mod claim;
mod executors;
mod finished;
mod fire;
mod gates;
mod heartbeat;
mod history;
mod ids;
mod jobs;
mod journal;
mod lanes;
mod leases;
mod listing;
mod logs;
mod places;
mod promote;
mod purge;
mod queues;
mod records;
mod recovery;
mod runs;
mod scan;
mod settle;
mod state;
mod tasks;
mod timeline;
mod unique;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};

use self::listing::{Counts, Lowest};
use self::scan::{Scan, Turn};
use self::state::{State, check_batch};
use crate::attempt::{Attempt, LogChunk};
use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::id::{JobId, RunId, TaskId};
use crate::job::Job;
use crate::lane::Lane;
use crate::lease::Holder;
use crate::store::*;
use crate::task::{NewTask, Task};
use crate::time::Timestamp;

/// A [`Store`] that lives in the process and is gone with it.
///
/// It has the whole semantics of the traits, so it is what other stores are compared with. One lock guards its state;
/// no method waits for anything else, so a future that was polled once has taken its whole effect.
///
/// ```
/// use std::sync::Arc;
/// use jobcore::memory::MemoryStore;
/// use jobcore::store::Store;
///
/// let store: Arc<dyn Store> = MemoryStore::shared();
/// assert_eq!(store.name(), "memory");
/// ```
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store whose own clock is `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// An empty store with the machine's clock, to hand to an engine.
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::default())
    }
}

impl MemoryStore {
    /// Takes turns, between which others get the lock.
    fn in_turns(&self, mut turn: impl FnMut(&State) -> Turn) {
        let mut state = self.state.lock();
        while turn(&state) == Turn::More {
            MutexGuard::bump(&mut state);
        }
    }

    fn read_page<T>(
        &self,
        page: &PageRequest,
        turn: impl Fn(&State, &mut Scan<T>) -> Turn,
    ) -> Result<Page<T>> {
        let mut scan = Scan::new(page)?;
        self.in_turns(|state| turn(state, &mut scan));
        Ok(scan.page())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::new()))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    async fn put_jobs(&self, jobs: Vec<PutJob>) -> Result<Vec<PutJobOutcome>> {
        check_batch(jobs.len())?;
        let mut state = self.state.lock();
        Ok(jobs.into_iter().map(|put| state.put_job(put)).collect())
    }

    async fn pause_jobs(&self, jobs: Vec<PauseJob>) -> Result<Vec<PutJobOutcome>> {
        check_batch(jobs.len())?;
        let mut state = self.state.lock();
        Ok(jobs.into_iter().map(|pause| state.pause_job(pause)).collect())
    }

    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>> {
        check_batch(jobs.len())?;
        let now = self.clock.now();
        Ok(self.state.lock().delete_jobs(&jobs, now))
    }

    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>> {
        let state = self.state.lock();
        Ok(job_ids
            .iter()
            .map(|job_id| state.jobs.get(job_id).cloned())
            .collect())
    }

    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Arc<Job>>> {
        Ok(self.state.lock().jobs.list(filter, page))
    }

    async fn due_jobs(&self, due: &DueJobs) -> Result<Vec<Arc<Job>>> {
        Ok(self.state.lock().jobs.due(due))
    }

    async fn next_due_time(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        Ok(self.state.lock().jobs.next_due_time(after))
    }

    async fn unplanned_jobs(&self, zone_version: &str, limit: usize) -> Result<Vec<Arc<Job>>> {
        Ok(self.state.lock().jobs.unplanned(zone_version, limit))
    }

    async fn fire(&self, fires: Vec<Fire>) -> Result<Vec<FireOutcome>> {
        check_batch(fires.len())?;
        Ok(self.state.lock().fire(fires))
    }

    async fn put_records(&self, records: Vec<PutRecord>) -> Result<Vec<PutRecordOutcome>> {
        check_batch(records.len())?;
        let mut state = self.state.lock();
        Ok(records.into_iter().map(|put| state.records.put(put)).collect())
    }

    async fn get_record(&self, namespace: &str, key: &str) -> Result<Option<Record>> {
        Ok(self.state.lock().records.get(namespace, key).cloned())
    }

    async fn list_records(&self, namespace: &str, page: &PageRequest) -> Result<Page<Record>> {
        Ok(self.state.lock().records.list(namespace, page))
    }

    async fn register_executor(&self, registration: RegisterExecutor) -> Result<Registration> {
        let now = self.clock.now();
        self.state.lock().executors.register(registration, now)
    }

    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>> {
        Ok(self.state.lock().executors.list(filter))
    }

    async fn set_executor_status(&self, change: SetExecutorStatus) -> Result<SetExecutorStatusOutcome> {
        Ok(self.state.lock().executors.set_status(&change))
    }
}

#[async_trait]
impl TaskStore for MemoryStore {
    fn is_ordered(&self) -> bool {
        true
    }

    async fn insert_tasks(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<InsertOutcome>> {
        check_batch(tasks.len())?;
        Ok(self.state.lock().insert_tasks(tasks, now))
    }

    async fn promote(&self, request: PromoteRequest) -> Result<Promoted> {
        Ok(self.state.lock().promote(request))
    }

    async fn lanes(&self) -> Result<Vec<Lane>> {
        Ok(self.state.lock().lanes.all())
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimOutcome> {
        Ok(self.state.lock().claim(request))
    }

    async fn start(&self, starts: Vec<Start>) -> Result<Vec<StartOutcome>> {
        check_batch(starts.len())?;
        let mut state = self.state.lock();
        Ok(starts.into_iter().map(|start| state.start(start)).collect())
    }

    async fn heartbeat(&self, heartbeats: Vec<Heartbeat>) -> Result<Vec<HeartbeatOutcome>> {
        check_batch(heartbeats.len())?;
        let now = self.clock.now();
        let mut state = self.state.lock();
        let answers = heartbeats.into_iter().map(|beat| state.heartbeat(beat, now));
        Ok(answers.collect())
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<SettleOutcome>> {
        check_batch(settlements.len())?;
        settle::check(&settlements)?;
        Ok(self.state.lock().settle(settlements, now))
    }

    async fn save(&self, updates: Vec<SaveProgress>) -> Result<Vec<SaveOutcome>> {
        check_batch(updates.len())?;
        let mut state = self.state.lock();
        Ok(updates.into_iter().map(|update| state.save(update)).collect())
    }

    async fn expire_executors(&self, request: ExpireExecutors) -> Result<Vec<Holder>> {
        let now = self.clock.now();
        Ok(self.state.lock().executors.expire(&request, now))
    }

    async fn recover(&self, request: RecoverRequest) -> Result<Recovered> {
        Ok(self.state.lock().recover(request))
    }

    async fn change_tasks(&self, changes: Vec<ChangeTask>, now: Timestamp) -> Result<Vec<ChangeOutcome>> {
        check_batch(changes.len())?;
        let mut state = self.state.lock();
        Ok(changes
            .iter()
            .map(|change| state.change_task(change, now))
            .collect())
    }

    async fn cancel_tasks(&self, request: CancelTasks) -> Result<Cancelled> {
        if let CancelWhich::Tasks(task_ids) = &request.which {
            check_batch(task_ids.len())?;
        }
        Ok(self.state.lock().cancel_tasks(&request))
    }

    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>> {
        Ok(self.state.lock().get_tasks(task_ids))
    }

    async fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Result<Page<Task>> {
        let mut lowest = Lowest::new(page);
        self.in_turns(|state| state.lowest_ids(&mut lowest, filter));
        Ok(self.state.lock().page_of_tasks(lowest))
    }

    async fn task_counts(&self) -> Result<Vec<TaskCount>> {
        let mut counts = Counts::default();
        self.in_turns(|state| state.count(&mut counts));
        Ok(counts.finish())
    }

    async fn insert_run(&self, run: NewRun) -> Result<InsertRunOutcome> {
        check_batch(run.tasks.len())?;
        Ok(self.state.lock().insert_run(run))
    }

    async fn get_run(&self, run_id: &RunId) -> Result<Option<WorkflowRun>> {
        Ok(self.state.lock().runs.get(run_id))
    }

    async fn advance_run(&self, advance: AdvanceRun) -> Result<AdvanceRunOutcome> {
        check_batch(advance.tasks.len())?;
        Ok(self.state.lock().advance_run(advance))
    }
}

#[async_trait]
impl HistoryStore for MemoryStore {
    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>> {
        self.read_page(page, |state, scan| {
            state.history.scan_attempts(&state.tasks, filter, scan)
        })
    }

    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>> {
        self.read_page(page, |state, scan| {
            history::scan_finished(&state.tasks, filter, scan)
        })
    }

    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>> {
        self.read_page(page, |state, scan| state.history.scan_decisions(job_id, scan))
    }

    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<()> {
        check_batch(chunks.len())?;
        let mut state = self.state.lock();
        for chunk in chunks {
            if state.tasks.slot(&chunk.task_id).is_some() {
                state.logs.append(chunk);
            }
        }
        Ok(())
    }

    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>> {
        Ok(self.state.lock().logs.read(read))
    }

    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes> {
        self.state.lock().changes(cursor, limit)
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged> {
        Ok(self.state.lock().purge(purge))
    }
}
