//! Reading live tasks.
//!
//! A statement gives all its tasks as one JSON text instead of a row each: a row crosses from the connection's thread to
//! the caller's by itself and may wake it, which costs more than the row.

use std::borrow::Cow;
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::json::Json;
use jobcore::lane::Lane;
use jobcore::lease::{FencingToken, Holder, Incarnation};
use jobcore::task::{Origin, Rank, Task, TaskState};
use serde::Deserialize;

use super::lanes;
use super::rows::{Asked, json_list};
use super::stored_task::{Extra, StoredTask};
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// The columns of a live task, in the order of [`TaskRow`].
macro_rules! task_columns {
    () => {
        "task_id, job_id, lane_id, state, priority, due_time, rank, attempt, failures, token, create_time, start_time, \
         scheduled_for, part, origin, arguments, extra"
    };
}
pub(crate) use task_columns;

/// A statement that gives the live tasks `t` for which a condition holds, in its order, with their holders.
macro_rules! select_tasks {
    ($condition:literal) => {
        concat!(
            "SELECT json_group_array(json_array(",
            $crate::queries::task_row::task_columns!(),
            ", holder_id, incarnation)) FROM (SELECT t.*, l.executor_id AS holder_id, l.incarnation \
             FROM tasks t LEFT JOIN leases l ON l.token = t.token AND t.state IN (3, 4) ",
            $condition,
            ")"
        )
    };
}
pub(crate) use select_tasks;

/// A task as [`select_tasks`] gives it: an array in the order of the fields.
#[derive(Debug, Deserialize)]
struct TaskRow<'r> {
    #[serde(borrow)]
    task_id: Cow<'r, str>,
    #[serde(borrow)]
    job_id: Cow<'r, str>,
    lane_id: i64,
    state: i16,
    priority: i32,
    due_time: i64,
    rank: i64,
    attempt: u32,
    failures: u32,
    token: u64,
    create_time: i64,
    start_time: Option<i64>,
    scheduled_for: Option<i64>,
    part: u32,
    origin: i16,
    arguments: Option<String>,
    extra: Option<String>,
    holder_id: Option<Cow<'r, str>>,
    incarnation: Option<u64>,
}

impl TaskRow<'_> {
    fn decode(self) -> Result<StoredTask> {
        let extra = Extra::decode(self.extra.as_deref())?;
        let holder = self
            .holder_id
            .zip(self.incarnation)
            .map(|(holder_id, incarnation)| Holder {
                executor_id: ExecutorId::from_stored(&*holder_id),
                incarnation: Incarnation(incarnation),
            });
        let task = Task {
            task_id: TaskId::from_stored(&*self.task_id),
            job_id: JobId::from_stored(&*self.job_id),
            state: TaskState::from_code(self.state)?,
            priority: self.priority,
            due_time: Timestamp::from_micros(self.due_time),
            rank: Rank(self.rank),
            attempt: self.attempt,
            failures: self.failures,
            token: FencingToken(self.token),
            create_time: Timestamp::from_micros(self.create_time),
            start_time: self.start_time.map(Timestamp::from_micros),
            scheduled_for: self.scheduled_for.map(Timestamp::from_micros),
            part: self.part,
            origin: Origin::from_code(self.origin)?,
            arguments: self.arguments.map(Json::from_stored),
            lane: no_lane(),
            holder,
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
            task,
            lane_id: self.lane_id,
            checkpoint_changed: false,
        })
    }
}

/// Stands in a task's place for a lane until it is known.
pub(crate) fn no_lane() -> Lane {
    static NONE: LazyLock<Lane> = LazyLock::new(|| Lane::from_stored(""));
    NONE.clone()
}

/// Carries out a [`select_tasks`] statement.
pub(crate) async fn read_tasks(cx: &mut Cx<'_>, select: Asked) -> Result<Vec<StoredTask>> {
    let text: String = select.fetch_one(&mut *cx.sql).await?;
    let mut tasks = decode_all(&text)?;
    lanes::load_lanes(cx, tasks.iter().map(|stored| stored.lane_id).collect()).await?;
    for stored in &mut tasks {
        stored.task.lane = lanes::lane(cx, stored.lane_id)?;
        if stored.task.checkpoint.is_some() {
            let select = "SELECT checkpoint FROM checkpoints WHERE task_id = ?1";
            let query = sqlx::query_scalar(select).bind(stored.task.task_id.as_str().to_owned());
            let checkpoint: Option<String> = query.fetch_optional(&mut *cx.sql).await?;
            stored.task.checkpoint = checkpoint.map(Json::from_stored);
        }
    }
    Ok(tasks)
}

fn decode_all(text: &str) -> Result<Vec<StoredTask>> {
    let rows: Vec<TaskRow<'_>> = serde_json::from_str(text)
        .map_err(|error| Failure::corrupt(format_args!("a row of tasks: {error}")))?;
    rows.into_iter().map(TaskRow::decode).collect()
}

/// The live tasks with these ids, in no order; those that aren't there are left out.
pub(crate) async fn tasks_by_id(cx: &mut Cx<'_>, task_ids: &[&TaskId]) -> Result<Vec<StoredTask>> {
    if task_ids.is_empty() {
        return Ok(Vec::new());
    }
    let list = json_list(task_ids.iter().map(|task_id| task_id.as_str()));
    let select = select_tasks!("WHERE t.task_id IN (SELECT value FROM json_each(?1))");
    read_tasks(cx, sqlx::query_scalar(select).bind(list)).await
}
