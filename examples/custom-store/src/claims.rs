//! Claims: ready tasks under a new lease.

use std::sync::Arc;

use jobcore::engine::claim::share;
use jobcore::engine::settle::JOB_DELETED;
use jobcore::id::TaskId;
use jobcore::lane::Lane;
use jobcore::lease::{ClaimedTask, FencingToken, Lease};
use jobcore::store::{ClaimOutcome, ClaimRequest, MAX_BATCH};
use jobcore::task::{Rank, TaskState};

use crate::listing::clamp;
use crate::state::State;

impl State {
    pub(crate) fn claim(&mut self, request: ClaimRequest) -> ClaimOutcome {
        if !self.is_alive(&request.holder) {
            return ClaimOutcome::NotAlive;
        }
        if request.replay
            && let Some(outcome) = self.replayed(&request)
        {
            return outcome;
        }
        if !self.executors[&request.holder.executor_id].status().takes_tasks() {
            return ClaimOutcome::NotTaking;
        }
        let held = self.held_by(&request.holder).count();
        let room = request
            .max_held
            .map_or(usize::MAX, |max| max.saturating_sub(held));
        let limit = clamp(request.limit).min(room);
        let taken = Taking::new(self, &request).take(limit);
        if taken.is_empty() {
            return ClaimOutcome::Nothing;
        }
        ClaimOutcome::Claimed(self.lease(request, taken))
    }

    /// What is still held of the lease that an earlier call with this claim id made.
    fn replayed(&self, request: &ClaimRequest) -> Option<ClaimOutcome> {
        let mut held = self
            .held_by(&request.holder)
            .filter(|live| live.claim_id == Some(request.claim_id))
            .peekable();
        held.peek()?;
        let tasks: Vec<ClaimedTask> = held
            .filter_map(|live| {
                Some(ClaimedTask {
                    task: live.task.clone(),
                    job: Arc::new(self.jobs.get(&live.task.job_id)?.clone()),
                })
            })
            .collect();
        // Of tasks whose job is gone nobody is told, but they stay as they are: they may run.
        let Some(first) = tasks.first() else {
            return Some(ClaimOutcome::Nothing);
        };
        Some(ClaimOutcome::Claimed(Lease {
            token: first.task.token,
            claim_id: request.claim_id,
            holder: request.holder.clone(),
            tasks,
        }))
    }

    fn lease(&mut self, request: ClaimRequest, taken: Vec<TaskId>) -> Lease {
        self.last_token += 1;
        let token = FencingToken(self.last_token);
        let mut tasks = Vec::new();
        for task_id in taken {
            let Some(live) = self.live.get_mut(&task_id) else {
                continue;
            };
            live.claim_id = Some(request.claim_id);
            live.start_before = request.start_before;
            live.task.attempt += 1;
            live.task.token = token;
            live.task.holder = Some(request.holder.clone());
            tasks.push(ClaimedTask {
                task: live.task.clone(),
                job: Arc::new(self.jobs[&live.task.job_id].clone()),
            });
        }
        Lease {
            token,
            claim_id: request.claim_id,
            holder: request.holder,
            tasks,
        }
    }
}

/// A claim that takes tasks from its lanes.
struct Taking<'a> {
    state: &'a mut State,
    request: &'a ClaimRequest,
    /// How many tasks of deleted jobs it may still settle.
    discards: usize,
}

impl<'a> Taking<'a> {
    fn new(state: &'a mut State, request: &'a ClaimRequest) -> Self {
        Self {
            state,
            request,
            discards: MAX_BATCH,
        }
    }

    /// First an even share of each lane, then what is left in the order of the lanes; a suspect alone.
    fn take(mut self, limit: usize) -> Vec<TaskId> {
        let request = self.request;
        let share = share(&request.lanes, limit);
        let mut taken: Vec<Vec<TaskId>> = Vec::new();
        let mut left = limit;
        for lane in &request.lanes {
            if lane.is_quarantine() {
                let suspect = if left == limit {
                    self.pull(lane, left.min(1))
                } else {
                    Vec::new()
                };
                if !suspect.is_empty() {
                    return suspect;
                }
                taken.push(suspect);
                continue;
            }
            let some = self.pull(lane, share.min(left));
            left -= some.len();
            taken.push(some);
        }
        for (lane, some) in request
            .lanes
            .iter()
            .zip(&mut taken)
            .filter(|(lane, _)| !lane.is_quarantine())
        {
            let more = self.pull(lane, left);
            left -= more.len();
            some.extend(more);
        }
        taken.concat()
    }

    /// Takes the first ready tasks of a lane, and settles those whose job is gone.
    fn pull(&mut self, lane: &Lane, limit: usize) -> Vec<TaskId> {
        let live = self.state.live.values().map(|live| &live.task);
        let ready = live.filter(|task| task.state == TaskState::Ready && task.lane == *lane);
        let mut ready: Vec<(Rank, TaskId)> = ready.map(|task| (task.rank, task.task_id.clone())).collect();
        ready.sort();
        let mut taken = Vec::new();
        for (_, task_id) in ready {
            if taken.len() == limit || self.discards == 0 {
                break;
            }
            let task = self.state.live.get_mut(&task_id).map(|live| &mut live.task);
            match task.filter(|task| self.state.jobs.contains_key(&task.job_id)) {
                Some(task) => {
                    task.state = TaskState::Leased;
                    taken.push(task_id);
                }
                None => {
                    let now = self.request.now;
                    self.state.end(&task_id, TaskState::Cancelled, JOB_DELETED, now);
                    self.discards -= 1;
                }
            }
        }
        taken
    }
}
