//! Whether holders may have their leases, and new ones.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::id::ExecutorId;
use jobcore::json::Json;
use jobcore::lease::{Holder, Incarnation};
use jobcore::store::ExecutorStatus;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{code, datetime, json_text, unsigned};
use super::rows::{Bound, RowStatement};
use crate::connection::Cx;
use crate::error::Result;

/// Whether a holder may have its leases, and new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It lives and takes tasks.
    Taking,
    /// It lives, but takes nothing new.
    NotTaking,
    /// Declared dead, gone, or never registered.
    Dead,
    /// There is a newer incarnation.
    Superseded,
}

/// What the row of an executor says of its newest incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    incarnation: Incarnation,
    pub(crate) status: ExecutorStatus,
}

impl Newest {
    /// Reads a row of `incarnation, status`, beginning at column `first`.
    fn decode(row: &MySqlRow, first: usize) -> Result<Self> {
        Ok(Self {
            incarnation: Incarnation(unsigned(row, first)?),
            status: ExecutorStatus::from_code(code(row, first + 1)?)?,
        })
    }

    /// How a holder stands that has this executor's id.
    pub(crate) fn standing_of(self, holder: &Holder) -> Standing {
        match self.incarnation.cmp(&holder.incarnation) {
            std::cmp::Ordering::Greater => Standing::Superseded,
            std::cmp::Ordering::Less => Standing::Dead,
            std::cmp::Ordering::Equal if self.status == ExecutorStatus::Offline => Standing::Dead,
            std::cmp::Ordering::Equal if self.status.takes_tasks() => Standing::Taking,
            std::cmp::Ordering::Equal => Standing::NotTaking,
        }
    }
}

/// How `holder` stands. It may die at any time: what it gets afterwards, recovery takes back.
pub(crate) async fn standing(cx: &mut Cx<'_>, holder: &Holder) -> Result<Standing> {
    read_standing(
        cx,
        holder,
        "SELECT incarnation, status FROM executors WHERE executor_id = ?",
    )
    .await
}

/// How `holder` stands, and stays so until the transaction ends; whoever else asks like this waits for that.
pub(crate) async fn standing_locked(cx: &mut Cx<'_>, holder: &Holder) -> Result<Standing> {
    let select = "SELECT incarnation, status FROM executors WHERE executor_id = ? FOR UPDATE";
    read_standing(cx, holder, select).await
}

async fn read_standing(cx: &mut Cx<'_>, holder: &Holder, select: &'static str) -> Result<Standing> {
    let query = sqlx::query(select).bind(holder.executor_id.as_str().to_owned());
    let Some(row) = query.fetch_optional(&mut *cx.sql).await? else {
        return Ok(Standing::Dead);
    };
    Ok(Newest::decode(&row, 0)?.standing_of(holder))
}

static LOCK_NEWEST: LazyLock<RowStatement> = LazyLock::new(|| {
    let select =
        "SELECT executor_id, incarnation, status FROM executors FORCE INDEX (PRIMARY) WHERE executor_id IN";
    RowStatement::list(select, "ORDER BY executor_id FOR UPDATE")
});

/// Locks the rows of those of these executors that exist.
pub(crate) async fn lock_newest(
    cx: &mut Cx<'_>,
    executor_ids: impl Iterator<Item = &ExecutorId>,
) -> Result<HashMap<ExecutorId, Newest>> {
    let executor_ids: BTreeSet<&ExecutorId> = executor_ids.collect();
    let in_order: Vec<&ExecutorId> = executor_ids.into_iter().collect();
    let rows = LOCK_NEWEST.fetch(cx.sql, &in_order, bind_id).await?;
    let newest = |row: &MySqlRow| {
        let executor_id = ExecutorId::from_stored(row.try_get::<&str, _>(0)?);
        Ok((executor_id, Newest::decode(row, 1)?))
    };
    rows.iter().map(newest).collect()
}

fn bind_id(query: Bound, executor_id: &&ExecutorId) -> Bound {
    query.bind(executor_id.as_str().to_owned())
}

/// The rows are there and locked.
static NOTE_LIFE: LazyLock<RowStatement> = LazyLock::new(|| {
    let insert = "INSERT INTO executors (executor_id, host, port, status, last_heartbeat_time, register_time, \
                  resources) VALUES";
    let on_duplicate = "ON DUPLICATE KEY UPDATE last_heartbeat_time = VALUES(last_heartbeat_time), \
                        resources = COALESCE(VALUES(resources), resources)";
    RowStatement::with_row(insert, "(?,'',0,0,?,?,?)", on_duplicate)
});

/// Notes signs of life of executors whose rows the caller has locked, with what they report of their resources.
pub(crate) async fn note_life(
    cx: &mut Cx<'_>,
    executors: &[(&ExecutorId, Option<&Json>)],
    now: Timestamp,
) -> Result<()> {
    let bind = |query: Bound, (executor_id, resources): &(&ExecutorId, Option<&Json>)| {
        query
            .bind(executor_id.as_str().to_owned())
            .bind(datetime(now))
            .bind(datetime(now))
            .bind(json_text(*resources))
    };
    NOTE_LIFE.execute(cx.sql, executors, bind).await?;
    Ok(())
}
