//! Rows of `job_logs`: attempts, and the rows that close tasks.

use std::collections::HashMap;
use std::sync::LazyLock;

use jobcore::attempt::{Attempt, AttemptStatus};
use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::json::Json;
use jobcore::lease::{FencingToken, Holder, Incarnation};
use jobcore::task::{Origin, Rank, Task, TaskState};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{
    code, code_number, count, datetime, instant, json_text, maybe_datetime, maybe_instant, token,
    token_number,
};
use super::lanes;
use super::leases::incarnation_number;
use super::rows::{Bound, RowStatement};
use super::stored_task::Extra;
use super::task_row::no_lane;
use crate::connection::Cx;
use crate::error::Result;

/// A row to write: of an attempt, of a task that closes, or both.
#[derive(Clone, Debug)]
pub(crate) enum NewLog {
    /// An attempt of a task that goes on.
    Attempt(Attempt),
    /// The attempt that ended its task.
    Last(Attempt, Closing),
    /// A task that ended, and whose last attempt, if any, has its row already.
    Closing(Closing),
}

impl NewLog {
    /// How much text it brings.
    fn text_bytes(&self) -> usize {
        let attempt = |attempt: &Attempt| attempt.output.len() + attempt.error.len();
        let closing = |closing: &Closing| {
            let arguments = closing.task.arguments.as_ref();
            arguments.map_or(0, |arguments| arguments.as_str().len())
        };
        match self {
            Self::Attempt(ended) => attempt(ended),
            Self::Last(ended, closed) => attempt(ended) + closing(closed),
            Self::Closing(closed) => closing(closed),
        }
    }
}

/// A task that is final, and its lane.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) task: Task,
    pub(crate) lane_id: i64,
}

/// How much text goes into one statement, but for what a single row has: servers refuse packets of more than 16 MiB if
/// nobody allowed more.
const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// Splits rows that bring text where they would become too much for one statement.
pub(crate) fn portions<T>(rows: &[T], text_bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut sum = 0_usize;
        let end = rest.iter().position(|row| {
            sum = sum.saturating_add(text_bytes(row));
            sum > MAX_TEXT_BYTES
        });
        let (portion, behind) = rest.split_at(end.map_or(rest.len(), |end| end.max(1)));
        rest = behind;
        (!portion.is_empty()).then_some(portion)
    })
}

const INSERT: &str = "INSERT INTO job_logs (job_id, executor_id, status, start_time, end_time, output, error, task_id, attempt, \
                      token, exit_code, task_state, finish_time, reason, lane_id, priority, due_time, create_time, \
                      failures, scheduled_for, part, origin, holder_id, incarnation, arguments, extra) VALUES";
static INSERT_LOGS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(INSERT, 26, ""));

/// Writes rows, in order: the server numbers those of one statement one after the other.
pub(crate) async fn insert_logs(cx: &mut Cx<'_>, logs: &[NewLog]) -> Result<()> {
    let mut rows = Vec::with_capacity(logs.len());
    for log in logs {
        let extra = match log {
            NewLog::Attempt(_) => None,
            NewLog::Last(attempt, closing) => extra(&closing.task, Some(attempt)).encode()?,
            NewLog::Closing(closing) => extra(&closing.task, None).encode()?,
        };
        rows.push((log, extra));
    }
    for portion in portions(&rows, |(log, _)| log.text_bytes()) {
        let bind = |query: Bound, (log, extra): &(&NewLog, Option<String>)| bind(query, log, extra.clone());
        INSERT_LOGS.execute(cx.sql, portion, bind).await?;
    }
    Ok(())
}

/// What the columns don't say of a final task.
fn extra(task: &Task, attempt: Option<&Attempt>) -> Extra {
    let number = attempt.map_or(0, |attempt| attempt.attempt);
    let start_time = attempt.map(|attempt| attempt.start_time);
    Extra {
        attempt: (task.attempt != number).then_some(task.attempt),
        start_time: task.start_time.filter(|_| task.start_time != start_time),
        rank: (task.rank != Rank::new(task.due_time, task.priority)).then_some(task.rank.0),
        ..Extra::of(task)
    }
}

fn bind(query: Bound, log: &NewLog, extra: Option<String>) -> Bound {
    match log {
        NewLog::Attempt(attempt) => bind_nothing(bind_attempt(query, attempt), extra),
        NewLog::Last(attempt, closing) => {
            let holder_id = closing.task.holder.as_ref().map(|holder| &holder.executor_id);
            // The usual case repeats nothing.
            let holder_id = holder_id.filter(|id| **id != attempt.executor_id);
            bind_closing(bind_attempt(query, attempt), closing, holder_id, extra)
        }
        NewLog::Closing(closing) => {
            let holder_id = closing.task.holder.as_ref().map(|holder| &holder.executor_id);
            bind_closing(bind_no_attempt(query, &closing.task), closing, holder_id, extra)
        }
    }
}

fn bind_attempt(query: Bound, attempt: &Attempt) -> Bound {
    query
        .bind(attempt.job_id.as_str().to_owned())
        .bind(attempt.executor_id.as_str().to_owned())
        .bind(code_number(attempt.status.code()))
        .bind(datetime(attempt.start_time))
        .bind(maybe_datetime(attempt.end_time))
        .bind(attempt.output.clone())
        .bind(attempt.error.clone())
        .bind(attempt.task_id.as_str().to_owned())
        .bind(i64::from(attempt.attempt))
        .bind(token_number(attempt.token))
        .bind(attempt.exit_code)
}

/// The columns of an attempt for a row without one. They can't be NULL, so they say what comes nearest.
fn bind_no_attempt(query: Bound, task: &Task) -> Bound {
    let status = match task.state {
        TaskState::Succeeded => AttemptStatus::Success,
        TaskState::Failed => AttemptStatus::Failed,
        TaskState::TimedOut => AttemptStatus::TimedOut,
        _ => AttemptStatus::Cancelled,
    };
    query
        .bind(task.job_id.as_str().to_owned())
        .bind(String::new())
        .bind(code_number(status.code()))
        .bind(maybe_datetime(task.end_time))
        .bind(maybe_datetime(task.end_time))
        .bind(None::<String>)
        .bind(None::<String>)
        .bind(task.task_id.as_str().to_owned())
        .bind(0_i64)
        .bind(token_number(task.token))
        .bind(None::<i32>)
}

fn bind_closing(
    query: Bound,
    closing: &Closing,
    holder_id: Option<&ExecutorId>,
    extra: Option<String>,
) -> Bound {
    let task = &closing.task;
    query
        .bind(code_number(task.state.code()))
        .bind(maybe_datetime(task.end_time))
        .bind(task.reason.clone())
        .bind(closing.lane_id)
        .bind(task.priority)
        .bind(datetime(task.due_time))
        .bind(datetime(task.create_time))
        .bind(i64::from(task.failures))
        .bind(maybe_datetime(task.scheduled_for))
        .bind(i64::from(task.part))
        .bind(code_number(task.origin.code()))
        .bind(holder_id.map(|id| id.as_str().to_owned()))
        .bind(task.holder.as_ref().map(incarnation_number))
        .bind(json_text(task.arguments.as_ref()))
        .bind(extra)
}

/// The fifteen columns of a closing row, for a row that closes nothing.
fn bind_nothing(query: Bound, extra: Option<String>) -> Bound {
    (0..14)
        .fold(query, |query, _| query.bind(None::<i64>))
        .bind(extra)
}

static FIND_RUNNING: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT id, task_id, attempt, token FROM job_logs FORCE INDEX (job_logs_task) WHERE";
    RowStatement::any(select, "(task_id = ? AND attempt = ?)", "AND status = 0")
});
const UPDATE: &str = "INSERT INTO job_logs (id, job_id, executor_id, status, start_time, end_time, output, error, exit_code) \
                      VALUES";
const UPDATED: &str = "ON DUPLICATE KEY UPDATE status = VALUES(status), start_time = VALUES(start_time), \
                       end_time = VALUES(end_time), output = VALUES(output), error = VALUES(error), \
                       exit_code = VALUES(exit_code)";
static UPDATE_LOGS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(UPDATE, 9, UPDATED));

/// Writes how attempts ended whose start was recorded. The caller has locked their tasks, so that nobody else changes
/// these rows, and nobody deletes them.
pub(crate) async fn update_logs(cx: &mut Cx<'_>, attempts: &[Attempt]) -> Result<()> {
    if attempts.is_empty() {
        return Ok(());
    }
    let bind = |query: Bound, attempt: &Attempt| {
        query
            .bind(attempt.task_id.as_str().to_owned())
            .bind(i64::from(attempt.attempt))
    };
    let mut ids: HashMap<(TaskId, u32, FencingToken), i64> = HashMap::with_capacity(attempts.len());
    for row in FIND_RUNNING.fetch(cx.sql, attempts, bind).await? {
        let task_id = TaskId::from_stored(row.try_get::<&str, _>(1)?);
        ids.insert((task_id, count(&row, 2)?, token(&row, 3)?), row.try_get(0)?);
    }
    let id = |attempt: &Attempt| ids.get(&(attempt.task_id.clone(), attempt.attempt, attempt.token));
    let mut rows: Vec<(i64, &Attempt)> = attempts
        .iter()
        .filter_map(|attempt| Some((*id(attempt)?, attempt)))
        .collect();
    rows.sort_unstable_by_key(|(id, _)| *id);
    for portion in portions(&rows, |(_, attempt)| attempt.output.len() + attempt.error.len()) {
        UPDATE_LOGS.execute(cx.sql, portion, bind_update).await?;
    }
    Ok(())
}

fn bind_update(query: Bound, (id, attempt): &(i64, &Attempt)) -> Bound {
    query
        .bind(*id)
        .bind(attempt.job_id.as_str().to_owned())
        .bind(attempt.executor_id.as_str().to_owned())
        .bind(code_number(attempt.status.code()))
        .bind(datetime(attempt.start_time))
        .bind(maybe_datetime(attempt.end_time))
        .bind(attempt.output.clone())
        .bind(attempt.error.clone())
        .bind(attempt.exit_code)
}

/// The columns of an attempt, in the order of [`decode_attempt`].
macro_rules! attempt_columns {
    () => {
        "id, job_id, executor_id, status, start_time, end_time, output, error, task_id, attempt, token, exit_code"
    };
}
pub(crate) use attempt_columns;

/// Reads a row of [`attempt_columns`], with its id.
pub(crate) fn decode_attempt(row: &MySqlRow) -> Result<(i64, Attempt)> {
    let attempt = Attempt {
        task_id: TaskId::from_stored(row.try_get::<&str, _>(8)?),
        job_id: JobId::from_stored(row.try_get::<&str, _>(1)?),
        attempt: count(row, 9)?,
        executor_id: ExecutorId::from_stored(row.try_get::<&str, _>(2)?),
        token: token(row, 10)?,
        status: AttemptStatus::from_code(code(row, 3)?)?,
        start_time: instant(row, 4)?,
        end_time: maybe_instant(row, 5)?,
        exit_code: row.try_get(11)?,
        output: row.try_get::<Option<String>, _>(6)?.unwrap_or_default(),
        error: row.try_get::<Option<String>, _>(7)?.unwrap_or_default(),
    };
    Ok((row.try_get(0)?, attempt))
}

/// The columns of a closing row, in the order of [`read_finished`].
macro_rules! finished_columns {
    () => {
        "id, job_id, executor_id, start_time, task_id, attempt, token, task_state, finish_time, reason, lane_id, \
         priority, due_time, create_time, failures, scheduled_for, part, origin, holder_id, incarnation, arguments, extra"
    };
}
pub(crate) use finished_columns;

/// Reads rows of [`finished_columns`], with their ids.
pub(crate) async fn read_finished(cx: &mut Cx<'_>, rows: &[MySqlRow]) -> Result<Vec<(i64, Task)>> {
    let mut finished = Vec::with_capacity(rows.len());
    for row in rows {
        finished.push((row.try_get::<i64, _>(10)?, row.try_get(0)?, decode_finished(row)?));
    }
    lanes::load_lanes(cx, finished.iter().map(|(lane_id, ..)| *lane_id).collect()).await?;
    finished
        .into_iter()
        .map(|(lane_id, id, task)| {
            let lane = lanes::lane(cx, lane_id)?;
            Ok((id, Task { lane, ..task }))
        })
        .collect()
}

fn decode_finished(row: &MySqlRow) -> Result<Task> {
    let extra = Extra::decode(row.try_get(21)?)?;
    let attempt = count(row, 5)?;
    let (priority, due_time) = (row.try_get(11)?, instant(row, 12)?);
    let own_start = if attempt > 0 { Some(instant(row, 3)?) } else { None };
    Ok(Task {
        task_id: TaskId::from_stored(row.try_get::<&str, _>(4)?),
        job_id: JobId::from_stored(row.try_get::<&str, _>(1)?),
        scheduled_for: maybe_instant(row, 15)?,
        part: count(row, 16)?,
        parts: extra.parts.unwrap_or(1),
        origin: Origin::from_code(code(row, 17)?)?,
        arguments: row.try_get::<Option<&str>, _>(20)?.map(Json::from_stored),
        priority,
        state: TaskState::from_code(code(row, 7)?)?,
        due_time,
        lane: no_lane(),
        rank: extra.rank.map_or_else(|| Rank::new(due_time, priority), Rank),
        gates: extra.gates,
        passed: extra.passed,
        delivery: extra.delivery,
        attempt: extra.attempt.unwrap_or(attempt),
        failures: count(row, 14)?,
        orphanings: extra.orphanings,
        suspect_orphanings: extra.suspect_orphanings,
        token: token(row, 6)?,
        holder: last_holder(row)?,
        start_time: extra.start_time.or(own_start),
        cancel: extra.cancel,
        checkpoint: None,
        progress: extra.progress,
        step: extra.step,
        create_time: instant(row, 13)?,
        end_time: maybe_instant(row, 8)?,
        reason: row.try_get(9)?,
    })
}

fn last_holder(row: &MySqlRow) -> Result<Option<Holder>> {
    let Some(incarnation) = row.try_get::<Option<i64>, _>(19)? else {
        return Ok(None);
    };
    let executor_id = match row.try_get::<Option<&str>, _>(18)? {
        Some(holder_id) => holder_id,
        None => row.try_get(2)?,
    };
    Ok(Some(Holder {
        executor_id: ExecutorId::from_stored(executor_id),
        incarnation: Incarnation(incarnation.try_into().unwrap_or(0)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_where_their_text_becomes_too_much() {
        let sizes =
            |rows: &[usize]| -> Vec<usize> { portions(rows, |bytes| *bytes).map(<[_]>::len).collect() };
        let half = MAX_TEXT_BYTES / 2;
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&[0; 1_000]), [1_000]);
        assert_eq!(sizes(&[half, half, 1, half]), [2, 2]);
        assert_eq!(
            sizes(&[1, 4 * half, 4 * half, 1]),
            [1, 1, 1, 1],
            "a row by itself is as large as it is"
        );
    }
}
