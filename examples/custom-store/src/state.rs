//! Everything that the store holds, and how a task becomes final.

use std::collections::BTreeMap;

use jobcore::Timestamp;
use jobcore::attempt::{Attempt, AttemptStatus, LogChunk};
use jobcore::gate::{GateKey, GatePolicy};
use jobcore::id::{ClaimId, ExecutorId, JobId, RunId, TaskId};
use jobcore::job::Job;
use jobcore::json::Json;
use jobcore::lease::{FencingToken, Holder};
use jobcore::store::{Change, Decision, ExecutorRecord, ExecutorStatus, Record};
use jobcore::task::{Task, TaskState};
use serde::{Deserialize, Serialize};

use crate::listing::Journal;

/// All rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) last_token: u64,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) records: Vec<Record>,
    pub(crate) executors: BTreeMap<ExecutorId, ExecutorRow>,
    pub(crate) live: BTreeMap<TaskId, LiveTask>,
    pub(crate) gates: BTreeMap<GateKey, GateRow>,
    pub(crate) unique_keys: Vec<KeyRow>,
    pub(crate) runs: BTreeMap<RunId, RunRow>,
    pub(crate) finished: Journal<Task>,
    pub(crate) attempts: Journal<Attempt>,
    pub(crate) decisions: Journal<Decision>,
    pub(crate) changes: Journal<Change>,
    pub(crate) logs: Vec<LogChunk>,
}

/// A task that isn't final, and the claim that it is held under.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LiveTask {
    pub(crate) task: Task,
    pub(crate) claim_id: Option<ClaimId>,
    pub(crate) start_before: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GateRow {
    pub(crate) policy: GatePolicy,
    pub(crate) arrival_time: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyRow {
    pub(crate) scope: String,
    pub(crate) key: String,
    pub(crate) task_id: TaskId,
    pub(crate) expire_time: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunRow {
    pub(crate) job_id: JobId,
    pub(crate) version: u64,
    pub(crate) state: Json,
    pub(crate) inbox: Journal<Report>,
    pub(crate) end_time: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) step: String,
    pub(crate) task_id: TaskId,
    pub(crate) state: TaskState,
    pub(crate) output: String,
}

/// An executor; the record's status is reckoned anew by [`ExecutorRow::status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExecutorRow {
    pub(crate) record: ExecutorRecord,
    pub(crate) gone: bool,
    pub(crate) disabled: bool,
    pub(crate) draining: bool,
    pub(crate) nonce: Option<u64>,
}

impl ExecutorRow {
    pub(crate) fn status(&self) -> ExecutorStatus {
        match self {
            Self { gone: true, .. } => ExecutorStatus::Offline,
            Self { disabled: true, .. } => ExecutorStatus::Disabled,
            Self { draining: true, .. } => ExecutorStatus::Draining,
            _ => ExecutorStatus::Online,
        }
    }

    /// The record as it is shown.
    pub(crate) fn shown(&self) -> ExecutorRecord {
        ExecutorRecord {
            status: self.status(),
            ..self.record.clone()
        }
    }
}

/// How a task becomes final.
pub(crate) struct Ending<'a> {
    pub(crate) state: TaskState,
    pub(crate) reason: Option<&'a str>,
    pub(crate) now: Timestamp,
    /// What its attempt returned, for the workflow run.
    pub(crate) output: String,
}

impl<'a> Ending<'a> {
    /// An end without an attempt.
    pub(crate) fn without_attempt(state: TaskState, reason: &'a str, now: Timestamp) -> Self {
        Self {
            state,
            reason: Some(reason),
            now,
            output: String::new(),
        }
    }
}

impl State {
    /// Moves a live task to history: the one way in which tasks become final.
    pub(crate) fn finish(&mut self, task_id: &TaskId, ending: Ending<'_>) {
        let Some(LiveTask { task, .. }) = self.live.remove(task_id) else {
            return;
        };
        self.changes.add(Change::Task {
            task_id: task.task_id.clone(),
            job_id: task.job_id.clone(),
            state: ending.state,
        });
        if let Some(step) = &task.step
            && let Some(run) = self.runs.get_mut(&step.run_id)
        {
            run.inbox.add(Report {
                step: step.step.clone(),
                task_id: task.task_id.clone(),
                state: ending.state,
                output: ending.output,
            });
        }
        let reason = ending.reason.map(str::to_owned);
        self.finished.add(task.finish(ending.state, reason, ending.now));
    }

    /// A task, live or from history.
    pub(crate) fn task(&self, task_id: &TaskId) -> Option<&Task> {
        let live = self.live.get(task_id).map(|live| &live.task);
        live.or_else(|| self.finished.rows.values().find(|task| task.task_id == *task_id))
    }

    /// The record of an attempt under this token.
    pub(crate) fn attempt_mut(
        &mut self,
        task_id: &TaskId,
        attempt: u32,
        token: FencingToken,
    ) -> Option<&mut Attempt> {
        self.attempts
            .rows
            .values_mut()
            .rev()
            .find(|row| row.task_id == *task_id && row.attempt == attempt && row.token == token)
    }

    /// Closes the record of a held task's attempt, if its start was recorded.
    pub(crate) fn close_attempt(&mut self, task: &Task, status: AttemptStatus, end_time: Option<Timestamp>) {
        if let Some(attempt) = self.attempt_mut(&task.task_id, task.attempt, task.token) {
            (attempt.status, attempt.end_time) = (status, end_time);
        }
    }

    /// Whether a holder is the newest incarnation of an executor that is there.
    pub(crate) fn is_alive(&self, holder: &Holder) -> bool {
        let row = self.executors.get(&holder.executor_id);
        row.is_some_and(|row| row.record.incarnation == holder.incarnation && !row.gone)
    }

    /// The gates of some tasks behind which a due task waits: what outcomes name.
    pub(crate) fn waited_at(&self, mut keys: Vec<GateKey>, now: Timestamp) -> Vec<GateKey> {
        keys.sort();
        keys.dedup();
        keys.retain(|key| self.waiting_at(key, now).next().is_some());
        keys
    }

    /// The blocked tasks behind a gate that are due.
    pub(crate) fn waiting_at<'a>(
        &'a self,
        key: &'a GateKey,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Task> + 'a {
        let tasks = self.live.values().map(|live| &live.task);
        tasks.filter(move |task| {
            task.state == TaskState::Blocked && task.due_time <= now && task.gates.contains(key)
        })
    }
}
