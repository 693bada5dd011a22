//! Executors: who is there, in which incarnation, and how they stand.

use std::sync::LazyLock;
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
use sqlx::mysql::MySqlRow;

use super::columns::{code, code_number, datetime, instant, json_text, number, unsigned};
use super::leases::incarnation_number;
use super::rows::{Bound, RowStatement};
pub(crate) use super::standing::{Standing, standing, standing_locked};
use crate::connection::{Access, Cx, Operation};
use crate::error::{Failure, Result};

/// Registers an executor in a new incarnation.
#[derive(Debug)]
pub(crate) struct Register(pub(crate) RegisterExecutor);

#[async_trait::async_trait]
impl Operation for Register {
    type Answer = Registration;
    const NAME: &'static str = "register_executor";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let registration = &self.0;
        let select = "SELECT incarnation, join_nonce FROM executors WHERE executor_id = ? FOR UPDATE";
        let query = sqlx::query(select).bind(registration.executor_id.as_str().to_owned());
        let row = query.fetch_optional(&mut *cx.sql).await?;
        let now = cx.store_now().await?;
        let Some(row) = row else {
            // Whoever joined under this id meanwhile makes this fail, and the next look sees it.
            let insert = "INSERT INTO executors (host, port, status, last_heartbeat_time, register_time, \
                          incarnation, group_name, profile, reach, address, lease_duration, join_nonce, executor_id) \
                          VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
            return write(cx, registration, insert, Incarnation(1), now).await;
        };
        let newest = Incarnation(unsigned(&row, 0)?);
        if repeats(registration, newest, row.try_get(1)?) {
            return Ok(Registration {
                incarnation: newest,
                now,
            });
        }
        let update = "UPDATE executors SET host = ?, port = ?, \
                      status = CASE WHEN disabled = 1 THEN 3 ELSE 1 END, draining = 0, resources = NULL, \
                      last_heartbeat_time = ?, register_time = ?, incarnation = ?, group_name = ?, profile = ?, \
                      reach = ?, address = ?, lease_duration = ?, join_nonce = ? WHERE executor_id = ?";
        write(cx, registration, update, Incarnation(newest.0 + 1), now).await
    }
}

/// Whether this very registration made the newest incarnation.
fn repeats(registration: &RegisterExecutor, newest: Incarnation, nonce: Option<i64>) -> bool {
    registration.join.is_some_and(|join| {
        nonce == Some(join.nonce.cast_signed()) && join.previous.is_none_or(|previous| previous < newest)
    })
}

async fn write(
    cx: &mut Cx<'_>,
    registration: &RegisterExecutor,
    statement: &'static str,
    incarnation: Incarnation,
    now: Timestamp,
) -> Result<Registration> {
    let lease_duration = registration.lease_duration.as_micros();
    sqlx::query(statement)
        .bind(registration.host.clone())
        .bind(i64::from(registration.port))
        .bind(datetime(now))
        .bind(datetime(now))
        .bind(number(incarnation.0))
        .bind(registration.profile.group.clone())
        .bind(serde_json::to_string(&registration.profile).map_err(Failure::corrupt)?)
        .bind(registration.reach == Reach::Remote)
        .bind(json_text(registration.address.as_ref()))
        .bind(i64::try_from(lease_duration).unwrap_or(i64::MAX))
        .bind(registration.join.map(|join| join.nonce.cast_signed()))
        .bind(registration.executor_id.as_str().to_owned())
        .execute(&mut *cx.sql)
        .await?;
    Ok(Registration { incarnation, now })
}

/// The columns of an executor, in the order of [`decode`].
macro_rules! select_executors {
    ($rest:literal) => {
        concat!(
            "SELECT executor_id, host, port, status, last_heartbeat_time, register_time, incarnation, group_name, \
             profile, reach, address, lease_duration, resources FROM executors ",
            $rest
        )
    };
}

/// Executors that match a filter.
#[derive(Debug)]
pub(crate) struct ListExecutors(pub(crate) ExecutorFilter);

#[async_trait::async_trait]
impl Operation for ListExecutors {
    type Answer = Vec<ExecutorRecord>;
    const NAME: &'static str = "list_executors";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let filter = &self.0;
        let query = match (&filter.executor_id, filter.status) {
            (Some(executor_id), _) => {
                let select = select_executors!("WHERE executor_id = ?");
                sqlx::query(select).bind(executor_id.as_str().to_owned())
            }
            // Most of those that ever joined may be gone.
            (None, Some(status)) => {
                let select = select_executors!("WHERE status = ? ORDER BY executor_id");
                sqlx::query(select).bind(code_number(status.code()))
            }
            (None, None) => sqlx::query(select_executors!("ORDER BY executor_id")),
        };
        let rows = query.fetch_all(&mut *cx.sql).await?;
        let mut executors = rows.iter().map(decode).collect::<Result<Vec<_>>>()?;
        executors.retain(|executor| {
            filter.status.is_none_or(|status| status == executor.status)
                && filter
                    .group
                    .as_ref()
                    .is_none_or(|group| *group == executor.profile.group)
        });
        Ok(executors)
    }
}

/// The executor with this id, if there is one.
pub(crate) async fn executor(cx: &mut Cx<'_>, executor_id: &ExecutorId) -> Result<Option<ExecutorRecord>> {
    let query = sqlx::query(select_executors!("WHERE executor_id = ?")).bind(executor_id.as_str().to_owned());
    let row = query.fetch_optional(&mut *cx.sql).await?;
    row.as_ref().map(decode).transpose()
}

fn decode(row: &MySqlRow) -> Result<ExecutorRecord> {
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
        incarnation: Incarnation(unsigned(row, 6)?),
        host: row.try_get(1)?,
        port: row.try_get::<i32, _>(2)?.try_into().unwrap_or(0),
        status: ExecutorStatus::from_code(code(row, 3)?)?,
        profile,
        reach: if row.try_get::<i8, _>(9)? == 0 {
            Reach::Direct
        } else {
            Reach::Remote
        },
        address: row.try_get::<Option<&str>, _>(10)?.map(Json::from_stored),
        lease_duration: Duration::from_micros(unsigned(row, 11)?),
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
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        // Offline stays offline; what a person ordered comes first, then the drain. Each assignment sees those before it.
        let query = match &self.0 {
            SetExecutorStatus::Disable(executor_id) => {
                let update = "UPDATE executors SET disabled = 1, status = CASE status WHEN 0 THEN 0 ELSE 3 END \
                              WHERE executor_id = ?";
                sqlx::query(update).bind(executor_id.as_str().to_owned())
            }
            SetExecutorStatus::Enable(executor_id) => {
                let update = "UPDATE executors SET disabled = 0, \
                              status = CASE WHEN status = 0 THEN 0 WHEN draining = 1 THEN 4 ELSE 1 END \
                              WHERE executor_id = ?";
                sqlx::query(update).bind(executor_id.as_str().to_owned())
            }
            SetExecutorStatus::Drain(executor_id) => {
                let update = "UPDATE executors SET draining = (status <> 0), \
                              status = CASE WHEN status = 0 THEN 0 WHEN disabled = 1 THEN 3 ELSE 4 END \
                              WHERE executor_id = ?";
                sqlx::query(update).bind(executor_id.as_str().to_owned())
            }
            SetExecutorStatus::Leave(holder) => {
                let update = "UPDATE executors SET status = 0, draining = 0 \
                              WHERE executor_id = ? AND incarnation = ?";
                sqlx::query(update)
                    .bind(holder.executor_id.as_str().to_owned())
                    .bind(incarnation_number(holder))
            }
        };
        Ok(match query.execute(&mut *cx.sql).await?.rows_affected() {
            0 => SetExecutorStatusOutcome::NotFound,
            _ => SetExecutorStatusOutcome::Set,
        })
    }
}

/// Declares executors dead.
#[derive(Debug)]
pub(crate) struct Expire(pub(crate) ExpireExecutors);

static LOCK_SILENT: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT executor_id, last_heartbeat_time, lease_duration, incarnation FROM executors \
                  FORCE INDEX (PRIMARY) WHERE status <> 0 AND executor_id IN";
    RowStatement::list(select, "ORDER BY executor_id FOR UPDATE")
});
static DECLARE_DEAD: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "UPDATE executors SET status = 0, draining = 0 WHERE executor_id IN",
        "",
    )
});

#[async_trait::async_trait]
impl Operation for Expire {
    type Answer = Vec<Holder>;
    const NAME: &'static str = "expire_executors";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        // First without locks, which heartbeats would wait for.
        let select = "SELECT executor_id, last_heartbeat_time, lease_duration FROM executors FORCE INDEX (idx_status) \
                      WHERE status IN (1, 2, 3, 4)";
        let now = cx.store_now().await?;
        let mut silent = Vec::new();
        for row in sqlx::query(select).fetch_all(&mut *cx.sql).await? {
            let executor_id = ExecutorId::from_stored(row.try_get::<&str, _>(0)?);
            if self.is_silent(&row, now)? && !self.0.spare.contains(&executor_id) {
                silent.push(executor_id);
            }
        }
        silent.sort_unstable();
        silent.truncate(self.0.limit);
        let silent: Vec<&ExecutorId> = silent.iter().collect();
        let mut dead = Vec::new();
        let bind = |query: Bound, executor_id: &&ExecutorId| query.bind(executor_id.as_str().to_owned());
        for row in LOCK_SILENT.fetch(cx.sql, &silent, bind).await? {
            if self.is_silent(&row, now)? {
                dead.push(Holder {
                    executor_id: ExecutorId::from_stored(row.try_get::<&str, _>(0)?),
                    incarnation: Incarnation(unsigned(&row, 3)?),
                });
            }
        }
        let bind = |query: Bound, holder: &Holder| query.bind(holder.executor_id.as_str().to_owned());
        DECLARE_DEAD.execute(cx.sql, &dead, bind).await?;
        dead.sort_unstable();
        Ok(dead)
    }
}

impl Expire {
    /// Whether the executor of a row with its last heartbeat in column 1 and its lease in column 2 has missed that.
    fn is_silent(&self, row: &MySqlRow, now: Timestamp) -> Result<bool> {
        let lease_duration = Duration::from_micros(unsigned(row, 2)?);
        Ok(instant(row, 1)? + lease_duration + self.0.grace <= now)
    }
}
