//! Taking a seat, and giving it up.

use std::sync::LazyLock;

use jobcore::lease::FencingToken;

use super::lease;
use super::revision;
use super::seat::Seat;
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;
use crate::queries::rows::RowStatement;

/// Takes a seat for a session, if it is free.
#[derive(Debug)]
pub(crate) struct Acquire {
    pub(crate) seat: Seat,
    pub(crate) session_id: i64,
    pub(crate) ticket: i64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// It is held, under this token.
    Held(FencingToken),
    /// Another holds it.
    Taken,
    /// The session has expired, or somebody ended it.
    NoSession,
}

#[async_trait::async_trait]
impl Operation for Acquire {
    type Answer = Acquired;
    const NAME: &'static str = "acquire";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Acquired> {
        // A look that locks nothing: most tries for a seat that is taken end here.
        if self.is_taken(cx).await? {
            return Ok(Acquired::Taken);
        }
        let revision = revision::lock(cx).await?;
        let swept = lease::sweep(cx).await?;
        let acquired = self.acquire(cx, revision).await?;
        if swept || matches!(acquired, Acquired::Held(_)) {
            revision::advance(cx, revision).await?;
        }
        Ok(acquired)
    }
}

impl Acquire {
    /// Whether a session that lives holds it.
    async fn is_taken(&self, cx: &mut Cx<'_>) -> Result<bool> {
        let taken: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM coordination_holds h JOIN coordination_sessions s ON s.session_id = h.session_id \
             WHERE h.kind = ? AND h.name = ? AND h.id = ? AND s.expire_time > COALESCE(?, UTC_TIMESTAMP(6))",
        )
        .bind(self.seat.kind.code())
        .bind(self.seat.name.clone().into_bytes())
        .bind(self.seat.id.clone().into_bytes())
        .bind(lease::injected(cx))
        .fetch_one(&mut *cx.sql)
        .await?;
        Ok(taken > 0)
    }

    async fn acquire(&self, cx: &mut Cx<'_>, revision: i64) -> Result<Acquired> {
        if !lease::is_alive(cx, self.session_id).await? {
            return Ok(Acquired::NoSession);
        }
        if self.is_taken(cx).await? {
            return Ok(Acquired::Taken);
        }
        // What is left there is of a session that somebody deleted by hand, or that expired since the sweep.
        sqlx::query("DELETE FROM coordination_holds WHERE kind = ? AND name = ? AND id = ?")
            .bind(self.seat.kind.code())
            .bind(self.seat.name.clone().into_bytes())
            .bind(self.seat.id.clone().into_bytes())
            .execute(&mut *cx.sql)
            .await?;
        sqlx::query(
            "INSERT INTO coordination_holds (kind, name, id, session_id, ticket, token, data) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(self.seat.kind.code())
        .bind(self.seat.name.clone().into_bytes())
        .bind(self.seat.id.clone().into_bytes())
        .bind(self.session_id)
        .bind(self.ticket)
        .bind(revision)
        .bind(self.seat.data.clone())
        .execute(&mut *cx.sql)
        .await?;
        Ok(Acquired::Held(FencingToken(u64::try_from(revision).unwrap_or(0))))
    }
}

/// Gives up some of what a session holds. What it doesn't hold any more is left as it is.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) session_id: i64,
    pub(crate) tickets: Vec<i64>,
}

#[async_trait::async_trait]
impl Operation for Release {
    type Answer = ();
    const NAME: &'static str = "release";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<()> {
        let revision = revision::lock(cx).await?;
        let session_id = self.session_id;
        DELETE_HOLDS
            .execute_with(
                cx.sql,
                &self.tickets,
                |query| query.bind(session_id),
                |query, ticket| query.bind(*ticket),
                |query| query,
            )
            .await?;
        // Also where somebody deleted them before, which told nobody.
        revision::advance(cx, revision).await
    }
}

static DELETE_HOLDS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE FROM coordination_holds WHERE session_id = ? AND ticket IN",
        "",
    )
});
