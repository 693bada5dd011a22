//! Lanes and their numbers.

use std::sync::LazyLock;
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::lane::Lane;
use sqlx::Row;

use super::columns::datetime;
use super::rows::{Bound, RowStatement};
use crate::connection::{Access, Cx, Operation};
use crate::error::{Failure, Result};

/// How long a remembered number is trusted: the lane is in use at least as long.
const TRUST: Duration = Duration::from_secs(60);

/// How long a lane must have been out of use before it is retired: many times [`TRUST`], so that no process puts a task
/// into a retired lane.
const REST: Duration = Duration::from_secs(600);

/// The number of a lane for a task that goes there. A new lane is made; one that was retired is in use again.
pub(crate) async fn lane_id(cx: &mut Cx<'_>, lane: &Lane, now: Timestamp) -> Result<i64> {
    if let Some((lane_id, use_time)) = cx.caches().lane_id(&cx.learned, lane)
        && now.since(use_time) < TRUST
    {
        return Ok(lane_id);
    }
    let upsert = "INSERT INTO lanes (lane_hash, lane, use_time) VALUES (UNHEX(MD5(?)), ?, ?) \
                  ON DUPLICATE KEY UPDATE retired = 0, use_time = GREATEST(use_time, VALUES(use_time)), \
                  lane_id = LAST_INSERT_ID(lane_id)";
    let done = sqlx::query(upsert)
        .bind(lane.as_str().to_owned())
        .bind(lane.as_str().to_owned())
        .bind(datetime(now))
        .execute(&mut *cx.sql)
        .await?;
    let lane_id = i64::try_from(done.last_insert_id()).unwrap_or(i64::MAX);
    cx.learned.lane(lane_id, lane.clone(), now);
    Ok(lane_id)
}

static FIND_LANES: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT lane_id, lane FROM lanes WHERE retired = 0 AND lane_hash IN (";
    RowStatement::with_row(select, "UNHEX(MD5(?))", ")")
});

/// The numbers of lanes, for those who only look; `None` for those that don't exist or are retired.
pub(crate) async fn find_lane_ids(cx: &mut Cx<'_>, lanes: &[Lane]) -> Result<Vec<Option<i64>>> {
    let known = |cx: &Cx<'_>, lane: &Lane| cx.caches().lane_id(&cx.learned, lane).map(|(id, _)| id);
    let unknown: Vec<&Lane> = lanes.iter().filter(|lane| known(cx, lane).is_none()).collect();
    if !unknown.is_empty() {
        let bind = |query: Bound, lane: &&Lane| query.bind(lane.as_str().to_owned());
        for row in FIND_LANES.fetch(cx.sql, &unknown, bind).await? {
            let lane = Lane::from_stored(row.try_get::<&str, _>(1)?);
            cx.learned.lane(row.try_get(0)?, lane, Timestamp::MIN);
        }
    }
    Ok(lanes.iter().map(|lane| known(cx, lane)).collect())
}

static LOAD_LANES: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::list("SELECT lane_id, lane FROM lanes WHERE lane_id IN", ""));

/// Makes sure that the lanes with these numbers are remembered.
pub(crate) async fn load_lanes(cx: &mut Cx<'_>, lane_ids: Vec<i64>) -> Result<()> {
    let mut unknown = lane_ids;
    unknown.sort_unstable();
    unknown.dedup();
    unknown.retain(|lane_id| cx.caches().lane(&cx.learned, *lane_id).is_none());
    if unknown.is_empty() {
        return Ok(());
    }
    let bind = |query: Bound, lane_id: &i64| query.bind(*lane_id);
    for row in LOAD_LANES.fetch(cx.sql, &unknown, bind).await? {
        let lane = Lane::from_stored(row.try_get::<&str, _>(1)?);
        cx.learned.lane(row.try_get(0)?, lane, Timestamp::MIN);
    }
    Ok(())
}

/// The lane with this number, once [`load_lanes`] has seen it.
pub(crate) fn lane(cx: &Cx<'_>, lane_id: i64) -> Result<Lane> {
    let lane = cx.caches().lane(&cx.learned, lane_id);
    lane.ok_or_else(|| Failure::corrupt(format_args!("lane {lane_id} is missing from table lanes")))
}

/// Makes sure that lanes exist and are noted as in use, for tasks that are inserted elsewhere.
#[derive(Debug)]
pub(crate) struct UseLanes(pub(crate) Vec<Lane>, pub(crate) Timestamp);

#[async_trait::async_trait]
impl Operation for UseLanes {
    type Answer = ();
    const NAME: &'static str = "enqueue_in";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<()> {
        for lane in &self.0 {
            lane_id(cx, lane, self.1).await?;
        }
        Ok(())
    }
}

/// All lanes that have or had tasks lately.
#[derive(Debug)]
pub(crate) struct ListLanes;

#[async_trait::async_trait]
impl Operation for ListLanes {
    type Answer = Vec<Lane>;
    const NAME: &'static str = "lanes";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Vec<Lane>> {
        let select = "SELECT lane FROM lanes WHERE retired = 0";
        let lanes: Vec<String> = sqlx::query_scalar(select).fetch_all(&mut *cx.sql).await?;
        let mut lanes: Vec<Lane> = lanes.into_iter().map(Lane::from_stored).collect();
        lanes.sort_unstable();
        Ok(lanes)
    }
}

/// Retires lanes without live tasks, so that those of executors that went away aren't listed for ever. A new task takes
/// its lane out of retirement.
pub(crate) async fn retire_lanes(cx: &mut Cx<'_>, now: Timestamp) -> Result<()> {
    let update = "UPDATE lanes SET retired = 1 WHERE retired = 0 AND use_time < ? \
                  AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.lane_id = lanes.lane_id)";
    let done = sqlx::query(update)
        .bind(datetime(now - REST))
        .execute(&mut *cx.sql)
        .await?;
    if done.rows_affected() > 0 {
        // Whoever inserts next must see that its lane is retired.
        cx.learned.lanes_changed();
    }
    Ok(())
}
