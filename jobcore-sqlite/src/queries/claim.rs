//! Claims: the first of each lane, under one new lease.

use std::sync::Arc;

use jobcore::engine::settle::JOB_DELETED;
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::lease::{ClaimedTask, Lease};
use jobcore::store::{ClaimOutcome, ClaimRequest, MAX_BATCH};
use jobcore::task::TaskState;
use sqlx::Row;

use super::columns::token_number;
use super::executors::{Standing, standing};
use super::lanes::find_lane_id;
use super::leases::{StoredLease, claim_bytes, incarnation_number, insert_lease};
use super::rows::{json_list, json_numbers};
use super::stored_job::jobs_by_id;
use super::stored_task::StoredTask;
use super::task_row::{read_tasks, select_tasks};
use super::transitions::{Transition, write_transitions};
use crate::connection::{Cx, Operation};
use crate::error::Result;

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

/// A lane of the request with something in it.
struct Candidate {
    lane_id: i64,
    quarantine: bool,
    ready: usize,
}

/// A task that can be claimed, with its job.
type Found = (StoredTask, Arc<Job>);

/// The tasks to claim. Those that it meets whose job is gone are settled.
async fn find(cx: &mut Cx<'_>, request: &ClaimRequest, limit: usize) -> Result<Vec<Found>> {
    let mut settled = 0;
    loop {
        let candidates = candidates(cx, &request.lanes, limit).await?;
        let ordinary = request.lanes.iter().filter(|lane| !lane.is_quarantine()).count();
        let mut found = Vec::new();
        let mut orphaned = Vec::new();
        for (lane_id, quota) in quotas(&candidates, ordinary, limit) {
            let tasks = first_of_lane(cx, lane_id, quota).await?;
            let jobs = jobs_by_id(
                cx,
                tasks.iter().map(|stored| stored.task.job_id.clone()).collect(),
            )
            .await?;
            for stored in tasks {
                match jobs.get(&stored.task.job_id) {
                    Some(job) => found.push((stored, Arc::clone(job))),
                    None => orphaned.push(stored),
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

/// How many tasks to take from which lanes: an even share of each first, then what is left in their order; one suspect
/// alone.
fn quotas(candidates: &[Candidate], ordinary: usize, limit: usize) -> Vec<(i64, usize)> {
    let share = (limit / ordinary.max(1)).max(1);
    let mut left = limit;
    let mut quotas: Vec<(i64, usize, usize)> = Vec::new();
    for candidate in candidates.iter().filter(|candidate| candidate.ready > 0) {
        if candidate.quarantine {
            if quotas.is_empty() {
                return vec![(candidate.lane_id, 1)];
            }
            continue;
        }
        let quota = candidate.ready.min(share).min(left);
        left -= quota;
        quotas.push((candidate.lane_id, quota, candidate.ready));
    }
    for (_, quota, ready) in &mut quotas {
        let more = (*ready - *quota).min(left);
        left -= more;
        *quota += more;
    }
    quotas
        .into_iter()
        .filter(|(_, quota, _)| *quota > 0)
        .map(|(lane_id, quota, _)| (lane_id, quota))
        .collect()
}

/// The lanes, with how much they have to give.
async fn candidates(cx: &mut Cx<'_>, lanes: &[Lane], limit: usize) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::with_capacity(lanes.len());
    for lane in lanes {
        if let Some(lane_id) = find_lane_id(cx, lane).await? {
            candidates.push(Candidate {
                lane_id,
                quarantine: lane.is_quarantine(),
                ready: limit,
            });
        }
    }
    // The only one is simply asked.
    if candidates.len() < 2 {
        return Ok(candidates);
    }
    let select = "SELECT (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE lane_id = value AND state = 2 LIMIT ?2)) \
                  FROM json_each(?1)";
    let rows = sqlx::query(select)
        .bind(json_numbers(candidates.iter().map(|candidate| candidate.lane_id)))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *cx.sql)
        .await?;
    for (candidate, row) in candidates.iter_mut().zip(&rows) {
        candidate.ready = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
    }
    Ok(candidates)
}

/// The first `Ready` tasks of a lane, by rank.
async fn first_of_lane(cx: &mut Cx<'_>, lane_id: i64, limit: usize) -> Result<Vec<StoredTask>> {
    let select = select_tasks!("WHERE lane_id = ?1 AND t.state = 2 ORDER BY rank, task_id LIMIT ?2");
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
    sqlx::query(
        "UPDATE OR FAIL tasks SET state = 3, token = ?1, attempt = attempt + 1 \
         WHERE task_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(token_number(token))
    .bind(json_list(task_ids.iter().map(|task_id| task_id.as_str())))
    .execute(&mut *cx.sql)
    .await?;
    let tasks = found.into_iter().map(|(stored, job)| {
        let mut task = stored.task;
        task.state = TaskState::Leased;
        task.token = token;
        task.attempt += 1;
        task.holder = Some(request.holder.clone());
        ClaimedTask { task, job }
    });
    let tasks = tasks.collect();
    Ok(Lease {
        token,
        claim_id: request.claim_id,
        holder: request.holder.clone(),
        tasks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(lane_id: i64, ready: usize) -> Candidate {
        Candidate {
            lane_id,
            quarantine: false,
            ready,
        }
    }

    fn quarantine(lane_id: i64, ready: usize) -> Candidate {
        Candidate {
            quarantine: true,
            ..lane(lane_id, ready)
        }
    }

    #[test]
    fn lanes_share_evenly_and_then_fill_up_in_order() {
        assert_eq!(quotas(&[lane(1, 10), lane(2, 10)], 2, 10), [(1, 5), (2, 5)]);
        assert_eq!(quotas(&[lane(1, 10), lane(2, 2)], 2, 10), [(1, 8), (2, 2)]);
        assert_eq!(
            quotas(&[lane(1, 10), lane(2, 10), lane(3, 10)], 3, 2),
            [(1, 1), (2, 1)]
        );
        assert_eq!(quotas(&[lane(1, 0), lane(2, 10)], 2, 4), [(2, 4)]);
    }

    #[test]
    fn a_suspect_goes_alone_and_only_if_nothing_came_before_it() {
        assert_eq!(quotas(&[quarantine(9, 3), lane(1, 5)], 1, 10), [(9, 1)]);
        assert_eq!(
            quotas(&[lane(1, 5), quarantine(9, 3), lane(2, 5)], 2, 10),
            [(1, 5), (2, 5)]
        );
        assert_eq!(
            quotas(&[lane(1, 0), quarantine(9, 3), lane(2, 5)], 2, 10),
            [(9, 1)]
        );
    }
}
