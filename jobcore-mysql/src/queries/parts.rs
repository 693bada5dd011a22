//! Parts of broadcasts that nobody will start.

use std::collections::HashMap;

use jobcore::Timestamp;
use jobcore::engine::part::{Abandoned, abandoned};
use jobcore::id::{ExecutorId, TaskId};
use jobcore::lane::Lane;
use jobcore::task::TaskState;
use sqlx::Row;

use super::columns::datetime;
use super::executors::executor;
use super::listing::row_limit;
use super::stored_task::StoredTask;
use super::task_row::{Lock, tasks_by_id};
use crate::connection::Cx;
use crate::error::Result;

/// The lanes with something ready; of the form that those have which placement fixed to an executor, and a few others.
const READY_LANES: &str = "SELECT lane_id, lane FROM lanes WHERE retired = 0 AND lane LIKE '%|%|%|_%' \
                           AND (SELECT 1 FROM tasks t FORCE INDEX (PRIMARY) \
                           WHERE t.lane_id = lanes.lane_id AND t.pending = 0 AND t.state = 2 LIMIT 1) = 1";

const READY_PARTS: &str = "SELECT task_id FROM tasks FORCE INDEX (PRIMARY) WHERE lane_id = ? AND pending = 0 AND state = 2 \
                           AND due_time <= ? ORDER BY task_rank, task_id LIMIT ?";

/// At most `limit` parts that nobody will start, each with the reason; and whether there are more.
pub(crate) async fn abandoned_parts(
    cx: &mut Cx<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<(Vec<(StoredTask, String)>, bool)> {
    let mut seen: Vec<(TaskId, i64, Abandoned)> = Vec::new();
    for (lane_id, executor_id) in fixed_lanes(cx).await? {
        let record = executor(cx, &executor_id).await?;
        let Some(abandoned) = abandoned(&executor_id, record.as_ref(), now) else {
            continue;
        };
        let select = sqlx::query_scalar(READY_PARTS)
            .bind(lane_id)
            .bind(datetime(abandoned.due_by))
            .bind(row_limit(limit - seen.len().min(limit)));
        let task_ids: Vec<String> = select.fetch_all(&mut *cx.sql).await?;
        let task_ids = task_ids.into_iter().map(TaskId::from_stored);
        seen.extend(task_ids.map(|task_id| (task_id, lane_id, abandoned.clone())));
        if seen.len() > limit {
            break;
        }
    }
    let more = seen.len() > limit;
    seen.truncate(limit);
    // A claim may have been faster.
    let task_ids: Vec<&TaskId> = seen.iter().map(|(task_id, ..)| task_id).collect();
    let locked = tasks_by_id(cx, &task_ids, Lock::Update).await?.into_iter();
    let mut locked: HashMap<TaskId, StoredTask> = locked
        .map(|stored| (stored.task.task_id.clone(), stored))
        .collect();
    let parts = seen.into_iter().filter_map(|(task_id, lane_id, abandoned)| {
        let stored = locked.remove(&task_id)?;
        let waits = stored.task.state == TaskState::Ready && stored.task.due_time <= abandoned.due_by;
        (waits && stored.lane_id == lane_id).then_some((stored, abandoned.reason))
    });
    Ok((parts.collect(), more))
}

/// The lanes with something ready that placement fixed to one executor, in order.
async fn fixed_lanes(cx: &mut Cx<'_>) -> Result<Vec<(i64, ExecutorId)>> {
    let mut lanes = Vec::new();
    for row in sqlx::query(READY_LANES).fetch_all(&mut *cx.sql).await? {
        let lane = Lane::from_stored(row.try_get::<&str, _>(1)?);
        lanes.push((lane, row.try_get::<i64, _>(0)?));
    }
    lanes.sort_unstable();
    let fixed = lanes.iter().filter_map(|(lane, lane_id)| {
        let executor_id = lane.executor()?;
        Some((*lane_id, ExecutorId::from_stored(executor_id)))
    });
    Ok(fixed.collect())
}
