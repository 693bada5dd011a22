//! What waits behind gates and whose job is gone.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::id::TaskId;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::datetime;
use super::gate_view::{Queue, bind_queue, union};
use super::listing::row_limit;
use super::rows::{Bound, RowStatement};
use crate::connection::Cx;
use crate::error::Result;

static JOBS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "SELECT job_id FROM jobs FORCE INDEX (PRIMARY) WHERE job_id IN",
        "",
    )
});

/// Which of these jobs exist.
pub(crate) async fn existing_jobs(cx: &mut Cx<'_>, mut job_ids: Vec<String>) -> Result<HashSet<String>> {
    job_ids.sort_unstable();
    job_ids.dedup();
    let rows = JOBS
        .fetch(cx.sql, &job_ids, |query, job_id| query.bind(job_id.clone()))
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The next job of which something waits in a queue: one step in an index.
const NEXT_JOB: &str = "SELECT CAST(? AS SIGNED), job_id FROM gate_tasks FORCE INDEX (gate_tasks_by_job) \
                        WHERE blocked = 1 AND gate_key = ? AND queue = UNHEX(MD5(?)) AND job_id > ? \
                        ORDER BY job_id LIMIT 1";
static NEXT_JOBS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::union(NEXT_JOB));

/// How often one goes from job to job, in all queues at once. Most queues are of one job.
const STEPS: usize = 10;

/// After the first jobs of a queue, all others that are gone.
const GONE_JOBS: &str = "SELECT CAST(? AS SIGNED), d.job_id FROM (SELECT job_id FROM gate_tasks \
                         FORCE INDEX (gate_tasks_by_job) WHERE blocked = 1 AND gate_key = ? AND queue = UNHEX(MD5(?)) \
                         AND job_id > ? GROUP BY blocked, gate_key, queue, job_id) d \
                         LEFT JOIN jobs j FORCE INDEX (PRIMARY) ON j.job_id = d.job_id WHERE j.job_id IS NULL";
static OTHER_GONE_JOBS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::union(GONE_JOBS));

/// A job of which something waits in a queue, by the queue's number.
type Waiting = (usize, String);

fn waiting(row: &MySqlRow) -> Result<Waiting> {
    let number = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
    Ok((number, row.try_get(1)?))
}

/// The jobs that are gone and of which something waits in these queues.
async fn gone_jobs(cx: &mut Cx<'_>, queues: &[Queue]) -> Result<Vec<Waiting>> {
    let bind =
        |query: Bound, (number, after): &Waiting| bind_queue(query, queues, *number).bind(after.clone());
    let mut seen: Vec<Waiting> = Vec::new();
    let mut at: Vec<Waiting> = (0..queues.len()).map(|number| (number, String::new())).collect();
    for _ in 0..STEPS {
        let rows = union(cx, &NEXT_JOBS, &at, bind).await?;
        at = rows.iter().map(waiting).collect::<Result<_>>()?;
        seen.extend(at.iter().cloned());
        if at.is_empty() {
            break;
        }
    }
    let existing = existing_jobs(cx, seen.iter().map(|(_, job_id)| job_id.clone()).collect()).await?;
    let mut gone = seen;
    gone.retain(|(_, job_id)| !existing.contains(job_id));
    for row in union(cx, &OTHER_GONE_JOBS, &at, bind).await? {
        gone.push(waiting(&row)?);
    }
    Ok(gone)
}

/// The first due tasks of a job in a queue.
const FIRST_OF_JOB: &str = "SELECT CAST(? AS SIGNED), task_id FROM gate_tasks FORCE INDEX (gate_tasks_by_job) \
                            WHERE blocked = 1 AND gate_key = ? AND queue = UNHEX(MD5(?)) AND job_id = ? \
                            AND due_time <= ? ORDER BY task_id LIMIT ?";
static FIRST_OF_JOBS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::union(FIRST_OF_JOB));

/// At most `limit` due tasks in these queues whose job is gone, and one more, by id.
pub(crate) async fn gone_waiting(
    cx: &mut Cx<'_>,
    queues: &[Queue],
    now: Timestamp,
    limit: usize,
) -> Result<Vec<TaskId>> {
    let gone = gone_jobs(cx, queues).await?;
    let bind = |query: Bound, (number, job_id): &Waiting| {
        bind_queue(query, queues, *number)
            .bind(job_id.clone())
            .bind(datetime(now))
            .bind(row_limit(limit))
    };
    let rows = union(cx, &FIRST_OF_JOBS, &gone, bind).await?;
    let task_ids = rows
        .iter()
        .map(|row| Ok(TaskId::from_stored(row.try_get::<&str, _>(1)?)));
    let task_ids: BTreeSet<TaskId> = task_ids.collect::<Result<_>>()?;
    Ok(task_ids.into_iter().take(limit.saturating_add(1)).collect())
}
