//! Listing attempts and final tasks, and what attempts logged.

use std::collections::HashSet;
use std::sync::LazyLock;

use jobcore::attempt::{Attempt, LogChunk, LogStream};
use jobcore::id::TaskId;
use jobcore::store::{AttemptFilter, FinishedFilter, Page, PageRequest, ReadLogs};
use jobcore::task::Task;
use sqlx::Row;

use super::columns::{code, code_number, count, datetime, instant, number, unsigned};
use super::log_search::{LogSearch, Value};
use super::rows::{Bound, RowStatement};
use super::stored_log::{attempt_columns, decode_attempt, finished_columns, portions, read_finished};
use super::taken::live;
use super::tasks::state_list;
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

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
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let filter = &self.filter;
        let mut search = LogSearch::new(attempt_columns!(), "attempt > 0")
            .task(filter.task_id.as_ref())
            .job(filter.job_id.as_ref())
            .started(filter.from_time, filter.until_time);
        if let Some(executor_id) = &filter.executor_id {
            search.require(
                "executor_id = ?",
                Some(Value::Text(executor_id.as_str().to_owned())),
            );
        }
        if let Some(status) = filter.status {
            search.require(&format!("status = {}", status.code()), None);
        }
        let found = search.page(cx, &self.page).await?;
        let attempts: Result<Vec<Attempt>> =
            found.items.iter().map(|row| Ok(decode_attempt(row)?.1)).collect();
        Ok(Page {
            items: attempts?,
            next: found.next,
        })
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
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut search =
            LogSearch::new(finished_columns!(), "task_state IS NOT NULL").job(self.filter.job_id.as_ref());
        if let Some(states) = state_list(&self.filter.states) {
            search.require(&format!("task_state IN ({states})"), None);
        }
        let found = search.page(cx, &self.page).await?;
        let finished = read_finished(cx, &found.items).await?;
        Ok(Page {
            items: finished.into_iter().map(|(_, task)| task).collect(),
            next: found.next,
        })
    }
}

const APPEND: &str = "INSERT INTO log_chunks (task_id, attempt, sequence, stream, log_time, text) VALUES";
/// What is there stays. (`INSERT IGNORE` would do so as well, and cut what is too long.)
static APPEND_LOGS: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::new(APPEND, 6, "ON DUPLICATE KEY UPDATE sequence = VALUES(sequence)"));
static FIND_FINISHED: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT task_id FROM job_logs FORCE INDEX (job_logs_task) WHERE task_id IN";
    RowStatement::list(select, "AND task_state IS NOT NULL")
});

/// Appends log chunks.
#[derive(Debug)]
pub(crate) struct AppendLogs(pub(crate) Vec<LogChunk>);

#[async_trait::async_trait]
impl Operation for AppendLogs {
    type Answer = ();
    const NAME: &'static str = "append_logs";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let known = self.known_tasks(cx).await?;
        let mut chunks: Vec<&LogChunk> = self.0.iter().collect();
        chunks.retain(|chunk| known.contains(&chunk.task_id));
        // Stable: of two with one key the first counts.
        chunks.sort_by(|a, b| (&a.task_id, a.attempt, a.sequence).cmp(&(&b.task_id, b.attempt, b.sequence)));
        let bind = |query: Bound, chunk: &&LogChunk| {
            query
                .bind(chunk.task_id.as_str().to_owned())
                .bind(i64::from(chunk.attempt))
                .bind(number(chunk.sequence))
                .bind(code_number(chunk.stream.code()))
                .bind(datetime(chunk.log_time))
                .bind(chunk.text.clone())
        };
        for portion in portions(&chunks, |chunk| chunk.text.len()) {
            APPEND_LOGS.execute(cx.sql, portion, bind).await?;
        }
        Ok(())
    }
}

impl AppendLogs {
    /// The tasks of the chunks that are live or in history. What moves from one to the other meanwhile is seen there.
    async fn known_tasks(&self, cx: &mut Cx<'_>) -> Result<HashSet<TaskId>> {
        let task_ids: HashSet<&TaskId> = self.0.iter().map(|chunk| &chunk.task_id).collect();
        let mut known = live(cx, task_ids.iter().copied().collect()).await?;
        let others: Vec<&TaskId> = task_ids.into_iter().filter(|id| !known.contains(*id)).collect();
        let bind = |query: Bound, task_id: &&TaskId| query.bind(task_id.as_str().to_owned());
        for row in FIND_FINISHED.fetch(cx.sql, &others, bind).await? {
            known.insert(TaskId::from_stored(row.try_get::<&str, _>(0)?));
        }
        Ok(known)
    }
}

/// Log chunks of an attempt.
#[derive(Debug)]
pub(crate) struct ReadChunks(pub(crate) ReadLogs);

#[async_trait::async_trait]
impl Operation for ReadChunks {
    type Answer = Vec<LogChunk>;
    const NAME: &'static str = "read_logs";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT attempt, sequence, stream, log_time, text FROM log_chunks \
                      WHERE task_id = ? AND attempt = ? AND sequence >= ? ORDER BY sequence LIMIT ?";
        let read = &self.0;
        let rows = sqlx::query(select)
            .bind(read.task_id.as_str().to_owned())
            .bind(i64::from(read.attempt))
            .bind(number(read.first_sequence))
            .bind(i64::try_from(read.limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *cx.sql)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LogChunk {
                    task_id: read.task_id.clone(),
                    attempt: count(row, 0)?,
                    sequence: unsigned(row, 1)?,
                    stream: LogStream::from_code(code(row, 2)?)?,
                    log_time: instant(row, 3)?,
                    text: row.try_get(4)?,
                })
            })
            .collect()
    }
}
