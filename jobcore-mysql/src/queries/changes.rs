//! Changes of jobs and final transitions of tasks, in the order in which they were written.

use std::fmt::Write as _;

use jobcore::Timestamp;
use jobcore::id::{JobId, TaskId};
use jobcore::store::{Change, Changes, Cursor};
use jobcore::task::TaskState;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::change_cursor::{ChangeCursor, Gap, Track};
use super::columns::{code, unsigned};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// How often one call reads on where it found only rows that tell nothing.
const MAX_STEPS: usize = 10;

/// How far below the present a reader that begins looks for what is under way.
const RECENT: i64 = 500;

/// Changes after a cursor.
#[derive(Debug)]
pub(crate) struct ListChanges {
    pub(crate) cursor: Option<Cursor>,
    pub(crate) limit: usize,
}

/// A row of one of the tables.
#[derive(Debug, PartialEq)]
struct Told {
    id: i64,
    /// `None`: an attempt that didn't end its task.
    change: Option<Change>,
    /// Of a change of a job: behind which row of `job_logs` it comes.
    place: i64,
}

#[async_trait::async_trait]
impl Operation for ListChanges {
    type Answer = Changes;
    const NAME: &'static str = "changes";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let now = cx.store_now().await?;
        let Some(after) = &self.cursor else {
            return Ok(Changes {
                changes: Vec::new(),
                cursor: Cursor(present(cx, now).await?.to_string()),
            });
        };
        let mut cursor = ChangeCursor::parse(after)?;
        let mut changes = self.late(cx, &mut cursor).await?;
        for _ in 0..MAX_STEPS {
            let room = self.limit.saturating_sub(changes.len());
            if room == 0 {
                break;
            }
            let logs = new_logs(cx, cursor.logs.highest(), room).await?;
            let jobs = new_job_changes(cx, cursor.jobs.highest(), room).await?;
            let more = logs.len() == room || jobs.len() == room;
            for (table, told) in in_order(logs, jobs).into_iter().take(room) {
                match table {
                    Table::Logs => cursor.logs.advance(told.id, now),
                    Table::Jobs => cursor.jobs.advance(told.id, now),
                }
                changes.extend(told.change);
            }
            if !more {
                break;
            }
        }
        cursor.logs.give_up(now);
        cursor.jobs.give_up(now);
        Ok(Changes {
            changes,
            cursor: Cursor(cursor.to_string()),
        })
    }
}

impl ListChanges {
    /// What was missing and is there by now.
    async fn late(&self, cx: &mut Cx<'_>, cursor: &mut ChangeCursor) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for told in late_rows(cx, LOGS, cursor.logs.gaps(), self.limit, log).await? {
            cursor.logs.fill(told.id);
            changes.extend(told.change);
        }
        let room = self.limit.saturating_sub(changes.len());
        for told in late_rows(cx, JOB_CHANGES, cursor.jobs.gaps(), room, job_change).await? {
            cursor.jobs.fill(told.id);
            changes.extend(told.change);
        }
        Ok(changes)
    }
}

/// Which table a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Logs,
    Jobs,
}

/// New rows of both tables, each in the order of its numbers, in one order: a change of a job comes behind its place.
fn in_order(logs: Vec<Told>, jobs: Vec<Told>) -> Vec<(Table, Told)> {
    let mut rows = Vec::with_capacity(logs.len() + jobs.len());
    let mut logs = logs.into_iter().peekable();
    for told in jobs {
        while let Some(log) = logs.next_if(|log| log.id <= told.place) {
            rows.push((Table::Logs, log));
        }
        rows.push((Table::Jobs, told));
    }
    rows.extend(logs.map(|log| (Table::Logs, log)));
    rows
}

/// Behind all that is there.
async fn present(cx: &mut Cx<'_>, now: Timestamp) -> Result<ChangeCursor> {
    let logs = recent(cx, "SELECT id FROM job_logs ORDER BY id DESC LIMIT ?").await?;
    let jobs = recent(cx, "SELECT id FROM job_changes ORDER BY id DESC LIMIT ?").await?;
    Ok(ChangeCursor {
        logs: Track::behind(&logs, now),
        jobs: Track::behind(&jobs, now),
    })
}

/// The highest numbers that there are, ascending; from 0 on if they are few.
async fn recent(cx: &mut Cx<'_>, select: &'static str) -> Result<Vec<i64>> {
    let query = sqlx::query_scalar(select).bind(RECENT);
    let mut numbers: Vec<i64> = query.fetch_all(&mut *cx.sql).await?;
    if i64::try_from(numbers.len()).is_ok_and(|count| count < RECENT) {
        // These are all: what is missing below the lowest may be under way, too.
        numbers.push(0);
    }
    numbers.reverse();
    Ok(numbers)
}

const LOGS: &str = "SELECT id, job_id, task_id, task_state FROM job_logs WHERE";
const JOB_CHANGES: &str = "SELECT id, job_id, version, after_log_id FROM job_changes WHERE";

/// The rows in gaps. There are hardly ever any gaps, so the statement isn't kept.
async fn late_rows(
    cx: &mut Cx<'_>,
    select: &'static str,
    gaps: &[Gap],
    limit: usize,
    decode: fn(&MySqlRow) -> Result<Told>,
) -> Result<Vec<Told>> {
    if gaps.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let mut text = select.to_owned();
    for (number, Gap { first, last, .. }) in gaps.iter().enumerate() {
        let or = if number == 0 { "" } else { " OR" };
        // Writing to a string can't fail.
        let _ = write!(text, "{or} id BETWEEN {first} AND {last}");
    }
    let _ = write!(text, " ORDER BY id LIMIT {limit}");
    // Its numbers are never the same: it isn't prepared.
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(text))
        .fetch_all(&mut *cx.sql)
        .await?;
    rows.iter().map(decode).collect()
}

async fn new_logs(cx: &mut Cx<'_>, after: i64, limit: usize) -> Result<Vec<Told>> {
    let select = "SELECT id, job_id, task_id, task_state FROM job_logs WHERE id > ? ORDER BY id LIMIT ?";
    let rows = new_rows(cx, select, after, limit).await?;
    rows.iter().map(log).collect()
}

async fn new_job_changes(cx: &mut Cx<'_>, after: i64, limit: usize) -> Result<Vec<Told>> {
    let select = "SELECT id, job_id, version, after_log_id FROM job_changes WHERE id > ? ORDER BY id LIMIT ?";
    let rows = new_rows(cx, select, after, limit).await?;
    rows.iter().map(job_change).collect()
}

async fn new_rows(cx: &mut Cx<'_>, select: &'static str, after: i64, limit: usize) -> Result<Vec<MySqlRow>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(sqlx::query(select)
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *cx.sql)
        .await?)
}

fn log(row: &MySqlRow) -> Result<Told> {
    let id = row.try_get(0)?;
    let is_final = row.try_get::<Option<i8>, _>(3)?.is_some();
    let change = if is_final {
        Some(Change::Task {
            task_id: TaskId::from_stored(row.try_get::<&str, _>(2)?),
            job_id: JobId::from_stored(row.try_get::<&str, _>(1)?),
            state: TaskState::from_code(code(row, 3)?)?,
        })
    } else {
        None
    };
    Ok(Told {
        id,
        change,
        place: id,
    })
}

fn job_change(row: &MySqlRow) -> Result<Told> {
    let is_there = row.try_get::<Option<i64>, _>(2)?.is_some();
    let change = Change::Job {
        job_id: JobId::from_stored(row.try_get::<&str, _>(1)?),
        version: is_there.then(|| unsigned(row, 2)).transpose()?,
    };
    Ok(Told {
        id: row.try_get(0)?,
        change: Some(change),
        place: row.try_get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: i64, place: i64) -> Told {
        Told {
            id,
            change: None,
            place,
        }
    }

    #[test]
    fn changes_of_jobs_stand_behind_what_was_final_before() {
        let logs = vec![told(4, 4), told(7, 7), told(9, 9)];
        let jobs = vec![told(1, 3), told(2, 7), told(3, 5), told(4, 12)];
        let order = in_order(logs, jobs)
            .into_iter()
            .map(|(table, told)| (table, told.id));
        let (logs, jobs) = (Table::Logs, Table::Jobs);
        let expected = [
            (jobs, 1),
            (logs, 4),
            (logs, 7),
            (jobs, 2),
            (jobs, 3),
            (logs, 9),
            (jobs, 4),
        ];
        assert_eq!(order.collect::<Vec<_>>(), expected);
    }
}
