//! Heartbeats: they keep leases alive, and tell a node what it should know.

use std::collections::HashSet;

use jobcore::id::TaskId;
use jobcore::lease::{FencingToken, Holder};
use jobcore::store::{Alive, Heartbeat, HeartbeatOutcome, Held};
use sqlx::Row;

use super::executors::{Standing, beat, find_standing};
use super::leases::{StoredLease, incarnation_number};
use super::stored_task::StoredTask;
use super::task_row::tasks_by_id;
use crate::connection::{Cx, Operation};
use crate::error::Result;

/// Keeps executors alive.
#[derive(Debug)]
pub(crate) struct Beat(pub(crate) Vec<Heartbeat>);

#[async_trait::async_trait]
impl Operation for Beat {
    type Answer = Vec<HeartbeatOutcome>;
    const NAME: &'static str = "heartbeat";

    fn weight(&self) -> usize {
        self.0.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.0.len());
        for heartbeat in &self.0 {
            outcomes.push(match find_standing(cx, &heartbeat.holder).await? {
                Standing::Taking | Standing::NotTaking => {
                    HeartbeatOutcome::Alive(answer(cx, heartbeat).await?)
                }
                Standing::Dead => HeartbeatOutcome::Dead,
                Standing::Superseded => HeartbeatOutcome::Superseded,
            });
        }
        Ok(outcomes)
    }
}

async fn answer(cx: &mut Cx<'_>, heartbeat: &Heartbeat) -> Result<Alive> {
    let holder = &heartbeat.holder;
    let status = beat(cx, holder, heartbeat.resources.as_ref()).await?;
    let (unnamed, lost) = match &heartbeat.held {
        Held::Leases(named) => {
            let named: HashSet<FencingToken> = named.iter().copied().collect();
            (
                unnamed(cx, holder, |stored| named.contains(&stored.task.token)).await?,
                Vec::new(),
            )
        }
        Held::Tasks(named) => {
            let set: HashSet<(&TaskId, FencingToken)> =
                named.iter().map(|(id, token)| (id, *token)).collect();
            let is_named = |stored: &StoredTask| set.contains(&(&stored.task.task_id, stored.task.token));
            (
                unnamed(cx, holder, is_named).await?,
                lost(cx, holder, named).await?,
            )
        }
    };
    Ok(Alive {
        now: cx.store_now,
        status,
        cancel: to_cancel(cx, holder).await?,
        unnamed,
        lost,
    })
}

/// What the holder holds and didn't name, but for what it may not have got yet.
async fn unnamed(
    cx: &mut Cx<'_>,
    holder: &Holder,
    is_named: impl Fn(&StoredTask) -> bool,
) -> Result<Vec<(TaskId, FencingToken, u32)>> {
    let select = "SELECT token, task_ids FROM leases WHERE executor_id = ?1 AND incarnation = ?2 \
                  AND (start_before IS NULL OR start_before < ?3) ORDER BY token";
    let rows = sqlx::query(select)
        .bind(holder.executor_id.as_str().to_owned())
        .bind(incarnation_number(holder))
        .bind(cx.store_now.as_micros())
        .fetch_all(&mut *cx.sql)
        .await?;
    let mut unnamed = Vec::new();
    for row in &rows {
        let held = StoredLease::decode(row)?.held(cx).await?;
        let missing = held.into_iter().filter(|stored| !is_named(stored));
        unnamed.extend(missing.map(|stored| (stored.task.task_id, stored.task.token, stored.task.attempt)));
    }
    Ok(unnamed)
}

/// What the holder named and doesn't hold any more.
async fn lost(
    cx: &mut Cx<'_>,
    holder: &Holder,
    named: &[(TaskId, FencingToken)],
) -> Result<Vec<(TaskId, FencingToken)>> {
    let tasks = tasks_by_id(cx, &named.iter().map(|(task_id, _)| task_id).collect::<Vec<_>>()).await?;
    let held: HashSet<(TaskId, FencingToken)> = tasks
        .into_iter()
        .filter(|stored| stored.task.holder.as_ref() == Some(holder))
        .map(|stored| (stored.task.task_id, stored.task.token))
        .collect();
    Ok(named
        .iter()
        .filter(|pair| !held.contains(*pair))
        .cloned()
        .collect())
}

/// What the holder holds and is to be cancelled.
async fn to_cancel(cx: &mut Cx<'_>, holder: &Holder) -> Result<Vec<TaskId>> {
    let select = "SELECT t.task_id FROM tasks t INDEXED BY tasks_cancel JOIN leases l ON l.token = t.token \
                  WHERE t.cancel_deadline IS NOT NULL AND t.state IN (3, 4) \
                  AND l.executor_id = ?1 AND l.incarnation = ?2 ORDER BY t.task_id";
    let rows = sqlx::query(select)
        .bind(holder.executor_id.as_str().to_owned())
        .bind(incarnation_number(holder))
        .fetch_all(&mut *cx.sql)
        .await?;
    rows.iter()
        .map(|row| Ok(TaskId::from_stored(row.try_get::<&str, _>(0)?)))
        .collect()
}
