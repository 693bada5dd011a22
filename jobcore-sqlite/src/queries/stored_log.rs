//! Rows of `job_logs`: attempts, and the rows that close tasks.

use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::attempt::{Attempt, AttemptStatus};
use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::json::Json;
use jobcore::lease::{Holder, Incarnation};
use jobcore::task::{Origin, Rank, Task, TaskState};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::{code, count, instant, maybe_instant, token, token_number};
use super::lanes;
use super::rows::{Bound, RowStatement, json_text};
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

/// A task that is final, and its lane.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) task: Task,
    pub(crate) lane_id: i64,
}

const INSERT: &str = "INSERT OR FAIL INTO job_logs (job_id, executor_id, status, start_time, end_time, output, error, task_id, \
                      attempt, token, exit_code, task_state, finish_time, reason, lane_id, priority, due_time, \
                      create_time, failures, scheduled_for, part, origin, holder_id, incarnation, arguments, extra, \
                      id)";
static INSERT_LOGS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(INSERT, 27, ""));

/// The number of a row to write; `None` for the next one.
pub(crate) type LogId = Option<i64>;

/// The number that the next row would get.
pub(crate) async fn next_log_id(cx: &mut Cx<'_>) -> Result<i64> {
    let select = "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'job_logs'";
    Ok(sqlx::query_scalar(select).fetch_one(&mut *cx.sql).await?)
}

/// Writes rows, in order.
pub(crate) async fn insert_logs(cx: &mut Cx<'_>, logs: &[(LogId, NewLog)]) -> Result<()> {
    let mut rows = Vec::with_capacity(logs.len());
    for (id, log) in logs {
        let extra = match log {
            NewLog::Attempt(_) => None,
            NewLog::Last(attempt, closing) => extra(&closing.task, Some(attempt)).encode()?,
            NewLog::Closing(closing) => extra(&closing.task, None).encode()?,
        };
        rows.push((id, log, extra));
    }
    INSERT_LOGS
        .execute(cx.sql, &rows, |query, (id, log, extra)| {
            bind(query, log, extra.clone()).bind(**id)
        })
        .await
        .map(drop)
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
        .bind(attempt.job_id.to_shared())
        .bind(attempt.executor_id.as_str().to_owned())
        .bind(i64::from(attempt.status.code()))
        .bind(attempt.start_time.as_micros())
        .bind(attempt.end_time.map(Timestamp::as_micros))
        .bind(attempt.output.clone())
        .bind(attempt.error.clone())
        .bind(attempt.task_id.to_shared())
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
    let end_time = task.end_time.map(Timestamp::as_micros);
    query
        .bind(task.job_id.to_shared())
        .bind(String::new())
        .bind(i64::from(status.code()))
        .bind(end_time)
        .bind(end_time)
        .bind(None::<String>)
        .bind(None::<String>)
        .bind(task.task_id.to_shared())
        .bind(0_i64)
        .bind(token_number(task.token))
        .bind(None::<i64>)
}

fn bind_closing(
    query: Bound,
    closing: &Closing,
    holder_id: Option<&ExecutorId>,
    extra: Option<String>,
) -> Bound {
    let task = &closing.task;
    let incarnation = task.holder.as_ref().map(|holder| holder.incarnation.0);
    query
        .bind(i64::from(task.state.code()))
        .bind(task.end_time.map(Timestamp::as_micros))
        .bind(task.reason.clone())
        .bind(closing.lane_id)
        .bind(task.priority)
        .bind(task.due_time.as_micros())
        .bind(task.create_time.as_micros())
        .bind(i64::from(task.failures))
        .bind(task.scheduled_for.map(Timestamp::as_micros))
        .bind(i64::from(task.part))
        .bind(i64::from(task.origin.code()))
        .bind(holder_id.map(|id| id.as_str().to_owned()))
        .bind(incarnation.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
        .bind(json_text(task.arguments.as_ref()))
        .bind(extra)
}

/// The fifteen columns of a closing row, for a row that closes nothing.
fn bind_nothing(query: Bound, extra: Option<String>) -> Bound {
    let query = (0..2).fold(query, |query, _| query.bind(None::<i64>));
    let query = query.bind(None::<String>);
    let query = (0..8).fold(query, |query, _| query.bind(None::<i64>));
    query
        .bind(None::<String>)
        .bind(None::<i64>)
        .bind(None::<String>)
        .bind(extra)
}

const UPDATE: &str = "UPDATE job_logs SET status = v.column4, start_time = v.column5, end_time = v.column6, \
                      output = v.column7, error = v.column8, exit_code = v.column9 FROM (VALUES";
const RUNNING: &str = ") AS v WHERE job_logs.task_id = v.column1 AND job_logs.attempt = v.column2 \
                       AND job_logs.token = v.column3 AND job_logs.status = 0";
static UPDATE_LOGS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(UPDATE, 9, RUNNING));

/// Writes how attempts ended whose start was recorded.
pub(crate) async fn update_logs(cx: &mut Cx<'_>, attempts: &[Attempt]) -> Result<()> {
    let bind = |query: Bound, attempt: &Attempt| {
        query
            .bind(attempt.task_id.to_shared())
            .bind(i64::from(attempt.attempt))
            .bind(token_number(attempt.token))
            .bind(i64::from(attempt.status.code()))
            .bind(attempt.start_time.as_micros())
            .bind(attempt.end_time.map(Timestamp::as_micros))
            .bind(attempt.output.clone())
            .bind(attempt.error.clone())
            .bind(attempt.exit_code)
    };
    UPDATE_LOGS.execute(cx.sql, attempts, bind).await.map(drop)
}

/// The columns of an attempt, in the order of [`decode_attempt`].
macro_rules! attempt_columns {
    () => {
        "id, job_id, executor_id, status, start_time, end_time, output, error, task_id, attempt, token, exit_code"
    };
}
pub(crate) use attempt_columns;

/// Reads a row of [`attempt_columns`], with its id.
pub(crate) fn decode_attempt(row: &SqliteRow) -> Result<(i64, Attempt)> {
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
pub(crate) async fn read_finished(cx: &mut Cx<'_>, rows: &[SqliteRow]) -> Result<Vec<(i64, Task)>> {
    let mut finished = Vec::with_capacity(rows.len());
    for row in rows {
        finished.push((row.try_get::<i64, _>(10)?, row.try_get(0)?, decode_finished(row)?));
    }
    lanes::load_lanes(cx, finished.iter().map(|(lane_id, ..)| *lane_id).collect()).await?;
    finished
        .into_iter()
        .map(|(lane_id, id, task)| {
            Ok((
                id,
                Task {
                    lane: lanes::lane(cx, lane_id)?,
                    ..task
                },
            ))
        })
        .collect()
}

fn decode_finished(row: &SqliteRow) -> Result<Task> {
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

fn last_holder(row: &SqliteRow) -> Result<Option<Holder>> {
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
