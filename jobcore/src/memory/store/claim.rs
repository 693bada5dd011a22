//! Claims: ready tasks under a new lease.

use std::sync::Arc;

use super::executors::Standing;
use super::lanes::LaneId;
use super::leases::LeaseEntry;
use super::places::Ending;
use super::state::{State, clamp};
use super::tasks::Slot;
use crate::engine::claim::share;
use crate::engine::settle::JOB_DELETED;
use crate::job::Job;
use crate::lane::Lane;
use crate::lease::{ClaimedTask, Fence, FencingToken, Holder, Lease};
use crate::store::{ClaimOutcome, ClaimRequest, MAX_BATCH};
use crate::task::TaskState;
use crate::time::Timestamp;

/// A task that a claim takes, with its job.
type Taken = (Slot, Arc<Job>);

impl State {
    pub(super) fn claim(&mut self, request: ClaimRequest) -> ClaimOutcome {
        let Standing::Alive(status) = self.executors.standing(&request.holder) else {
            return ClaimOutcome::NotAlive;
        };
        if request.replay
            && let Some(outcome) = self.replay(&request)
        {
            return outcome;
        }
        if !status.takes_tasks() {
            return ClaimOutcome::NotTaking;
        }
        let limit = self.room(&request);
        let taken = self.take(&request.lanes, limit, request.now);
        if taken.is_empty() {
            return ClaimOutcome::Nothing;
        }
        ClaimOutcome::Claimed(self.lease(request, taken))
    }

    /// What is still held of the lease that an earlier call with the same claim id made. Tasks whose job is gone can't be
    /// told of, and may run all the same if the earlier answer arrived: they stay as they are.
    fn replay(&self, request: &ClaimRequest) -> Option<ClaimOutcome> {
        let token = self.leases.of_claim(request.claim_id)?;
        let lease = self.leases.get(token)?;
        if lease.holder != request.holder {
            return None;
        }
        let held = self.held_under(token);
        let claimed = |slot: &Slot| {
            let job = self.job_of(*slot)?.clone();
            let task = self.tasks.task(*slot).clone();
            Some(ClaimedTask { task, job })
        };
        let tasks: Vec<ClaimedTask> = held.iter().filter_map(claimed).collect();
        match (held.is_empty(), tasks.is_empty()) {
            (true, _) => None,
            (false, true) => Some(ClaimOutcome::Nothing),
            (false, false) => Some(ClaimOutcome::Claimed(Lease {
                token,
                claim_id: request.claim_id,
                holder: request.holder.clone(),
                tasks,
            })),
        }
    }

    /// The tasks that are still held under a lease, by id.
    pub(super) fn held_under(&self, token: FencingToken) -> Vec<Slot> {
        let slots = self
            .leases
            .get(token)
            .map_or(&[][..], |lease| lease.slots.as_slice());
        let mut held: Vec<Slot> = slots
            .iter()
            .copied()
            .filter(|slot| self.is_held_under(*slot, token))
            .collect();
        held.sort_unstable_by(|a, b| self.tasks.task(*a).task_id.cmp(&self.tasks.task(*b).task_id));
        held
    }

    /// The slot of the task that a fence names, live or final.
    pub(super) fn slot_of(&mut self, fence: &Fence) -> Option<Slot> {
        let tasks = &self.tasks;
        let is_over = |slot| !tasks.is_live(slot);
        let is_wanted = |slot| tasks.task(slot).task_id == fence.task_id;
        let expected = self.leases.expected(fence.token, is_over, is_wanted);
        expected.or_else(|| self.tasks.slot(&fence.task_id))
    }

    fn is_held_under(&self, slot: Slot, token: FencingToken) -> bool {
        self.tasks.is_live(slot) && {
            let task = self.tasks.task(slot);
            task.token == token && task.state.is_held()
        }
    }

    /// How many tasks the holder may get.
    fn room(&self, request: &ClaimRequest) -> usize {
        let limit = clamp(request.limit);
        match request.max_held {
            None => limit,
            Some(max) => limit.min(max.saturating_sub(self.held_by(&request.holder))),
        }
    }

    fn held_by(&self, holder: &Holder) -> usize {
        self.executors
            .leases(&holder.executor_id)
            .filter_map(|token| self.leases.get(token))
            .filter(|lease| lease.holder == *holder)
            .map(|lease| lease.held)
            .sum()
    }

    /// Takes at most `limit` ready tasks out of their lanes.
    fn take(&mut self, lanes: &[Lane], limit: usize, now: Timestamp) -> Vec<Taken> {
        let share = share(lanes, limit);
        let mut taken: Vec<Vec<Taken>> = Vec::with_capacity(lanes.len());
        let mut puller = Puller::new(now);
        let mut left = limit;
        for lane in lanes {
            let mut some = Vec::new();
            if let Some(id) = self.lanes.find(lane) {
                if !lane.is_quarantine() {
                    puller.pull(self, id, share.min(left), &mut some);
                } else if left == limit {
                    puller.pull(self, id, 1.min(left), &mut some);
                    if !some.is_empty() {
                        return some;
                    }
                }
            }
            left -= some.len();
            taken.push(some);
        }
        for (lane, some) in lanes.iter().zip(&mut taken) {
            if left == 0 {
                break;
            }
            if let Some(id) = self.lanes.find(lane).filter(|_| !lane.is_quarantine()) {
                left -= puller.pull(self, id, left, some);
            }
        }
        taken.into_iter().flatten().collect()
    }

    /// Puts the tasks that were taken under a new lease.
    fn lease(&mut self, request: ClaimRequest, taken: Vec<Taken>) -> Lease {
        let token = self.leases.next_token();
        let holder = request.holder;
        let mut slots = Vec::with_capacity(taken.len());
        let mut tasks = Vec::with_capacity(taken.len());
        for (slot, job) in taken {
            let task = self.tasks.task_mut(slot);
            task.state = TaskState::Leased;
            task.attempt += 1;
            task.token = token;
            task.holder = Some(holder.clone());
            tasks.push(ClaimedTask {
                task: task.clone(),
                job,
            });
            slots.push(slot);
        }
        self.executors.open_lease(&holder, token);
        let lease = LeaseEntry {
            claim_id: request.claim_id,
            holder: holder.clone(),
            start_before: request.start_before,
            held: slots.len(),
            cursor: 0,
            slots,
        };
        self.leases.add(token, lease);
        Lease {
            token,
            claim_id: request.claim_id,
            holder,
            tasks,
        }
    }
}

fn deleted(now: Timestamp) -> Ending {
    Ending {
        state: TaskState::Cancelled,
        reason: Some(JOB_DELETED.to_owned()),
        now,
        output: None,
    }
}

/// Pulls ready tasks out of lanes, and settles those whose job is gone.
struct Puller {
    now: Timestamp,
    /// How many tasks of deleted jobs this call may still settle.
    discards: usize,
    /// The job of the task before: the next is often of the same.
    latest: Option<Arc<Job>>,
}

impl Puller {
    const fn new(now: Timestamp) -> Self {
        Self {
            now,
            discards: MAX_BATCH,
            latest: None,
        }
    }

    /// Takes at most `limit` tasks from one lane; returns how many.
    fn pull(&mut self, state: &mut State, lane: LaneId, limit: usize, taken: &mut Vec<Taken>) -> usize {
        let before = taken.len();
        while taken.len() - before < limit && self.discards > 0 {
            let Some(slot) = state.lanes.pop(lane) else { break };
            match self.job(state, slot) {
                Some(job) => taken.push((slot, job)),
                None => {
                    self.discards -= 1;
                    state.gates.uncount(state.tasks.task(slot), slot);
                    state.finish(slot, deleted(self.now));
                }
            }
        }
        taken.len() - before
    }

    fn job(&mut self, state: &State, slot: Slot) -> Option<Arc<Job>> {
        let job_id = &state.tasks.task(slot).job_id;
        if self.latest.as_ref().is_none_or(|job| job.job_id != *job_id) {
            self.latest = Some(state.jobs.get(job_id)?.clone());
        }
        self.latest.clone()
    }
}
