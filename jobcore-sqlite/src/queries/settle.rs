//! Settling: what ended goes down in one transaction, decided by the pure engine.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use jobcore::attempt::{Attempt, AttemptStatus};
use jobcore::engine::settle::{Resolution, resolve};
use jobcore::id::TaskId;
use jobcore::lease::Fence;
use jobcore::store::{AttemptEnd, Next, SettleOutcome, Settlement};
use jobcore::task::{Began, Task, TaskState};
use jobcore::{Error, Timestamp};

use super::gates::waiting_gates;
use super::stored_log::{attempt_columns, decode_attempt, finished_columns, read_finished};
use super::stored_task::StoredTask;
use super::task_row::tasks_by_id;
use super::transitions::{Touched, Transition, open_attempt, write_transitions};
use crate::BACKEND;
use crate::connection::{Cx, Operation};
use crate::error::Result;

/// Records how attempts ended.
#[derive(Debug)]
pub(crate) struct Settle {
    pub(crate) settlements: Vec<Settlement>,
    pub(crate) now: Timestamp,
}

#[async_trait::async_trait]
impl Operation for Settle {
    type Answer = Vec<SettleOutcome>;
    const NAME: &'static str = "settle";

    fn weight(&self) -> usize {
        self.settlements.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut touched = Touched::default();
        let mut outcomes = Vec::with_capacity(self.settlements.len());
        for part in without_repetition(&self.settlements, |settlement| &settlement.fence.task_id) {
            settle_part(cx, part, self.now, &mut touched, &mut outcomes).await?;
        }
        let waiting = waiting_gates(cx, &touched.keys(), self.now).await?;
        for (settlement, outcome) in self.settlements.iter().zip(&mut outcomes) {
            if let SettleOutcome::Settled { gates, .. } = outcome {
                *gates = touched.of(&settlement.fence.task_id);
                gates.retain(|key| waiting.contains(key));
            }
        }
        Ok(outcomes)
    }
}

/// Refuses a wish for a final state that isn't one.
pub(crate) fn check(settlements: &[Settlement]) -> jobcore::Result<()> {
    for settlement in settlements {
        if let Next::Final { state, .. } = &settlement.next
            && !state.is_final()
        {
            let task_id = &settlement.fence.task_id;
            let message = format_args!("`{state}` is not a final state, for task {task_id}");
            return Err(Error::invalid("settlement.next", message)
                .backend(BACKEND)
                .operation(Settle::NAME));
        }
    }
    Ok(())
}

/// Splits a batch where a key comes a second time, so that each part can be decided at once.
pub(crate) fn without_repetition<T, K: Clone + Eq + Hash>(
    batch: &[T],
    key: impl Fn(&T) -> &K,
) -> impl Iterator<Item = &[T]> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        let mut seen = HashSet::with_capacity(rest.len());
        let end = rest
            .iter()
            .position(|item| !seen.insert(key(item).clone()))
            .unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        rest = behind;
        (!part.is_empty()).then_some(part)
    })
}

async fn settle_part(
    cx: &mut Cx<'_>,
    settlements: &[Settlement],
    now: Timestamp,
    touched: &mut Touched,
    outcomes: &mut Vec<SettleOutcome>,
) -> Result<()> {
    let tasks = tasks_by_id(
        cx,
        &settlements
            .iter()
            .map(|settlement| &settlement.fence.task_id)
            .collect::<Vec<_>>(),
    )
    .await?;
    let mut tasks: HashMap<TaskId, StoredTask> = tasks
        .into_iter()
        .map(|stored| (stored.task.task_id.clone(), stored))
        .collect();
    let mut transitions = Vec::with_capacity(settlements.len());
    let mut fenced = Vec::new();
    for settlement in settlements {
        let stored = tasks.remove(&settlement.fence.task_id);
        match stored.and_then(|stored| transition(stored, settlement, now)) {
            Some(transition) => {
                touched.add(&transition.before.task);
                outcomes.push(SettleOutcome::Settled {
                    state: transition.after.state,
                    gates: Vec::new(),
                });
                transitions.push(transition);
            }
            None => {
                fenced.push((outcomes.len(), &settlement.fence));
                outcomes.push(SettleOutcome::Fenced);
            }
        }
    }
    for (index, fence) in fenced {
        if was_settled(cx, fence).await? {
            outcomes[index] = SettleOutcome::AlreadySettled;
        }
    }
    write_transitions(cx, transitions).await
}

/// What a settlement makes of a task; `None` if its fence is stale.
fn transition(stored: StoredTask, settlement: &Settlement, now: Timestamp) -> Option<Transition> {
    let task = &stored.task;
    let began = match settlement.attempt.is_some() || task.state == TaskState::Running {
        true => Began::Yes,
        false => Began::No,
    };
    let attempt = match &settlement.attempt {
        Some(end) => Some(ended_attempt(task, &settlement.fence, end)),
        None if task.state == TaskState::Running => open_attempt(task, AttemptStatus::Released, Some(now)),
        None => None,
    };
    let mut after = match resolve(task, &settlement.fence, &settlement.next, now) {
        Resolution::Fenced => return None,
        Resolution::Final { state, reason } => {
            let attempt_number = task.attempt.saturating_sub(u32::from(began == Began::No));
            let mut after = task.clone().finish(state, reason, now);
            after.attempt = attempt_number;
            after.start_time = attempt.as_ref().map(|attempt| attempt.start_time);
            after
        }
        Resolution::Wait {
            state,
            due_time,
            rank,
            failures,
        } => {
            let after = task.clone().wait_again(state, due_time, began);
            Task {
                rank,
                failures,
                ..after
            }
        }
    };
    let checkpoint_changed = !after.state.is_final() && settlement.checkpoint.is_some();
    if checkpoint_changed {
        after.checkpoint = settlement.checkpoint.clone();
    }
    Some(Transition {
        lane_id: stored.lane_id,
        before: stored,
        after,
        attempt,
        checkpoint_changed,
    })
}

fn ended_attempt(task: &Task, fence: &Fence, end: &AttemptEnd) -> Attempt {
    Attempt {
        task_id: task.task_id.clone(),
        job_id: task.job_id.clone(),
        attempt: fence.attempt,
        executor_id: fence.holder.executor_id.clone(),
        token: fence.token,
        status: end.status,
        start_time: end.start_time,
        end_time: Some(end.end_time),
        exit_code: end.exit_code,
        output: end.output.clone(),
        error: end.error.clone(),
    }
}

/// Whether a settlement under this fence was recorded before: of a task that ended under this token its last holder
/// says so, of another one its attempts.
async fn was_settled(cx: &mut Cx<'_>, fence: &Fence) -> Result<bool> {
    let task_id = fence.task_id.as_str();
    let select = concat!(
        "SELECT ",
        finished_columns!(),
        " FROM job_logs WHERE task_id = ?1 AND task_state IS NOT NULL"
    );
    let rows = sqlx::query(select)
        .bind(task_id.to_owned())
        .fetch_all(&mut *cx.sql)
        .await?;
    let finished = read_finished(cx, &rows).await?;
    if let Some((_, task)) = finished.iter().find(|(_, task)| task.token == fence.token) {
        return Ok(task.holder.as_ref() == Some(&fence.holder));
    }
    let select = concat!(
        "SELECT ",
        attempt_columns!(),
        " FROM job_logs WHERE task_id = ?1 AND attempt = ?2"
    );
    let query = sqlx::query(select)
        .bind(task_id.to_owned())
        .bind(i64::from(fence.attempt));
    for row in query.fetch_all(&mut *cx.sql).await? {
        let (_, attempt) = decode_attempt(&row)?;
        let same = attempt.token == fence.token && attempt.executor_id == fence.holder.executor_id;
        let over = !matches!(attempt.status, AttemptStatus::Running | AttemptStatus::Lost);
        if attempt.attempt > 0 && same && over {
            return Ok(true);
        }
    }
    Ok(false)
}
