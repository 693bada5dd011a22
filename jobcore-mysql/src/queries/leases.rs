//! Leases: who holds what. A lease lasts while it holds a task.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::id::{ClaimId, TaskId};
use jobcore::lease::{FencingToken, Holder};
use jobcore::task::Task;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{maybe_datetime, number, token, token_number};
use super::rows::{Bound, RowStatement};
use super::stored_task::StoredTask;
use super::task_row::{Lock, tasks_by_id};
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// A claim's number as a column holds it.
pub(crate) fn claim_bytes(claim_id: ClaimId) -> Vec<u8> {
    claim_id.0.to_be_bytes().to_vec()
}

/// An incarnation as a column holds it.
pub(crate) fn incarnation_number(holder: &Holder) -> i64 {
    number(holder.incarnation.0)
}

/// Makes a lease on tasks, under a new number. The caller checks that it is higher than what the tasks had.
pub(crate) async fn insert_lease(
    cx: &mut Cx<'_>,
    claim_id: ClaimId,
    holder: &Holder,
    start_before: Option<Timestamp>,
    task_ids: &[&TaskId],
) -> Result<FencingToken> {
    let insert = "INSERT INTO leases (claim_id, executor_id, incarnation, start_before, held, task_ids) \
                  VALUES (?, ?, ?, ?, ?, ?)";
    let task_ids_text = serde_json::to_string(task_ids).map_err(Failure::corrupt)?;
    let done = sqlx::query(insert)
        .bind(claim_bytes(claim_id))
        .bind(holder.executor_id.as_str().to_owned())
        .bind(incarnation_number(holder))
        .bind(maybe_datetime(start_before))
        .bind(i64::try_from(task_ids.len()).unwrap_or(i64::MAX))
        .bind(task_ids_text)
        .execute(&mut *cx.sql)
        .await?;
    Ok(FencingToken(done.last_insert_id()))
}

/// Notes that tasks are held no more. A lease that holds nothing is forgotten.
pub(crate) async fn release(cx: &mut Cx<'_>, tasks: &[&Task]) -> Result<()> {
    let mut counts: BTreeMap<FencingToken, i64> = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.state.is_held()) {
        *counts.entry(task.token).or_default() += 1;
    }
    release_counts(cx, &counts).await
}

static EMPTY_LEASES: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE l FROM leases l FORCE INDEX (PRIMARY) WHERE l.token IN",
        "AND l.held <= 0",
    )
});

/// Notes that leases hold this many tasks less. One that holds nothing is forgotten.
pub(crate) async fn release_counts(cx: &mut Cx<'_>, counts: &BTreeMap<FencingToken, i64>) -> Result<()> {
    for (token, count) in counts {
        sqlx::query("UPDATE leases SET held = held - ? WHERE token = ?")
            .bind(*count)
            .bind(token_number(*token))
            .execute(&mut *cx.sql)
            .await?;
    }
    let tokens: Vec<FencingToken> = counts.keys().copied().collect();
    let bind = |query: Bound, token: &FencingToken| query.bind(token_number(*token));
    EMPTY_LEASES.execute(cx.sql, &tokens, bind).await?;
    Ok(())
}

/// A lease as its row has it.
#[derive(Debug)]
pub(crate) struct StoredLease {
    pub(crate) token: FencingToken,
    pub(crate) task_ids: Vec<TaskId>,
}

impl StoredLease {
    /// Reads a row of `token, task_ids`.
    pub(crate) fn decode(row: &MySqlRow) -> Result<Self> {
        let task_ids: &str = row.try_get(1)?;
        let task_ids = serde_json::from_str(task_ids)
            .map_err(|error| Failure::corrupt(format_args!("column task_ids of a lease: {error}")))?;
        Ok(Self {
            token: token(row, 0)?,
            task_ids,
        })
    }

    /// The tasks that are still held under it, by `task_id`.
    pub(crate) async fn held(&self, cx: &mut Cx<'_>, lock: Lock) -> Result<Vec<StoredTask>> {
        let mut tasks = tasks_by_id(cx, &self.task_ids.iter().collect::<Vec<_>>(), lock).await?;
        tasks.retain(|stored| stored.task.token == self.token && stored.task.state.is_held());
        tasks.sort_unstable_by(|a, b| a.task.task_id.cmp(&b.task.task_id));
        Ok(tasks)
    }
}
