//! The revision: the row that all changes lock, and the number that they get.

use crate::connection::Cx;
use crate::error::{Failure, Result};

/// Locks the row until the end of the transaction, and gives the number of the change that is being made. To be called
/// before anything else is locked.
pub(crate) async fn lock(cx: &mut Cx<'_>) -> Result<i64> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT revision FROM coordination_revision WHERE only_row = 1 FOR UPDATE")
            .fetch_optional(&mut *cx.sql)
            .await?;
    last.map(|last| last + 1).ok_or_else(missing)
}

/// Tells those who watch that this change was made.
pub(crate) async fn advance(cx: &mut Cx<'_>, revision: i64) -> Result<()> {
    sqlx::query("UPDATE coordination_revision SET revision = ? WHERE only_row = 1")
        .bind(revision)
        .execute(&mut *cx.sql)
        .await?;
    Ok(())
}

pub(crate) fn missing() -> Failure {
    Failure::corrupt(
        "the table coordination_revision has lost its row; insert it with a higher revision than any token",
    )
}
