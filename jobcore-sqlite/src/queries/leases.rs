//! Leases: who holds what. A lease lasts while it holds a task.

use std::collections::BTreeMap;

use jobcore::id::{ClaimId, TaskId};
use jobcore::lease::{FencingToken, Holder};
use jobcore::task::Task;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::{token, token_number};
use super::stored_task::StoredTask;
use super::task_row::tasks_by_id;
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// A claim's number as a column holds it.
pub(crate) fn claim_bytes(claim_id: ClaimId) -> Vec<u8> {
    claim_id.0.to_be_bytes().to_vec()
}

/// An incarnation as a column holds it.
pub(crate) fn incarnation_number(holder: &Holder) -> i64 {
    i64::try_from(holder.incarnation.0).unwrap_or(i64::MAX)
}

/// Notes that tasks are held no more. A lease that holds nothing is forgotten.
pub(crate) async fn release(cx: &mut Cx<'_>, tasks: &[&Task]) -> Result<()> {
    let mut counts: BTreeMap<FencingToken, i64> = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.state.is_held()) {
        *counts.entry(task.token).or_default() += 1;
    }
    release_counts(cx, &counts).await
}

/// Takes [`json_counts`] as its first parameter.
macro_rules! release_sql {
    () => {
        "UPDATE leases SET held = held - (v.value ->> 1) FROM json_each(?1) v WHERE token = v.value ->> 0; \
         DELETE FROM leases WHERE token IN (SELECT value ->> 0 FROM json_each(?1)) AND held <= 0"
    };
}
pub(crate) use release_sql;

/// Notes that leases hold this many tasks less. One that holds nothing is forgotten.
pub(crate) async fn release_counts(cx: &mut Cx<'_>, counts: &BTreeMap<FencingToken, i64>) -> Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    sqlx::query(release_sql!())
        .bind(json_counts(counts)?)
        .execute(&mut *cx.sql)
        .await?;
    Ok(())
}

/// Numbers of tasks by lease, as a JSON parameter.
pub(crate) fn json_counts(counts: &BTreeMap<FencingToken, i64>) -> Result<String> {
    let counts: Vec<(i64, i64)> = counts
        .iter()
        .map(|(token, count)| (token_number(*token), *count))
        .collect();
    serde_json::to_string(&counts).map_err(Failure::corrupt)
}

/// A lease as its row has it.
#[derive(Debug)]
pub(crate) struct StoredLease {
    pub(crate) token: FencingToken,
    task_ids: Vec<TaskId>,
}

impl StoredLease {
    /// Reads a row of `token, task_ids`.
    pub(crate) fn decode(row: &SqliteRow) -> Result<Self> {
        let task_ids: &str = row.try_get(1)?;
        let task_ids = serde_json::from_str(task_ids)
            .map_err(|error| Failure::corrupt(format_args!("column task_ids of a lease: {error}")))?;
        Ok(Self {
            token: token(row, 0)?,
            task_ids,
        })
    }

    /// The tasks that are still held under it, by `task_id`.
    pub(crate) async fn held(&self, cx: &mut Cx<'_>) -> Result<Vec<StoredTask>> {
        let mut tasks = tasks_by_id(cx, &self.task_ids.iter().collect::<Vec<_>>()).await?;
        tasks.retain(|stored| stored.task.token == self.token && stored.task.state.is_held());
        tasks.sort_unstable_by(|a, b| a.task.task_id.cmp(&b.task.task_id));
        Ok(tasks)
    }
}
