//! The mirror: what the store holds as far as its answers so far say, and how each call changed that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jobcore::gate::GateKey;
use jobcore::id::{JobId, TaskId};
use jobcore::job::Job;
use jobcore::memory::MemoryStore;
use jobcore::store::{
    CancelWhich, ClaimOutcome, Decision, Fire, HistoryStore, InsertOutcome, JobStore, PageRequest,
    TaskFilter, TaskStore,
};
use jobcore::task::{Task, TaskState};
use jobcore::{Result, Timestamp};

use super::call::{Answer, Call, now};
use super::sabotage::Sabotage;

/// A call that the store has answered, and what it changed.
pub(super) struct Step<'a> {
    /// The store's clock.
    pub(super) time: Timestamp,
    pub(super) call: &'a Call,
    pub(super) answer: &'a Result<Answer>,
    pub(super) changes: &'a [TaskChange],
    pub(super) jobs: &'a [JobChange],
    /// Tasks that must be there and aren't.
    pub(super) missing: &'a [TaskId],
    /// What the store holds after the call.
    pub(super) mirror: &'a Mirror,
}

impl Step<'_> {
    /// The task as it was before the call.
    pub(super) fn before(&self, task_id: &TaskId) -> Option<&Task> {
        match self.change(task_id) {
            Some(change) => change.before.as_deref(),
            None => self.mirror.task(task_id),
        }
    }

    /// The task as it is after the call.
    pub(super) fn after(&self, task_id: &TaskId) -> Option<&Task> {
        self.mirror.task(task_id)
    }

    pub(super) fn change(&self, task_id: &TaskId) -> Option<&TaskChange> {
        self.changes
            .iter()
            .find(|change| change.after.task_id == *task_id)
    }
}

/// A task that a call made or changed.
#[derive(Clone, Debug)]
pub(super) struct TaskChange {
    pub(super) before: Option<Arc<Task>>,
    pub(super) after: Arc<Task>,
}

impl TaskChange {
    pub(super) fn state_before(&self) -> Option<TaskState> {
        self.before.as_ref().map(|task| task.state)
    }
}

/// A job that a call may have changed.
#[derive(Clone, Debug)]
pub(super) struct JobChange {
    pub(super) before: Option<Arc<Job>>,
    pub(super) after: Option<Arc<Job>>,
}

/// What the store holds.
#[derive(Default)]
pub(super) struct Mirror {
    pub(super) live: BTreeMap<TaskId, Arc<Task>>,
    pub(super) ended: HashMap<TaskId, Arc<Task>>,
    pub(super) jobs: BTreeMap<JobId, Arc<Job>>,
    /// The decisions about the jobs that were fired last.
    decisions: Vec<Decision>,
}

impl Mirror {
    pub(super) fn has_decision(&self, decision: &Decision) -> bool {
        self.decisions.contains(decision)
    }

    pub(super) fn task(&self, task_id: &TaskId) -> Option<&Task> {
        self.live
            .get(task_id)
            .or_else(|| self.ended.get(task_id))
            .map(|task| &**task)
    }

    /// The live tasks behind a gate.
    pub(super) fn behind<'a>(&'a self, gate: &'a GateKey) -> impl Iterator<Item = &'a Task> {
        self.live
            .values()
            .map(|task| &**task)
            .filter(move |task| task.gates.contains(gate))
    }

    /// The tasks that a call may change, as far as that can be said before it is answered.
    pub(super) fn concerned(&self, call: &Call) -> BTreeSet<TaskId> {
        match call {
            Call::Fire(fires) => fires
                .iter()
                .flat_map(|fire| &fire.tasks)
                .map(|task| task.task_id.clone())
                .collect(),
            Call::Insert(tasks, _) => tasks.iter().map(|task| task.task_id.clone()).collect(),
            Call::Start(starts) => starts.iter().map(|start| start.fence.task_id.clone()).collect(),
            Call::Settle(settlements, _) => settlements
                .iter()
                .map(|settlement| settlement.fence.task_id.clone())
                .collect(),
            Call::Save(updates) => updates
                .iter()
                .map(|update| update.fence.task_id.clone())
                .collect(),
            Call::Change(changes, _) => changes.iter().map(|change| change.task_id.clone()).collect(),
            Call::Cancel(request) => match &request.which {
                CancelWhich::Tasks(tasks) => tasks.iter().cloned().collect(),
                CancelWhich::Job(job_id) => self.ids(|task| task.job_id == *job_id),
            },
            Call::Promote(request) => self.ids(|task| {
                matches!(task.state, TaskState::Blocked | TaskState::Scheduled)
                    && task.due_time <= request.now
            }),
            Call::Claim(_) => self.ids(|task| !self.jobs.contains_key(&task.job_id)),
            _ => BTreeSet::new(),
        }
    }

    fn ids(&self, concerned: impl Fn(&Task) -> bool) -> BTreeSet<TaskId> {
        let tasks = self.live.values().filter(|task| concerned(task));
        tasks.map(|task| task.task_id.clone()).collect()
    }

    /// Takes over what a call changed; returns the changes, and the tasks that must be there and aren't.
    pub(super) fn follow(
        &mut self,
        store: &MemoryStore,
        sabotage: &Sabotage,
        mut concerned: BTreeSet<TaskId>,
        call: &Call,
        answer: &Result<Answer>,
    ) -> (Vec<TaskChange>, Vec<TaskId>) {
        if let Ok(answer) = answer {
            concerned.extend(named(answer));
        }
        let inserted = inserted(call, answer);
        let concerned: Vec<TaskId> = concerned.into_iter().collect();
        let mut changes = Vec::new();
        let mut missing = Vec::new();
        for batch in concerned.chunks(jobcore::store::MAX_BATCH) {
            let found = now(store.get_tasks(batch)).unwrap_or_default();
            for (task_id, task) in batch.iter().zip(found) {
                let task = sabotage.shown(task_id, task);
                let known = self.live.get(task_id).or_else(|| self.ended.get(task_id));
                match task {
                    Some(task) if known.is_none_or(|known| **known != task) => {
                        changes.push(TaskChange {
                            before: known.cloned(),
                            after: Arc::new(task),
                        });
                    }
                    None if known.is_some() || inserted.contains(&task_id) => missing.push(task_id.clone()),
                    _ => {}
                }
            }
        }
        for change in &changes {
            self.take(&change.after);
        }
        (changes, missing)
    }

    fn take(&mut self, task: &Arc<Task>) {
        if task.state.is_final() {
            self.live.remove(&task.task_id);
            self.ended.insert(task.task_id.clone(), task.clone());
        } else {
            self.live.insert(task.task_id.clone(), task.clone());
        }
    }

    /// Reads the jobs anew that a call may have changed.
    pub(super) fn follow_jobs(&mut self, store: &MemoryStore, call: &Call) -> Vec<JobChange> {
        let ids: Vec<JobId> = match call {
            Call::PutJobs(jobs) => jobs.iter().map(|job| job.job_id.clone()).collect(),
            Call::PauseJobs(jobs) => jobs.iter().map(|job| job.job_id.clone()).collect(),
            Call::DeleteJobs(jobs) => jobs.iter().map(|job| job.job_id.clone()).collect(),
            Call::Fire(fires) => fires.iter().map(|fire| fire.job_id.clone()).collect(),
            _ => return Vec::new(),
        };
        if let Call::Fire(fires) = call {
            self.follow_decisions(store, fires);
        }
        let found = now(store.get_jobs(&ids)).unwrap_or_default();
        let changes = ids.into_iter().zip(found).map(|(job_id, after)| {
            let before = match &after {
                Some(job) => self.jobs.insert(job_id, job.clone()),
                None => self.jobs.remove(&job_id),
            };
            JobChange { before, after }
        });
        changes.collect()
    }

    fn follow_decisions(&mut self, store: &MemoryStore, fires: &[Fire]) {
        self.decisions.clear();
        for fire in fires.iter().filter(|fire| !fire.decisions.is_empty()) {
            let newest = PageRequest::first(100);
            let page = now(store.list_decisions(Some(&fire.job_id), &newest));
            self.decisions
                .extend(page.into_iter().flat_map(|page| page.items));
        }
    }

    /// Compares with everything that the store holds.
    pub(super) fn audit(&self, store: &MemoryStore) -> Result<(), String> {
        let mut page = PageRequest::first(jobcore::store::MAX_BATCH);
        let mut seen = 0;
        loop {
            let found =
                now(store.list_tasks(&TaskFilter::default(), &page)).map_err(|error| error.to_string())?;
            for task in &found.items {
                seen += 1;
                match self.live.get(&task.task_id) {
                    Some(known) if **known == *task => {}
                    known => {
                        return Err(format!("task changed without a call: {task:?}, was {known:?}"));
                    }
                }
            }
            page.cursor = found.next;
            if page.cursor.is_none() {
                break;
            }
        }
        if seen == self.live.len() {
            return Ok(());
        }
        let live = self.live.len();
        Err(format!("{live} tasks should be live, the store lists {seen}"))
    }
}

/// The tasks that an answer names.
fn named(answer: &Answer) -> Vec<TaskId> {
    match answer {
        Answer::Claim(ClaimOutcome::Claimed(lease)) => lease
            .tasks
            .iter()
            .map(|claimed| claimed.task.task_id.clone())
            .collect(),
        Answer::Recover(recovered) => recovered.tasks.iter().map(|task| task.task_id.clone()).collect(),
        Answer::Promote(promoted) => {
            let settled = promoted.settled.iter().map(|(task_id, ..)| task_id.clone());
            settled.chain(promoted.cancelling.iter().cloned()).collect()
        }
        Answer::Insert(outcomes) => outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                InsertOutcome::Duplicate { task_id } => Some(task_id.clone()),
                InsertOutcome::Inserted => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The tasks that the store says it took.
fn inserted<'a>(call: &'a Call, answer: &Result<Answer>) -> Vec<&'a TaskId> {
    let (Call::Insert(tasks, _), Ok(Answer::Insert(outcomes))) = (call, answer) else {
        return Vec::new();
    };
    let taken = tasks
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| **outcome == InsertOutcome::Inserted);
    taken.map(|(task, _)| &task.task_id).collect()
}
