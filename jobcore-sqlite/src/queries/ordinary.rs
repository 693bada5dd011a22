//! Ordinary ends: successes of tasks that this connection claimed itself, and to which nothing happened since.
//!
//! They are most of what is ever settled, and all that decides about them is known from the claim. So their rows aren't
//! read, but copied to history where they lie, and deleted as the range that the claim took, on the condition that they
//! are still what they were. Where one isn't, the transaction is undone and repeated without what was remembered.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::engine::settle::ordinary_success;
use jobcore::id::TaskId;
use jobcore::lease::{Fence, FencingToken, Holder};
use jobcore::store::{AttemptEnd, Settlement};
use jobcore::task::{Rank, Task};

use super::columns::token_number;
use super::leases::{incarnation_number, json_counts, release_counts, release_sql};
use super::rows::{Bound, RowStatement, json_list};
use super::stored_log::LogId;
use super::stored_task::StoredTask;
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// How many claimed tasks are remembered: many times what a node holds at once.
const MOST: usize = 50_000;

/// The claimed tasks whose end may be an ordinary one, by lease.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    leases: HashMap<FencingToken, Claim>,
    count: usize,
}

#[derive(Debug)]
struct Claim {
    holder: Holder,
    tasks: HashMap<TaskId, Place>,
}

/// Where a claimed task lies, and which of its attempts the claim is for.
#[derive(Clone, Copy, Debug)]
struct Place {
    lane_id: i64,
    rank: Rank,
    attempt: u32,
    /// Whether its row is still as the claim left it, with nothing that most rows don't have.
    ordinary: bool,
}

impl Claims {
    /// Remembers a task that was just claimed.
    pub(crate) fn keep(&mut self, holder: &Holder, stored: &StoredTask) {
        let task = &stored.task;
        if self.count >= MOST {
            *self = Self::default();
        }
        let claim = self.leases.entry(task.token).or_insert_with(|| Claim {
            holder: holder.clone(),
            tasks: HashMap::new(),
        });
        let place = Place {
            lane_id: stored.lane_id,
            rank: task.rank,
            attempt: task.attempt,
            ordinary: task.rank == Rank::new(task.due_time, task.priority) && !stored.has_extra(),
        };
        claim.tasks.insert(task.task_id.clone(), place);
        self.count += 1;
    }

    /// Notes that a task's row is written anew: if it is still held, its end has to read it.
    pub(crate) fn changed(&mut self, task: &Task) {
        if !task.state.is_held() {
            return self.forget(task.token, &task.task_id);
        }
        let claim = self.leases.get_mut(&task.token);
        if let Some(place) = claim.and_then(|claim| claim.tasks.get_mut(&task.task_id)) {
            place.ordinary = false;
        }
    }

    /// Forgets a task that its lease holds no more.
    pub(crate) fn forget(&mut self, token: FencingToken, task_id: &TaskId) {
        let Some(claim) = self.leases.get_mut(&token) else {
            return;
        };
        if claim.tasks.remove(task_id).is_some() {
            self.count -= 1;
        }
        if claim.tasks.is_empty() {
            self.leases.remove(&token);
        }
    }

    /// Where the task lies that `fence` holds, if its row is as the claim left it.
    fn place(&self, fence: &Fence) -> Option<Place> {
        let claim = self.leases.get(&fence.token)?;
        let place = claim.tasks.get(&fence.task_id)?;
        let holds = claim.holder == fence.holder && place.attempt == fence.attempt;
        Some(*place).filter(|place| holds && place.ordinary)
    }

    /// What is left of a lease in a range of a lane.
    fn left(&self, lease: LeaseInLane, (first, last): (Key<'_>, Key<'_>)) -> Vec<&str> {
        let Some(claim) = self.leases.get(&lease.token) else {
            return Vec::new();
        };
        let lies_between = |(task_id, place): &(&TaskId, &Place)| {
            place.lane_id == lease.lane_id && (first..=last).contains(&(place.rank, *task_id))
        };
        let left = claim.tasks.iter().filter(lies_between);
        left.map(|(task_id, _)| task_id.as_str()).collect()
    }
}

/// What of a lease is in one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LeaseInLane {
    token: FencingToken,
    lane_id: i64,
}

/// A place in a lane.
type Key<'s> = (Rank, &'s TaskId);

/// Ordinary ends of one batch, by where they lie.
#[derive(Debug, Default)]
pub(crate) struct OrdinaryEnds<'s> {
    holder: Option<&'s Holder>,
    ended: BTreeMap<LeaseInLane, Vec<Ended<'s>>>,
}

#[derive(Debug)]
struct Ended<'s> {
    /// Its place in the batch.
    index: usize,
    rank: Rank,
    task_id: &'s TaskId,
    end: &'s AttemptEnd,
}

impl<'s> OrdinaryEnds<'s> {
    /// Takes a settlement in if it is an ordinary one; says whether it did. The others are decided by the pure engine.
    pub(crate) fn take(&mut self, claims: &mut Claims, index: usize, settlement: &'s Settlement) -> bool {
        let fence = &settlement.fence;
        let (Some(end), Some(place)) = (ordinary_success(settlement), claims.place(fence)) else {
            return false;
        };
        if *self.holder.get_or_insert(&fence.holder) != &fence.holder {
            return false;
        }
        claims.forget(fence.token, &fence.task_id);
        let lease = LeaseInLane {
            token: fence.token,
            lane_id: place.lane_id,
        };
        self.ended.entry(lease).or_default().push(Ended {
            index,
            rank: place.rank,
            task_id: &fence.task_id,
            end,
        });
        true
    }

    /// Whether all of them, if any, are of one lease and one lane.
    pub(crate) fn is_one_lease(&self) -> bool {
        self.ended.len() <= 1
    }

    /// Writes them. The batch's first one has the number `first_log_id` in history; `None`: they get the next numbers.
    pub(crate) async fn write(self, cx: &mut Cx<'_>, first_log_id: LogId, now: Timestamp) -> Result<()> {
        let Some(holder) = self.holder else {
            return Ok(());
        };
        let rows: Vec<(LeaseInLane, &Ended<'_>)> = self
            .ended
            .iter()
            .flat_map(|(lease, ended)| ended.iter().map(|ended| (*lease, ended)))
            .collect();
        copy(cx, holder, &rows, first_log_id, now).await?;
        let mut counts: BTreeMap<FencingToken, i64> = BTreeMap::new();
        let mut scattered = Vec::new();
        for (lease, ended) in &self.ended {
            *counts.entry(lease.token).or_default() += i64::try_from(ended.len()).unwrap_or(i64::MAX);
            if !delete_range(cx, *lease, ended).await? {
                scattered.extend(ended.iter().map(|ended| ended.task_id.as_str()));
            }
        }
        delete_and_release(cx, scattered, &counts).await
    }
}

/// The statuses and states are those of a success.
const COPY: &str = "INSERT OR FAIL INTO job_logs (id, job_id, executor_id, status, start_time, end_time, output, error, \
                    task_id, attempt, token, task_state, finish_time, lane_id, priority, due_time, create_time, \
                    failures, scheduled_for, part, origin, incarnation, arguments) \
                    SELECT c.first_log_id + v.column6, t.job_id, c.executor_id, 1, v.column3, v.column4, v.column5, '', \
                    t.task_id, t.attempt, t.token, 5, c.finish_time, t.lane_id, t.priority, t.due_time, t.create_time, \
                    t.failures, t.scheduled_for, t.part, t.origin, c.incarnation, t.arguments \
                    FROM (SELECT ? AS executor_id, ? AS incarnation, ? AS finish_time, ? AS first_log_id) AS c \
                    CROSS JOIN (VALUES";
const FROM_TASKS: &str = ") AS v CROSS JOIN tasks t ON t.lane_id = v.column7 AND t.pending = 0 AND t.rank = v.column1 \
                          AND t.task_id = v.column2 WHERE t.token = v.column8 AND t.state = 3 AND t.extra IS NULL";
static COPY_TASKS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(COPY, 8, FROM_TASKS));

/// Copies what is still as it was claimed to history.
async fn copy(
    cx: &mut Cx<'_>,
    holder: &Holder,
    rows: &[(LeaseInLane, &Ended<'_>)],
    first_log_id: LogId,
    now: Timestamp,
) -> Result<()> {
    let bind_common = |query: Bound| {
        query
            .bind(holder.executor_id.to_shared())
            .bind(incarnation_number(holder))
            .bind(now.as_micros())
            .bind(first_log_id)
    };
    let bind = |query: Bound, (lease, ended): &(LeaseInLane, &Ended<'_>)| {
        query
            .bind(ended.rank.0)
            .bind(ended.task_id.to_shared())
            .bind(ended.end.start_time.as_micros())
            .bind(ended.end.end_time.as_micros())
            .bind(ended.end.output.clone())
            .bind(i64::try_from(ended.index).unwrap_or(i64::MAX))
            .bind(lease.lane_id)
            .bind(token_number(lease.token))
    };
    let copied = COPY_TASKS.execute_with(cx.sql, bind_common, rows, bind).await?;
    as_remembered(copied, rows.len())
}

/// How many ends a range must have to be deleted by a statement of its own.
const RANGE: usize = 50;

/// What of a lease lies in a range as the claim left it.
macro_rules! delete_range {
    () => {
        "DELETE FROM tasks WHERE lane_id = ?1 AND pending = 0 AND (rank, task_id) BETWEEN (?2, ?3) AND (?4, ?5) \
         AND token = ?6 AND state = 3 AND extra IS NULL"
    };
}
const DELETE_ALL: &str = delete_range!();
const DELETE_OTHERS: &str = concat!(
    delete_range!(),
    " AND task_id NOT IN (SELECT value FROM json_each(?7))"
);

/// Deletes them as a range of their lane, but for what the lease still holds there. Says whether that was worth while;
/// if not, nothing is deleted.
async fn delete_range(cx: &mut Cx<'_>, lease: LeaseInLane, ended: &[Ended<'_>]) -> Result<bool> {
    let places = || ended.iter().map(|ended| (ended.rank, ended.task_id));
    let (Some(first), Some(last)) = (places().min(), places().max()) else {
        return Ok(false);
    };
    if ended.len() < RANGE {
        return Ok(false);
    }
    let left = cx.caches.claims.left(lease, (first, last));
    if left.len() > ended.len() {
        return Ok(false);
    }
    let deleted = sqlx::query(if left.is_empty() {
        DELETE_ALL
    } else {
        DELETE_OTHERS
    })
    .bind(lease.lane_id)
    .bind(first.0.0)
    .bind(first.1.to_shared())
    .bind(last.0.0)
    .bind(last.1.to_shared())
    .bind(token_number(lease.token))
    .bind(json_list(left))
    .execute(&mut *cx.sql)
    .await?;
    as_remembered(deleted.rows_affected(), ended.len())?;
    Ok(true)
}

/// Deletes tasks by their ids, which were just found to be as remembered, and takes them off their leases.
async fn delete_and_release(
    cx: &mut Cx<'_>,
    task_ids: Vec<&str>,
    counts: &BTreeMap<FencingToken, i64>,
) -> Result<()> {
    if task_ids.is_empty() {
        return release_counts(cx, counts).await;
    }
    let delete = concat!(
        release_sql!(),
        "; DELETE FROM tasks WHERE task_id IN (SELECT value FROM json_each(?2))"
    );
    sqlx::query(delete)
        .bind(json_counts(counts)?)
        .bind(json_list(task_ids))
        .execute(&mut *cx.sql)
        .await?;
    Ok(())
}

/// That as many rows were written as were remembered.
fn as_remembered(written: u64, ended: usize) -> Result<()> {
    if written == ended as u64 {
        Ok(())
    } else {
        Err(Failure::Stale)
    }
}
