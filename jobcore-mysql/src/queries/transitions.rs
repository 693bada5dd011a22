//! What every way to end a task, or to let it wait again, has in common.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::attempt::Attempt;
use jobcore::gate::GateKey;
use jobcore::id::TaskId;
use jobcore::task::{Task, TaskState};

use super::gates::leave_gates;
use super::leases::release;
use super::rows::{Bound, RowStatement};
use super::runs::{Report, append_reports};
use super::stored_log::{Closing, NewLog, insert_logs, update_logs};
use super::stored_task::{StoredTask, forget_all_notes, replace_tasks};
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// A live task that changes: how it was, how it is now, and the attempt that ended with it, if one did. Its row is locked.
#[derive(Clone, Debug)]
pub(crate) struct Transition {
    pub(crate) before: StoredTask,
    pub(crate) after: Task,
    /// The lane of `after`.
    pub(crate) lane_id: i64,
    pub(crate) attempt: Option<Attempt>,
    /// Whether `after.checkpoint` is new.
    pub(crate) checkpoint_changed: bool,
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
        }
    }

    /// Whether the attempt's start was recorded, so that its row is there.
    fn has_row(&self) -> bool {
        self.before.task.state == TaskState::Running
    }
}

/// Writes transitions, in order: what ends goes to history, what waits again stays. No task may be there twice.
///
/// Locks are taken as everywhere: gates, runs, tasks, leases; whoever read the tasks has locked them.
pub(crate) async fn write_transitions(cx: &mut Cx<'_>, transitions: Vec<Transition>) -> Result<()> {
    if transitions.is_empty() {
        return Ok(());
    }
    let (ended, waiting): (Vec<_>, Vec<_>) = transitions
        .iter()
        .partition(|transition| transition.after.state.is_final());
    leave(cx, &ended).await?;
    write_attempts(cx, &transitions).await?;
    let rows: Vec<StoredTask> = waiting.into_iter().map(waiting_row).collect();
    replace_tasks(cx, &rows).await?;
    remove_tasks(cx, &ended).await?;
    let before: Vec<&Task> = transitions
        .iter()
        .map(|transition| &transition.before.task)
        .collect();
    release(cx, &before).await
}

fn waiting_row(transition: &Transition) -> StoredTask {
    StoredTask {
        task: transition.after.clone(),
        lane_id: transition.lane_id,
        checkpoint_changed: transition.checkpoint_changed,
        noted: transition.before.noted,
    }
}

/// Takes tasks that ended away from their gates.
async fn leave(cx: &mut Cx<'_>, ended: &[&Transition]) -> Result<()> {
    let before = ended.iter().map(|transition| &transition.before.task);
    let gated: Vec<&Task> = before.filter(|task| task.is_gated()).collect();
    leave_gates(cx, &gated).await
}

/// Writes the rows of attempts, and those that close tasks.
async fn write_attempts(cx: &mut Cx<'_>, transitions: &[Transition]) -> Result<()> {
    let mut updates = Vec::new();
    let mut logs = Vec::with_capacity(transitions.len());
    let mut reports = Vec::new();
    for transition in transitions {
        let after = &transition.after;
        let new_attempt = match &transition.attempt {
            Some(attempt) if transition.has_row() => {
                updates.push(attempt.clone());
                None
            }
            attempt => attempt.clone(),
        };
        let closing = after.state.is_final().then(|| Closing {
            task: after.clone(),
            lane_id: transition.lane_id,
        });
        logs.extend(match (new_attempt, closing) {
            (Some(attempt), Some(closing)) => Some(NewLog::Last(attempt, closing)),
            (Some(attempt), None) => Some(NewLog::Attempt(attempt)),
            (None, Some(closing)) => Some(NewLog::Closing(closing)),
            (None, None) => None,
        });
        reports.extend(Report::of(after, transition.attempt.as_ref()));
    }
    append_reports(cx, &reports).await?;
    update_logs(cx, &updates).await?;
    insert_logs(cx, &logs).await
}

/// By the index, however few rows there seem to be: a look at all would wait for what others have locked.
static DELETE_TASKS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE t FROM tasks t FORCE INDEX (tasks_id) WHERE t.task_id IN",
        "",
    )
});
static DELETE_CHECKPOINTS: LazyLock<RowStatement> = LazyLock::new(|| {
    let delete = "DELETE c FROM checkpoints c FORCE INDEX (PRIMARY) WHERE c.task_id IN";
    RowStatement::list(delete, "")
});

/// Takes tasks that ended out of the live ones.
async fn remove_tasks(cx: &mut Cx<'_>, ended: &[&Transition]) -> Result<()> {
    if ended.is_empty() {
        return Ok(());
    }
    let mut before: Vec<&StoredTask> = ended.iter().map(|transition| &transition.before).collect();
    before.sort_unstable_by(|a, b| a.task.task_id.cmp(&b.task.task_id));
    {
        let mut claims = cx.caches().claims.lock();
        for stored in &before {
            claims.forget(stored.task.token, &stored.task.task_id);
        }
    }
    let bind = |query: Bound, stored: &&StoredTask| query.bind(stored.task.task_id.as_str().to_owned());
    let deleted = DELETE_TASKS.execute(cx.sql, &before, bind).await?;
    if deleted != before.len() as u64 {
        // They were read without a lock after all, or are there twice: better nothing than a task that ends twice.
        return Err(Failure::Stale);
    }
    forget_all_notes(cx, &before).await?;
    before.retain(|stored| stored.task.checkpoint.is_some());
    DELETE_CHECKPOINTS.execute(cx.sql, &before, bind).await?;
    Ok(())
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
