//! Purging: history that is old enough goes, a little at a time.

use std::time::Duration;

use jobcore::store::{Purge, Purged};
use sqlx::Row;

use super::gates::forget_idle_gates;
use super::lanes::retire_lanes;
use super::listing::row_limit;
use super::rows::{json_list, json_numbers};
use crate::connection::{Cx, Operation};
use crate::error::Result;

/// Deletes old history.
#[derive(Debug)]
pub(crate) struct PurgeHistory(pub(crate) Purge);

#[async_trait::async_trait]
impl Operation for PurgeHistory {
    type Answer = Purged;
    const NAME: &'static str = "purge";

    fn weight(&self) -> usize {
        self.0.limit
    }

    fn rows(&self) -> usize {
        0
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let purge = &self.0;
        let (tasks, mut more) = purge_tasks(cx, purge).await?;
        more |= purge_decisions(cx, purge).await?;
        more |= purge_runs(cx, purge).await?;
        more |= purge_keys(cx, purge).await?;
        purge_job_changes(cx, purge).await?;
        if !more {
            forget_idle_gates(cx, purge.now).await?;
            retire_lanes(cx).await?;
        }
        Ok(Purged { tasks, more })
    }
}

/// How far ahead of the others no clock is by itself.
const AHEAD: Duration = Duration::from_secs(24 * 3_600);

/// Deletes final tasks with their attempts and logs; says how many, and whether there are more.
async fn purge_tasks(cx: &mut Cx<'_>, purge: &Purge) -> Result<(usize, bool)> {
    // Tasks are numbered in the order in which they became final, so the oldest ones need no index by time. What claims to
    // end days from now is from a clock that ran ahead, and mustn't stand in the way of all that follows.
    let select = "SELECT task_id FROM (SELECT task_id, finish_time FROM job_logs WHERE task_state IS NOT NULL \
                  ORDER BY id LIMIT ?2) WHERE finish_time < ?1 OR finish_time > ?3";
    let query = sqlx::query_scalar(select)
        .bind(purge.before.as_micros())
        .bind(row_limit(purge.limit))
        .bind((purge.now + AHEAD).as_micros());
    let mut old: Vec<String> = query.fetch_all(&mut *cx.sql).await?;
    let more = old.len() > purge.limit;
    old.truncate(purge.limit);
    let list = json_list(old.iter().map(String::as_str));
    for delete in [
        "DELETE FROM job_logs WHERE task_id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM log_chunks WHERE task_id IN (SELECT value FROM json_each(?1))",
    ] {
        sqlx::query(delete)
            .bind(list.clone())
            .execute(&mut *cx.sql)
            .await?;
    }
    Ok((old.len(), more))
}

async fn purge_decisions(cx: &mut Cx<'_>, purge: &Purge) -> Result<bool> {
    let select = "SELECT id FROM decisions WHERE decision_time < ?1 ORDER BY decision_time, id LIMIT ?2";
    let query = sqlx::query_scalar(select)
        .bind(purge.before.as_micros())
        .bind(row_limit(purge.limit));
    let mut old: Vec<i64> = query.fetch_all(&mut *cx.sql).await?;
    let more = old.len() > purge.limit;
    old.truncate(purge.limit);
    let delete = "DELETE FROM decisions WHERE id IN (SELECT value FROM json_each(?1))";
    sqlx::query(delete)
        .bind(json_numbers(old))
        .execute(&mut *cx.sql)
        .await?;
    Ok(more)
}

async fn purge_runs(cx: &mut Cx<'_>, purge: &Purge) -> Result<bool> {
    let select = "SELECT run_id FROM workflow_runs WHERE end_time IS NOT NULL AND end_time < ?1 \
                  ORDER BY end_time LIMIT ?2";
    let query = sqlx::query_scalar(select)
        .bind(purge.before.as_micros())
        .bind(row_limit(purge.limit));
    let mut old: Vec<String> = query.fetch_all(&mut *cx.sql).await?;
    let more = old.len() > purge.limit;
    old.truncate(purge.limit);
    let list = json_list(old.iter().map(String::as_str));
    for delete in [
        "DELETE FROM run_inbox WHERE run_id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM workflow_runs WHERE run_id IN (SELECT value FROM json_each(?1))",
    ] {
        sqlx::query(delete)
            .bind(list.clone())
            .execute(&mut *cx.sql)
            .await?;
    }
    Ok(more)
}

/// Deletes expired keys of tasks that aren't live.
async fn purge_keys(cx: &mut Cx<'_>, purge: &Purge) -> Result<bool> {
    let select = "SELECT scope, key FROM unique_keys k WHERE expire_time <= ?1 \
                  AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.task_id = k.task_id) ORDER BY expire_time LIMIT ?2";
    let query = sqlx::query(select)
        .bind(purge.now.as_micros())
        .bind(row_limit(purge.limit));
    let rows = query.fetch_all(&mut *cx.sql).await?;
    for row in rows.iter().take(purge.limit) {
        sqlx::query("DELETE FROM unique_keys WHERE scope = ?1 AND key = ?2")
            .bind(row.try_get::<String, _>(0)?)
            .bind(row.try_get::<String, _>(1)?)
            .execute(&mut *cx.sql)
            .await?;
    }
    Ok(rows.len() > purge.limit)
}

/// Drops the oldest notes of job changes, which nobody counts.
async fn purge_job_changes(cx: &mut Cx<'_>, purge: &Purge) -> Result<()> {
    let delete = "DELETE FROM job_changes WHERE id IN (SELECT id FROM job_changes ORDER BY id LIMIT ?2) \
                  AND change_time < ?1";
    let limit = i64::try_from(purge.limit).unwrap_or(i64::MAX);
    sqlx::query(delete)
        .bind(purge.before.as_micros())
        .bind(limit)
        .execute(&mut *cx.sql)
        .await?;
    Ok(())
}
