//! Claims: the first of each lane, under one new lease.

use std::collections::HashMap;
use std::sync::Arc;

use jobcore::Timestamp;
use jobcore::engine::claim::{Offer, quotas};
use jobcore::engine::settle::JOB_DELETED;
use jobcore::id::{JobId, TaskId};
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::lease::{ClaimedTask, FencingToken, Lease};
use jobcore::store::{ClaimOutcome, ClaimRequest, MAX_BATCH};
use jobcore::task::TaskState;
use sqlx::Row as _;

use super::columns::token_number;
use super::executors::{Standing, find_standing, standing, standing_columns};
use super::lanes::find_lane_id;
use super::leases::{StoredLease, claim_bytes, incarnation_number};
use super::rows::{Bound, json_list, json_numbers};
use super::stored_job::jobs_by_id;
use super::stored_task::StoredTask;
use super::task_row::{decode_tasks, read_tasks, select_tasks};
use super::transitions::{Transition, write_transitions};
use crate::connection::{Cx, Operation};
use crate::error::{Failure, Result};

/// Takes `Ready` tasks under a new lease.
#[derive(Debug)]
pub(crate) struct Claim(pub(crate) ClaimRequest);

#[async_trait::async_trait]
impl Operation for Claim {
    type Answer = ClaimOutcome;
    const NAME: &'static str = "claim";

    fn weight(&self) -> usize {
        self.0.limit
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let request = &self.0;
        let (standing, found) = look(cx, request).await?;
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
        let tasks = match found {
            Some(found) => found,
            None => match room(cx, request).await? {
                0 => Vec::new(),
                limit => find(cx, request, limit).await?,
            },
        };
        if tasks.is_empty() {
            return Ok(ClaimOutcome::Nothing);
        }
        take(cx, request, tasks).await.map(ClaimOutcome::Claimed)
    }
}

/// What is usual: a claim from one lane, for the first time, as much as there is.
const LOOK: &str = concat!(
    "SELECT ",
    standing_columns!(),
    ", (",
    select_tasks!("WHERE lane_id = ?2 AND pending = 0 AND t.state = 2 ORDER BY rank, task_id LIMIT ?3"),
    ") FROM executors WHERE executor_id = ?1"
);

/// How the holder stands and, as is usual, what it gets; `None`: that is to be [found](find).
async fn look(cx: &mut Cx<'_>, request: &ClaimRequest) -> Result<(Standing, Option<Vec<Found>>)> {
    let lane_id = match &*request.lanes {
        [lane] if !request.replay && request.max_held.is_none() => find_lane_id(cx, lane).await?,
        _ => None,
    };
    let Some(lane_id) = lane_id else {
        return Ok((find_standing(cx, &request.holder).await?, None));
    };
    let query = sqlx::query(LOOK)
        .bind(request.holder.executor_id.to_shared())
        .bind(lane_id)
        .bind(i64::try_from(request.limit).unwrap_or(i64::MAX));
    let row = query.fetch_optional(&mut *cx.sql).await?;
    let standing = standing(cx, &request.holder, row.as_ref())?;
    let tasks: Option<&str> = match &row {
        Some(row) => row.try_get(3)?,
        None => None,
    };
    let tasks = decode_tasks(cx, tasks).await?;
    let jobs = jobs_of(cx, &tasks).await?;
    let with_job = |stored: StoredTask| {
        let job = Arc::clone(jobs.get(&stored.task.job_id)?);
        Some((stored, job))
    };
    // With one whose job is gone there is more to do.
    let found = tasks.into_iter().map(with_job).collect();
    Ok((standing, found))
}

/// What is still held of the lease that an earlier call with this claim number got. Tasks whose job is gone can't be told
/// of, and may run all the same if the earlier answer arrived: they stay as they are.
async fn replayed(cx: &mut Cx<'_>, request: &ClaimRequest) -> Result<Option<ClaimOutcome>> {
    let select = "SELECT token, task_ids FROM leases WHERE claim_id = ?1";
    let row = sqlx::query(select)
        .bind(claim_bytes(request.claim_id))
        .fetch_optional(&mut *cx.sql)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let lease = StoredLease::decode(&row)?;
    let held = lease.held(cx).await?;
    if held.is_empty() {
        return Ok(None);
    }
    let jobs = jobs_of(cx, &held).await?;
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
    let select = "SELECT coalesce(sum(held), 0) FROM leases WHERE executor_id = ?1 AND incarnation = ?2";
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
    let mut settled = 0;
    loop {
        let (lane_ids, offers) = offers(cx, &request.lanes, limit).await?;
        let quotas = quotas(&offers, limit);
        let mut found = Vec::new();
        let mut orphaned = Vec::new();
        for (lane_id, quota) in lane_ids.into_iter().zip(quotas).filter(|(_, quota)| *quota > 0) {
            let tasks = first_of_lane(cx, lane_id, quota).await?;
            let jobs = jobs_of(cx, &tasks).await?;
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
        if orphaned.is_empty() || settled >= MAX_BATCH {
            return Ok(found);
        }
        orphaned.truncate(MAX_BATCH - settled);
        settled += orphaned.len();
        let end = |stored| {
            Transition::end(
                stored,
                TaskState::Cancelled,
                Some(JOB_DELETED.to_owned()),
                request.now,
            )
        };
        write_transitions(cx, orphaned.into_iter().map(end).collect()).await?;
        // What was settled made room for others: look again.
    }
}

/// The number of a lane that there isn't.
const NO_LANE: i64 = -1;

/// The numbers of lanes, and how much each has to give.
async fn offers(cx: &mut Cx<'_>, lanes: &[Lane], limit: usize) -> Result<(Vec<i64>, Vec<Offer>)> {
    let mut lane_ids = Vec::with_capacity(lanes.len());
    for lane in lanes {
        lane_ids.push(find_lane_id(cx, lane).await?.unwrap_or(NO_LANE));
    }
    let ready = match &*lane_ids {
        // The only one is simply asked.
        [lane_id] => vec![if *lane_id == NO_LANE { 0 } else { limit }],
        _ => ready_in(cx, &lane_ids, limit).await?,
    };
    let offer = |(lane, ready): (&Lane, usize)| Offer {
        quarantine: lane.is_quarantine(),
        ready,
    };
    Ok((lane_ids, lanes.iter().zip(ready).map(offer).collect()))
}

/// How many tasks each lane has ready, up to `limit`.
async fn ready_in(cx: &mut Cx<'_>, lane_ids: &[i64], limit: usize) -> Result<Vec<usize>> {
    // One text, since each row would cross from the connection's thread by itself.
    let select = "SELECT coalesce(group_concat((SELECT count(*) FROM (SELECT 1 FROM tasks \
                  WHERE lane_id = value AND pending = 0 AND state = 2 LIMIT ?2))), '') FROM json_each(?1)";
    let ready: String = sqlx::query_scalar(select)
        .bind(json_numbers(lane_ids.iter().copied()))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_one(&mut *cx.sql)
        .await?;
    let number = |text: &str| text.parse().map_err(|_| Failure::corrupt("a count is no number"));
    ready
        .split(',')
        .filter(|text| !text.is_empty())
        .map(number)
        .collect()
}

/// The first `Ready` tasks of a lane, by rank.
async fn first_of_lane(cx: &mut Cx<'_>, lane_id: i64, limit: usize) -> Result<Vec<StoredTask>> {
    let select =
        select_tasks!("WHERE lane_id = ?1 AND pending = 0 AND t.state = 2 ORDER BY rank, task_id LIMIT ?2");
    let select = sqlx::query_scalar(select)
        .bind(lane_id)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    read_tasks(cx, select).await
}

/// The jobs of tasks.
async fn jobs_of(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<HashMap<JobId, Arc<Job>>> {
    jobs_by_id(
        cx,
        tasks.iter().map(|stored| stored.task.job_id.clone()).collect(),
    )
    .await
}

/// Puts tasks under a new lease.
async fn take(cx: &mut Cx<'_>, request: &ClaimRequest, found: Vec<Found>) -> Result<Lease> {
    let task_ids: Vec<_> = found.iter().map(|(stored, _)| &stored.task.task_id).collect();
    let mut lanes = found.chunk_by(|(a, _), (b, _)| a.lane_id == b.lane_id);
    let token = open_lease(cx, request, &task_ids, lanes.next().unwrap_or_default()).await?;
    for lane in lanes {
        lease_first(cx, lane, token).await?;
    }
    let mut tasks = Vec::with_capacity(found.len());
    for (mut stored, job) in found {
        let task = &mut stored.task;
        task.state = TaskState::Leased;
        task.token = token;
        task.attempt += 1;
        task.holder = Some(request.holder.clone());
        cx.caches.claims.keep(&request.holder, &stored);
        tasks.push(ClaimedTask {
            task: stored.task,
            job,
        });
    }
    Ok(Lease {
        token,
        claim_id: request.claim_id,
        holder: request.holder.clone(),
        tasks,
    })
}

/// Leases what is ready in a lane up to a task.
macro_rules! lease_first {
    ($token:literal) => {
        concat!(
            "UPDATE OR FAIL tasks SET state = 3, attempt = attempt + 1, token = ",
            $token,
            " WHERE lane_id = ?1 AND pending = 0 AND (rank, task_id) <= (?2, ?3) AND state = 2"
        )
    };
}

/// Makes a lease on tasks, under a new number, higher than all before it, and leases those of the first lane.
async fn open_lease(
    cx: &mut Cx<'_>,
    request: &ClaimRequest,
    task_ids: &[&TaskId],
    first_lane: &[Found],
) -> Result<FencingToken> {
    let Some((last, _)) = first_lane.last() else {
        return Err(Failure::corrupt("a claim has no first lane"));
    };
    let open = concat!(
        "INSERT INTO leases (claim_id, executor_id, incarnation, start_before, held, task_ids) \
         VALUES (?4, ?5, ?6, ?7, ?8, ?9); ",
        lease_first!("last_insert_rowid()")
    );
    let query = bind_last(sqlx::query(open), last)
        .bind(claim_bytes(request.claim_id))
        .bind(request.holder.executor_id.to_shared())
        .bind(incarnation_number(&request.holder))
        .bind(request.start_before.map(Timestamp::as_micros))
        .bind(i64::try_from(task_ids.len()).unwrap_or(i64::MAX))
        .bind(json_list(task_ids.iter().map(|task_id| task_id.as_str())));
    let done = query.execute(&mut *cx.sql).await?;
    as_found(done.rows_affected().saturating_sub(1), first_lane)?;
    Ok(FencingToken(u64::try_from(done.last_insert_rowid()).unwrap_or(0)))
}

/// Leases what was found in another lane: all that is ready there up to the last one found.
async fn lease_first(cx: &mut Cx<'_>, lane: &[Found], token: FencingToken) -> Result<()> {
    let Some((last, _)) = lane.last() else {
        return Ok(());
    };
    let query = bind_last(sqlx::query(lease_first!("?4")), last).bind(token_number(token));
    as_found(query.execute(&mut *cx.sql).await?.rows_affected(), lane)
}

fn bind_last(query: Bound, last: &StoredTask) -> Bound {
    query
        .bind(last.lane_id)
        .bind(last.task.rank.0)
        .bind(last.task.task_id.to_shared())
}

fn as_found(leased: u64, lane: &[Found]) -> Result<()> {
    let found = lane.len();
    if leased == found as u64 {
        return Ok(());
    }
    let lane_id = lane.first().map_or(NO_LANE, |(stored, _)| stored.lane_id);
    Err(Failure::corrupt(format_args!(
        "a claim leased {leased} tasks of lane {lane_id} where it had found {found}"
    )))
}
