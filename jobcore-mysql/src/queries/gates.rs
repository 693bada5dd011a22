//! Gates, and the table that mirrors who stands before and behind them, so that ungated tasks pay nothing.
//!
//! # Locks
//!
//! A gate's row is locked by whoever lets something pass there; so what counts there is raised by one transaction at a time.
//! Those that lower it (ends, cancels, retries) don't lock it: a count may be too high for a moment, never too low. Rows of
//! `gate_tasks` are guarded by the lock of their task's row; only [`ripen`] writes them without.
//!
//! A gate must not be gone while a live task names it, since nothing would limit that. So whoever inserts a task locks the
//! rows of its gates (shared, so that inserts don't wait for each other), or makes them, before the task's own rows, and
//! keeps the locks to its end. Whoever [deletes](forget_idle_gates) a gate locks its row as well, and only then looks whether
//! somebody stands there, by a statement of its own:
//!
//! - An insert that came first and isn't committed keeps the row locked, and the deletion passes the gate by. One that is
//!   committed is seen by the look.
//! - An insert that comes later waits for the end of the deletion, finds no row, and makes one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::gate::{Gate, GateKey, GatePolicy};
use jobcore::id::TaskId;
use jobcore::task::{Task, TaskState};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::datetime;
use super::rows::{Bound, RowStatement};
use super::stored_task::StoredTask;
use crate::connection::{Care, Cx};
use crate::error::{Failure, Result};

const KEEP: &str = "SELECT gate_key, policy FROM gates FORCE INDEX (PRIMARY) WHERE gate_key IN";
static KEEP_SHARED: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::list(KEEP, "ORDER BY gate_key LOCK IN SHARE MODE"));
static KEEP_ALONE: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::list(KEEP, "ORDER BY gate_key FOR UPDATE"));

const PUT: &str = "INSERT INTO gates (gate_key, policy) VALUES";
static PUT_GATES: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::new(PUT, 2, "ON DUPLICATE KEY UPDATE policy = VALUES(policy)"));

/// Creates gates, or gives them the policy that came with the newest task. They are there until the transaction ends.
pub(crate) async fn put_gates(cx: &mut Cx<'_>, gates: &[&Gate]) -> Result<()> {
    // By key, which is the order of the locks.
    let newest: BTreeMap<&GateKey, &Gate> = gates.iter().map(|gate| (&gate.key, *gate)).collect();
    let policy = |gate: &Gate| serde_json::to_string(&gate.policy).map_err(Failure::corrupt);
    let mut rows: Vec<(&GateKey, String)> = newest
        .into_iter()
        .map(|(key, gate)| Ok((key, policy(gate)?)))
        .collect::<Result<_>>()?;
    // Two that share a lock can't both change the policy: one is undone, and comes back with the lock for itself. TiDB has no
    // shared locks.
    let shared = cx.care == Care::Ordinary && cx.shared.skip_locked;
    let keep: &'static RowStatement = if shared { &KEEP_SHARED } else { &KEEP_ALONE };
    let bind = |query: Bound, (key, _): &(&GateKey, String)| query.bind(key.as_str().to_owned());
    let mut known: HashMap<String, String> = HashMap::new();
    for row in keep.fetch(cx.sql, &rows, bind).await? {
        known.insert(row.try_get(0)?, row.try_get(1)?);
    }
    rows.retain(|(key, policy)| known.get(key.as_str()) != Some(policy));
    let bind = |query: Bound, (key, policy): &(&GateKey, String)| {
        query.bind(key.as_str().to_owned()).bind(policy.clone())
    };
    PUT_GATES.execute(cx.sql, &rows, bind).await?;
    Ok(())
}

const PUT_ARRIVAL: &str = "INSERT INTO gates (gate_key, policy, arrival_time) VALUES";
static PUT_ARRIVAL_TIMES: LazyLock<RowStatement> = LazyLock::new(|| {
    let tail = "ON DUPLICATE KEY UPDATE arrival_time = VALUES(arrival_time)";
    RowStatement::new(PUT_ARRIVAL, 3, tail)
});

/// Writes the arrival times of gates whose rows are there, and locked.
pub(crate) async fn put_arrival_times(
    cx: &mut Cx<'_>,
    arrival_times: &BTreeMap<GateKey, Timestamp>,
    policies: &HashMap<GateKey, GatePolicy>,
) -> Result<()> {
    let mut rows: Vec<(&GateKey, String, Timestamp)> = Vec::new();
    for (key, arrival_time) in arrival_times {
        let policy = serde_json::to_string(&policies.get(key)).map_err(Failure::corrupt)?;
        rows.push((key, policy, *arrival_time));
    }
    let bind = |query: Bound, (key, policy, arrival_time): &(&GateKey, String, Timestamp)| {
        query
            .bind(key.as_str().to_owned())
            .bind(policy.clone())
            .bind(datetime(*arrival_time))
    };
    PUT_ARRIVAL_TIMES.execute(cx.sql, &rows, bind).await?;
    Ok(())
}

const MIRROR: &str = "INSERT INTO gate_tasks (gate_key, task_id, queue, gate_keys, job_id, blocked, passed, task_rank, \
                      due_time, create_time) VALUES";
static MIRROR_TASKS: LazyLock<RowStatement> = LazyLock::new(|| {
    let tail = "ON DUPLICATE KEY UPDATE blocked = VALUES(blocked), passed = VALUES(passed), \
                task_rank = VALUES(task_rank), due_time = VALUES(due_time)";
    RowStatement::with_row(MIRROR, "(?, ?, UNHEX(MD5(?)), ?, ?, ?, ?, ?, ?, ?)", tail)
});

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
            .bind(queue.clone())
            .bind(task.job_id.as_str().to_owned())
            .bind(blocked(task))
            .bind(task.passed)
            .bind(task.rank.0)
            .bind(datetime(task.due_time))
            .bind(datetime(task.create_time))
    };
    MIRROR_TASKS.execute(cx.sql, &rows, bind).await?;
    Ok(())
}

/// A queue as it is stored: a list of keys. It is found by the hash of this.
pub(crate) fn queue_name(gates: &[GateKey]) -> String {
    // A list of strings can always be written.
    serde_json::to_string(gates).unwrap_or_default()
}

/// Whether the task waits at its gates, as the mirror has it. Most are due when they are made, and needn't
/// [ripen](ripen).
fn blocked(task: &Task) -> i8 {
    match task.state {
        TaskState::Blocked if task.due_time <= task.create_time => 1,
        TaskState::Blocked => 2,
        _ => 0,
    }
}

/// How many tasks come to their queues in one call.
const RIPEN_AT_ONCE: i64 = 10_000;

/// The gates of tasks that are due and not yet in their queues.
const UNRIPE: &str = "SELECT gate_key FROM gate_tasks FORCE INDEX (gate_tasks_due) \
                      WHERE blocked = 2 AND due_time <= ? ORDER BY due_time LIMIT ?";
const RIPEN: &str = "UPDATE gate_tasks FORCE INDEX (gate_tasks_due) SET blocked = 1 \
                     WHERE blocked = 2 AND due_time <= ? ORDER BY due_time LIMIT ?";

async fn unripe(cx: &mut Cx<'_>, now: Timestamp, limit: i64) -> Result<HashSet<String>> {
    let select = sqlx::query_scalar(UNRIPE).bind(datetime(now)).bind(limit);
    let gates: Vec<String> = select.fetch_all(&mut *cx.sql).await?;
    Ok(gates.into_iter().collect())
}

/// Lets `Blocked` tasks that came due into their queues, so that those that aren't due yet are in nobody's way. Says
/// whether there are more.
///
/// Who looks at all gates must wait for another one that does this and looks only at some: so nothing that is locked is
/// passed by.
pub(crate) async fn ripen(cx: &mut Cx<'_>, now: Timestamp) -> Result<bool> {
    if unripe(cx, now, 1).await?.is_empty() {
        return Ok(false);
    }
    let ripe = sqlx::query(RIPEN)
        .bind(datetime(now))
        .bind(RIPEN_AT_ONCE)
        .execute(&mut *cx.sql)
        .await?
        .rows_affected();
    Ok(ripe >= RIPEN_AT_ONCE.unsigned_abs())
}

static LEAVE: LazyLock<RowStatement> = LazyLock::new(|| {
    let delete = "DELETE FROM gate_tasks WHERE";
    RowStatement::any(delete, "(gate_key = ? AND task_id = ?)", "")
});

/// Takes tasks that became final away from their gates.
///
/// The gates stay, since the caller has locked tasks and must not wait for gates any more, and since the next task of the
/// job mostly comes soon. Nobody can tell: a new task brings the policy, and an arrival time that has passed limits nothing.
/// Those that nobody uses again are [forgotten later](forget_idle_gates).
pub(crate) async fn leave_gates(cx: &mut Cx<'_>, tasks: &[&Task]) -> Result<()> {
    let pairs = tasks
        .iter()
        .flat_map(|task| task.gates.iter().map(|key| (key, &task.task_id)));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    let bind = |query: Bound, (key, task_id): &(&GateKey, &TaskId)| {
        query
            .bind(key.as_str().to_owned())
            .bind(task_id.as_str().to_owned())
    };
    LEAVE.execute(cx.sql, &pairs, bind).await?;
    Ok(())
}

/// How many gates are forgotten in one call.
const FORGET_AT_ONCE: i64 = 10_000;

/// Gates that nobody seems to stand at.
const IDLE: &str = "SELECT g.gate_key FROM gates g FORCE INDEX (PRIMARY) \
                    LEFT JOIN gate_tasks t FORCE INDEX (PRIMARY) ON t.gate_key = g.gate_key \
                    WHERE t.gate_key IS NULL AND (g.arrival_time IS NULL OR g.arrival_time <= ?) \
                    ORDER BY g.gate_key LIMIT ?";

const LOCK_IDLE: &str = "SELECT gate_key FROM gates FORCE INDEX (PRIMARY) WHERE gate_key IN";
/// An idle gate that somebody has locked is about to be used.
static LOCK_UNUSED: LazyLock<RowStatement> = LazyLock::new(|| {
    let tail = "AND (arrival_time IS NULL OR arrival_time <= ?) ORDER BY gate_key FOR UPDATE SKIP LOCKED";
    RowStatement::list(LOCK_IDLE, tail)
});
static LOCK_ALL: LazyLock<RowStatement> = LazyLock::new(|| {
    let tail = "AND (arrival_time IS NULL OR arrival_time <= ?) ORDER BY gate_key FOR UPDATE";
    RowStatement::list(LOCK_IDLE, tail)
});
static USED: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT DISTINCT gate_key FROM gate_tasks FORCE INDEX (PRIMARY) WHERE gate_key IN";
    RowStatement::list(select, "")
});
static FORGET: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE g FROM gates g FORCE INDEX (PRIMARY) WHERE g.gate_key IN",
        "",
    )
});

/// Forgets gates that nobody stands at and whose rate is quiet again. To be called last in a transaction: inserts wait for
/// what it locks.
pub(crate) async fn forget_idle_gates(cx: &mut Cx<'_>, now: Timestamp) -> Result<()> {
    let select = sqlx::query_scalar(IDLE).bind(datetime(now)).bind(FORGET_AT_ONCE);
    let idle: Vec<String> = select.fetch_all(&mut *cx.sql).await?;
    let lock: &'static RowStatement = if cx.shared.skip_locked {
        &LOCK_UNUSED
    } else {
        &LOCK_ALL
    };
    let bind = |query: Bound, key: &String| query.bind(key.clone());
    let locked = lock
        .fetch_with(
            cx.sql,
            &idle,
            |query| query,
            bind,
            |query| query.bind(datetime(now)),
        )
        .await?;
    let mut locked = keys(&locked)?;
    // Under the locks: who came before them is seen now.
    let used: HashSet<String> = keys(&USED.fetch(cx.sql, &locked, bind).await?)?
        .into_iter()
        .collect();
    locked.retain(|key| !used.contains(key));
    FORGET.execute(cx.sql, &locked, bind).await?;
    Ok(())
}

/// The first column of rows.
fn keys(rows: &[MySqlRow]) -> Result<Vec<String>> {
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

static WAITING: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT g.gate_key FROM gates g FORCE INDEX (PRIMARY) WHERE g.gate_key IN";
    let tail = "AND (SELECT 1 FROM gate_tasks t FORCE INDEX (gate_tasks_by_time) \
                WHERE t.blocked = 1 AND t.gate_key = g.gate_key AND t.due_time <= ? LIMIT 1) = 1";
    RowStatement::list(select, tail)
});

/// Which of these gates have a due task waiting.
pub(crate) async fn waiting_gates(
    cx: &mut Cx<'_>,
    keys: &[GateKey],
    now: Timestamp,
) -> Result<BTreeSet<GateKey>> {
    if keys.is_empty() {
        return Ok(BTreeSet::new());
    }
    let bind = |query: Bound, key: &GateKey| query.bind(key.as_str().to_owned());
    let rows = WAITING
        .fetch_with(
            cx.sql,
            keys,
            |query| query,
            bind,
            |query| query.bind(datetime(now)),
        )
        .await?;
    let in_queues: HashSet<String> = self::keys(&rows)?.into_iter().collect();
    let unripe = unripe(cx, now, RIPEN_AT_ONCE).await?;
    let waits = |key: &&GateKey| in_queues.contains(key.as_str()) || unripe.contains(key.as_str());
    Ok(keys.iter().filter(waits).cloned().collect())
}
