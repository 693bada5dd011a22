//! Sessions in the database: opened, renewed, ended, and swept away when they expired.

use std::time::Duration;

use chrono::NaiveDateTime;

use super::revision;
use crate::clock::StoreClock;
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;
use crate::queries::columns;

/// How many expired sessions one sweep takes away; the next look finds the others.
const MAX_SWEPT: i64 = 100;

/// The injected clock's instant, where there is one. Statements say `COALESCE(?, UTC_TIMESTAMP(6))`: the server's instant
/// is that at which the statement began there, so that no way to it counts as part of a lease.
pub(crate) fn injected(cx: &Cx<'_>) -> Option<NaiveDateTime> {
    match &cx.shared.clock {
        StoreClock::Server => None,
        StoreClock::Injected(clock) => Some(columns::datetime(clock.now())),
    }
}

fn micros(lease: Duration) -> i64 {
    i64::try_from(lease.as_micros()).unwrap_or(i64::MAX)
}

/// Opens a session that lasts so long unless it is renewed. Answers its id.
#[derive(Debug)]
pub(crate) struct OpenSession(pub(crate) Duration);

#[async_trait::async_trait]
impl Operation for OpenSession {
    type Answer = i64;
    const NAME: &'static str = "open_session";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<i64> {
        let session_id = revision::lock(cx).await?;
        sqlx::query(
            "INSERT INTO coordination_sessions (session_id, expire_time) \
             VALUES (?, COALESCE(?, UTC_TIMESTAMP(6)) + INTERVAL ? MICROSECOND)",
        )
        .bind(session_id)
        .bind(injected(cx))
        .bind(micros(self.0))
        .execute(&mut *cx.sql)
        .await?;
        revision::advance(cx, session_id).await?;
        Ok(session_id)
    }
}

/// Renews a session, and looks what it still holds.
#[derive(Debug)]
pub(crate) struct RenewSession {
    pub(crate) session_id: i64,
    pub(crate) lease: Duration,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Renewed {
    /// It holds these tickets.
    Kept(Vec<i64>),
    /// It has expired, or somebody ended it.
    Gone,
}

#[async_trait::async_trait]
impl Operation for RenewSession {
    type Answer = Renewed;
    const NAME: &'static str = "renew_session";
    // The one statement that writes is a transaction of its own; twice does no harm.
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Renewed> {
        let now = injected(cx);
        let renewed = sqlx::query(
            "UPDATE coordination_sessions SET expire_time = COALESCE(?, UTC_TIMESTAMP(6)) + INTERVAL ? MICROSECOND \
             WHERE session_id = ? AND expire_time > COALESCE(?, UTC_TIMESTAMP(6))",
        )
        .bind(now)
        .bind(micros(self.lease))
        .bind(self.session_id)
        .bind(now)
        .execute(&mut *cx.sql)
        .await?;
        if renewed.rows_affected() == 0 {
            return Ok(Renewed::Gone);
        }
        let tickets = sqlx::query_scalar("SELECT ticket FROM coordination_holds WHERE session_id = ?")
            .bind(self.session_id)
            .fetch_all(&mut *cx.sql)
            .await?;
        Ok(Renewed::Kept(tickets))
    }
}

/// Whether a session can still hold something.
pub(crate) async fn is_alive(cx: &mut Cx<'_>, session_id: i64) -> Result<bool> {
    let alive: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM coordination_sessions \
         WHERE session_id = ? AND expire_time > COALESCE(?, UTC_TIMESTAMP(6))",
    )
    .bind(session_id)
    .bind(injected(cx))
    .fetch_one(&mut *cx.sql)
    .await?;
    Ok(alive > 0)
}

/// Ends a session and all that it holds.
#[derive(Debug)]
pub(crate) struct EndSession(pub(crate) i64);

#[async_trait::async_trait]
impl Operation for EndSession {
    type Answer = ();
    const NAME: &'static str = "end_session";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<()> {
        let revision = revision::lock(cx).await?;
        let deleted = sqlx::query("DELETE FROM coordination_sessions WHERE session_id = ?")
            .bind(self.0)
            .execute(&mut *cx.sql)
            .await?;
        let released = delete_holds(cx, self.0).await?;
        if deleted.rows_affected() + released > 0 {
            revision::advance(cx, revision).await?;
        }
        Ok(())
    }
}

/// Takes away sessions that expired, with what they held.
#[derive(Debug)]
pub(crate) struct Sweep;

#[async_trait::async_trait]
impl Operation for Sweep {
    type Answer = ();
    const NAME: &'static str = "sweep_sessions";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<()> {
        let revision = revision::lock(cx).await?;
        if sweep(cx).await? {
            revision::advance(cx, revision).await?;
        }
        Ok(())
    }
}

/// Takes them away under the lock of the revision; `true` if there were any.
pub(crate) async fn sweep(cx: &mut Cx<'_>) -> Result<bool> {
    let now = injected(cx);
    let expired: Vec<i64> = sqlx::query_scalar(
        "SELECT session_id FROM coordination_sessions WHERE expire_time <= COALESCE(?, UTC_TIMESTAMP(6)) \
         ORDER BY expire_time LIMIT ?",
    )
    .bind(now)
    .bind(MAX_SWEPT)
    .fetch_all(&mut *cx.sql)
    .await?;
    let mut swept = false;
    for session_id in expired {
        // A renewal that began in time may have come in between.
        let deleted = sqlx::query(
            "DELETE FROM coordination_sessions WHERE session_id = ? AND expire_time <= COALESCE(?, UTC_TIMESTAMP(6))",
        )
        .bind(session_id)
        .bind(now)
        .execute(&mut *cx.sql)
        .await?;
        if deleted.rows_affected() > 0 {
            delete_holds(cx, session_id).await?;
            swept = true;
        }
    }
    Ok(swept)
}

async fn delete_holds(cx: &mut Cx<'_>, session_id: i64) -> Result<u64> {
    let deleted = sqlx::query("DELETE FROM coordination_holds WHERE session_id = ?")
        .bind(session_id)
        .execute(&mut *cx.sql)
        .await?;
    Ok(deleted.rows_affected())
}
