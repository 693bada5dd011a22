//! Executors: who is there, in which incarnation, and how they stand.

use std::time::Duration;

use jobcore::Timestamp;
use jobcore::id::ExecutorId;
use jobcore::json::Json;
use jobcore::lane::ExecutorProfile;
use jobcore::lease::{Holder, Incarnation};
use jobcore::store::{
    ExecutorFilter, ExecutorRecord, ExecutorStatus, ExpireExecutors, Reach, RegisterExecutor, Registration,
    SetExecutorStatus, SetExecutorStatusOutcome,
};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::{code, instant};
use super::leases::incarnation_number;
use super::rows::{json_list, json_text};
use crate::connection::{Cx, Operation};
use crate::error::{Failure, Result};

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

/// The columns that [`standing`] reads.
macro_rules! standing_columns {
    () => {
        "incarnation, status, (SELECT data_version FROM pragma_data_version)"
    };
}
pub(crate) use standing_columns;

/// How `holder` stands.
pub(crate) async fn find_standing(cx: &mut Cx<'_>, holder: &Holder) -> Result<Standing> {
    let select = concat!(
        "SELECT ",
        standing_columns!(),
        " FROM executors WHERE executor_id = ?1"
    );
    let query = sqlx::query(select).bind(holder.executor_id.to_shared());
    let row = query.fetch_optional(&mut *cx.sql).await?;
    standing(cx, holder, row.as_ref())
}

/// How `holder` stands by its row, which begins with [`standing_columns`]. Makes sure that the connection knows whether
/// others have written, for those that claim.
pub(crate) fn standing(cx: &mut Cx<'_>, holder: &Holder, row: Option<&SqliteRow>) -> Result<Standing> {
    let Some(row) = row else {
        return Ok(Standing::Dead);
    };
    cx.caches.see(row.try_get(2)?);
    let newest: i64 = row.try_get(0)?;
    let status = ExecutorStatus::from_code(code(row, 1)?)?;
    Ok(match newest.cmp(&incarnation_number(holder)) {
        std::cmp::Ordering::Greater => Standing::Superseded,
        std::cmp::Ordering::Less => Standing::Dead,
        std::cmp::Ordering::Equal if status == ExecutorStatus::Offline => Standing::Dead,
        std::cmp::Ordering::Equal if status.takes_tasks() => Standing::Taking,
        std::cmp::Ordering::Equal => Standing::NotTaking,
    })
}

/// Registers an executor in a new incarnation.
#[derive(Debug)]
pub(crate) struct Register(pub(crate) RegisterExecutor);

#[async_trait::async_trait]
impl Operation for Register {
    type Answer = Registration;
    const NAME: &'static str = "register_executor";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let registration = &self.0;
        let now = cx.store_now;
        if let Some(incarnation) = repeated(cx, registration).await? {
            return Ok(Registration { incarnation, now });
        }
        let upsert = "INSERT INTO executors (executor_id, host, port, status, last_heartbeat_time, register_time, \
                      incarnation, group_name, profile, reach, address, lease_duration, join_nonce) \
                      VALUES (?1, ?2, ?3, 1, ?4, ?4, 1, ?5, ?6, ?7, ?8, ?9, ?10) \
                      ON CONFLICT (executor_id) DO UPDATE SET host = ?2, port = ?3, \
                      status = CASE WHEN disabled THEN 3 ELSE 1 END, last_heartbeat_time = ?4, register_time = ?4, \
                      incarnation = incarnation + 1, draining = 0, group_name = ?5, profile = ?6, reach = ?7, \
                      address = ?8, lease_duration = ?9, join_nonce = ?10, resources = NULL RETURNING incarnation";
        let incarnation: i64 = sqlx::query_scalar(upsert)
            .bind(registration.executor_id.as_str().to_owned())
            .bind(registration.host.clone())
            .bind(i64::from(registration.port))
            .bind(now.as_micros())
            .bind(registration.profile.group.clone())
            .bind(serde_json::to_string(&registration.profile).map_err(Failure::corrupt)?)
            .bind(i64::from(registration.reach == Reach::Remote))
            .bind(json_text(registration.address.as_ref()))
            .bind(i64::try_from(registration.lease_duration.as_micros()).unwrap_or(i64::MAX))
            .bind(registration.join.map(|join| join.nonce.cast_signed()))
            .fetch_one(&mut *cx.sql)
            .await?;
        Ok(Registration {
            incarnation: Incarnation(incarnation.try_into().unwrap_or(0)),
            now,
        })
    }
}

/// The incarnation that this very registration made before, if it did.
async fn repeated(cx: &mut Cx<'_>, registration: &RegisterExecutor) -> Result<Option<Incarnation>> {
    let Some(join) = registration.join else {
        return Ok(None);
    };
    let select = "SELECT incarnation FROM executors WHERE executor_id = ?1 AND join_nonce = ?2";
    let newest: Option<i64> = sqlx::query_scalar(select)
        .bind(registration.executor_id.as_str().to_owned())
        .bind(join.nonce.cast_signed())
        .fetch_optional(&mut *cx.sql)
        .await?;
    let newest = newest.map(|newest| Incarnation(newest.try_into().unwrap_or(0)));
    Ok(newest.filter(|newest| join.previous.is_none_or(|previous| previous < *newest)))
}

/// The columns of an executor, in the order of [`decode`].
macro_rules! executor_columns {
    () => {
        "executor_id, host, port, status, last_heartbeat_time, register_time, incarnation, group_name, profile, reach, \
         address, lease_duration, resources"
    };
}

/// Executors that match a filter.
#[derive(Debug)]
pub(crate) struct ListExecutors(pub(crate) ExecutorFilter);

#[async_trait::async_trait]
impl Operation for ListExecutors {
    type Answer = Vec<ExecutorRecord>;
    const NAME: &'static str = "list_executors";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = concat!(
            "SELECT ",
            executor_columns!(),
            " FROM executors WHERE (?1 IS NULL OR executor_id = ?1) AND (?2 IS NULL OR status = ?2) \
             AND (?3 IS NULL OR group_name = ?3) ORDER BY executor_id"
        );
        let rows = sqlx::query(select)
            .bind(self.0.executor_id.as_ref().map(|id| id.as_str().to_owned()))
            .bind(self.0.status.map(|status| i64::from(status.code())))
            .bind(self.0.group.clone())
            .fetch_all(&mut *cx.sql)
            .await?;
        rows.iter().map(decode).collect()
    }
}

/// The executor with this id, if there is one.
pub(crate) async fn executor(cx: &mut Cx<'_>, executor_id: &ExecutorId) -> Result<Option<ExecutorRecord>> {
    let select = concat!(
        "SELECT ",
        executor_columns!(),
        " FROM executors WHERE executor_id = ?1"
    );
    let query = sqlx::query(select).bind(executor_id.as_str().to_owned());
    let row = query.fetch_optional(&mut *cx.sql).await?;
    row.as_ref().map(decode).transpose()
}

fn decode(row: &SqliteRow) -> Result<ExecutorRecord> {
    let group: String = row.try_get(7)?;
    let profile = match row.try_get::<Option<&str>, _>(8)? {
        Some(text) => serde_json::from_str(text).map_err(Failure::corrupt)?,
        // A row written by hand: nothing is known of what it can do.
        None => ExecutorProfile {
            group,
            capabilities: Vec::new(),
            labels: Default::default(),
            capacity: 0,
        },
    };
    Ok(ExecutorRecord {
        executor_id: ExecutorId::from_stored(row.try_get::<&str, _>(0)?),
        incarnation: Incarnation(row.try_get::<i64, _>(6)?.try_into().unwrap_or(0)),
        host: row.try_get(1)?,
        port: row.try_get::<i64, _>(2)?.try_into().unwrap_or(0),
        status: ExecutorStatus::from_code(code(row, 3)?)?,
        profile,
        reach: if row.try_get(9)? {
            Reach::Remote
        } else {
            Reach::Direct
        },
        address: row.try_get::<Option<&str>, _>(10)?.map(Json::from_stored),
        lease_duration: Duration::from_micros(row.try_get::<i64, _>(11)?.try_into().unwrap_or(0)),
        last_heartbeat_time: instant(row, 4)?,
        register_time: instant(row, 5)?,
        resources: row.try_get::<Option<&str>, _>(12)?.map(Json::from_stored),
    })
}

/// Disables, enables, drains or takes off an executor.
#[derive(Debug)]
pub(crate) struct SetStatus(pub(crate) SetExecutorStatus);

#[async_trait::async_trait]
impl Operation for SetStatus {
    type Answer = SetExecutorStatusOutcome;
    const NAME: &'static str = "set_executor_status";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        // Offline stays offline; what a person ordered comes first, then the drain.
        let (update, executor_id, incarnation) = match &self.0 {
            SetExecutorStatus::Disable(id) => (
                "UPDATE executors SET disabled = 1, status = CASE status WHEN 0 THEN 0 ELSE 3 END \
                 WHERE executor_id = ?1",
                id,
                None,
            ),
            SetExecutorStatus::Enable(id) => (
                "UPDATE executors SET disabled = 0, \
                 status = CASE WHEN status = 0 THEN 0 WHEN draining THEN 4 ELSE 1 END WHERE executor_id = ?1",
                id,
                None,
            ),
            SetExecutorStatus::Drain(id) => (
                "UPDATE executors SET draining = (status <> 0), \
                 status = CASE WHEN status = 0 THEN 0 WHEN disabled THEN 3 ELSE 4 END WHERE executor_id = ?1",
                id,
                None,
            ),
            SetExecutorStatus::Leave(holder) => (
                "UPDATE executors SET status = 0, draining = 0 WHERE executor_id = ?1 AND incarnation = ?2",
                &holder.executor_id,
                Some(incarnation_number(holder)),
            ),
        };
        let mut query = sqlx::query(update).bind(executor_id.as_str().to_owned());
        if incarnation.is_some() {
            query = query.bind(incarnation);
        }
        let done = query.execute(&mut *cx.sql).await?;
        Ok(match done.rows_affected() {
            0 => SetExecutorStatusOutcome::NotFound,
            _ => SetExecutorStatusOutcome::Set,
        })
    }
}

/// Declares executors dead.
#[derive(Debug)]
pub(crate) struct Expire(pub(crate) ExpireExecutors);

#[async_trait::async_trait]
impl Operation for Expire {
    type Answer = Vec<Holder>;
    const NAME: &'static str = "expire_executors";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let update = "UPDATE executors SET status = 0, draining = 0 WHERE executor_id IN ( \
                      SELECT executor_id FROM executors WHERE status <> 0 \
                      AND last_heartbeat_time + lease_duration + ?1 <= ?2 \
                      AND executor_id NOT IN (SELECT value FROM json_each(?3)) \
                      ORDER BY executor_id LIMIT ?4) RETURNING executor_id, incarnation";
        let request = &self.0;
        let rows = sqlx::query(update)
            .bind(i64::try_from(request.grace.as_micros()).unwrap_or(i64::MAX / 4))
            .bind(cx.store_now.as_micros())
            .bind(json_list(request.spare.iter().map(ExecutorId::as_str)))
            .bind(i64::try_from(request.limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *cx.sql)
            .await?;
        let holder = |row: &SqliteRow| -> Result<Holder> {
            Ok(Holder {
                executor_id: ExecutorId::from_stored(row.try_get::<&str, _>(0)?),
                incarnation: Incarnation(row.try_get::<i64, _>(1)?.try_into().unwrap_or(0)),
            })
        };
        let mut dead = rows.iter().map(holder).collect::<Result<Vec<_>>>()?;
        dead.sort_unstable();
        Ok(dead)
    }
}

/// Notes a sign of life.
pub(crate) async fn beat(
    cx: &mut Cx<'_>,
    holder: &Holder,
    resources: Option<&Json>,
) -> Result<ExecutorStatus> {
    let now: Timestamp = cx.store_now;
    let update = "UPDATE executors SET last_heartbeat_time = ?2, resources = coalesce(?3, resources) \
                  WHERE executor_id = ?1 RETURNING status";
    let row = sqlx::query(update)
        .bind(holder.executor_id.as_str().to_owned())
        .bind(now.as_micros())
        .bind(json_text(resources))
        .fetch_one(&mut *cx.sql)
        .await?;
    Ok(ExecutorStatus::from_code(code(&row, 0)?)?)
}
