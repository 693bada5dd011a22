//! Settling: what ended goes down in one transaction, decided by the pure engine.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use jobcore::engine::record::{Recorded, is_repetition};
use jobcore::engine::settle::{Change, settle};
use jobcore::id::TaskId;
use jobcore::lease::Fence;
use jobcore::store::{Next, SettleOutcome, Settlement};
use jobcore::task::TaskState;
use jobcore::{Error, Timestamp};

use super::gates::waiting_gates;
use super::ordinary::OrdinaryEnds;
use super::stored_log::{attempt_columns, decode_attempt, finished_columns, read_finished};
use super::stored_task::StoredTask;
use super::task_row::{Lock, tasks_by_id};
use super::transitions::{Touched, Transition, write_transitions};
use crate::BACKEND;
use crate::connection::{Access, Care, Cx, Operation};
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
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut touched = Touched::default();
        let mut outcomes = Vec::with_capacity(self.settlements.len());
        for part in without_repetition(&self.settlements, |settlement| &settlement.fence.task_id) {
            for run in runs(cx, part) {
                match run {
                    Run::Ordinary(ends, length) => {
                        ends.write(cx, self.now).await?;
                        outcomes.extend(std::iter::repeat_n(succeeded(), length));
                    }
                    Run::Others(settlements) => {
                        settle_others(cx, settlements, self.now, &mut touched, &mut outcomes).await?;
                    }
                }
            }
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

fn succeeded() -> SettleOutcome {
    SettleOutcome::Settled {
        state: TaskState::Succeeded,
        gates: Vec::new(),
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

/// Settlements that follow one another and are written the same way: history numbers them in the order of the batch.
enum Run<'s> {
    Ordinary(OrdinaryEnds<'s>, usize),
    Others(&'s [Settlement]),
}

fn runs<'s>(cx: &Cx<'_>, part: &'s [Settlement]) -> Vec<Run<'s>> {
    if cx.care == Care::Full {
        return vec![Run::Others(part)];
    }
    let mut runs = Vec::new();
    let mut claims = cx.caches().claims.lock();
    let mut rest = part;
    while !rest.is_empty() {
        let mut ends = OrdinaryEnds::default();
        let ordinary = rest
            .iter()
            .take_while(|next| ends.take(&mut claims, next))
            .count();
        if ordinary > 0 {
            runs.push(Run::Ordinary(ends, ordinary));
        }
        rest = &rest[ordinary..];
        let others = rest.iter().take_while(|next| !claims.has(&next.fence)).count();
        // One that is remembered, and ends otherwise.
        let others = others.max(usize::from(!rest.is_empty()));
        if others > 0 {
            runs.push(Run::Others(&rest[..others]));
        }
        rest = &rest[others..];
    }
    runs
}

async fn settle_others(
    cx: &mut Cx<'_>,
    settlements: &[Settlement],
    now: Timestamp,
    touched: &mut Touched,
    outcomes: &mut Vec<SettleOutcome>,
) -> Result<()> {
    let task_ids: Vec<&TaskId> = settlements
        .iter()
        .map(|settlement| &settlement.fence.task_id)
        .collect();
    let tasks = tasks_by_id(cx, &task_ids, Lock::Update).await?;
    let mut tasks: HashMap<TaskId, StoredTask> = tasks
        .into_iter()
        .map(|stored| (stored.task.task_id.clone(), stored))
        .collect();
    let mut transitions = Vec::with_capacity(settlements.len());
    for settlement in settlements {
        let stored = tasks.remove(&settlement.fence.task_id);
        outcomes.push(
            match stored.and_then(|stored| transition(stored, settlement, now)) {
                Some(transition) => {
                    touched.add(&transition.before.task);
                    let state = transition.after.state;
                    transitions.push(transition);
                    let gates = Vec::new();
                    SettleOutcome::Settled { state, gates }
                }
                None if was_settled(cx, &settlement.fence).await? => SettleOutcome::AlreadySettled,
                None => SettleOutcome::Fenced,
            },
        );
    }
    write_transitions(cx, transitions).await
}

/// What a settlement makes of a task; `None` if its fence is stale.
fn transition(stored: StoredTask, settlement: &Settlement, now: Timestamp) -> Option<Transition> {
    let Change { after, attempt } = settle(&stored.task, settlement, now)?;
    Some(Transition {
        lane_id: stored.lane_id,
        before: stored,
        checkpoint_changed: !after.state.is_final() && settlement.checkpoint.is_some(),
        after,
        attempt,
    })
}

/// Whether a settlement under this fence was recorded before.
async fn was_settled(cx: &mut Cx<'_>, fence: &Fence) -> Result<bool> {
    let task_id = fence.task_id.as_str();
    let select = concat!(
        "SELECT ",
        finished_columns!(),
        " FROM job_logs FORCE INDEX (job_logs_task) WHERE task_id = ? AND task_state IS NOT NULL"
    );
    let rows = sqlx::query(select)
        .bind(task_id.to_owned())
        .fetch_all(&mut *cx.sql)
        .await?;
    let finished = read_finished(cx, &rows).await?;
    let last = finished
        .iter()
        .find(|(_, task)| task.token == fence.token)
        .map(|(_, task)| (task.token, task.holder.as_ref()));
    let select = concat!(
        "SELECT ",
        attempt_columns!(),
        " FROM job_logs FORCE INDEX (job_logs_task) WHERE task_id = ? AND attempt = ? AND attempt > 0"
    );
    let query = sqlx::query(select)
        .bind(task_id.to_owned())
        .bind(i64::from(fence.attempt));
    let mut attempts = Vec::new();
    for row in query.fetch_all(&mut *cx.sql).await? {
        attempts.push(decode_attempt(&row)?.1);
    }
    let recorded = attempts.iter().map(|attempt| Recorded {
        attempt: attempt.attempt,
        token: attempt.token,
        executor_id: &attempt.executor_id,
        status: attempt.status,
    });
    Ok(is_repetition(fence, last, recorded))
}
