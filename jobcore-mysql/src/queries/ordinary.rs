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
use jobcore::task::Rank;

use super::claims::Claims;
use super::columns::{code_number, datetime, json_text, maybe_datetime, token_number};
use super::leases::{incarnation_number, release_counts};
use super::rows::{Bound, RowStatement};
use super::stored_log::portions;
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
        let mut parts: BTreeMap<(FencingToken, i64), Vec<&Ended<'_>>> = BTreeMap::new();
        let mut counts: BTreeMap<FencingToken, i64> = BTreeMap::new();
        for ended in &self.0 {
            let token = ended.claimed.task.token;
            parts
                .entry((token, ended.claimed.lane_id))
                .or_default()
                .push(ended);
            *counts.entry(token).or_default() += 1;
        }
        for ((token, lane_id), ended) in parts {
            match range(cx, token, lane_id, &ended) {
                Some(range) => delete_range(cx, token, range, ended.len()).await?,
                None => delete_each(cx, token, ended).await?,
            }
        }
        copy(cx, &self.0, now).await?;
        release_counts(cx, &counts).await
    }
}

/// Where what ended lies, and what its lease still holds in between.
struct Range {
    lane_id: i64,
    first: Rank,
    last: Rank,
    left: Vec<TaskId>,
}

/// From how many tasks on a range costs less than a look-up for each.
const RANGE_FROM: usize = 20;

/// The range that tasks of a lease fill in a lane, if they do.
fn range(cx: &Cx<'_>, token: FencingToken, lane_id: i64, ended: &[&Ended<'_>]) -> Option<Range> {
    if ended.len() < RANGE_FROM || cx.caches().is_contested() {
        return None;
    }
    let ranks = || ended.iter().map(|ended| ended.claimed.task.rank);
    let (first, last) = (ranks().min()?, ranks().max()?);
    let left = cx
        .caches()
        .claims
        .lock()
        .left(token, lane_id, first..=last, RANGE_FROM)?;
    Some(Range {
        lane_id,
        first,
        last,
        left,
    })
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
    for portion in portions(ended, |ended| ended.end.output.len()) {
        COPY_TASKS.execute(cx.sql, portion, bind).await?;
    }
    Ok(())
}

static DELETE_RANGE: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE t FROM tasks t FORCE INDEX (PRIMARY) WHERE t.lane_id = ? AND t.pending = 0 \
         AND t.task_rank BETWEEN ? AND ? AND t.token = ? AND t.state = 3 AND t.extra IS NULL AND t.task_id NOT IN",
        "",
    )
});

/// Deletes all that a lease holds in a range but for what is left, if that is as many as remembered.
async fn delete_range(cx: &mut Cx<'_>, token: FencingToken, range: Range, count: usize) -> Result<()> {
    let number = token_number(token);
    // No id is empty.
    let left = range.left.iter().map(TaskId::as_str).chain([""]);
    let deleted = DELETE_RANGE
        .execute_with(
            cx.sql,
            &left.collect::<Vec<_>>(),
            |query| {
                query
                    .bind(range.lane_id)
                    .bind(range.first.0)
                    .bind(range.last.0)
                    .bind(number)
            },
            |query, task_id| query.bind((*task_id).to_owned()),
            |query| query,
        )
        .await?;
    as_remembered(deleted, count)
}

static DELETE_TASKS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE t FROM tasks t FORCE INDEX (tasks_id) WHERE t.task_id IN",
        "AND t.token = ? AND t.state = 3 AND t.extra IS NULL",
    )
});

/// Deletes tasks that a lease held, if they still are as the claim left them.
async fn delete_each(cx: &mut Cx<'_>, token: FencingToken, ended: Vec<&Ended<'_>>) -> Result<()> {
    let number = token_number(token);
    // In the order of their ids, as everybody locks them.
    let mut task_ids: Vec<&TaskId> = ended.iter().map(|ended| &ended.claimed.task.task_id).collect();
    task_ids.sort_unstable();
    let deleted = DELETE_TASKS
        .execute_with(
            cx.sql,
            &task_ids,
            |query| query,
            |query, task_id| query.bind(task_id.as_str().to_owned()),
            |query| query.bind(number),
        )
        .await?;
    as_remembered(deleted, task_ids.len())
}

fn as_remembered(deleted: u64, count: usize) -> Result<()> {
    if deleted == count as u64 {
        Ok(())
    } else {
        Err(Failure::Stale)
    }
}
