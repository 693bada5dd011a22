//! Listing attempts and final tasks, and what attempts logged.

use std::collections::HashSet;
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::attempt::{Attempt, LogChunk, LogStream};
use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::store::{AttemptFilter, Cursor, FinishedFilter, Page, PageRequest, ReadLogs};
use jobcore::task::Task;
use sqlx::Row;

use super::columns::{code, count, instant};
use super::listing::{cursor, numbers, page, row_limit};
use super::rows::{Bound, RowStatement, json_list};
use super::stored_log::{attempt_columns, decode_attempt, finished_columns, read_finished};
use super::tasks::states;
use crate::connection::{Cx, Operation};
use crate::error::Result;

/// The id before which a page begins.
fn before(cursor: Option<&Cursor>) -> Result<i64> {
    let [id] = cursor.map_or(Ok([i64::MAX]), numbers)?;
    Ok(id)
}

/// The page without the ids that its cursor was made of.
fn without_ids<T>(page: Page<(i64, T)>) -> Page<T> {
    Page {
        items: page.items.into_iter().map(|(_, item)| item).collect(),
        next: page.next,
    }
}

/// Attempts that match a filter.
#[derive(Debug)]
pub(crate) struct ListAttempts {
    pub(crate) filter: AttemptFilter,
    pub(crate) page: PageRequest,
}

#[async_trait::async_trait]
impl Operation for ListAttempts {
    type Answer = Page<Attempt>;
    const NAME: &'static str = "list_attempts";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let filter = &self.filter;
        let task_id = filter.task_id.as_ref().map(|id| id.as_str().to_owned());
        let job_id = filter.job_id.as_ref().map(|id| id.as_str().to_owned());
        // One text for each index that can lead; conditions without a value always hold.
        macro_rules! select {
            ($lead:literal) => {
                concat!(
                    "SELECT ",
                    attempt_columns!(),
                    " FROM job_logs WHERE ",
                    $lead,
                    " AND attempt > 0 AND id < ?3 AND (?4 IS NULL OR executor_id = ?4) \
                     AND (?5 IS NULL OR status = ?5) AND (?6 IS NULL OR start_time >= ?6) \
                     AND (?7 IS NULL OR start_time < ?7) ORDER BY id DESC LIMIT ?8"
                )
            };
        }
        let select = match (&task_id, &job_id) {
            (Some(_), _) => select!("task_id = ?1 AND (?2 IS NULL OR job_id = ?2)"),
            (None, Some(_)) => select!("?1 IS NULL AND job_id = ?2"),
            (None, None) => select!("?1 IS NULL AND ?2 IS NULL"),
        };
        let rows = sqlx::query(select)
            .bind(task_id)
            .bind(job_id)
            .bind(before(self.page.cursor.as_ref())?)
            .bind(
                filter
                    .executor_id
                    .as_ref()
                    .map(|id: &ExecutorId| id.as_str().to_owned()),
            )
            .bind(filter.status.map(|status| i64::from(status.code())))
            .bind(filter.from_time.map(Timestamp::as_micros))
            .bind(filter.until_time.map(Timestamp::as_micros))
            .bind(row_limit(self.page.limit))
            .fetch_all(&mut *cx.sql)
            .await?;
        let attempts = rows.iter().map(decode_attempt).collect::<Result<Vec<_>>>()?;
        Ok(without_ids(page(attempts, self.page.limit, |(id, _)| {
            cursor([*id])
        })))
    }
}

/// Final tasks that match a filter.
#[derive(Debug)]
pub(crate) struct ListFinished {
    pub(crate) filter: FinishedFilter,
    pub(crate) page: PageRequest,
}

#[async_trait::async_trait]
impl Operation for ListFinished {
    type Answer = Page<Task>;
    const NAME: &'static str = "list_finished";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        macro_rules! select {
            ($lead:literal) => {
                concat!(
                    "SELECT ",
                    finished_columns!(),
                    " FROM job_logs WHERE ",
                    $lead,
                    " AND task_state IS NOT NULL AND id < ?2 \
                     AND (?3 = '[]' OR task_state IN (SELECT value FROM json_each(?3))) ORDER BY id DESC LIMIT ?4"
                )
            };
        }
        let job_id = self
            .filter
            .job_id
            .as_ref()
            .map(|id: &JobId| id.as_str().to_owned());
        let select = match job_id {
            Some(_) => select!("job_id = ?1"),
            None => select!("?1 IS NULL"),
        };
        let rows = sqlx::query(select)
            .bind(job_id)
            .bind(before(self.page.cursor.as_ref())?)
            .bind(states(&self.filter.states))
            .bind(row_limit(self.page.limit))
            .fetch_all(&mut *cx.sql)
            .await?;
        let finished = read_finished(cx, &rows).await?;
        Ok(without_ids(page(finished, self.page.limit, |(id, _)| {
            cursor([*id])
        })))
    }
}

const APPEND: &str = "INSERT OR IGNORE INTO log_chunks (task_id, attempt, sequence, stream, log_time, text)";
static APPEND_LOGS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(APPEND, 6, ""));

/// Appends log chunks.
#[derive(Debug)]
pub(crate) struct AppendLogs(pub(crate) Vec<LogChunk>);

#[async_trait::async_trait]
impl Operation for AppendLogs {
    type Answer = ();
    const NAME: &'static str = "append_logs";

    fn weight(&self) -> usize {
        self.0.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT value FROM json_each(?1) \
                      WHERE EXISTS (SELECT 1 FROM tasks WHERE task_id = value) \
                      OR EXISTS (SELECT 1 FROM job_logs WHERE task_id = value AND task_state IS NOT NULL)";
        let ids: HashSet<&TaskId> = self.0.iter().map(|chunk| &chunk.task_id).collect();
        let list = json_list(ids.into_iter().map(TaskId::as_str));
        let known: Vec<String> = sqlx::query_scalar(select)
            .bind(list)
            .fetch_all(&mut *cx.sql)
            .await?;
        let known: HashSet<TaskId> = known.into_iter().map(TaskId::from_stored).collect();
        let chunks: Vec<&LogChunk> = self
            .0
            .iter()
            .filter(|chunk| known.contains(&chunk.task_id))
            .collect();
        let bind = |query: Bound, chunk: &&LogChunk| {
            query
                .bind(chunk.task_id.as_str().to_owned())
                .bind(i64::from(chunk.attempt))
                .bind(i64::try_from(chunk.sequence).unwrap_or(i64::MAX))
                .bind(i64::from(chunk.stream.code()))
                .bind(chunk.log_time.as_micros())
                .bind(chunk.text.clone())
        };
        APPEND_LOGS.execute(cx.sql, &chunks, bind).await.map(drop)
    }
}

/// Log chunks of an attempt.
#[derive(Debug)]
pub(crate) struct ReadChunks(pub(crate) ReadLogs);

#[async_trait::async_trait]
impl Operation for ReadChunks {
    type Answer = Vec<LogChunk>;
    const NAME: &'static str = "read_logs";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT attempt, sequence, stream, log_time, text FROM log_chunks \
                      WHERE task_id = ?1 AND attempt = ?2 AND sequence >= ?3 ORDER BY sequence LIMIT ?4";
        let read = &self.0;
        let rows = sqlx::query(select)
            .bind(read.task_id.as_str().to_owned())
            .bind(i64::from(read.attempt))
            .bind(i64::try_from(read.first_sequence).unwrap_or(i64::MAX))
            .bind(i64::try_from(read.limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *cx.sql)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LogChunk {
                    task_id: read.task_id.clone(),
                    attempt: count(row, 0)?,
                    sequence: row.try_get::<i64, _>(1)?.try_into().unwrap_or(0),
                    stream: LogStream::from_code(code(row, 2)?)?,
                    log_time: instant(row, 3)?,
                    text: row.try_get(4)?,
                })
            })
            .collect()
    }
}
