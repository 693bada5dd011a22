//! Lanes and their numbers.

use std::time::Duration;

use jobcore::Timestamp;
use jobcore::lane::Lane;
use sqlx::Row;

use super::rows::json_numbers;
use crate::connection::{Cx, Operation};
use crate::error::{Failure, Result};

/// How long a remembered number is trusted: the lane is in use at least as long.
const TRUST: Duration = Duration::from_secs(60);

/// How long a lane must have been out of use before it is retired: many times [`TRUST`], so that no process puts a task
/// into a retired lane.
const REST: Duration = Duration::from_secs(600);

/// The number of a lane for a task that goes there. A new lane is made; one that was retired is in use again.
pub(crate) async fn lane_id(cx: &mut Cx<'_>, lane: &Lane) -> Result<i64> {
    if let Some((lane_id, use_time)) = cx.caches.lane_id(lane)
        && cx.store_now.since(use_time) < TRUST
    {
        return Ok(lane_id);
    }
    let now = cx.store_now;
    let insert = "INSERT INTO lanes (lane, use_time) VALUES (?1, ?2) \
                  ON CONFLICT (lane) DO UPDATE SET retired = 0, use_time = ?2 RETURNING lane_id";
    let lane_id: i64 = sqlx::query_scalar(insert)
        .bind(lane.as_str().to_owned())
        .bind(now.as_micros())
        .fetch_one(&mut *cx.sql)
        .await?;
    cx.caches.keep_lane(lane_id, lane.clone(), now);
    Ok(lane_id)
}

/// The number of a lane if there is one; for those who only look.
pub(crate) async fn find_lane_id(cx: &mut Cx<'_>, lane: &Lane) -> Result<Option<i64>> {
    if let Some((lane_id, _)) = cx.caches.lane_id(lane) {
        return Ok(Some(lane_id));
    }
    let select = "SELECT lane_id FROM lanes WHERE lane = ?1 AND retired = 0";
    let lane_id: Option<i64> = sqlx::query_scalar(select)
        .bind(lane.as_str().to_owned())
        .fetch_optional(&mut *cx.sql)
        .await?;
    if let Some(lane_id) = lane_id {
        cx.caches.keep_lane(lane_id, lane.clone(), Timestamp::MIN);
    }
    Ok(lane_id)
}

/// Makes sure that the lanes with these numbers are remembered.
pub(crate) async fn load_lanes(cx: &mut Cx<'_>, lane_ids: Vec<i64>) -> Result<()> {
    let mut unknown = lane_ids;
    unknown.retain(|lane_id| cx.caches.lane(*lane_id).is_none());
    if unknown.is_empty() {
        return Ok(());
    }
    unknown.sort_unstable();
    unknown.dedup();
    let select = "SELECT lane_id, lane FROM lanes WHERE lane_id IN (SELECT value FROM json_each(?1))";
    for row in sqlx::query(select)
        .bind(json_numbers(unknown))
        .fetch_all(&mut *cx.sql)
        .await?
    {
        cx.caches.keep_lane(
            row.try_get(0)?,
            Lane::from_stored(row.try_get::<&str, _>(1)?),
            Timestamp::MIN,
        );
    }
    Ok(())
}

/// The lane with this number, once [`load_lanes`] has seen it.
pub(crate) fn lane(cx: &Cx<'_>, lane_id: i64) -> Result<Lane> {
    let lane = cx.caches.lane(lane_id).cloned();
    lane.ok_or_else(|| Failure::corrupt(format_args!("lane {lane_id} is missing from table lanes")))
}

/// All lanes that have or had tasks lately.
#[derive(Debug)]
pub(crate) struct ListLanes;

#[async_trait::async_trait]
impl Operation for ListLanes {
    type Answer = Vec<Lane>;
    const NAME: &'static str = "lanes";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Vec<Lane>> {
        let select = "SELECT lane FROM lanes WHERE retired = 0 ORDER BY lane";
        let lanes: Vec<String> = sqlx::query_scalar(select).fetch_all(&mut *cx.sql).await?;
        Ok(lanes.into_iter().map(Lane::from_stored).collect())
    }
}

/// Retires lanes without live tasks, so that those of executors that went away aren't listed for ever. A new task takes
/// its lane out of retirement.
pub(crate) async fn retire_lanes(cx: &mut Cx<'_>) -> Result<()> {
    let update = "UPDATE lanes SET retired = 1 WHERE retired = 0 AND use_time < ?1 \
                  AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.lane_id = lanes.lane_id)";
    let used_before = (cx.store_now - REST).as_micros();
    let done = sqlx::query(update)
        .bind(used_before)
        .execute(&mut *cx.sql)
        .await?;
    if done.rows_affected() > 0 {
        // Whoever inserts next must see that its lane is retired.
        cx.caches.forget_lanes();
    }
    Ok(())
}
