//! Recovery: tasks of dead holders, and attempts past their cancel deadline.

use jobcore::Timestamp;
use jobcore::engine::recover::{cancel_by_force, take_back};
use jobcore::engine::settle::Change;
use jobcore::id::TaskId;
use jobcore::lease::FencingToken;
use jobcore::store::{RecoverRequest, Recovered, RecoveredTask};

use super::columns::{datetime, token_number};
use super::gates::waiting_gates;
use super::lanes::lane_id;
use super::leases::StoredLease;
use super::listing::row_limit;
use super::stored_task::StoredTask;
use super::task_row::{Lock, tasks_by_id};
use super::transitions::{Touched, Transition, write_transitions};
use crate::connection::{Access, Cx, Operation};
use crate::error::{Failure, Result};

/// Takes tasks back from dead holders, and settles what is past its cancel deadline.
#[derive(Debug)]
pub(crate) struct Recover(pub(crate) RecoverRequest);

#[async_trait::async_trait]
impl Operation for Recover {
    type Answer = Recovered;
    const NAME: &'static str = "recover";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let RecoverRequest { now, limit } = self.0;
        let mut recovered = Recovered::default();
        let mut touched = Touched::default();
        let mut orphans = orphans(cx, limit).await?;
        recovered.more = orphans.len() > limit;
        orphans.truncate(limit);
        let mut transitions = Vec::with_capacity(orphans.len());
        for stored in orphans {
            transitions.push(recover_one(cx, stored, now).await?);
        }
        write(cx, transitions, &mut recovered, &mut touched).await?;
        let left = limit - recovered.tasks.len();
        let (overdue, more) = overdue(cx, now, left).await?;
        recovered.more |= more;
        let transitions = overdue
            .into_iter()
            .map(|stored| {
                let (change, lane_id) = (cancel_by_force(&stored.task, now), stored.lane_id);
                transition(stored, change, lane_id)
            })
            .collect();
        write(cx, transitions, &mut recovered, &mut touched).await?;
        recovered.gates = waiting_gates(cx, &touched.keys(), now)
            .await?
            .into_iter()
            .collect();
        Ok(recovered)
    }
}

async fn write(
    cx: &mut Cx<'_>,
    transitions: Vec<Transition>,
    recovered: &mut Recovered,
    touched: &mut Touched,
) -> Result<()> {
    for transition in &transitions {
        let task = &transition.before.task;
        touched.add(task);
        let holder = task.holder.clone();
        let holder =
            holder.ok_or_else(|| Failure::corrupt(format_args!("task {} has no lease", task.task_id)))?;
        recovered.tasks.push(RecoveredTask {
            task_id: task.task_id.clone(),
            job_id: task.job_id.clone(),
            holder,
            state: transition.after.state,
        });
    }
    write_transitions(cx, transitions).await
}

/// How many leases are read at once: each may name a thousand tasks.
const LEASES_AT_ONCE: i64 = 50;

/// Held tasks whose holder is dead, superseded or gone, by token and id, one more than `limit`, locked.
///
/// Who is dead stays so: no incarnation comes back after its death, and none after a newer one. So the leases needn't be
/// locked, only what is held under them; what left them meanwhile has another token, or isn't held any more.
async fn orphans(cx: &mut Cx<'_>, limit: usize) -> Result<Vec<StoredTask>> {
    let mut orphans = Vec::new();
    let mut after = FencingToken(0);
    while orphans.len() <= limit {
        let leases = leases_without_holder(cx, after).await?;
        let Some(last) = leases.last() else { break };
        after = last.token;
        for lease in &leases {
            if orphans.len() > limit {
                break;
            }
            orphans.append(&mut lease.held(cx, Lock::Update).await?);
        }
    }
    orphans.truncate(limit.saturating_add(1));
    Ok(orphans)
}

/// The next leases whose holder isn't there any more, by token.
async fn leases_without_holder(cx: &mut Cx<'_>, after: FencingToken) -> Result<Vec<StoredLease>> {
    let select = "SELECT l.token, l.task_ids FROM leases l WHERE l.token > ? AND NOT EXISTS \
                  (SELECT 1 FROM executors e WHERE e.executor_id = l.executor_id \
                  AND e.incarnation = l.incarnation AND e.status <> 0) ORDER BY l.token LIMIT ?";
    let rows = sqlx::query(select)
        .bind(token_number(after))
        .bind(LEASES_AT_ONCE)
        .fetch_all(&mut *cx.sql)
        .await?;
    rows.iter().map(StoredLease::decode).collect()
}

/// Held tasks past their cancel deadline, by deadline and id, at most `limit`, locked; and whether there are more.
async fn overdue(cx: &mut Cx<'_>, now: Timestamp, limit: usize) -> Result<(Vec<StoredTask>, bool)> {
    let select = "SELECT task_id FROM cancel_requests FORCE INDEX (cancel_requests_deadline) WHERE deadline <= ? \
                  ORDER BY deadline, task_id LIMIT ?";
    let task_ids: Vec<String> = sqlx::query_scalar(select)
        .bind(datetime(now))
        .bind(row_limit(limit))
        .fetch_all(&mut *cx.sql)
        .await?;
    let more = task_ids.len() > limit;
    let task_ids: Vec<TaskId> = task_ids
        .into_iter()
        .take(limit)
        .map(TaskId::from_stored)
        .collect();
    let tasks = tasks_by_id(cx, &task_ids.iter().collect::<Vec<_>>(), Lock::Update).await?;
    // As they are under the lock.
    let mut overdue: Vec<(Timestamp, StoredTask)> = tasks
        .into_iter()
        .filter(|stored| stored.task.state.is_held())
        .filter_map(|stored| Some((stored.task.cancel.as_ref()?.deadline, stored)))
        .filter(|(deadline, _)| *deadline <= now)
        .collect();
    overdue
        .sort_unstable_by(|(a, first), (b, second)| (a, &first.task.task_id).cmp(&(b, &second.task.task_id)));
    Ok((overdue.into_iter().map(|(_, stored)| stored).collect(), more))
}

async fn recover_one(cx: &mut Cx<'_>, stored: StoredTask, now: Timestamp) -> Result<Transition> {
    let change = take_back(&stored.task, now);
    let lane_id = match change.after.lane == stored.task.lane {
        true => stored.lane_id,
        false => lane_id(cx, &change.after.lane, now).await?,
    };
    Ok(transition(stored, change, lane_id))
}

fn transition(before: StoredTask, change: Change, lane_id: i64) -> Transition {
    Transition {
        before,
        after: change.after,
        lane_id,
        attempt: change.attempt,
        checkpoint_changed: false,
    }
}
