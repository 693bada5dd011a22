//! Everything that the store holds, and how a task becomes final.

use std::collections::BTreeMap;

use jobcore::Timestamp;
use jobcore::attempt::{Attempt, LogChunk};
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

impl State {
    /// Makes a task final that waits.
    pub(crate) fn end(&mut self, task_id: &TaskId, state: TaskState, reason: &str, now: Timestamp) {
        if let Some(live) = self.live.get(task_id) {
            let after = live.task.clone().finish(state, Some(reason.to_owned()), now);
            self.finish(after, String::new());
        }
    }

    /// Moves a live task to history, as `after`: the one way in which tasks become final.
    pub(crate) fn finish(&mut self, after: Task, output: String) {
        self.live.remove(&after.task_id);
        self.changes.add(Change::Task {
            task_id: after.task_id.clone(),
            job_id: after.job_id.clone(),
            state: after.state,
        });
        if let Some(step) = &after.step
            && let Some(run) = self.runs.get_mut(&step.run_id)
        {
            run.inbox.add(Report {
                step: step.step.clone(),
                task_id: after.task_id.clone(),
                state: after.state,
                output,
            });
        }
        self.finished.add(after);
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
