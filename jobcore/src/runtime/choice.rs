//! Placement at a node that claims for itself: which lanes of jobs that choose their executor it serves, and how far.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::Node;
use crate::engine::placement::{Candidate, takes};
use crate::error::Result;
use crate::id::{ExecutorId, JobId};
use crate::job::Job;
use crate::lane::Lane;
use crate::placement::{Spread, Strategy};
use crate::store::{ExecutorFilter, ExecutorRecord, MAX_BATCH, Reach};

/// How a node serves a job's own lane.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    /// Like any other lane: the job requires nothing that the node must measure.
    Open,
    /// Not at all: a consistent hash draws the job to another node.
    Elsewhere,
    /// As many tasks as what the job requires allows.
    Measured(Arc<Job>),
}

/// Looks up how the node serves these lanes, which are jobs' own.
pub(super) async fn look_up(node: &Node, lanes: Vec<Lane>) -> Result<BTreeMap<Lane, Choice>> {
    let mut choices = BTreeMap::new();
    let mut executors = None;
    for lanes in lanes.chunks(MAX_BATCH) {
        let ids: Vec<JobId> = lanes.iter().filter_map(Lane::job).collect();
        let jobs = node.store.get_jobs(&ids).await?;
        for (lane, job) in lanes.iter().zip(jobs) {
            // What has no job any more is settled by a claim.
            let choice = match job {
                None => Choice::Open,
                Some(job) if job.definition.placement.strategy != Strategy::ConsistentHash => of(job),
                Some(job) => {
                    let there = match &mut executors {
                        Some(there) => there,
                        none => none.insert(list(node).await?),
                    };
                    if is_drawn_here(node, &job, lane, there) {
                        of(job)
                    } else {
                        Choice::Elsewhere
                    }
                }
            };
            choices.insert(lane.clone(), choice);
        }
    }
    Ok(choices)
}

/// How a node serves the lane of a job that isn't drawn elsewhere.
fn of(job: Arc<Job>) -> Choice {
    let placement = &job.definition.placement;
    if placement.spread == Spread::Required || !placement.resources.is_empty() {
        Choice::Measured(job)
    } else {
        Choice::Open
    }
}

/// The nodes that claim for themselves, of the same group.
async fn list(node: &Node) -> Result<Vec<ExecutorRecord>> {
    let filter = ExecutorFilter {
        group: Some(node.profile.group.clone()),
        ..ExecutorFilter::default()
    };
    let mut executors = node.store.list_executors(&filter).await?;
    executors.retain(|executor| executor.reach == Reach::Direct && executor.status.takes_tasks());
    Ok(executors)
}

fn is_drawn_here(node: &Node, job: &Job, lane: &Lane, there: &[ExecutorRecord]) -> bool {
    let others: Vec<ExecutorId> = there
        .iter()
        .filter(|other| other.profile.serves(&other.executor_id, lane))
        .map(|other| other.executor_id.clone())
        .collect();
    let mut placement = job.definition.placement.clone();
    // Here the hash alone is asked for: what is required changes with each task.
    placement.spread = Spread::None;
    placement.resources.clear();
    takes(&placement, &job.job_id, &own(node, 1), &others) > 0
}

/// The node as a candidate that holds nothing.
fn own(node: &Node, room: u32) -> Candidate {
    Candidate {
        executor_id: node.executor_id.clone(),
        labels: node.profile.labels.clone(),
        capacity: node.profile.capacity,
        held: 0,
        held_of_job: 0,
        room,
        given: 0,
        resources: BTreeMap::new(),
    }
}

/// How many tasks of such a job the node takes now, at most `room`.
pub(super) fn share(node: &Node, held: &Held, job: &Job, room: usize) -> usize {
    let placement = &job.definition.placement;
    let mut own = own(node, u32::try_from(room).unwrap_or(u32::MAX));
    own.held_of_job = held.jobs.get(&job.job_id).copied().unwrap_or(0);
    if !placement.resources.is_empty() {
        own.resources = node.resources.read();
        for (name, used) in &held.resources {
            if let Some(left) = own.resources.get_mut(name) {
                *left = left.saturating_sub(*used);
            }
        }
    }
    // The lane is served, so a hash has drawn it here.
    takes(placement, &job.job_id, &own, &[]) as usize
}

/// What a node holds of jobs that choose their executor.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    jobs: BTreeMap<JobId, u32>,
    resources: BTreeMap<String, u64>,
}

impl Held {
    /// A task of the job was claimed.
    pub(super) fn add(&mut self, job: &Job) {
        if !job.definition.placement.chooses() {
            return;
        }
        *self.jobs.entry(job.job_id.clone()).or_default() += 1;
        for (name, need) in &job.definition.placement.resources {
            let used = self.resources.entry(name.clone()).or_default();
            *used = used.saturating_add(*need);
        }
    }

    /// A task of the job, as it was when it was added, isn't held any more; says whether that counts.
    pub(super) fn remove(&mut self, job: &Job) -> bool {
        if !job.definition.placement.chooses() {
            return false;
        }
        if let Some(count) = self.jobs.get_mut(&job.job_id) {
            *count -= 1;
            if *count == 0 {
                self.jobs.remove(&job.job_id);
            }
        }
        for (name, need) in &job.definition.placement.resources {
            if let Some(used) = self.resources.get_mut(name) {
                *used = used.saturating_sub(*need);
            }
        }
        true
    }
}
