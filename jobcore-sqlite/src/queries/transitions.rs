//! What every way to end a task, or to let it wait again, has in common.

use std::collections::BTreeMap;

use jobcore::Timestamp;
use jobcore::attempt::Attempt;
use jobcore::gate::GateKey;
use jobcore::id::TaskId;
use jobcore::task::{Task, TaskState};

use super::gates::leave_gates;
use super::leases::release;
use super::rows::json_list;
use super::runs::{Report, append_reports};
use super::stored_log::{Closing, LogId, NewLog, insert_logs, update_logs};
use super::stored_task::{StoredTask, replace_tasks};
use crate::connection::Cx;
use crate::error::Result;

/// A live task that changes: how it was, how it is now, and the attempt that ended with it, if one did.
#[derive(Clone, Debug)]
pub(crate) struct Transition {
    pub(crate) before: StoredTask,
    pub(crate) after: Task,
    /// The lane of `after`.
    pub(crate) lane_id: i64,
    pub(crate) attempt: Option<Attempt>,
    /// Whether `after.checkpoint` is new.
    pub(crate) checkpoint_changed: bool,
    /// The number of its row in history.
    pub(crate) log_id: LogId,
}

impl Transition {
    /// A task that ends without an attempt.
    pub(crate) fn end(before: StoredTask, state: TaskState, reason: Option<String>, now: Timestamp) -> Self {
        let after = before.task.clone().finish(state, reason, now);
        Self {
            lane_id: before.lane_id,
            after,
            before,
            attempt: None,
            checkpoint_changed: false,
            log_id: None,
        }
    }

    /// Whether the attempt's start was recorded, so that its row is there.
    fn has_row(&self) -> bool {
        self.before.task.state == TaskState::Running
    }
}

/// Writes transitions, in order: what ends goes to history, what waits again stays. No task may be there twice.
pub(crate) async fn write_transitions(cx: &mut Cx<'_>, transitions: Vec<Transition>) -> Result<()> {
    if transitions.is_empty() {
        return Ok(());
    }
    let (ended, waiting): (Vec<_>, Vec<_>) = transitions
        .iter()
        .partition(|transition| transition.after.state.is_final());
    let before: Vec<&Task> = transitions
        .iter()
        .map(|transition| &transition.before.task)
        .collect();
    release(cx, &before).await?;
    write_attempts(cx, &transitions).await?;
    let rows: Vec<StoredTask> = waiting.into_iter().map(waiting_row).collect();
    replace_tasks(cx, &rows).await?;
    remove_tasks(cx, &ended).await
}

fn waiting_row(transition: &Transition) -> StoredTask {
    StoredTask {
        task: transition.after.clone(),
        lane_id: transition.lane_id,
        checkpoint_changed: transition.checkpoint_changed,
    }
}

/// Writes the rows of attempts, and those that close tasks.
async fn write_attempts(cx: &mut Cx<'_>, transitions: &[Transition]) -> Result<()> {
    let mut updates = Vec::new();
    let mut logs = Vec::with_capacity(transitions.len());
    let mut reports = Vec::new();
    for transition in transitions {
        let (after, lane_id) = (&transition.after, transition.lane_id);
        let new_attempt = match &transition.attempt {
            Some(attempt) if transition.has_row() => {
                updates.push(attempt.clone());
                None
            }
            attempt => attempt.clone(),
        };
        let closing = after.state.is_final().then(|| Closing {
            task: after.clone(),
            lane_id,
        });
        let log = match (new_attempt, closing) {
            (Some(attempt), Some(closing)) => Some(NewLog::Last(attempt, closing)),
            (Some(attempt), None) => Some(NewLog::Attempt(attempt)),
            (None, Some(closing)) => Some(NewLog::Closing(closing)),
            (None, None) => None,
        };
        logs.extend(log.map(|log| (transition.log_id, log)));
        reports.extend(Report::of(after, transition.attempt.as_ref()));
    }
    update_logs(cx, &updates).await?;
    insert_logs(cx, &logs).await?;
    append_reports(cx, &reports).await
}

/// Takes tasks that ended out of the live ones.
async fn remove_tasks(cx: &mut Cx<'_>, ended: &[&Transition]) -> Result<()> {
    if ended.is_empty() {
        return Ok(());
    }
    let before: Vec<&Task> = ended.iter().map(|transition| &transition.before.task).collect();
    for task in &before {
        cx.caches.claims.forget(task.token, &task.task_id);
    }
    let delete = "DELETE FROM tasks WHERE task_id IN (SELECT value FROM json_each(?1))";
    sqlx::query(delete)
        .bind(json_list(before.iter().map(|task| task.task_id.as_str())))
        .execute(&mut *cx.sql)
        .await?;
    if before.iter().any(|task| task.checkpoint.is_some()) {
        let saved = before.iter().filter(|task| task.checkpoint.is_some());
        let list = json_list(saved.map(|task| task.task_id.as_str()));
        let delete = "DELETE FROM checkpoints WHERE task_id IN (SELECT value FROM json_each(?1))";
        sqlx::query(delete).bind(list).execute(&mut *cx.sql).await?;
    }
    let now = ended
        .iter()
        .filter_map(|transition| transition.after.end_time)
        .max()
        .unwrap_or_default();
    leave_gates(cx, &before, now).await
}

/// Which gates each of some tasks named, for answers that name gates.
#[derive(Debug, Default)]
pub(crate) struct Touched(BTreeMap<TaskId, Vec<GateKey>>);

impl Touched {
    pub(crate) fn add(&mut self, task: &Task) {
        if task.is_gated() {
            self.0.insert(task.task_id.clone(), task.gates.clone());
        }
    }

    /// All of them, by key, each once.
    pub(crate) fn keys(&self) -> Vec<GateKey> {
        let mut keys: Vec<GateKey> = self.0.values().flatten().cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Those of one task, by key.
    pub(crate) fn of(&self, task_id: &TaskId) -> Vec<GateKey> {
        let mut keys = self.0.get(task_id).cloned().unwrap_or_default();
        keys.sort_unstable();
        keys
    }
}
