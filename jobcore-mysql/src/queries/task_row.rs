//! Reading live tasks.

use std::collections::HashMap;
use std::sync::LazyLock;

use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::json::Json;
use jobcore::lane::Lane;
use jobcore::lease::{FencingToken, Holder, Incarnation};
use jobcore::task::{Origin, Rank, Task, TaskState};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{code, count, instant, maybe_instant, token, token_number, unsigned};
use super::lanes;
use super::rows::{Bound, RowStatement};
use super::stored_task::{Extra, Noted, StoredTask};
use crate::connection::Cx;
use crate::error::Result;

/// Whether rows that are read are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// They are as they were at the statement's start, and may have changed since.
    Plain,
    /// They stay as they are until the transaction ends.
    Update,
}

/// The columns of a task `t`, in the order of [`read_tasks`].
macro_rules! task_columns {
    () => {
        "t.task_id, t.job_id, t.lane_id, t.state, t.priority, t.due_time, t.task_rank, t.attempt, t.failures, t.token, \
         t.create_time, t.start_time, t.scheduled_for, t.part, t.origin, t.arguments, t.extra"
    };
}
pub(crate) use task_columns;

/// Reads a row of [`task_columns`]; lane, holder and checkpoint come later.
fn decode(row: &MySqlRow) -> Result<StoredTask> {
    let extra = Extra::decode(row.try_get(16)?)?;
    let task = Task {
        task_id: TaskId::from_stored(row.try_get::<&str, _>(0)?),
        job_id: JobId::from_stored(row.try_get::<&str, _>(1)?),
        state: TaskState::from_code(code(row, 3)?)?,
        priority: row.try_get(4)?,
        due_time: instant(row, 5)?,
        rank: Rank(row.try_get(6)?),
        attempt: count(row, 7)?,
        failures: count(row, 8)?,
        token: token(row, 9)?,
        create_time: instant(row, 10)?,
        start_time: maybe_instant(row, 11)?,
        scheduled_for: maybe_instant(row, 12)?,
        part: count(row, 13)?,
        origin: Origin::from_code(code(row, 14)?)?,
        arguments: row.try_get::<Option<&str>, _>(15)?.map(Json::from_stored),
        holder: None,
        lane: no_lane(),
        parts: extra.parts.unwrap_or(1),
        gates: extra.gates,
        passed: extra.passed,
        delivery: extra.delivery,
        orphanings: extra.orphanings,
        suspect_orphanings: extra.suspect_orphanings,
        cancel: extra.cancel,
        // Stands for the text until that is read.
        checkpoint: extra.has_checkpoint.then_some(Json::NULL),
        progress: extra.progress,
        step: extra.step,
        end_time: None,
        reason: None,
    };
    Ok(StoredTask {
        lane_id: row.try_get(2)?,
        noted: Noted::of(&task),
        task,
        checkpoint_changed: false,
    })
}

/// Stands in a task's place for a lane until it is known.
pub(crate) fn no_lane() -> Lane {
    static NONE: LazyLock<Lane> = LazyLock::new(|| Lane::from_stored(""));
    NONE.clone()
}

/// Reads rows of [`task_columns`], with what other tables say of the tasks.
pub(crate) async fn read_tasks(cx: &mut Cx<'_>, rows: Vec<MySqlRow>) -> Result<Vec<StoredTask>> {
    let mut tasks: Vec<StoredTask> = rows.iter().map(decode).collect::<Result<_>>()?;
    lanes::load_lanes(cx, tasks.iter().map(|stored| stored.lane_id).collect()).await?;
    for stored in &mut tasks {
        stored.task.lane = lanes::lane(cx, stored.lane_id)?;
    }
    add_holders(cx, &mut tasks).await?;
    add_checkpoints(cx, &mut tasks).await?;
    Ok(tasks)
}

static HOLDERS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "SELECT token, executor_id, incarnation FROM leases FORCE INDEX (PRIMARY) WHERE token IN",
        "",
    )
});

async fn add_holders(cx: &mut Cx<'_>, tasks: &mut [StoredTask]) -> Result<()> {
    let held = tasks.iter().filter(|stored| stored.task.state.is_held());
    let mut tokens: Vec<FencingToken> = held.map(|stored| stored.task.token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    if tokens.is_empty() {
        return Ok(());
    }
    let bind = |query: Bound, token: &FencingToken| query.bind(token_number(*token));
    let rows = HOLDERS.fetch(cx.sql, &tokens, bind).await?;
    let mut holders: HashMap<FencingToken, Holder> = HashMap::with_capacity(rows.len());
    for row in &rows {
        let holder = Holder {
            executor_id: ExecutorId::from_stored(row.try_get::<&str, _>(1)?),
            incarnation: Incarnation(unsigned(row, 2)?),
        };
        holders.insert(token(row, 0)?, holder);
    }
    for stored in tasks.iter_mut().filter(|stored| stored.task.state.is_held()) {
        stored.task.holder = holders.get(&stored.task.token).cloned();
    }
    Ok(())
}

async fn add_checkpoints(cx: &mut Cx<'_>, tasks: &mut [StoredTask]) -> Result<()> {
    for stored in tasks.iter_mut().filter(|stored| stored.task.checkpoint.is_some()) {
        let select = "SELECT checkpoint FROM checkpoints WHERE task_id = ?";
        let query = sqlx::query_scalar(select).bind(stored.task.task_id.as_str().to_owned());
        let checkpoint: Option<String> = query.fetch_optional(&mut *cx.sql).await?;
        stored.task.checkpoint = checkpoint.map(Json::from_stored);
    }
    Ok(())
}

const BY_ID: &str = concat!(
    "SELECT ",
    task_columns!(),
    " FROM tasks t FORCE INDEX (tasks_id) WHERE t.task_id IN"
);
static READ_BY_ID: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::list(BY_ID, ""));
/// In the order of their ids, so that two who lock the same ones don't wait for each other in a ring.
static LOCK_BY_ID: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::list(BY_ID, "ORDER BY t.task_id FOR UPDATE"));

/// The live tasks with these ids, in no order; those that aren't there are left out.
pub(crate) async fn tasks_by_id(
    cx: &mut Cx<'_>,
    task_ids: &[&TaskId],
    lock: Lock,
) -> Result<Vec<StoredTask>> {
    if task_ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut task_ids = task_ids.to_vec();
    task_ids.sort_unstable();
    task_ids.dedup();
    let statement = match lock {
        Lock::Plain => &READ_BY_ID,
        Lock::Update => &LOCK_BY_ID,
    };
    let bind = |query: Bound, task_id: &&TaskId| query.bind(task_id.as_str().to_owned());
    let rows = statement.fetch(cx.sql, &task_ids, bind).await?;
    read_tasks(cx, rows).await
}
