//! Live tasks as rows: how they are read and written.

use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::gate::GateKey;
use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::job::Delivery;
use jobcore::json::Json;
use jobcore::lease::{FencingToken, Holder, Incarnation};
use jobcore::task::{CancelRequest, Origin, Progress, Rank, StepRef, Task, TaskState};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::lanes;
use super::rows::{Bound, RowStatement, json_list, json_text};
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// The columns of a live task, in the order of [`StoredTask::decode`].
macro_rules! task_columns {
    () => {
        "task_id, job_id, lane_id, state, priority, due_time, rank, attempt, failures, token, create_time, start_time, \
         scheduled_for, part, origin, arguments, extra"
    };
}
pub(crate) use task_columns;

/// Where live tasks are read from, with their holders in two further columns.
macro_rules! select_tasks {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            $crate::queries::stored_task::task_columns!(),
            ", (SELECT executor_id FROM leases l WHERE l.token = t.token AND t.state IN (3, 4)) AS holder_id, \
             (SELECT incarnation FROM leases l WHERE l.token = t.token AND t.state IN (3, 4)) AS incarnation \
             FROM tasks t ",
            $condition
        )
    };
}
pub(crate) use select_tasks;

/// A task with what only its row knows.
#[derive(Clone, Debug)]
pub(crate) struct StoredTask {
    pub(crate) task: Task,
    pub(crate) lane_id: i64,
    /// Whether `task.checkpoint` is to be written; it is kept apart, and hardly ever changes.
    pub(crate) checkpoint_changed: bool,
}

/// What most tasks don't have, as JSON in column `extra`; NULL where nothing of it is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extra {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) gates: Vec<GateKey>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) passed: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) delivery: Delivery,
    /// The number of parts, if it isn't 1.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) parts: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) orphanings: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) suspect_orphanings: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cancel: Option<CancelRequest>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) progress: Option<Progress>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) step: Option<StepRef>,
    /// Whether there is a row in `checkpoints`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) has_checkpoint: bool,
    /// In history, where the closing row isn't that of the latest attempt: that attempt's number.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) attempt: Option<u32>,
    /// In history, likewise: when it started.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) start_time: Option<Timestamp>,
    /// Its place in the lane, where it doesn't follow from due time and priority.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) rank: Option<i64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Extra {
    /// What of `task` goes there.
    pub(crate) fn of(task: &Task) -> Self {
        Self {
            gates: task.gates.clone(),
            passed: task.passed,
            delivery: task.delivery,
            parts: (task.parts != 1).then_some(task.parts),
            orphanings: task.orphanings,
            suspect_orphanings: task.suspect_orphanings,
            cancel: task.cancel.clone(),
            progress: task.progress.clone(),
            step: task.step.clone(),
            has_checkpoint: task.checkpoint.is_some(),
            attempt: None,
            start_time: None,
            rank: None,
        }
    }

    pub(crate) fn encode(&self) -> Result<Option<String>> {
        if *self == Self::default() {
            return Ok(None);
        }
        serde_json::to_string(self).map(Some).map_err(Failure::corrupt)
    }

    pub(crate) fn decode(text: Option<&str>) -> Result<Self> {
        match text {
            None => Ok(Self::default()),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Failure::corrupt(format_args!("column extra of a task: {error}"))),
        }
    }
}

/// A code column.
pub(crate) fn code(row: &SqliteRow, index: usize) -> Result<i16> {
    Ok(row.try_get::<i64, _>(index)?.try_into().unwrap_or(i16::MAX))
}

/// A counter column.
pub(crate) fn count(row: &SqliteRow, index: usize) -> Result<u32> {
    Ok(row.try_get::<i64, _>(index)?.try_into().unwrap_or(u32::MAX))
}

/// An instant.
pub(crate) fn instant(row: &SqliteRow, index: usize) -> Result<Timestamp> {
    Ok(Timestamp::from_micros(row.try_get(index)?))
}

/// An instant that may be absent.
pub(crate) fn maybe_instant(row: &SqliteRow, index: usize) -> Result<Option<Timestamp>> {
    Ok(row.try_get::<Option<i64>, _>(index)?.map(Timestamp::from_micros))
}

/// A token as a column holds it.
pub(crate) fn token_number(token: FencingToken) -> i64 {
    i64::try_from(token.0).unwrap_or(i64::MAX)
}

/// A token column.
pub(crate) fn token(row: &SqliteRow, index: usize) -> Result<FencingToken> {
    Ok(FencingToken(
        row.try_get::<i64, _>(index)?.try_into().unwrap_or(0),
    ))
}

/// A holder in two columns, the first of which is NULL for none.
pub(crate) fn holder(row: &SqliteRow, index: usize) -> Result<Option<Holder>> {
    let Some(executor_id) = row.try_get::<Option<&str>, _>(index)? else {
        return Ok(None);
    };
    let incarnation: i64 = row.try_get(index + 1)?;
    Ok(Some(Holder {
        executor_id: ExecutorId::from_stored(executor_id),
        incarnation: Incarnation(incarnation.try_into().unwrap_or(0)),
    }))
}

impl StoredTask {
    /// A row of [`task_columns`]; lane and checkpoint come by [`complete`].
    fn decode(row: &SqliteRow, holder: Option<Holder>) -> Result<(Self, bool)> {
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
            lane: no_lane(),
            holder,
            parts: extra.parts.unwrap_or(1),
            gates: extra.gates,
            passed: extra.passed,
            delivery: extra.delivery,
            orphanings: extra.orphanings,
            suspect_orphanings: extra.suspect_orphanings,
            cancel: extra.cancel,
            checkpoint: None,
            progress: extra.progress,
            step: extra.step,
            end_time: None,
            reason: None,
        };
        let stored = Self {
            task,
            lane_id: row.try_get(2)?,
            checkpoint_changed: false,
        };
        Ok((stored, extra.has_checkpoint))
    }
}

/// Stands in a task's place for a lane until it is known.
pub(crate) fn no_lane() -> jobcore::lane::Lane {
    static NONE: LazyLock<jobcore::lane::Lane> = LazyLock::new(|| jobcore::lane::Lane::from_stored(""));
    NONE.clone()
}

/// Reads rows of [`select_tasks`], or of [`task_columns`] alone, whose tasks are all held by `claimed_by`.
pub(crate) async fn read_tasks(
    cx: &mut Cx<'_>,
    rows: &[SqliteRow],
    claimed_by: Option<&Holder>,
) -> Result<Vec<StoredTask>> {
    let mut tasks = Vec::with_capacity(rows.len());
    let mut with_checkpoint = Vec::new();
    for row in rows {
        let holder = match claimed_by {
            Some(holder) => Some(holder.clone()),
            None => holder(row, 17)?,
        };
        let (task, has_checkpoint) = StoredTask::decode(row, holder)?;
        if has_checkpoint {
            with_checkpoint.push(tasks.len());
        }
        tasks.push(task);
    }
    lanes::load_lanes(cx, tasks.iter().map(|task| task.lane_id).collect()).await?;
    for task in &mut tasks {
        task.task.lane = lanes::lane(cx, task.lane_id)?;
    }
    for index in with_checkpoint {
        let select = "SELECT checkpoint FROM checkpoints WHERE task_id = ?1";
        let task_id = tasks[index].task.task_id.as_str().to_owned();
        let checkpoint: Option<String> = sqlx::query_scalar(select)
            .bind(task_id)
            .fetch_optional(&mut *cx.sql)
            .await?;
        tasks[index].task.checkpoint = checkpoint.map(Json::from_stored);
    }
    Ok(tasks)
}

/// The live tasks with these ids, in no order; those that aren't there are left out.
pub(crate) async fn tasks_by_id(cx: &mut Cx<'_>, task_ids: &[&TaskId]) -> Result<Vec<StoredTask>> {
    let list = json_list(task_ids.iter().map(|task_id| task_id.as_str()));
    let select = select_tasks!("WHERE task_id IN (SELECT value FROM json_each(?1))");
    let rows = sqlx::query(select).bind(list).fetch_all(&mut *cx.sql).await?;
    read_tasks(cx, &rows, None).await
}

const INSERT: &str = concat!(
    "INSERT INTO tasks (",
    task_columns!(),
    ", cancel_deadline) VALUES"
);
const REPLACE: &str = concat!(
    "INSERT OR REPLACE INTO tasks (",
    task_columns!(),
    ", cancel_deadline) VALUES"
);
static INSERT_TASKS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(INSERT, 18, ""));
static REPLACE_TASKS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(REPLACE, 18, ""));

/// Writes tasks that are new.
pub(crate) async fn insert_tasks(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    write(cx, &INSERT_TASKS, tasks).await
}

/// Writes tasks that are there, as they are now.
pub(crate) async fn replace_tasks(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    write(cx, &REPLACE_TASKS, tasks).await?;
    let changed = tasks.iter().filter(|task| task.checkpoint_changed);
    for task in changed {
        let checkpoint = task
            .task
            .checkpoint
            .as_ref()
            .map_or("null", Json::as_str)
            .to_owned();
        sqlx::query("INSERT OR REPLACE INTO checkpoints (task_id, checkpoint) VALUES (?1, ?2)")
            .bind(task.task.task_id.as_str().to_owned())
            .bind(checkpoint)
            .execute(&mut *cx.sql)
            .await?;
    }
    Ok(())
}

async fn write(cx: &mut Cx<'_>, statement: &'static RowStatement, tasks: &[StoredTask]) -> Result<()> {
    let mut rows = Vec::with_capacity(tasks.len());
    for task in tasks {
        rows.push((task, Extra::of(&task.task).encode()?));
    }
    statement
        .execute(cx.sql, &rows, |query, (task, extra)| {
            bind(query, task, extra.clone())
        })
        .await?;
    super::gates::mirror(cx, tasks).await
}

fn bind(query: Bound, stored: &StoredTask, extra: Option<String>) -> Bound {
    let task = &stored.task;
    query
        .bind(task.task_id.as_str().to_owned())
        .bind(task.job_id.as_str().to_owned())
        .bind(stored.lane_id)
        .bind(i64::from(task.state.code()))
        .bind(task.priority)
        .bind(task.due_time.as_micros())
        .bind(task.rank.0)
        .bind(i64::from(task.attempt))
        .bind(i64::from(task.failures))
        .bind(token_number(task.token))
        .bind(task.create_time.as_micros())
        .bind(task.start_time.map(Timestamp::as_micros))
        .bind(task.scheduled_for.map(Timestamp::as_micros))
        .bind(i64::from(task.part))
        .bind(i64::from(task.origin.code()))
        .bind(json_text(task.arguments.as_ref()))
        .bind(extra)
        .bind(task.cancel.as_ref().map(|cancel| cancel.deadline.as_micros()))
}
