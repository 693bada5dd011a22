//! Claims: the first of each lane, under one new lease.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use jobcore::engine::claim::share;
use jobcore::engine::settle::JOB_DELETED;
use jobcore::id::TaskId;
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::lease::{ClaimedTask, FencingToken, Lease};
use jobcore::store::{ClaimOutcome, ClaimRequest, MAX_BATCH};
use jobcore::task::{Rank, TaskState};
use sqlx::Row;
use tokio::time::Instant;

use super::columns::token_number;
use super::executors::{Standing, standing, standing_locked};
use super::lanes::find_lane_ids;
use super::leases::{StoredLease, claim_bytes, incarnation_number, insert_lease};
use super::rows::{Bound, RowStatement};
use super::stored_job::jobs_by_id;
use super::stored_task::StoredTask;
use super::task_row::{Lock, read_tasks, task_columns};
use super::transitions::{Transition, write_transitions};
use crate::connection::{Access, Care, Cx, Operation};
use crate::error::{Failure, Result};

/// Takes `Ready` tasks under a new lease.
#[derive(Debug)]
pub(crate) struct Claim(pub(crate) ClaimRequest);

#[async_trait::async_trait]
impl Operation for Claim {
    type Answer = ClaimOutcome;
    const NAME: &'static str = "claim";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let request = &self.0;
        // Where several claim on behalf of one, they do so one after the other.
        let standing = match request.max_held {
            Some(_) => standing_locked(cx, &request.holder).await?,
            None => standing(cx, &request.holder).await?,
        };
        if matches!(standing, Standing::Dead | Standing::Superseded) {
            return Ok(ClaimOutcome::NotAlive);
        }
        if request.replay
            && let Some(outcome) = replayed(cx, request).await?
        {
            return Ok(outcome);
        }
        if matches!(standing, Standing::NotTaking) {
            return Ok(ClaimOutcome::NotTaking);
        }
        let limit = room(cx, request).await?;
        let found = if limit == 0 {
            Vec::new()
        } else {
            find(cx, request, limit).await?
        };
        if found.is_empty() {
            return Ok(ClaimOutcome::Nothing);
        }
        take(cx, request, found).await
    }
}

/// What is still held of the lease that an earlier call with this claim number got. Tasks whose job is gone can't be told
/// of, and may run all the same if the earlier answer arrived: they stay as they are.
async fn replayed(cx: &mut Cx<'_>, request: &ClaimRequest) -> Result<Option<ClaimOutcome>> {
    let select = "SELECT token, task_ids FROM leases WHERE claim_id = ?";
    let row = sqlx::query(select)
        .bind(claim_bytes(request.claim_id))
        .fetch_optional(&mut *cx.sql)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let lease = StoredLease::decode(&row)?;
    let held = lease.held(cx, Lock::Plain).await?;
    if held.is_empty() {
        return Ok(None);
    }
    let jobs = jobs_by_id(cx, held.iter().map(|stored| stored.task.job_id.clone()).collect()).await?;
    let claimed = |stored: StoredTask| {
        let job = Arc::clone(jobs.get(&stored.task.job_id)?);
        Some(ClaimedTask {
            task: stored.task,
            job,
        })
    };
    let tasks: Vec<ClaimedTask> = held.into_iter().filter_map(claimed).collect();
    if tasks.is_empty() {
        return Ok(Some(ClaimOutcome::Nothing));
    }
    Ok(Some(ClaimOutcome::Claimed(Lease {
        token: lease.token,
        claim_id: request.claim_id,
        holder: request.holder.clone(),
        tasks,
    })))
}

/// How many tasks the holder may get.
async fn room(cx: &mut Cx<'_>, request: &ClaimRequest) -> Result<usize> {
    let Some(max_held) = request.max_held else {
        return Ok(request.limit);
    };
    let select = "SELECT CAST(COALESCE(SUM(held), 0) AS SIGNED) FROM leases FORCE INDEX (leases_holder) \
                  WHERE executor_id = ? AND incarnation = ?";
    let held: i64 = sqlx::query_scalar(select)
        .bind(request.holder.executor_id.as_str().to_owned())
        .bind(incarnation_number(&request.holder))
        .fetch_one(&mut *cx.sql)
        .await?;
    let held = usize::try_from(held).unwrap_or(usize::MAX);
    Ok(request.limit.min(max_held.saturating_sub(held)))
}

/// A task that can be claimed, with its job.
type Found = (StoredTask, Arc<Job>);

/// The tasks to claim: the first of some lanes. Those that it meets whose job is gone are settled.
async fn find(cx: &mut Cx<'_>, request: &ClaimRequest, limit: usize) -> Result<Vec<Found>> {
    let lane_ids = find_lane_ids(cx, &request.lanes).await?;
    let mut settled = 0;
    loop {
        let chosen = choose(cx, &request.lanes, &lane_ids, limit).await?;
        let (found, mut orphaned) = with_jobs(cx, chosen).await?;
        if orphaned.is_empty() || settled >= MAX_BATCH {
            return Ok(found);
        }
        orphaned.truncate(MAX_BATCH - settled);
        settled += orphaned.len();
        let end = |stored| {
            let reason = Some(JOB_DELETED.to_owned());
            Transition::end(stored, TaskState::Cancelled, reason, request.now)
        };
        write_transitions(cx, orphaned.into_iter().map(end).collect()).await?;
        // What was settled made room for others: look again.
    }
}

/// The first of each lane: an even share of each, then what is left of the lanes in their order; a suspect alone, and only
/// if the lanes before its own gave nothing. (The same as [`jobcore::engine::claim::quotas`] says, without counting.)
async fn choose(
    cx: &mut Cx<'_>,
    lanes: &[Lane],
    lane_ids: &[Option<i64>],
    limit: usize,
) -> Result<Vec<Vec<StoredTask>>> {
    let share = share(lanes, limit);
    let mut chosen: Vec<Vec<StoredTask>> = Vec::with_capacity(lanes.len());
    let mut left = limit;
    for (lane, lane_id) in lanes.iter().zip(lane_ids) {
        let most = match lane.is_quarantine() {
            true => usize::from(left == limit),
            false => share.min(left),
        };
        let first = match lane_id {
            Some(lane_id) if most > 0 => first_of_lane(cx, *lane_id, most).await?,
            _ => Vec::new(),
        };
        if lane.is_quarantine() && !first.is_empty() {
            return Ok(vec![first]);
        }
        left -= first.len();
        chosen.push(first);
    }
    let ordinary = lanes.iter().zip(lane_ids).zip(&mut chosen);
    for ((_, lane_id), first) in ordinary.filter(|((lane, _), _)| !lane.is_quarantine()) {
        // What gave less than its share has no more.
        let (Some(lane_id), true) = (lane_id, left > 0 && first.len() >= share) else {
            continue;
        };
        let before = first.len();
        *first = first_of_lane(cx, *lane_id, before + left).await?;
        left -= first.len().saturating_sub(before).min(left);
    }
    Ok(chosen)
}

/// The tasks with their jobs, of each lane up to the first whose job is gone; and those whose jobs are gone.
async fn with_jobs(cx: &mut Cx<'_>, lanes: Vec<Vec<StoredTask>>) -> Result<(Vec<Found>, Vec<StoredTask>)> {
    let wanted: HashSet<_> = lanes
        .iter()
        .flatten()
        .map(|stored| stored.task.job_id.clone())
        .collect();
    let jobs = jobs_by_id(cx, wanted).await?;
    let mut found = Vec::new();
    let mut orphaned = Vec::new();
    for tasks in lanes {
        let mut unbroken = true;
        for stored in tasks {
            match jobs.get(&stored.task.job_id) {
                Some(job) if unbroken => found.push((stored, Arc::clone(job))),
                Some(_) => {}
                None => {
                    unbroken = false;
                    orphaned.push(stored);
                }
            }
        }
    }
    Ok((found, orphaned))
}

/// The first of a lane by (rank, id). The primary key is that order; any other index would have to be sorted.
macro_rules! first_of_lane {
    ($lock:literal) => {
        concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks t FORCE INDEX (PRIMARY) WHERE t.lane_id = ? AND t.pending = 0 AND t.task_rank >= ? \
             AND t.state = 2 ORDER BY t.task_rank, t.task_id LIMIT ?",
            $lock
        )
    };
}
pub(crate) const FIRST_OF_LANE: &str = first_of_lane!(" FOR UPDATE SKIP LOCKED");
/// Where the server doesn't know how to skip: without locks, and whoever writes first has them.
pub(crate) const PEEK_AT_LANE: &str = first_of_lane!("");

/// The first `Ready` tasks of a lane that nobody else is claiming.
async fn first_of_lane(cx: &mut Cx<'_>, lane_id: i64, limit: usize) -> Result<Vec<StoredTask>> {
    let begun = Instant::now();
    let from = cx.caches().lane_starts.lock().of(lane_id, begun);
    let mut tasks = look(cx, lane_id, from, limit).await?;
    if tasks.is_empty() && from.is_some() {
        tasks = look(cx, lane_id, None, limit).await?;
    }
    let first = tasks.first().map(|stored| stored.task.rank);
    let cost = begun.elapsed();
    cx.caches()
        .lane_starts
        .lock()
        .found(lane_id, from, first, begun, cost);
    Ok(tasks)
}

async fn look(cx: &mut Cx<'_>, lane_id: i64, from: Option<Rank>, limit: usize) -> Result<Vec<StoredTask>> {
    let select = if cx.shared.skip_locked {
        FIRST_OF_LANE
    } else {
        PEEK_AT_LANE
    };
    let rows = sqlx::query(select)
        .bind(lane_id)
        .bind(from.map_or(i64::MIN, |rank| rank.0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *cx.sql)
        .await?;
    read_tasks(cx, rows).await
}

static TAKE: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::joined(
        "UPDATE tasks FORCE INDEX (tasks_id) SET state = 3, token = ?, attempt = attempt + 1 WHERE task_id IN (",
        "?",
        ",",
        ") AND state = 2 AND pending = 0 AND token < ?",
    )
    .filled()
});

/// Puts tasks under a new lease. Where they weren't locked before, only those that nobody else took.
async fn take(cx: &mut Cx<'_>, request: &ClaimRequest, found: Vec<Found>) -> Result<ClaimOutcome> {
    let task_ids: Vec<&TaskId> = found.iter().map(|(stored, _)| &stored.task.task_id).collect();
    let token = insert_lease(
        cx,
        request.claim_id,
        &request.holder,
        request.start_before,
        &task_ids,
    )
    .await?;
    let taken = match cx.care == Care::Ordinary && cx.shared.skip_locked && !cx.caches().is_contested() {
        true => take_ranges(cx, &found, token).await?,
        false => take_each(cx, task_ids, token).await?,
    };
    let found = if taken == found.len() as u64 {
        found
    } else {
        only_taken(cx, found, token).await?
    };
    if found.is_empty() {
        return Err(Failure::Stale);
    }
    let claimed = |(mut stored, job): Found| {
        let task = &mut stored.task;
        task.state = TaskState::Leased;
        task.token = token;
        task.attempt += 1;
        task.holder = Some(request.holder.clone());
        cx.learned.claimed(stored.clone());
        ClaimedTask {
            task: stored.task,
            job,
        }
    };
    Ok(ClaimOutcome::Claimed(Lease {
        token,
        claim_id: request.claim_id,
        holder: request.holder.clone(),
        tasks: found.into_iter().map(claimed).collect(),
    }))
}

async fn take_each(cx: &mut Cx<'_>, mut task_ids: Vec<&TaskId>, token: FencingToken) -> Result<u64> {
    let number = token_number(token);
    task_ids.sort_unstable();
    TAKE.execute_with(
        cx.sql,
        &task_ids,
        |query| query.bind(number),
        |query, task_id| query.bind(task_id.as_str().to_owned()),
        |query| query.bind(number),
    )
    .await
}

/// All that is ready in a part of a lane: for a claim that has locked all of it.
const TAKE_RANGE: &str = "UPDATE tasks FORCE INDEX (PRIMARY) SET state = 3, token = ?, attempt = attempt + 1 \
                          WHERE lane_id = ? AND pending = 0 AND task_rank BETWEEN ? AND ? AND state = 2 AND token < ?";

/// Takes what was found as the ranges that it fills, which needs no look-up for each task. What else became ready there
/// meanwhile, or is locked by another claim, shows itself: then the claim is repeated with care, and all claims are careful
/// for a while.
async fn take_ranges(cx: &mut Cx<'_>, found: &[Found], token: FencingToken) -> Result<u64> {
    let number = token_number(token);
    let mut taken = 0;
    for lane in found.chunk_by(|(a, _), (b, _)| a.lane_id == b.lane_id) {
        let (Some((first, _)), Some((last, _))) = (lane.first(), lane.last()) else {
            continue;
        };
        let done = sqlx::query(TAKE_RANGE)
            .bind(number)
            .bind(first.lane_id)
            .bind(first.task.rank.0)
            .bind(last.task.rank.0)
            .bind(number)
            .execute(&mut *cx.sql)
            .await?
            .rows_affected();
        if done != lane.len() as u64 {
            cx.caches().contested();
            return Err(Failure::Stale);
        }
        taken += done;
    }
    Ok(taken)
}

static TAKEN: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "SELECT task_id FROM tasks FORCE INDEX (tasks_id) WHERE task_id IN",
        "AND token = ? AND state = 3",
    )
});

/// Those that the lease got, after others were faster with some; the lease then says so.
async fn only_taken(cx: &mut Cx<'_>, mut found: Vec<Found>, token: FencingToken) -> Result<Vec<Found>> {
    let number = token_number(token);
    let bind = |query: Bound, (stored, _): &Found| query.bind(stored.task.task_id.as_str().to_owned());
    let rows = TAKEN
        .fetch_with(cx.sql, &found, |query| query, bind, |query| query.bind(number))
        .await?;
    let taken: HashSet<TaskId> = rows
        .iter()
        .map(|row| Ok(TaskId::from_stored(row.try_get::<&str, _>(0)?)))
        .collect::<Result<_>>()?;
    found.retain(|(stored, _)| taken.contains(&stored.task.task_id));
    let task_ids: Vec<&TaskId> = found.iter().map(|(stored, _)| &stored.task.task_id).collect();
    sqlx::query("UPDATE leases SET held = ?, task_ids = ? WHERE token = ?")
        .bind(i64::try_from(found.len()).unwrap_or(i64::MAX))
        .bind(serde_json::to_string(&task_ids).map_err(Failure::corrupt)?)
        .bind(number)
        .execute(&mut *cx.sql)
        .await?;
    Ok(found)
}
