//! Tasks that wait for their time alone.

use std::sync::LazyLock;

use chrono::NaiveDateTime;
use jobcore::Timestamp;
use jobcore::id::TaskId;
use jobcore::task::Rank;
use sqlx::Row;

use super::columns::datetime;
use super::gone::existing_jobs;
use super::listing::row_limit;
use super::rows::{Bound, RowStatement};
use crate::connection::Cx;
use crate::error::Result;

/// `Scheduled` tasks that are due, locked.
#[derive(Debug)]
pub(crate) struct Due {
    /// To become `Ready`.
    pub(crate) ready: Vec<DueTask>,
    /// Those whose job is gone.
    pub(crate) deleted: Vec<TaskId>,
    /// Whether there are more than were asked for.
    pub(crate) more: bool,
}

/// What of a task is needed to make it `Ready`.
#[derive(Debug)]
pub(crate) struct DueTask {
    task_id: TaskId,
    lane_id: i64,
    rank: Rank,
    job_id: String,
}

/// By (`due_time`, `task_id`). Each of several promoters gets others.
const DUE: &str = "SELECT task_id FROM scheduled_tasks FORCE INDEX (scheduled_tasks_due) WHERE due_time <= ? \
                   ORDER BY due_time, task_id LIMIT ? FOR UPDATE SKIP LOCKED";
/// Where rows that are locked can't be passed by. It is the lock on the task's row that guards the one here as well.
const DUE_UNLOCKED: &str = "SELECT task_id FROM scheduled_tasks FORCE INDEX (scheduled_tasks_due) WHERE due_time <= ? \
                            ORDER BY due_time, task_id LIMIT ?";

const LOCK: &str = "SELECT task_id, lane_id, task_rank, job_id FROM tasks FORCE INDEX (tasks_id) \
                    WHERE state = 1 AND task_id IN";
/// Whoever has locked a task, to change or to cancel it, then wants its row here: to wait for it would be a ring.
static LOCK_FREE: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::list(LOCK, "ORDER BY task_id FOR UPDATE SKIP LOCKED"));
static LOCK_ALL: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::list(LOCK, "ORDER BY task_id FOR UPDATE"));

/// At most `limit` of the `Scheduled` tasks that are due.
pub(crate) async fn due_tasks(cx: &mut Cx<'_>, now: Timestamp, limit: usize) -> Result<Due> {
    let (due, lock): (_, &'static RowStatement) = if cx.shared.skip_locked {
        (DUE, &LOCK_FREE)
    } else {
        (DUE_UNLOCKED, &LOCK_ALL)
    };
    let select = sqlx::query_scalar(due).bind(datetime(now)).bind(row_limit(limit));
    let mut task_ids: Vec<String> = select.fetch_all(&mut *cx.sql).await?;
    let more = task_ids.len() > limit;
    task_ids.truncate(limit);
    task_ids.sort_unstable();
    let rows = lock
        .fetch(cx.sql, &task_ids, |query, task_id| query.bind(task_id.clone()))
        .await?;
    let mut ready = Vec::with_capacity(rows.len());
    for row in &rows {
        ready.push(DueTask {
            task_id: TaskId::from_stored(row.try_get::<&str, _>(0)?),
            lane_id: row.try_get(1)?,
            rank: Rank(row.try_get(2)?),
            job_id: row.try_get(3)?,
        });
    }
    let existing = existing_jobs(cx, ready.iter().map(|task| task.job_id.clone()).collect()).await?;
    let (ready, deleted): (Vec<_>, Vec<_>) = ready
        .into_iter()
        .partition(|task| existing.contains(&task.job_id));
    let deleted = deleted.into_iter().map(|task| task.task_id).collect();
    Ok(Due { ready, deleted, more })
}

static MAKE_READY: LazyLock<RowStatement> = LazyLock::new(|| {
    let update =
        "UPDATE tasks FORCE INDEX (tasks_id) SET state = 2, pending = 0 WHERE state = 1 AND task_id IN";
    RowStatement::list(update, "")
});
static FORGET: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE s FROM scheduled_tasks s FORCE INDEX (PRIMARY) WHERE s.task_id IN",
        "",
    )
});

/// Makes tasks `Ready` that are locked, with the rank that they have.
pub(crate) async fn make_ready(cx: &mut Cx<'_>, tasks: &[DueTask]) -> Result<()> {
    let bind = |query: Bound, task: &DueTask| query.bind(task.task_id.as_str().to_owned());
    MAKE_READY.execute(cx.sql, tasks, bind).await?;
    FORGET.execute(cx.sql, tasks, bind).await?;
    for task in tasks {
        cx.learned.ready(task.lane_id, task.rank);
    }
    Ok(())
}

/// The ends of two ranges.
const NEXT: &str = "SELECT (SELECT MIN(due_time) FROM scheduled_tasks FORCE INDEX (scheduled_tasks_due) WHERE due_time > ?), \
                    (SELECT MIN(due_time) FROM gate_tasks FORCE INDEX (gate_tasks_due) WHERE blocked = 2 AND due_time > ?)";

/// The earliest instant later than now at which something that waits comes due.
pub(crate) async fn next_waiting(cx: &mut Cx<'_>, now: Timestamp) -> Result<Option<Timestamp>> {
    let select = sqlx::query_as(NEXT).bind(datetime(now)).bind(datetime(now));
    let (scheduled, blocked): (Option<NaiveDateTime>, Option<NaiveDateTime>) =
        select.fetch_one(&mut *cx.sql).await?;
    let next = scheduled.into_iter().chain(blocked).min();
    Ok(next.map(|next| next.and_utc().into()))
}
