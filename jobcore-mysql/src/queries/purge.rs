//! Purging: history that is old enough goes, a little at a time.
//!
//! What is to go is found by plain reads and deleted by keys, in their order: nobody who claims or settles waits for it.
//! Two purges at once find the same, and one of them deletes it.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use chrono::NaiveDateTime;
use jobcore::id::TaskId;
use jobcore::store::{Purge, Purged};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{binary_text, datetime, instant};
use super::gates::forget_idle_gates;
use super::lanes::retire_lanes;
use super::listing::row_limit;
use super::rows::{Bound, RowStatement};
use super::taken::live;
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// Deletes old history.
#[derive(Debug)]
pub(crate) struct PurgeHistory(pub(crate) Purge);

#[async_trait::async_trait]
impl Operation for PurgeHistory {
    type Answer = Purged;
    const NAME: &'static str = "purge";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let purge = &self.0;
        let (tasks, mut more) = purge_tasks(cx, purge).await?;
        more |= purge_decisions(cx, purge).await?;
        more |= purge_runs(cx, purge).await?;
        more |= purge_keys(cx, purge).await?;
        purge_job_changes(cx, purge).await?;
        if !more {
            let now = cx.store_now().await?;
            retire_lanes(cx, now).await?;
            forget_idle_gates(cx, purge.now).await?;
        }
        Ok(Purged { tasks, more })
    }
}

/// The first `limit` of the rows found, and whether there are more.
fn first<T>(mut found: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    let more = found.len() > limit;
    found.truncate(limit);
    (found, more)
}

/// How far ahead of the others no clock is by itself.
const AHEAD: Duration = Duration::from_secs(24 * 3_600);

/// The row that closes a task.
struct Closed {
    id: i64,
    task_id: String,
    fire: Option<(String, NaiveDateTime, i64)>,
}

impl Closed {
    fn decode(row: &MySqlRow) -> Result<Self> {
        let job_id: String = row.try_get(3)?;
        let (scheduled_for, part): (Option<NaiveDateTime>, Option<i64>) = (row.try_get(4)?, row.try_get(5)?);
        let fire = scheduled_for.zip(part);
        Ok(Self {
            id: row.try_get(0)?,
            task_id: row.try_get(1)?,
            fire: fire.map(|(scheduled_for, part)| (job_id, scheduled_for, part)),
        })
    }
}

static DELETE_CLOSING: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::list("DELETE l FROM job_logs l FORCE INDEX (PRIMARY) WHERE l.id IN", ""));
static DELETE_ATTEMPTS: LazyLock<RowStatement> = LazyLock::new(|| {
    let delete = "DELETE l FROM job_logs l FORCE INDEX (job_logs_task) WHERE l.task_id IN";
    RowStatement::list(delete, "")
});
static DELETE_CHUNKS: LazyLock<RowStatement> = LazyLock::new(|| {
    let delete = "DELETE c FROM log_chunks c FORCE INDEX (PRIMARY) WHERE c.task_id IN";
    RowStatement::list(delete, "")
});
static DELETE_FIRES: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::any(
        "DELETE f FROM fired_tasks f FORCE INDEX (PRIMARY) WHERE",
        "(f.job_id = ? AND f.scheduled_for = ? AND f.part = ?)",
        "",
    )
});

/// Deletes final tasks with their attempts and logs; says how many, and whether there are more.
async fn purge_tasks(cx: &mut Cx<'_>, purge: &Purge) -> Result<(usize, bool)> {
    let (old, more) = first(old_tasks(cx, purge).await?, purge.limit);
    // Whoever deletes these deletes the rest.
    let tasks = DELETE_CLOSING
        .execute(cx.sql, &old, |query, closed| query.bind(closed.id))
        .await?;
    let mut task_ids: Vec<&str> = old.iter().map(|closed| closed.task_id.as_str()).collect();
    task_ids.sort_unstable();
    let bind = |query: Bound, task_id: &&str| query.bind((*task_id).to_owned());
    DELETE_ATTEMPTS.execute(cx.sql, &task_ids, bind).await?;
    DELETE_CHUNKS.execute(cx.sql, &task_ids, bind).await?;
    let mut fires: Vec<_> = old.iter().filter_map(|closed| closed.fire.as_ref()).collect();
    fires.sort_unstable();
    DELETE_FIRES
        .execute(cx.sql, &fires, |query, (job_id, scheduled_for, part)| {
            query.bind(job_id.clone()).bind(*scheduled_for).bind(*part)
        })
        .await?;
    Ok((usize::try_from(tasks).unwrap_or(usize::MAX), more))
}

/// The oldest tasks that are old enough, up to one more than the limit.
///
/// Tasks are numbered in the order in which they became final, so they need no index by time. What claims to end days from
/// now is from a clock that ran ahead, and mustn't stand in the way of all that follows.
async fn old_tasks(cx: &mut Cx<'_>, purge: &Purge) -> Result<Vec<Closed>> {
    let select = "SELECT id, task_id, finish_time, job_id, scheduled_for, part FROM job_logs FORCE INDEX (PRIMARY) \
                  WHERE task_state IS NOT NULL ORDER BY id LIMIT ?";
    let rows = sqlx::query(select)
        .bind(row_limit(purge.limit))
        .fetch_all(&mut *cx.sql)
        .await?;
    let mut old = Vec::with_capacity(rows.len());
    for row in &rows {
        let finish_time = instant(row, 2)?;
        if finish_time < purge.before || finish_time > purge.now + AHEAD {
            old.push(Closed::decode(row)?);
        }
    }
    Ok(old)
}

static DELETE_DECISIONS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE d FROM decisions d FORCE INDEX (PRIMARY) WHERE d.id IN",
        "",
    )
});

async fn purge_decisions(cx: &mut Cx<'_>, purge: &Purge) -> Result<bool> {
    let select = "SELECT id FROM decisions FORCE INDEX (decisions_time) WHERE decision_time < ? \
                  ORDER BY decision_time, id LIMIT ?";
    let old: Vec<i64> = sqlx::query_scalar(select)
        .bind(datetime(purge.before))
        .bind(row_limit(purge.limit))
        .fetch_all(&mut *cx.sql)
        .await?;
    let (mut old, more) = first(old, purge.limit);
    old.sort_unstable();
    DELETE_DECISIONS
        .execute(cx.sql, &old, |query, id| query.bind(*id))
        .await?;
    Ok(more)
}

static DELETE_RUNS: LazyLock<RowStatement> = LazyLock::new(|| {
    let delete = "DELETE r FROM workflow_runs r FORCE INDEX (PRIMARY) WHERE r.run_id IN";
    RowStatement::list(delete, "AND r.end_time IS NOT NULL")
});
static DELETE_INBOXES: LazyLock<RowStatement> = LazyLock::new(|| {
    let delete = "DELETE i FROM run_inbox i FORCE INDEX (PRIMARY) WHERE i.run_id IN";
    RowStatement::list(
        delete,
        "AND NOT EXISTS (SELECT 1 FROM workflow_runs r WHERE r.run_id = i.run_id)",
    )
});

/// Deletes ended runs, then what was reported to them: a report is written under the lock of its run's row, so none comes
/// later.
async fn purge_runs(cx: &mut Cx<'_>, purge: &Purge) -> Result<bool> {
    let select = "SELECT run_id FROM workflow_runs FORCE INDEX (workflow_runs_end) WHERE end_time < ? \
                  ORDER BY end_time LIMIT ?";
    let old: Vec<String> = sqlx::query_scalar(select)
        .bind(datetime(purge.before))
        .bind(row_limit(purge.limit))
        .fetch_all(&mut *cx.sql)
        .await?;
    let (mut old, more) = first(old, purge.limit);
    old.sort_unstable();
    let bind = |query: Bound, run_id: &String| query.bind(run_id.clone());
    DELETE_RUNS.execute(cx.sql, &old, bind).await?;
    DELETE_INBOXES.execute(cx.sql, &old, bind).await?;
    Ok(more)
}

/// A unique key: scope and key.
type Key = (String, String);

static LOCK_KEYS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::any(
        "SELECT scope, unique_key, task_id, expire_time FROM unique_keys FORCE INDEX (PRIMARY) WHERE",
        "(scope = ? AND unique_key = ?)",
        "ORDER BY scope, unique_key FOR UPDATE",
    )
});
static DELETE_KEYS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::any(
        "DELETE k FROM unique_keys k FORCE INDEX (PRIMARY) WHERE",
        "(k.scope = ? AND k.unique_key = ?)",
        "",
    )
});

fn bind_key(query: Bound, (scope, key): &Key) -> Bound {
    query
        .bind(scope.clone().into_bytes())
        .bind(key.clone().into_bytes())
}

/// Deletes expired keys of tasks that aren't live.
async fn purge_keys(cx: &mut Cx<'_>, purge: &Purge) -> Result<bool> {
    let select = "SELECT k.scope, k.unique_key FROM unique_keys k FORCE INDEX (unique_keys_expire) \
                  WHERE k.expire_time <= ? AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.task_id = k.task_id) \
                  ORDER BY k.expire_time LIMIT ?";
    let rows = sqlx::query(select)
        .bind(datetime(purge.now))
        .bind(row_limit(purge.limit))
        .fetch_all(&mut *cx.sql)
        .await?;
    let expired: Vec<Key> = rows.iter().map(key).collect::<Result<_>>()?;
    let (mut expired, more) = first(expired, purge.limit);
    expired.sort_unstable();
    let unused = still_unused(cx, purge, &expired).await?;
    DELETE_KEYS.execute(cx.sql, &unused, bind_key).await?;
    Ok(more)
}

fn key(row: &MySqlRow) -> Result<Key> {
    Ok((binary_text(row, 0)?, binary_text(row, 1)?))
}

/// Locks keys, and looks again: one may have been taken for another task meanwhile.
async fn still_unused(cx: &mut Cx<'_>, purge: &Purge, keys: &[Key]) -> Result<Vec<Key>> {
    let mut expired = Vec::with_capacity(keys.len());
    for row in LOCK_KEYS.fetch(cx.sql, keys, bind_key).await? {
        if instant(&row, 3)? <= purge.now {
            expired.push((key(&row)?, TaskId::from_stored(row.try_get::<&str, _>(2)?)));
        }
    }
    let task_ids: BTreeSet<&TaskId> = expired.iter().map(|(_, task_id)| task_id).collect();
    let live = live(cx, task_ids.into_iter().collect()).await?;
    expired.retain(|(_, task_id)| !live.contains(task_id));
    Ok(expired.into_iter().map(|(key, _)| key).collect())
}

static DELETE_CHANGES: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE c FROM job_changes c FORCE INDEX (PRIMARY) WHERE c.id IN",
        "",
    )
});

/// Drops the oldest notes of job changes, which nobody counts.
async fn purge_job_changes(cx: &mut Cx<'_>, purge: &Purge) -> Result<()> {
    let select = "SELECT id FROM (SELECT id, change_time FROM job_changes ORDER BY id LIMIT ?) oldest \
                  WHERE change_time < ? ORDER BY id";
    let limit = i64::try_from(purge.limit).unwrap_or(i64::MAX);
    let old: Vec<i64> = sqlx::query_scalar(select)
        .bind(limit)
        .bind(datetime(purge.before))
        .fetch_all(&mut *cx.sql)
        .await?;
    DELETE_CHANGES
        .execute(cx.sql, &old, |query, id| query.bind(*id))
        .await?;
    Ok(())
}
