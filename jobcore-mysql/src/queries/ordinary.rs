//! Ordinary ends: successes of tasks that this store claimed itself, and to which nothing happened since.
//!
//! They are most of what is ever settled, and all that history shall hold is known from the claim. So their rows aren't
//! read, but deleted on the condition that they are still what they were, and written to history from memory. Where one
//! isn't, the transaction is undone and repeated with a look first.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::engine::settle::ordinary_success;
use jobcore::id::TaskId;
use jobcore::lease::FencingToken;
use jobcore::store::{AttemptEnd, Settlement};

use super::claims::Claims;
use super::columns::{code_number, datetime, json_text, maybe_datetime, token_number};
use super::leases::{incarnation_number, release_counts};
use super::rows::{Bound, RowStatement};
use super::stored_task::StoredTask;
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// Ordinary ends of one batch, in its order.
#[derive(Debug, Default)]
pub(crate) struct OrdinaryEnds<'s>(Vec<Ended<'s>>);

#[derive(Debug)]
struct Ended<'s> {
    /// The task as its row is.
    claimed: StoredTask,
    end: &'s AttemptEnd,
}

impl<'s> OrdinaryEnds<'s> {
    /// Takes a settlement in if it is an ordinary one; says whether it did. The others are decided by the pure engine.
    pub(crate) fn take(&mut self, claims: &mut Claims, settlement: &'s Settlement) -> bool {
        let Some(end) = ordinary_success(settlement) else {
            return false;
        };
        let Some(claimed) = claims.take(&settlement.fence) else {
            return false;
        };
        self.0.push(Ended { claimed, end });
        true
    }

    /// Writes them.
    pub(crate) async fn write(self, cx: &mut Cx<'_>, now: Timestamp) -> Result<()> {
        let mut leases: BTreeMap<FencingToken, Vec<&TaskId>> = BTreeMap::new();
        for Ended { claimed, .. } in &self.0 {
            let task_ids = leases.entry(claimed.task.token).or_default();
            task_ids.push(&claimed.task.task_id);
        }
        for (token, task_ids) in &mut leases {
            // In the order of their ids, as everybody locks them.
            task_ids.sort_unstable();
            delete(cx, *token, task_ids).await?;
        }
        copy(cx, &self.0, now).await?;
        let counts = leases.iter();
        let counts =
            counts.map(|(token, task_ids)| (*token, i64::try_from(task_ids.len()).unwrap_or(i64::MAX)));
        release_counts(cx, &counts.collect()).await
    }
}

/// The status and state are those of a success.
const COPY: &str = "INSERT INTO job_logs (job_id, executor_id, status, start_time, end_time, output, error, task_id, \
                    attempt, token, task_state, finish_time, lane_id, priority, due_time, create_time, failures, \
                    scheduled_for, part, origin, incarnation, arguments) VALUES";
static COPY_TASKS: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::with_row(COPY, "(?,?,1,?,?,?,'',?,?,?,5,?,?,?,?,?,?,?,?,?,?,?)", ""));

async fn copy(cx: &mut Cx<'_>, ended: &[Ended<'_>], now: Timestamp) -> Result<()> {
    let bind = |query: Bound, Ended { claimed, end }: &Ended<'_>| {
        let task = &claimed.task;
        let holder = task.holder.as_ref();
        query
            .bind(task.job_id.as_str().to_owned())
            .bind(holder.map_or_else(String::new, |holder| holder.executor_id.as_str().to_owned()))
            .bind(datetime(end.start_time))
            .bind(datetime(end.end_time))
            .bind(end.output.clone())
            .bind(task.task_id.as_str().to_owned())
            .bind(i64::from(task.attempt))
            .bind(token_number(task.token))
            .bind(datetime(now))
            .bind(claimed.lane_id)
            .bind(task.priority)
            .bind(datetime(task.due_time))
            .bind(datetime(task.create_time))
            .bind(i64::from(task.failures))
            .bind(maybe_datetime(task.scheduled_for))
            .bind(i64::from(task.part))
            .bind(code_number(task.origin.code()))
            .bind(holder.map(incarnation_number))
            .bind(json_text(task.arguments.as_ref()))
    };
    COPY_TASKS.execute(cx.sql, ended, bind).await?;
    Ok(())
}

static DELETE_TASKS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE t FROM tasks t FORCE INDEX (tasks_id) WHERE t.task_id IN",
        "AND t.token = ? AND t.state = 3 AND t.extra IS NULL",
    )
});

/// Deletes what a lease held, if it still is as the claim left it.
async fn delete(cx: &mut Cx<'_>, token: FencingToken, task_ids: &[&TaskId]) -> Result<()> {
    let number = token_number(token);
    let deleted = DELETE_TASKS
        .execute_with(
            cx.sql,
            task_ids,
            |query| query,
            |query, task_id| query.bind(task_id.as_str().to_owned()),
            |query| query.bind(number),
        )
        .await?;
    if deleted == task_ids.len() as u64 {
        Ok(())
    } else {
        Err(Failure::Stale)
    }
}
