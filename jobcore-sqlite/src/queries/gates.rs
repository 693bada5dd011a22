//! Gates, and the table that mirrors who stands before and behind them, so that ungated tasks pay nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::gate::{Gate, GateKey};
use jobcore::task::{Task, TaskState};

use super::rows::{Bound, RowStatement, json_list};
use super::stored_task::StoredTask;
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// Creates gates, or gives them the policy that came with the newest task.
pub(crate) async fn put_gates(cx: &mut Cx<'_>, gates: &[&Gate]) -> Result<()> {
    let newest: BTreeMap<&GateKey, &Gate> = gates.iter().map(|gate| (&gate.key, *gate)).collect();
    for (key, gate) in newest {
        let policy = serde_json::to_string(&gate.policy).map_err(Failure::corrupt)?;
        let upsert = "INSERT INTO gates (gate_key, policy) VALUES (?1, ?2) \
                      ON CONFLICT (gate_key) DO UPDATE SET policy = ?2 WHERE policy <> ?2";
        sqlx::query(upsert)
            .bind(key.as_str().to_owned())
            .bind(policy)
            .execute(&mut *cx.sql)
            .await?;
    }
    Ok(())
}

const MIRROR: &str = "INSERT OR REPLACE INTO gate_tasks \
                      (gate_key, task_id, queue, job_id, blocked, passed, rank, due_time, create_time)";
static MIRROR_TASKS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(MIRROR, 9, ""));

/// Writes what the gates need to know of tasks that were written.
pub(crate) async fn mirror(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    let mut rows: Vec<(&GateKey, String, &Task)> = Vec::new();
    for StoredTask { task, .. } in tasks {
        rows.extend(task.gates.iter().map(|key| (key, queue_name(&task.gates), task)));
    }
    let bind = |query: Bound, (key, queue, task): &(&GateKey, String, &Task)| {
        query
            .bind(key.as_str().to_owned())
            .bind(task.task_id.as_str().to_owned())
            .bind(queue.clone())
            .bind(task.job_id.as_str().to_owned())
            .bind(blocked(task))
            .bind(task.passed)
            .bind(task.rank.0)
            .bind(task.due_time.as_micros())
            .bind(task.create_time.as_micros())
    };
    MIRROR_TASKS.execute(cx.sql, &rows, bind).await.map(drop)
}

/// A queue as it is stored: a list of keys.
pub(crate) fn queue_name(gates: &[GateKey]) -> String {
    json_list(gates.iter().map(GateKey::as_str))
}

/// Whether the task waits at its gates, as the mirror has it. Most are due when they are made, and needn't
/// [ripen](ripen).
fn blocked(task: &Task) -> i64 {
    match task.state {
        TaskState::Blocked if task.due_time <= task.create_time => 1,
        TaskState::Blocked => 2,
        _ => 0,
    }
}

/// How many tasks come to their queues in one call.
const RIPEN_AT_ONCE: i64 = 10_000;

/// Lets `Blocked` tasks that came due into their queues, so that those that aren't due yet are in nobody's way. Says
/// whether there are more.
pub(crate) async fn ripen(cx: &mut Cx<'_>, now: Timestamp) -> Result<bool> {
    let update = "UPDATE gate_tasks SET blocked = 1 WHERE (gate_key, task_id) IN (SELECT gate_key, task_id \
                  FROM gate_tasks INDEXED BY gate_tasks_due WHERE blocked = 2 AND due_time <= ?1 \
                  ORDER BY due_time LIMIT ?2)";
    let ripe = sqlx::query(update)
        .bind(now.as_micros())
        .bind(RIPEN_AT_ONCE)
        .execute(&mut *cx.sql)
        .await?
        .rows_affected();
    Ok(ripe >= RIPEN_AT_ONCE.unsigned_abs())
}

/// Notes which of the jobs of new tasks behind gates don't exist.
pub(crate) async fn note_gone_jobs(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    let gated = tasks
        .iter()
        .map(|stored| &stored.task)
        .filter(|task| task.is_gated());
    let jobs: BTreeSet<&str> = gated.map(|task| task.job_id.as_str()).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let insert = "INSERT OR IGNORE INTO gone_jobs (job_id) SELECT value FROM json_each(?1) \
                  WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE job_id = value)";
    sqlx::query(insert)
        .bind(json_list(jobs))
        .execute(&mut *cx.sql)
        .await?;
    Ok(())
}

/// Takes tasks that became final away from their gates.
///
/// A gate that nobody stands at any more is forgotten, unless its rate still remembers the last one: such ones are
/// [forgotten later](forget_idle_gates).
pub(crate) async fn leave_gates(cx: &mut Cx<'_>, tasks: &[&Task], now: Timestamp) -> Result<()> {
    let gated: Vec<&Task> = tasks.iter().copied().filter(|task| task.is_gated()).collect();
    if gated.is_empty() {
        return Ok(());
    }
    let keys = json_list(gated.iter().flat_map(|task| &task.gates).map(GateKey::as_str));
    let pairs: Vec<(&str, &str)> = gated
        .iter()
        .flat_map(|task| task.gates.iter().map(|key| (key.as_str(), task.task_id.as_str())))
        .collect();
    let delete = "DELETE FROM gate_tasks \
                  WHERE (gate_key, task_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";
    let pairs = serde_json::to_string(&pairs).map_err(Failure::corrupt)?;
    sqlx::query(delete).bind(pairs).execute(&mut *cx.sql).await?;
    let delete = "DELETE FROM gates WHERE gate_key IN (SELECT value FROM json_each(?1)) \
                  AND (arrival_time IS NULL OR arrival_time <= ?2) \
                  AND NOT EXISTS (SELECT 1 FROM gate_tasks WHERE gate_tasks.gate_key = gates.gate_key)";
    sqlx::query(delete)
        .bind(keys)
        .bind(now.as_micros())
        .execute(&mut *cx.sql)
        .await?;
    Ok(())
}

/// Forgets gates that nobody stands at and whose rate is quiet again, and jobs that are gone with their tasks.
pub(crate) async fn forget_idle_gates(cx: &mut Cx<'_>, now: Timestamp) -> Result<()> {
    let delete = "DELETE FROM gates WHERE arrival_time <= ?1 \
                  AND NOT EXISTS (SELECT 1 FROM gate_tasks WHERE gate_tasks.gate_key = gates.gate_key)";
    sqlx::query(delete)
        .bind(now.as_micros())
        .execute(&mut *cx.sql)
        .await?;
    let delete = "DELETE FROM gone_jobs \
                  WHERE NOT EXISTS (SELECT 1 FROM gate_tasks WHERE gate_tasks.job_id = gone_jobs.job_id)";
    sqlx::query(delete).execute(&mut *cx.sql).await?;
    Ok(())
}

/// Which of these gates have a due task waiting.
pub(crate) async fn waiting_gates(
    cx: &mut Cx<'_>,
    keys: &[GateKey],
    now: Timestamp,
) -> Result<BTreeSet<GateKey>> {
    if keys.is_empty() {
        return Ok(BTreeSet::new());
    }
    ripen(cx, now).await?;
    let select = "SELECT value FROM json_each(?1) WHERE EXISTS (SELECT 1 FROM gate_tasks INDEXED BY gate_tasks_by_time \
                  WHERE gate_key = value AND blocked = 1 AND due_time <= ?2)";
    let list = json_list(keys.iter().map(GateKey::as_str));
    let waiting: Vec<String> = sqlx::query_scalar(select)
        .bind(list)
        .bind(now.as_micros())
        .fetch_all(&mut *cx.sql)
        .await?;
    Ok(waiting.into_iter().map(GateKey::from_stored).collect())
}
