//! Where a live task waits: every state has its set, and gates count what is behind them.

use std::sync::Arc;

use super::finished::Finished;
use super::history::Note;
use super::state::{FireKey, State};
use super::tasks::Slot;
use crate::gate::Gate;
use crate::id::TaskId;
use crate::job::Job;
use crate::store::{InsertOutcome, StepReport};
use crate::task::{NewTask, Task, TaskState};
use crate::time::Timestamp;

/// How a task becomes final.
pub(super) struct Ending {
    pub(super) state: TaskState,
    pub(super) reason: Option<String>,
    pub(super) now: Timestamp,
    /// What its attempt returned, for the workflow run.
    pub(super) output: Option<String>,
}

impl State {
    /// Inserts tasks, each unless it is there.
    pub(super) fn insert_tasks(&mut self, tasks: Vec<NewTask>, now: Timestamp) -> Vec<InsertOutcome> {
        tasks.into_iter().map(|task| self.insert(task, now)).collect()
    }

    fn insert(&mut self, mut new: NewTask, now: Timestamp) -> InsertOutcome {
        let Some(id_key) = self.tasks.new_key(&new.task_id) else {
            return InsertOutcome::Duplicate { task_id: new.task_id };
        };
        if let Some(task_id) = self.duplicate_of(&new, now) {
            return InsertOutcome::Duplicate { task_id };
        }
        if let Some(key) = fire_key(&new) {
            self.fires.insert(key, new.task_id.clone());
        }
        if let Some(key) = new.unique_key.take() {
            self.unique.take(&key, new.task_id.clone(), now);
        }
        for Gate { key, policy } in &new.gates {
            self.gates.enter(key, policy, &self.tasks);
        }
        self.count_jobless(&new);
        let lane = self.lanes.enter(&new.lane);
        let slot = self.tasks.add(id_key, Task::from_new(new, now), lane);
        self.attach(slot);
        InsertOutcome::Inserted
    }

    /// The task that was made for the same fire, or has the same unique key.
    fn duplicate_of(&self, new: &NewTask, now: Timestamp) -> Option<TaskId> {
        if let Some(task_id) = fire_key(new).and_then(|key| self.fires.get(&key)) {
            return Some(task_id.clone());
        }
        let key = new.unique_key.as_ref()?;
        let is_live = |task_id: &TaskId| self.tasks.live_slot(task_id).is_some();
        self.unique.holder(key, now, is_live).cloned()
    }

    fn count_jobless(&mut self, new: &NewTask) {
        if !new.gates.is_empty() && self.jobs.get(&new.job_id).is_none() {
            *self.jobless.entry(new.job_id.clone()).or_default() += 1;
        }
    }

    /// Puts a waiting task where its state belongs.
    pub(super) fn attach(&mut self, slot: Slot) {
        let entry = self.tasks.entry(slot);
        let task = &entry.task;
        match task.state {
            TaskState::Blocked => {
                self.delayed.insert((task.due_time, task.task_id.clone()), slot);
            }
            TaskState::Scheduled => {
                self.scheduled.insert((task.due_time, task.task_id.clone()), slot);
            }
            TaskState::Ready => self.lanes.insert(entry.lane, task, slot),
            state => debug_assert!(false, "invariant: {state} is not a waiting state"),
        }
        self.gates.count(task, slot);
    }

    /// Takes a live task out of where its state belongs, before it changes.
    pub(super) fn detach(&mut self, slot: Slot) {
        let entry = self.tasks.entry(slot);
        let task = &entry.task;
        self.gates.uncount(task, slot);
        match task.state {
            TaskState::Blocked => {
                if self
                    .delayed
                    .remove(&(task.due_time, task.task_id.clone()))
                    .is_none()
                {
                    self.gates.stop_waiting(task);
                }
            }
            TaskState::Scheduled => {
                self.scheduled.remove(&(task.due_time, task.task_id.clone()));
            }
            TaskState::Ready => self.lanes.remove(entry.lane, task),
            TaskState::Leased | TaskState::Running => self.release(slot),
            state => debug_assert!(false, "invariant: {state} is not a live state"),
        }
    }

    /// Takes a held task from under its lease.
    fn release(&mut self, slot: Slot) {
        let task = self.tasks.task(slot);
        if let Some(cancel) = &task.cancel {
            self.cancelling.remove(&(cancel.deadline, task.task_id.clone()));
        }
        if let Some(lease) = self.leases.release(task.token) {
            self.executors.close_lease(&lease.holder, task.token);
        }
    }

    /// Makes a task final that was [detached](Self::detach).
    pub(super) fn finish(&mut self, slot: Slot, ending: Ending) {
        let Ending {
            state,
            reason,
            now,
            output,
        } = ending;
        let entry = self.tasks.entry(slot);
        let task = &entry.task;
        self.lanes.leave(entry.lane);
        for key in &task.gates {
            self.gates.leave(key, now);
        }
        if task.is_gated()
            && let Some(count) = self.jobless.get_mut(&task.job_id)
        {
            *count -= 1;
            if *count == 0 {
                self.jobless.remove(&task.job_id);
            }
        }
        if let Some(step) = &task.step {
            let report = StepReport {
                sequence: 0,
                step: step.step.clone(),
                task_id: task.task_id.clone(),
                state,
                output: output.unwrap_or_default(),
            };
            self.runs.report(&step.run_id, report);
        }
        let number = self.tasks.finish(slot, state, reason, now);
        self.history.changes.push(Note::Task(number));
    }

    /// Takes a waiting task out and makes it final.
    pub(super) fn finish_waiting(&mut self, slot: Slot, state: TaskState, reason: &str, now: Timestamp) {
        self.detach(slot);
        let reason = Some(reason.to_owned());
        self.finish(
            slot,
            Ending {
                state,
                reason,
                now,
                output: None,
            },
        );
    }

    /// The job of a task.
    pub(super) fn job_of(&self, slot: Slot) -> Option<&Arc<Job>> {
        self.jobs.get(&self.tasks.task(slot).job_id)
    }
}

/// What makes a task of a fire unique.
fn fire_key(new: &NewTask) -> Option<FireKey> {
    Some((new.job_id.clone(), new.scheduled_for?, new.part))
}

/// The same of a final task.
pub(super) fn fire_key_of(task: &Finished) -> Option<FireKey> {
    Some((task.job_id.clone(), task.scheduled_for?, task.part))
}
