//! Live tasks: inserting, reading, changing, and the way into the other modules.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jobcore::id::{RunId, TaskId};
use jobcore::lane::Lane;
use jobcore::lease::Holder;
use jobcore::store::{
    AdvanceRun, AdvanceRunOutcome, CancelTasks, Cancelled, ChangeOutcome, ChangeTask, ClaimOutcome,
    ClaimRequest, ExpireExecutors, Heartbeat, HeartbeatOutcome, InsertOutcome, InsertRunOutcome, NewRun,
    Page, PageRequest, PromoteRequest, Promoted, RecoverRequest, Recovered, SaveOutcome, SaveProgress,
    SettleOutcome, Settlement, Start, StartOutcome, TaskCount, TaskFilter, TaskStore, WorkflowRun,
};
use jobcore::task::{NewTask, Rank, Task, TaskState};
use jobcore::{Result, Timestamp};

use crate::FileStore;
use crate::listing::{is_after, page};
use crate::settlements;
use crate::state::{KeyRow, LiveTask, State};

#[async_trait]
impl TaskStore for FileStore {
    async fn insert_tasks(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<InsertOutcome>> {
        self.write_each(tasks, |state, task| state.insert_task(task, now))
    }

    async fn promote(&self, request: PromoteRequest) -> Result<Promoted> {
        self.write(|state| state.promote(request))
    }

    async fn lanes(&self) -> Result<Vec<Lane>> {
        let mut lanes: Vec<Lane> =
            self.read(|state| state.live.values().map(|live| live.task.lane.clone()).collect());
        lanes.sort();
        lanes.dedup();
        Ok(lanes)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimOutcome> {
        self.write(|state| state.claim(request))
    }

    async fn start(&self, starts: Vec<Start>) -> Result<Vec<StartOutcome>> {
        self.write_each(starts, State::start)
    }

    async fn heartbeat(&self, heartbeats: Vec<Heartbeat>) -> Result<Vec<HeartbeatOutcome>> {
        self.write_each(heartbeats, |state, beat| state.heartbeat(beat, self.time()))
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<SettleOutcome>> {
        settlements::check(&settlements)?;
        let outcomes = self.write_each(settlements, |state, settlement| state.settle(settlement, now))?;
        Ok(self.read(|state| state.name_gates(outcomes, now)))
    }

    async fn save(&self, updates: Vec<SaveProgress>) -> Result<Vec<SaveOutcome>> {
        self.write_each(updates, State::save)
    }

    async fn expire_executors(&self, request: ExpireExecutors) -> Result<Vec<Holder>> {
        self.write(|state| state.expire(&request, self.time()))
    }

    async fn recover(&self, request: RecoverRequest) -> Result<Recovered> {
        self.write(|state| state.recover(request))
    }

    async fn change_tasks(&self, changes: Vec<ChangeTask>, now: Timestamp) -> Result<Vec<ChangeOutcome>> {
        self.write_each(changes, |state, change| state.change_task(&change, now))
    }

    async fn cancel_tasks(&self, request: CancelTasks) -> Result<Cancelled> {
        self.write(|state| state.cancel_tasks(&request))
    }

    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>> {
        Ok(self.read(|state| {
            task_ids
                .iter()
                .map(|task_id| state.task(task_id).cloned())
                .collect()
        }))
    }

    async fn list_tasks(&self, filter: &TaskFilter, request: &PageRequest) -> Result<Page<Task>> {
        Ok(self.read(|state| {
            let tasks = state.live.iter().map(|(id, live)| (id, &live.task));
            let tasks = tasks.filter(|(id, task)| is_after(request, id.as_str()) && matches(filter, task));
            page(tasks.map(|(id, task)| (id, task.clone())), request)
        }))
    }

    async fn task_counts(&self) -> Result<Vec<TaskCount>> {
        let mut counts: BTreeMap<(Lane, TaskState), (u64, Timestamp)> = BTreeMap::new();
        self.read(|state| {
            for LiveTask { task, .. } in state.live.values() {
                let count = counts
                    .entry((task.lane.clone(), task.state))
                    .or_insert((0, task.due_time));
                *count = (count.0 + 1, count.1.min(task.due_time));
            }
        });
        let counts = counts
            .into_iter()
            .map(|((lane, state), (count, oldest_due_time))| TaskCount {
                lane,
                state,
                count,
                oldest_due_time,
            });
        Ok(counts.collect())
    }

    async fn insert_run(&self, run: NewRun) -> Result<InsertRunOutcome> {
        self.write(|state| state.insert_run(run))
    }

    async fn get_run(&self, run_id: &RunId) -> Result<Option<WorkflowRun>> {
        Ok(self.read(|state| state.get_run(run_id)))
    }

    async fn advance_run(&self, advance: AdvanceRun) -> Result<AdvanceRunOutcome> {
        self.write(|state| state.advance_run(advance))
    }
}

fn matches(filter: &TaskFilter, task: &Task) -> bool {
    let holder = task.holder.as_ref().map(|holder| &holder.executor_id);
    filter.job_id.as_ref().is_none_or(|job_id| task.job_id == *job_id)
        && (filter.states.is_empty() || filter.states.contains(&task.state))
        && (filter.executor_id.is_none() || holder == filter.executor_id.as_ref())
}

impl State {
    pub(crate) fn insert_task(&mut self, new: NewTask, now: Timestamp) -> InsertOutcome {
        if let Some(task_id) = self.there_already(&new, now) {
            return InsertOutcome::Duplicate { task_id };
        }
        if let Some(unique) = &new.unique_key {
            self.unique_keys
                .retain(|row| row.scope != unique.scope || row.key != unique.key);
            self.unique_keys.push(KeyRow {
                scope: unique.scope.clone(),
                key: unique.key.clone(),
                task_id: new.task_id.clone(),
                expire_time: now + unique.keep,
            });
        }
        for gate in &new.gates {
            self.gates.entry(gate.key.clone()).or_default().policy = gate.policy.clone();
        }
        let live = LiveTask {
            task: Task::from_new(new, now),
            claim_id: None,
            start_before: None,
        };
        self.live.insert(live.task.task_id.clone(), live);
        InsertOutcome::Inserted
    }

    /// The task whose id, occurrence or unique key the new one has.
    fn there_already(&self, new: &NewTask, now: Timestamp) -> Option<TaskId> {
        if self.task(&new.task_id).is_some() {
            return Some(new.task_id.clone());
        }
        let live = self.live.values().map(|live| &live.task);
        let mut all = live.chain(self.finished.rows.values());
        let same = |task: &&Task| {
            new.scheduled_for.is_some()
                && (&task.job_id, task.scheduled_for, task.part) == (&new.job_id, new.scheduled_for, new.part)
        };
        if let Some(task) = all.find(same) {
            return Some(task.task_id.clone());
        }
        let unique = new.unique_key.as_ref()?;
        let taken = self.unique_keys.iter().find(|row| {
            row.scope == unique.scope
                && row.key == unique.key
                && (row.expire_time > now || self.live.contains_key(&row.task_id))
        });
        taken.map(|row| row.task_id.clone())
    }

    fn change_task(&mut self, change: &ChangeTask, now: Timestamp) -> ChangeOutcome {
        let Some(LiveTask { task, .. }) = self.live.get_mut(&change.task_id) else {
            return ChangeOutcome::NotWaiting;
        };
        if task.state.is_held() {
            return ChangeOutcome::Held;
        }
        task.priority = change.priority.unwrap_or(task.priority);
        task.due_time = change.due_time.unwrap_or(task.due_time);
        task.rank = Rank::new(task.due_time, task.priority);
        task.state = Task::waiting_state(task.state == TaskState::Blocked, task.due_time, now);
        ChangeOutcome::Changed
    }
}
