//! What a plan about gates needs to see, by ranges of indexes, however many tasks wait there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::engine::gate::{Candidate, Connected, GateState, Occupant, Rooms};
use jobcore::gate::{GateKey, GatePolicy};
use jobcore::id::TaskId;
use jobcore::overlap::OverlapPolicy;
use jobcore::task::Rank;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{count, datetime, instant, maybe_instant};
use super::gates::queue_name;
use super::rows::{Bound, RowStatement};
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// The tasks with just the same gates, named by these.
pub(crate) type Queue = Vec<GateKey>;

/// How many parts a statement of several `SELECT`s has at the most: the server keeps each prepared, with a plan of each part.
const PARTS: usize = 50;

/// Carries out a [`RowStatement::union`] with a part for each row.
pub(crate) async fn union<T>(
    cx: &mut Cx<'_>,
    statement: &'static RowStatement,
    rows: &[T],
    bind: impl Fn(Bound, &T) -> Bound,
) -> Result<Vec<MySqlRow>> {
    let mut found = Vec::new();
    for some in rows.chunks(PARTS) {
        found.append(&mut statement.fetch(cx.sql, some, &bind).await?);
    }
    Ok(found)
}

fn key_of(row: &MySqlRow) -> Result<GateKey> {
    Ok(GateKey::from_stored(row.try_get::<&str, _>(0)?))
}

fn bind_key(query: Bound, key: &GateKey) -> Bound {
    query.bind(key.as_str().to_owned())
}

/// A look at each gate, not at what waits there: a long line behind one costs nothing. (A gate's row stays as long as a task
/// names it.) Grouping `gate_tasks` would read an entry for each task that waits, wherever the server's statistics are old.
const WAITED_AT: &str = "SELECT g.gate_key FROM gates g FORCE INDEX (PRIMARY) WHERE g.gate_key > ? \
                         AND (SELECT t.gate_key FROM gate_tasks t FORCE INDEX (gate_tasks_by_time) \
                         WHERE t.blocked = 1 AND t.gate_key = g.gate_key LIMIT 1) IS NOT NULL \
                         ORDER BY g.gate_key LIMIT ?";

/// At most `limit` gates after `after` where something waits.
pub(crate) async fn waited_at(
    cx: &mut Cx<'_>,
    after: Option<&GateKey>,
    limit: usize,
) -> Result<Vec<GateKey>> {
    let select = sqlx::query(WAITED_AT)
        .bind(after.map_or("", GateKey::as_str).to_owned())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = select.fetch_all(&mut *cx.sql).await?;
    rows.iter().map(key_of).collect()
}

/// The next queue that waits at a gate: one step in an index.
const NEXT_QUEUE: &str = "SELECT CAST(? AS SIGNED), queue, gate_keys FROM gate_tasks FORCE INDEX (gate_tasks_by_time) \
                          WHERE blocked = 1 AND gate_key = ? AND queue > ? ORDER BY queue LIMIT 1";
static NEXT_QUEUES: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::union(NEXT_QUEUE));

/// How often one goes from queue to queue, at all gates at once. Most gates have one or two.
const STEPS: usize = 10;

/// All queues at gates that have more, which may read all that waits there.
static QUEUES_AT: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT d.gate_key, (SELECT g.gate_keys FROM gate_tasks g FORCE INDEX (gate_tasks_by_time) \
                  WHERE g.blocked = 1 AND g.gate_key = d.gate_key AND g.queue = d.queue LIMIT 1) \
                  FROM (SELECT gate_key, queue FROM gate_tasks FORCE INDEX (gate_tasks_by_time) \
                  WHERE blocked = 1 AND gate_key IN";
    RowStatement::list(select, "GROUP BY blocked, gate_key, queue) d")
});

/// The queues that wait at these gates.
async fn queues_at(cx: &mut Cx<'_>, gates: &[GateKey]) -> Result<BTreeSet<Queue>> {
    let bind = |query: Bound, (number, after): &(usize, Vec<u8>)| {
        let query = query.bind(i64::try_from(*number).unwrap_or(i64::MAX));
        bind_key(query, &gates[*number]).bind(after.clone())
    };
    // As text: most queues are met once at each of their gates.
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut at: Vec<(usize, Vec<u8>)> = (0..gates.len()).map(|number| (number, Vec::new())).collect();
    for _ in 0..STEPS {
        let rows = union(cx, &NEXT_QUEUES, &at, bind).await?;
        at.clear();
        for row in &rows {
            let number = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
            at.push((number, row.try_get(1)?));
            names.insert(row.try_get(2)?);
        }
        if at.is_empty() {
            break;
        }
    }
    let more: Vec<GateKey> = at.iter().map(|(number, _)| gates[*number].clone()).collect();
    for row in QUEUES_AT.fetch(cx.sql, &more, bind_key).await? {
        names.insert(row.try_get(1)?);
    }
    let queue = |name: &String| serde_json::from_str(name).map_err(Failure::corrupt);
    names.iter().map(queue).collect()
}

/// All gates connected with `gates` by tasks that wait behind both.
async fn connected(cx: &mut Cx<'_>, gates: Vec<GateKey>) -> Result<Connected> {
    let mut connected = Connected::with(gates);
    loop {
        let open: Vec<GateKey> = std::iter::from_fn(|| connected.next_gate()).collect();
        if open.is_empty() {
            return Ok(connected);
        }
        for queue in queues_at(cx, &open).await? {
            connected.add_queue(&queue);
        }
    }
}

static LOCK_GATES: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT gate_key, policy, arrival_time FROM gates FORCE INDEX (PRIMARY) WHERE gate_key IN";
    RowStatement::list(select, "ORDER BY gate_key FOR UPDATE")
});

/// Gates that are decided together, whose rows this transaction keeps locked.
#[derive(Debug, Default)]
pub(crate) struct LockedGates {
    keys: Vec<GateKey>,
    /// As their rows say; those that have none are left out.
    gates: BTreeMap<GateKey, GateState>,
}

impl LockedGates {
    /// Locks all that are connected with `gates`, in the order of their keys. What is known of them is to be read after
    /// this.
    pub(crate) async fn lock(cx: &mut Cx<'_>, gates: Vec<GateKey>) -> Result<Self> {
        let connected = connected(cx, gates).await?;
        if connected.queues().next().is_none() {
            return Ok(Self::default());
        }
        let keys: Vec<GateKey> = connected.gates().cloned().collect();
        let mut gates = BTreeMap::new();
        for row in LOCK_GATES.fetch(cx.sql, &keys, bind_key).await? {
            let key = key_of(&row)?;
            let policy: GatePolicy = serde_json::from_str(row.try_get(1)?)
                .map_err(|error| Failure::corrupt(format_args!("policy of gate {key}: {error}")))?;
            let state = GateState {
                policy,
                arrival_time: maybe_instant(&row, 2)?,
                live: 0,
                occupants: Vec::new(),
            };
            gates.insert(key, state);
        }
        Ok(Self { keys, gates })
    }

    /// The queues that wait there, and whether there are others that lead on to gates that aren't locked: those came
    /// meanwhile.
    pub(crate) async fn queues(&self, cx: &mut Cx<'_>) -> Result<(Vec<Queue>, bool)> {
        let queues = queues_at(cx, &self.keys).await?;
        let all = queues.len();
        let within = |queue: &Queue| queue.iter().all(|key| self.keys.binary_search(key).is_ok());
        let queues: Vec<Queue> = queues.into_iter().filter(within).collect();
        let grown = queues.len() < all;
        Ok((queues, grown))
    }

    /// The gates as a plan sees them.
    pub(crate) async fn view(self, cx: &mut Cx<'_>) -> Result<BTreeMap<GateKey, GateState>> {
        let mut gates = self.gates;
        // In this order: an occupant that stops counting in between leaves a count too high, which does no harm.
        add_counts(cx, &mut gates).await?;
        add_occupants(cx, &mut gates).await?;
        Ok(gates)
    }
}

fn those(gates: &BTreeMap<GateKey, GateState>, which: impl Fn(&GatePolicy) -> bool) -> Vec<GateKey> {
    let gates = gates.iter().filter(|(_, gate)| which(&gate.policy));
    gates.map(|(key, _)| key.clone()).collect()
}

static COUNTS: LazyLock<RowStatement> = LazyLock::new(|| {
    let select =
        "SELECT gate_key, COUNT(*) FROM gate_tasks FORCE INDEX (gate_tasks_passed) WHERE gate_key IN";
    RowStatement::list(select, "AND passed = 1 AND blocked = 0 GROUP BY gate_key")
});

/// Without a limit there is no need to count.
async fn add_counts(cx: &mut Cx<'_>, gates: &mut BTreeMap<GateKey, GateState>) -> Result<()> {
    let limited = those(gates, |policy| policy.max_live.is_some());
    for row in COUNTS.fetch(cx.sql, &limited, bind_key).await? {
        if let Some(gate) = gates.get_mut(&key_of(&row)?) {
            gate.live = count(&row, 1)?;
        }
    }
    Ok(())
}

static OCCUPANTS: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT STRAIGHT_JOIN g.gate_key, g.task_id, g.gate_keys, t.state IN (3, 4), c.task_id IS NOT NULL, \
                  g.blocked = 0 FROM gate_tasks g FORCE INDEX (gate_tasks_passed) \
                  JOIN tasks t FORCE INDEX (tasks_id) ON t.task_id = g.task_id \
                  LEFT JOIN cancel_requests c FORCE INDEX (PRIMARY) ON c.task_id = g.task_id WHERE g.gate_key IN";
    RowStatement::list(select, "AND g.passed = 1")
});

async fn add_occupants(cx: &mut Cx<'_>, gates: &mut BTreeMap<GateKey, GateState>) -> Result<()> {
    let overlaps = those(gates, |policy| policy.overlap != OverlapPolicy::Allow);
    for row in OCCUPANTS.fetch(cx.sql, &overlaps, bind_key).await? {
        if let Some(gate) = gates.get_mut(&key_of(&row)?) {
            gate.occupants.push(Occupant {
                task_id: TaskId::from_stored(row.try_get::<&str, _>(1)?),
                gates: serde_json::from_str(row.try_get(2)?).map_err(Failure::corrupt)?,
                held: row.try_get::<i64, _>(3)? != 0,
                cancelling: row.try_get::<i64, _>(4)? != 0,
                counts: row.try_get::<i64, _>(5)? != 0,
            });
        }
    }
    Ok(())
}

/// The first of a queue.
macro_rules! first_of_queue {
    ($index:literal, $order:literal) => {
        concat!(
            "SELECT g.task_id, CAST(? AS SIGNED), g.passed, g.due_time, g.task_rank, g.create_time \
             FROM gate_tasks g FORCE INDEX (",
            $index,
            ") WHERE g.blocked = 1 AND g.gate_key = ? AND g.queue = UNHEX(MD5(?)) AND g.passed = ? \
             AND g.due_time <= ? ORDER BY ",
            $order,
            ", g.create_time, g.task_id LIMIT ?"
        )
    };
}
const FIRST_BY_RANK: &str = first_of_queue!("gate_tasks_by_rank", "g.task_rank");
static BY_RANK: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::union(FIRST_BY_RANK));
const FIRST_BY_DUE_TIME: &str = first_of_queue!("gate_tasks_by_time", "g.due_time");
static BY_DUE_TIME: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::union(FIRST_BY_DUE_TIME));

/// Those that passed before, or the fresh ones, of a queue, and how many of them are wanted.
struct First {
    queue: usize,
    passed: bool,
    most: usize,
}

/// The first due tasks of each queue, as many as there is room for.
pub(crate) async fn first_waiting(
    cx: &mut Cx<'_>,
    queues: &[Queue],
    rooms: &Rooms<'_>,
    now: Timestamp,
) -> Result<Vec<Candidate>> {
    let (mut by_rank, mut by_due_time) = (Vec::new(), Vec::new());
    for (number, queue) in queues.iter().enumerate() {
        let room = rooms.of(queue);
        let firsts = if rooms.by_due_time(queue) {
            &mut by_due_time
        } else {
            &mut by_rank
        };
        for (passed, most) in [(true, room.passed), (false, room.fresh)] {
            firsts.push(First {
                queue: number,
                passed,
                most,
            });
        }
    }
    let bind = |query: Bound, first: &First| {
        bind_queue(query, queues, first.queue)
            .bind(first.passed)
            .bind(datetime(now))
            .bind(i64::try_from(first.most).unwrap_or(i64::MAX))
    };
    let mut rows = union(cx, &BY_RANK, &by_rank, bind).await?;
    rows.append(&mut union(cx, &BY_DUE_TIME, &by_due_time, bind).await?);
    rows.iter().map(|row| candidate(row, queues)).collect()
}

/// The number of a queue, and how it is found: by one of its gates, and its name.
pub(crate) fn bind_queue(query: Bound, queues: &[Queue], number: usize) -> Bound {
    let queue = queues.get(number).map_or(&[][..], Vec::as_slice);
    query
        .bind(i64::try_from(number).unwrap_or(i64::MAX))
        .bind(queue.first().map_or("", GateKey::as_str).to_owned())
        .bind(queue_name(queue))
}

fn candidate(row: &MySqlRow, queues: &[Queue]) -> Result<Candidate> {
    let number = usize::try_from(row.try_get::<i64, _>(1)?).unwrap_or(usize::MAX);
    Ok(Candidate {
        task_id: TaskId::from_stored(row.try_get::<&str, _>(0)?),
        gates: queues.get(number).cloned().unwrap_or_default(),
        passed: row.try_get::<i8, _>(2)? != 0,
        due_time: instant(row, 3)?,
        rank: Rank(row.try_get(4)?),
        create_time: instant(row, 5)?,
    })
}
