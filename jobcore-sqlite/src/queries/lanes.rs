//! Lanes and their numbers.

use jobcore::lane::Lane;
use sqlx::Row;

use super::rows::json_numbers;
use crate::connection::{Cx, Operation};
use crate::error::{Failure, Result};

/// The number of a lane, which is made if it is new.
pub(crate) async fn lane_id(cx: &mut Cx<'_>, lane: &Lane) -> Result<i64> {
    if let Some(lane_id) = cx.caches.lane_id(lane) {
        return Ok(lane_id);
    }
    let insert =
        "INSERT INTO lanes (lane) VALUES (?1) ON CONFLICT (lane) DO UPDATE SET retired = 0 RETURNING lane_id";
    let lane_id: i64 = sqlx::query_scalar(insert)
        .bind(lane.as_str().to_owned())
        .fetch_one(&mut *cx.sql)
        .await?;
    cx.caches.keep_lane(lane_id, lane.clone());
    Ok(lane_id)
}

/// The number of a lane if there is one; for those who only look.
pub(crate) async fn find_lane_id(cx: &mut Cx<'_>, lane: &Lane) -> Result<Option<i64>> {
    if let Some(lane_id) = cx.caches.lane_id(lane) {
        return Ok(Some(lane_id));
    }
    let select = "SELECT lane_id FROM lanes WHERE lane = ?1 AND retired = 0";
    let lane_id: Option<i64> = sqlx::query_scalar(select)
        .bind(lane.as_str().to_owned())
        .fetch_optional(&mut *cx.sql)
        .await?;
    if let Some(lane_id) = lane_id {
        cx.caches.keep_lane(lane_id, lane.clone());
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
        cx.caches
            .keep_lane(row.try_get(0)?, Lane::from_stored(row.try_get::<&str, _>(1)?));
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
    let update =
        "UPDATE lanes SET retired = 1 WHERE retired = 0 AND lane_id NOT IN (SELECT lane_id FROM tasks)";
    let retired = sqlx::query(update).execute(&mut *cx.sql).await?.rows_affected();
    if retired > 0 {
        // Whoever inserts next must see that its lane is retired.
        cx.caches.forget_lanes();
    }
    Ok(())
}
