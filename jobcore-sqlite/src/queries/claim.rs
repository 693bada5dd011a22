//! Claims: the first of each lane, under one new lease.

use std::sync::Arc;

use jobcore::engine::claim::{Offer, quotas};
use jobcore::engine::settle::JOB_DELETED;
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::lease::{ClaimedTask, FencingToken, Lease};
use jobcore::store::{ClaimOutcome, ClaimRequest, MAX_BATCH};
use jobcore::task::TaskState;

use super::columns::token_number;
use super::executors::{Standing, standing};
use super::lanes::find_lane_id;
use super::leases::{StoredLease, claim_bytes, incarnation_number, insert_lease};
use super::rows::json_numbers;
use super::stored_job::jobs_by_id;
use super::stored_task::StoredTask;
use super::task_row::{read_tasks, select_tasks};
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
        let standing = standing(cx, &request.holder).await?;
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
        let tasks = if limit == 0 {
            Vec::new()
        } else {
            find(cx, request, limit).await?
        };
        if tasks.is_empty() {
            return Ok(ClaimOutcome::Nothing);
        }
        take(cx, request, tasks).await.map(ClaimOutcome::Claimed)
    }
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
            let jobs = jobs_by_id(
                cx,
                tasks.iter().map(|stored| stored.task.job_id.clone()).collect(),
            )
            .await?;
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

/// Puts tasks under a new lease.
async fn take(cx: &mut Cx<'_>, request: &ClaimRequest, found: Vec<Found>) -> Result<Lease> {
    let task_ids: Vec<_> = found.iter().map(|(stored, _)| &stored.task.task_id).collect();
    let token = insert_lease(
        cx,
        request.claim_id,
        &request.holder,
        request.start_before,
        &task_ids,
    )
    .await?;
    for lane in found.chunk_by(|(a, _), (b, _)| a.lane_id == b.lane_id) {
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

/// Leases what was found in a lane: all that is ready there up to the last one found.
async fn lease_first(cx: &mut Cx<'_>, lane: &[Found], token: FencingToken) -> Result<()> {
    let Some((last, _)) = lane.last() else {
        return Ok(());
    };
    let update = "UPDATE OR FAIL tasks SET state = 3, token = ?1, attempt = attempt + 1 \
                  WHERE lane_id = ?2 AND pending = 0 AND (rank, task_id) <= (?3, ?4) AND state = 2";
    let done = sqlx::query(update)
        .bind(token_number(token))
        .bind(last.lane_id)
        .bind(last.task.rank.0)
        .bind(last.task.task_id.as_str().to_owned())
        .execute(&mut *cx.sql)
        .await?;
    if done.rows_affected() == lane.len() as u64 {
        return Ok(());
    }
    Err(Failure::corrupt(format_args!(
        "a claim leased {} tasks of lane {} where it had found {}",
        done.rows_affected(),
        last.lane_id,
        lane.len()
    )))
}
