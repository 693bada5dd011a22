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
use super::stored_log::{
    LogId, attempt_columns, decode_attempt, finished_columns, next_log_id, read_finished,
};
use super::stored_task::StoredTask;
use super::task_row::tasks_by_id;
use super::transitions::{Touched, Transition, write_transitions};
use crate::BACKEND;
use crate::connection::{Care, Cx, Operation};
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
        let mut outcomes = vec![SettleOutcome::Fenced; self.settlements.len()];
        let numbered: Vec<Numbered<'_>> = self.settlements.iter().enumerate().collect();
        for part in without_repetition(&numbered, |(_, settlement)| &settlement.fence.task_id) {
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

/// A settlement, and its place in the batch.
type Numbered<'s> = (usize, &'s Settlement);

/// Ends what ends as most do, then decides about the rest. In history they come in the order of the batch, whichever way
/// they are written.
async fn settle_part(
    cx: &mut Cx<'_>,
    part: &[Numbered<'_>],
    now: Timestamp,
    touched: &mut Touched,
    outcomes: &mut [SettleOutcome],
) -> Result<()> {
    let mut ordinary = OrdinaryEnds::default();
    let mut rest = Vec::new();
    for (index, settlement) in part {
        if cx.care == Care::Ordinary && ordinary.take(&mut cx.caches.claims, *index, settlement) {
            outcomes[*index] = SettleOutcome::Settled {
                state: TaskState::Succeeded,
                gates: Vec::new(),
            };
        } else {
            rest.push((*index, *settlement));
        }
    }
    let first_log_id = match rest.is_empty() && ordinary.is_one_lease() {
        true => None,
        false => Some(next_log_id(cx).await?),
    };
    ordinary.write(cx, first_log_id, now).await?;
    let batch = Batch { first_log_id, now };
    batch.settle_rest(cx, &rest, touched, outcomes).await
}

/// What the settlements of one call have in common.
#[derive(Clone, Copy)]
struct Batch {
    /// The number in history of the batch's first one; `None`: they follow one another.
    first_log_id: Option<i64>,
    now: Timestamp,
}

impl Batch {
    fn log_id(self, index: usize) -> Option<i64> {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        self.first_log_id.map(|first| first.saturating_add(index))
    }

    async fn settle_rest(
        self,
        cx: &mut Cx<'_>,
        settlements: &[Numbered<'_>],
        touched: &mut Touched,
        outcomes: &mut [SettleOutcome],
    ) -> Result<()> {
        let task_ids: Vec<&TaskId> = settlements
            .iter()
            .map(|(_, settlement)| &settlement.fence.task_id)
            .collect();
        let tasks = tasks_by_id(cx, &task_ids).await?;
        let mut tasks: HashMap<TaskId, StoredTask> = tasks
            .into_iter()
            .map(|stored| (stored.task.task_id.clone(), stored))
            .collect();
        let mut transitions = Vec::with_capacity(settlements.len());
        for (index, settlement) in settlements {
            let stored = tasks.remove(&settlement.fence.task_id);
            let log_id = self.log_id(*index);
            let transition = stored.and_then(|stored| transition(stored, settlement, self.now, log_id));
            outcomes[*index] = match transition {
                Some(transition) => {
                    touched.add(&transition.before.task);
                    let state = transition.after.state;
                    transitions.push(transition);
                    let gates = Vec::new();
                    SettleOutcome::Settled { state, gates }
                }
                None if was_settled(cx, &settlement.fence).await? => SettleOutcome::AlreadySettled,
                None => SettleOutcome::Fenced,
            };
        }
        write_transitions(cx, transitions).await
    }
}

/// What a settlement makes of a task; `None` if its fence is stale.
fn transition(
    stored: StoredTask,
    settlement: &Settlement,
    now: Timestamp,
    log_id: LogId,
) -> Option<Transition> {
    let Change { after, attempt } = settle(&stored.task, settlement, now)?;
    Some(Transition {
        lane_id: stored.lane_id,
        before: stored,
        checkpoint_changed: !after.state.is_final() && settlement.checkpoint.is_some(),
        after,
        attempt,
        log_id,
    })
}

/// Whether a settlement under this fence was recorded before.
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
    let last = finished
        .iter()
        .find(|(_, task)| task.token == fence.token)
        .map(|(_, task)| (task.token, task.holder.as_ref()));
    let select = concat!(
        "SELECT ",
        attempt_columns!(),
        " FROM job_logs WHERE task_id = ?1 AND attempt = ?2 AND attempt > 0"
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
