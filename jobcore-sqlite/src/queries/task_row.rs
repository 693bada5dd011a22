//! Reading live tasks.
//!
//! A statement gives all its tasks as one text instead of a row each: a row crosses from the connection's thread to the
//! caller's by itself and may wake it, which costs more than the row. Fields and rows end with the control characters that
//! ASCII has for it, which neither ids nor JSON can contain.

use std::str::FromStr;
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::json::Json;
use jobcore::lane::Lane;
use jobcore::lease::{FencingToken, Holder, Incarnation};
use jobcore::task::{Origin, Rank, Task, TaskState};

use super::lanes;
use super::rows::{Asked, json_list};
use super::stored_task::{Extra, StoredTask};
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// What ends a field, and what ends a row.
const FIELD: char = '\u{1f}';
const ROW: char = '\u{1e}';

/// A statement that gives the live tasks `t` for which a condition holds, in its order, with their holders; NULL for
/// none.
macro_rules! select_tasks {
    ($condition:literal) => {
        concat!(
            "SELECT group_concat(concat_ws(char(31), coalesce(extra, ''), lane_id, task_id, job_id, state, priority, \
             due_time, rank, attempt, failures, token, create_time, coalesce(start_time, ''), \
             coalesce(scheduled_for, ''), part, origin, coalesce(arguments, ''), coalesce(holder_id, ''), \
             coalesce(incarnation, '')), char(30)) FROM (SELECT t.*, l.executor_id AS holder_id, l.incarnation \
             FROM tasks t LEFT JOIN leases l ON l.token = t.token AND t.state IN (3, 4) ",
            $condition,
            ")"
        )
    };
}
pub(crate) use select_tasks;

/// The fields of a task, as [`select_tasks`] gives them.
struct Fields<'r>(std::str::Split<'r, char>);

impl<'r> Fields<'r> {
    fn text(&mut self) -> Result<&'r str> {
        self.0
            .next()
            .ok_or_else(|| Failure::corrupt("a row of tasks lacks a field"))
    }

    fn maybe_text(&mut self) -> Result<Option<&'r str>> {
        self.text().map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    fn number<T: FromStr>(&mut self) -> Result<T> {
        let text = self.text()?;
        let number = text.parse();
        number.map_err(|_| {
            Failure::corrupt(format_args!(
                "a row of tasks has {text:?} where a number should be"
            ))
        })
    }

    fn instant(&mut self) -> Result<Timestamp> {
        self.number().map(Timestamp::from_micros)
    }

    fn maybe_number<T: FromStr>(&mut self) -> Result<Option<T>> {
        let text = self.maybe_text()?;
        text.map(|text| Fields(text.split(FIELD)).number()).transpose()
    }

    fn maybe_instant(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.maybe_number()?.map(Timestamp::from_micros))
    }

    fn holder(&mut self) -> Result<Option<Holder>> {
        let executor_id = self.maybe_text()?.map(ExecutorId::from_stored);
        let incarnation = self.maybe_number()?.map(Incarnation);
        Ok(executor_id
            .zip(incarnation)
            .map(|(executor_id, incarnation)| Holder {
                executor_id,
                incarnation,
            }))
    }
}

/// Reads a row. The fields stand in the order of [`select_tasks`].
fn decode(row: &str) -> Result<StoredTask> {
    let mut fields = Fields(row.split(FIELD));
    let extra = Extra::decode(fields.maybe_text()?)?;
    let lane_id = fields.number()?;
    let task = Task {
        task_id: TaskId::from_stored(fields.text()?),
        job_id: JobId::from_stored(fields.text()?),
        state: TaskState::from_code(fields.number()?)?,
        priority: fields.number()?,
        due_time: fields.instant()?,
        rank: Rank(fields.number()?),
        attempt: fields.number()?,
        failures: fields.number()?,
        token: FencingToken(fields.number()?),
        create_time: fields.instant()?,
        start_time: fields.maybe_instant()?,
        scheduled_for: fields.maybe_instant()?,
        part: fields.number()?,
        origin: Origin::from_code(fields.number()?)?,
        arguments: fields.maybe_text()?.map(Json::from_stored),
        holder: fields.holder()?,
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
        task,
        lane_id,
        checkpoint_changed: false,
    })
}

/// Stands in a task's place for a lane until it is known.
pub(crate) fn no_lane() -> Lane {
    static NONE: LazyLock<Lane> = LazyLock::new(|| Lane::from_stored(""));
    NONE.clone()
}

/// Carries out a [`select_tasks`] statement.
pub(crate) async fn read_tasks(cx: &mut Cx<'_>, select: Asked) -> Result<Vec<StoredTask>> {
    let text: Option<String> = select.fetch_one(&mut *cx.sql).await?;
    decode_tasks(cx, text.as_deref()).await
}

/// Decodes what a [`select_tasks`] gave.
pub(crate) async fn decode_tasks(cx: &mut Cx<'_>, text: Option<&str>) -> Result<Vec<StoredTask>> {
    let rows = text.iter().flat_map(|text| text.split(ROW));
    let mut tasks: Vec<StoredTask> = rows.map(decode).collect::<Result<_>>()?;
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

/// The live tasks with these ids, in no order; those that aren't there are left out.
pub(crate) async fn tasks_by_id(cx: &mut Cx<'_>, task_ids: &[&TaskId]) -> Result<Vec<StoredTask>> {
    if task_ids.is_empty() {
        return Ok(Vec::new());
    }
    let list = json_list(task_ids.iter().map(|task_id| task_id.as_str()));
    let select = select_tasks!("WHERE t.task_id IN (SELECT value FROM json_each(?1))");
    read_tasks(cx, sqlx::query_scalar(select).bind(list)).await
}
