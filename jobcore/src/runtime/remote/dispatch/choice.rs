//! Tasks of jobs that choose their executor: one is chosen for each task, then claimed for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::{Claims, Round};
use crate::Result;
use crate::engine::placement::{Candidate, choose};
use crate::id::ExecutorId;
use crate::job::Job;
use crate::lane::Lane;
use crate::placement::Spread;
use crate::store::{MAX_BATCH, PageRequest, TaskFilter};
use crate::task::TaskState;

impl Claims {
    /// Chooses executors for the tasks in a job's own lane, as long as there are any: one task in the first step, and
    /// twice as many in each after it, so that few tasks are placed well and many quickly.
    pub(super) async fn choose(&self, lane: &Lane) -> Round {
        let (job, mut candidates) = match self.prepare(lane).await {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return Round::Done,
            Err(error) => {
                self.dispatcher.node.back_off("dispatch", &error).await;
                return Round::Done;
            }
        };
        let mut step = 1;
        loop {
            let shares = shares(&job, &mut candidates, if lane.is_quarantine() { 1 } else { step });
            if shares.is_empty() {
                return Round::Done;
            }
            for (executor_id, count) in shares {
                if self.give(lane, &job, &executor_id, count).await < count {
                    return Round::Done;
                }
            }
            if lane.is_quarantine() {
                return Round::Done;
            }
            step = (step * 2).min(self.dispatcher.node.config.claim_batch);
        }
    }

    async fn prepare(&self, lane: &Lane) -> Result<Option<(Arc<Job>, Vec<Candidate>)>> {
        let Some(job_id) = lane.job() else { return Ok(None) };
        let job = self
            .dispatcher
            .node
            .store
            .get_jobs(&[job_id])
            .await?
            .into_iter()
            .flatten()
            .next();
        let Some(job) = job else { return Ok(None) };
        let beside = match job.definition.placement.spread {
            Spread::None => BTreeMap::new(),
            Spread::Preferred | Spread::Required => self.beside(&job).await?,
        };
        let candidates = self
            .dispatcher
            .fleet
            .lock()
            .candidates(lane, &job.job_id, &beside);
        Ok(Some((job, candidates)))
    }

    /// How many of the job's tasks each executor holds. Beyond a page of them it is not worth knowing exactly.
    async fn beside(&self, job: &Job) -> Result<BTreeMap<ExecutorId, u32>> {
        let filter = TaskFilter {
            job_id: Some(job.job_id.clone()),
            states: vec![TaskState::Leased, TaskState::Running],
            executor_id: None,
        };
        let page = self
            .dispatcher
            .node
            .store
            .list_tasks(&filter, &PageRequest::first(MAX_BATCH))
            .await?;
        let mut beside = BTreeMap::new();
        for holder in page.items.into_iter().filter_map(|task| task.holder) {
            *beside.entry(holder.executor_id).or_insert(0) += 1;
        }
        Ok(beside)
    }

    /// Claims tasks of the job for the executor that was chosen; says how many.
    async fn give(&self, lane: &Lane, job: &Job, executor_id: &ExecutorId, count: usize) -> usize {
        let claimants = self.dispatcher.fleet.lock().claimants(0);
        let chosen = claimants
            .into_iter()
            .find(|claimant| claimant.address.holder.executor_id == *executor_id);
        let Some(claimant) = chosen.filter(|claimant| !lane.is_quarantine() || claimant.takes_suspects)
        else {
            return 0;
        };
        let claimed = self.claim(&claimant, vec![lane.clone()], count).await;
        self.dispatcher
            .fleet
            .lock()
            .give(&job.job_id, executor_id, claimed);
        claimed
    }
}

/// How many of the next `step` tasks each executor gets.
fn shares(job: &Job, candidates: &mut [Candidate], step: usize) -> BTreeMap<ExecutorId, usize> {
    let placement = &job.definition.placement;
    let mut shares = BTreeMap::new();
    for _ in 0..step {
        let Some(n) = choose(placement, &job.job_id, candidates) else {
            break;
        };
        candidates[n].give(placement);
        *shares.entry(candidates[n].executor_id.clone()).or_insert(0) += 1;
    }
    shares
}
