//! Parts of broadcasts that nobody will start.

use jobcore::Timestamp;
use jobcore::engine::part::abandoned;
use jobcore::id::ExecutorId;
use jobcore::lane::Lane;
use sqlx::Row;

use super::executors::executor;
use super::listing::row_limit;
use super::stored_task::StoredTask;
use super::task_row::{read_tasks, select_tasks};
use crate::connection::Cx;
use crate::error::Result;

/// The lanes with something ready; of the form that those have which placement fixed to an executor, and a few others.
const READY_LANES: &str = "SELECT lane_id, lane FROM lanes WHERE retired = 0 AND lane GLOB '*|*|*|?*' \
                           AND EXISTS (SELECT 1 FROM tasks WHERE tasks.lane_id = lanes.lane_id AND pending = 0 AND tasks.state = 2) \
                           ORDER BY lane";

/// At most `limit` parts that nobody will start, and one more, each with the reason.
pub(crate) async fn abandoned_parts(
    cx: &mut Cx<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(StoredTask, String)>> {
    let select = select_tasks!(
        "WHERE lane_id = ?1 AND pending = 0 AND t.state = 2 AND due_time <= ?2 ORDER BY rank, task_id LIMIT ?3"
    );
    let mut parts = Vec::new();
    for (lane_id, executor_id) in fixed_lanes(cx).await? {
        let record = executor(cx, &executor_id).await?;
        let Some(abandoned) = abandoned(&executor_id, record.as_ref(), now) else {
            continue;
        };
        let select = sqlx::query_scalar(select)
            .bind(lane_id)
            .bind(abandoned.due_by.as_micros())
            .bind(row_limit(limit - parts.len().min(limit)));
        let some = read_tasks(cx, select).await?.into_iter();
        parts.extend(some.map(|part| (part, abandoned.reason.clone())));
        if parts.len() > limit {
            break;
        }
    }
    Ok(parts)
}

/// The lanes with something ready that placement fixed to one executor, in order.
async fn fixed_lanes(cx: &mut Cx<'_>) -> Result<Vec<(i64, ExecutorId)>> {
    let mut lanes = Vec::new();
    for row in sqlx::query(READY_LANES).fetch_all(&mut *cx.sql).await? {
        let lane = Lane::from_stored(row.try_get::<&str, _>(1)?);
        if let Some(executor_id) = lane.executor() {
            lanes.push((row.try_get(0)?, ExecutorId::from_stored(executor_id)));
        }
    }
    Ok(lanes)
}
