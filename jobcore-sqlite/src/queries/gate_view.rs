//! What a plan about gates needs to see, in a few statements, however many gates it is about and tasks wait there.

use std::collections::BTreeMap;

use jobcore::Timestamp;
use jobcore::engine::gate::{Connected, GateState, Occupant, Room, Rooms};
use jobcore::gate::{GateKey, GatePolicy};
use jobcore::id::TaskId;
use jobcore::overlap::OverlapPolicy;
use serde::de::DeserializeOwned;

use super::gates::queue_name;
use super::listing::row_limit;
use super::rows::{Asked, json_list};
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// Carries out a statement whose answer is one JSON text.
async fn read<T: DeserializeOwned>(cx: &mut Cx<'_>, select: Asked) -> Result<T> {
    let text: Option<String> = select.fetch_one(&mut *cx.sql).await?;
    serde_json::from_str(text.as_deref().unwrap_or("null")).map_err(Failure::corrupt)
}

/// At most `limit` gates after `after` where something waits: from one to the next, so that a long line behind one
/// costs nothing.
pub(crate) async fn waited_at(
    cx: &mut Cx<'_>,
    after: Option<&GateKey>,
    limit: usize,
) -> Result<Vec<GateKey>> {
    let select = sqlx::query_scalar(WAITED_AT)
        .bind(after.map_or("", GateKey::as_str).to_owned())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    read(cx, select).await
}

/// All gates connected with `gates` by tasks that wait behind both, and the queues of these.
pub(crate) async fn connected(cx: &mut Cx<'_>, gates: Vec<GateKey>) -> Result<Connected> {
    let mut connected = Connected::with(gates);
    loop {
        let open: Vec<GateKey> = std::iter::from_fn(|| connected.next_gate()).collect();
        if open.is_empty() {
            return Ok(connected);
        }
        for queue in queues_at(cx, &open).await? {
            let queue: Vec<GateKey> = serde_json::from_str(&queue).map_err(Failure::corrupt)?;
            connected.add_queue(&queue);
        }
    }
}

/// The queues that wait at these gates: from one to the next.
async fn queues_at(cx: &mut Cx<'_>, gates: &[GateKey]) -> Result<Vec<String>> {
    let list = json_list(gates.iter().map(GateKey::as_str));
    read(cx, sqlx::query_scalar(QUEUES_AT).bind(list)).await
}

/// The gates as a plan sees them; those that don't exist are left out.
pub(crate) async fn view(cx: &mut Cx<'_>, connected: &Connected) -> Result<BTreeMap<GateKey, GateState>> {
    let list = json_list(connected.gates().map(GateKey::as_str));
    let rows: Vec<(GateKey, String, Option<i64>, u32)> =
        read(cx, sqlx::query_scalar(VIEW).bind(list)).await?;
    let mut gates = BTreeMap::new();
    for (key, policy, arrival_time, live) in rows {
        let policy: GatePolicy = serde_json::from_str(&policy)
            .map_err(|error| Failure::corrupt(format_args!("policy of gate {key}: {error}")))?;
        let state = GateState {
            policy,
            arrival_time: arrival_time.map(Timestamp::from_micros),
            live,
            occupants: Vec::new(),
        };
        gates.insert(key, state);
    }
    add_occupants(cx, &mut gates).await?;
    Ok(gates)
}

/// A task that passed: gate, id, queue, whether it is held, asked to cancel, and counts.
type OccupantRow = (GateKey, String, String, i64, i64, i64);

async fn add_occupants(cx: &mut Cx<'_>, gates: &mut BTreeMap<GateKey, GateState>) -> Result<()> {
    let overlaps = gates
        .iter()
        .filter(|(_, gate)| gate.policy.overlap != OverlapPolicy::Allow);
    let overlaps: Vec<&str> = overlaps.map(|(key, _)| key.as_str()).collect();
    if overlaps.is_empty() {
        return Ok(());
    }
    let list = json_list(overlaps);
    let rows: Vec<OccupantRow> = read(cx, sqlx::query_scalar(OCCUPANTS).bind(list)).await?;
    for (key, task_id, queue, held, cancelling, counts) in rows {
        if let Some(gate) = gates.get_mut(&key) {
            gate.occupants.push(Occupant {
                task_id: TaskId::from_stored(task_id),
                gates: serde_json::from_str(&queue).map_err(Failure::corrupt)?,
                held: held != 0,
                cancelling: cancelling != 0,
                counts: counts != 0,
            });
        }
    }
    Ok(())
}

/// A queue as its tasks are found: one of its gates, and its name.
type Named<'q> = (&'q str, String);

/// The first due tasks of each queue, as many as there is room for.
pub(crate) async fn first_waiting(
    cx: &mut Cx<'_>,
    connected: &Connected,
    rooms: &Rooms<'_>,
    now: Timestamp,
) -> Result<Vec<TaskId>> {
    // Queues with the same room are read at once.
    let mut alike: BTreeMap<(bool, Room), Vec<Named<'_>>> = BTreeMap::new();
    for queue in connected.queues() {
        let Some(first) = queue.first() else { continue };
        let group = alike
            .entry((rooms.by_due_time(queue), rooms.of(queue)))
            .or_default();
        group.push((first.as_str(), queue_name(queue)));
    }
    let mut task_ids = Vec::new();
    for ((by_due_time, room), queues) in alike {
        let select = if by_due_time { BY_DUE_TIME } else { BY_RANK };
        let select = sqlx::query_scalar(select)
            .bind(serde_json::to_string(&queues).map_err(Failure::corrupt)?)
            .bind(now.as_micros())
            .bind(i64::try_from(room.passed).unwrap_or(i64::MAX))
            .bind(i64::try_from(room.fresh).unwrap_or(i64::MAX));
        let rows: Vec<(Vec<TaskId>, Vec<TaskId>)> = read(cx, select).await?;
        task_ids.extend(
            rows.into_iter()
                .flat_map(|(passed, fresh)| passed.into_iter().chain(fresh)),
        );
    }
    Ok(task_ids)
}

/// The first of some queues: for each those that passed before, then the fresh ones.
macro_rules! first_of_queues {
    ($index:literal, $order:literal) => {
        concat!(
            "SELECT json_group_array(json_array(",
            first_of_queues!($index, $order, "1", "?3"),
            ", ",
            first_of_queues!($index, $order, "0", "?4"),
            ")) FROM json_each(?1) w"
        )
    };
    ($index:literal, $order:literal, $passed:literal, $limit:literal) => {
        concat!(
            "json((SELECT json_group_array(task_id) FROM (SELECT g.task_id FROM gate_tasks g INDEXED BY ",
            $index,
            " WHERE g.gate_key = w.value ->> 0 AND g.queue = w.value ->> 1 AND g.blocked = 1 AND g.passed = ",
            $passed,
            " AND g.due_time <= ?2 ORDER BY ",
            $order,
            ", g.create_time, g.task_id LIMIT ",
            $limit,
            ")))"
        )
    };
}
const BY_RANK: &str = first_of_queues!("gate_tasks_by_rank", "g.rank");
const BY_DUE_TIME: &str = first_of_queues!("gate_tasks_by_time", "g.due_time");

/// The first due tasks of each job that is gone.
const GONE: &str = "SELECT json_group_array(json((SELECT json_group_array(task_id) FROM ( \
                    SELECT DISTINCT g.task_id FROM gate_tasks g INDEXED BY gate_tasks_job \
                    WHERE g.job_id = gone_jobs.job_id AND g.blocked = 1 AND g.due_time <= ?1 \
                    AND g.queue IN (SELECT value FROM json_each(?2)) ORDER BY g.task_id LIMIT ?3)))) FROM gone_jobs";

/// At most `limit` due tasks in these queues whose job is gone, and one more, by id.
pub(crate) async fn gone_waiting(
    cx: &mut Cx<'_>,
    connected: &Connected,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<TaskId>> {
    let any = "SELECT EXISTS (SELECT 1 FROM gone_jobs)";
    if !sqlx::query_scalar::<_, bool>(any).fetch_one(&mut *cx.sql).await? {
        return Ok(Vec::new());
    }
    let queues: Vec<String> = connected.queues().map(queue_name).collect();
    let select = sqlx::query_scalar(GONE)
        .bind(now.as_micros())
        .bind(json_list(queues.iter().map(String::as_str)))
        .bind(row_limit(limit));
    let of_jobs: Vec<Vec<TaskId>> = read(cx, select).await?;
    let mut task_ids: Vec<TaskId> = of_jobs.into_iter().flatten().collect();
    task_ids.sort_unstable();
    task_ids.truncate(limit.saturating_add(1));
    Ok(task_ids)
}

const WAITED_AT: &str = "WITH RECURSIVE w(gate_key) AS ( \
    SELECT (SELECT min(gate_key) FROM gate_tasks WHERE blocked = 1 AND gate_key > ?1) \
    UNION ALL \
    SELECT (SELECT min(g.gate_key) FROM gate_tasks g WHERE g.blocked = 1 AND g.gate_key > w.gate_key) \
    FROM w WHERE w.gate_key IS NOT NULL LIMIT ?2) \
    SELECT json_group_array(gate_key) FROM w WHERE gate_key IS NOT NULL";

const QUEUES_AT: &str = "WITH RECURSIVE w(gate_key, queue) AS ( \
    SELECT value, (SELECT min(queue) FROM gate_tasks WHERE gate_key = value AND blocked = 1) \
    FROM json_each(?1) \
    UNION ALL \
    SELECT gate_key, (SELECT min(g.queue) FROM gate_tasks g \
                      WHERE g.gate_key = w.gate_key AND g.blocked = 1 AND g.queue > w.queue) \
    FROM w WHERE w.queue IS NOT NULL) \
    SELECT json_group_array(DISTINCT queue) FROM w WHERE queue IS NOT NULL";

/// Without a limit there is no need to count.
const VIEW: &str = "SELECT json_group_array(json_array(gate_key, policy, arrival_time, \
    CASE WHEN policy ->> 'max_live' IS NULL THEN 0 ELSE (SELECT count(*) FROM gate_tasks g INDEXED BY gate_tasks_passed \
    WHERE g.gate_key = gates.gate_key AND g.passed = 1 AND g.blocked = 0) END)) \
    FROM gates WHERE gate_key IN (SELECT value FROM json_each(?1))";

const OCCUPANTS: &str = "SELECT json_group_array(json_array(g.gate_key, g.task_id, g.queue, t.state IN (3, 4), \
    t.cancel_deadline IS NOT NULL, g.blocked = 0)) FROM json_each(?1) \
    CROSS JOIN gate_tasks g INDEXED BY gate_tasks_passed ON g.gate_key = value AND g.passed = 1 \
    CROSS JOIN tasks t ON t.task_id = g.task_id";

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::*;
    use crate::config::SqliteConfig;

    /// However many tasks stand at a gate, a look at it is a look at ranges of indexes.
    #[tokio::test]
    async fn no_statement_reads_all_that_stands_at_a_gate() {
        let mut connection = crate::schema::open(&SqliteConfig::in_memory()).await.unwrap();
        for select in [WAITED_AT, QUEUES_AT, VIEW, OCCUPANTS, BY_RANK, BY_DUE_TIME, GONE] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {select}"));
            let rows = sqlx::query(explain).fetch_all(&mut connection.sql).await.unwrap();
            for row in rows {
                let detail: String = row.get(3);
                let bad = [
                    "SCAN g",
                    "TEMP B-TREE FOR ORDER BY",
                    "g USING PRIMARY KEY",
                    "gate_tasks USING PRIMARY KEY",
                ];
                let fine = detail.starts_with("SCAN gone_jobs") || detail.starts_with("SEARCH gates");
                assert!(
                    fine || !bad.iter().any(|bad| detail.contains(bad)),
                    "{detail}: {select}"
                );
            }
        }
    }
}
