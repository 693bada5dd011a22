//! Recovery: tasks of dead holders, and attempts past their cancel deadline.

use jobcore::Timestamp;
use jobcore::engine::recover::{cancel_by_force, take_back};
use jobcore::engine::settle::Change;
use jobcore::store::{RecoverRequest, Recovered, RecoveredTask};

use super::gates::waiting_gates;
use super::lanes::lane_id;
use super::leases::StoredLease;
use super::listing::row_limit;
use super::stored_task::StoredTask;
use super::task_row::{read_tasks, select_tasks};
use super::transitions::{Touched, Transition, write_transitions};
use crate::connection::{Cx, Operation};
use crate::error::{Failure, Result};

/// Takes tasks back from dead holders, and settles what is past its cancel deadline.
#[derive(Debug)]
pub(crate) struct Recover(pub(crate) RecoverRequest);

#[async_trait::async_trait]
impl Operation for Recover {
    type Answer = Recovered;
    const NAME: &'static str = "recover";

    fn weight(&self) -> usize {
        self.0.limit
    }

    fn rows(&self) -> usize {
        0
    }

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
        let mut overdue = overdue(cx, now, left).await?;
        recovered.more |= overdue.len() > left;
        overdue.truncate(left);
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

/// Held tasks whose holder is dead, superseded or gone, by token and id, one more than `limit`.
async fn orphans(cx: &mut Cx<'_>, limit: usize) -> Result<Vec<StoredTask>> {
    let select = "SELECT token, task_ids FROM leases l WHERE NOT EXISTS (SELECT 1 FROM executors e \
                  WHERE e.executor_id = l.executor_id AND e.incarnation = l.incarnation AND e.status <> 0) \
                  ORDER BY token LIMIT ?1";
    let rows = sqlx::query(select)
        .bind(row_limit(limit))
        .fetch_all(&mut *cx.sql)
        .await?;
    let mut orphans = Vec::new();
    for row in &rows {
        if orphans.len() > limit {
            break;
        }
        orphans.append(&mut StoredLease::decode(row)?.held(cx).await?);
    }
    orphans.truncate(limit + 1);
    Ok(orphans)
}

/// Held tasks past their cancel deadline, one more than `limit`.
async fn overdue(cx: &mut Cx<'_>, now: Timestamp, limit: usize) -> Result<Vec<StoredTask>> {
    let select = select_tasks!(
        "WHERE cancel_deadline IS NOT NULL AND cancel_deadline <= ?1 AND t.state IN (3, 4) \
         ORDER BY cancel_deadline, task_id LIMIT ?2"
    );
    let select = sqlx::query_scalar(select)
        .bind(now.as_micros())
        .bind(row_limit(limit));
    read_tasks(cx, select).await
}

async fn recover_one(cx: &mut Cx<'_>, stored: StoredTask, now: Timestamp) -> Result<Transition> {
    let change = take_back(&stored.task, now);
    let lane_id = match change.after.lane == stored.task.lane {
        true => stored.lane_id,
        false => lane_id(cx, &change.after.lane).await?,
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
        log_id: None,
    }
}
