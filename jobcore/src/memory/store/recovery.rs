//! Recovery: tasks of dead holders, and attempts past their cancel deadline.

use super::executors::Standing;
use super::places::Ending;
use super::state::{State, clamp};
use super::tasks::Slot;
use crate::attempt::AttemptStatus;
use crate::engine::recover::{Orphan, decide, is_suspect};
use crate::lease::Holder;
use crate::store::{RecoverRequest, Recovered, RecoveredTask};
use crate::task::{Began, TaskState};
use crate::time::Timestamp;

impl State {
    pub(super) fn recover(&mut self, request: RecoverRequest) -> Recovered {
        let limit = clamp(request.limit);
        let mut recovered = Recovered::default();
        let mut gates = Vec::new();
        let orphans = self.orphans(limit + 1);
        let overdue = self.overdue(request.now, limit + 1);
        for slot in orphans {
            if recovered.tasks.len() == limit {
                break;
            }
            gates.extend_from_slice(&self.tasks.task(slot).gates);
            recovered.tasks.push(self.recover_one(slot, request.now));
        }
        for slot in overdue {
            // A dead holder's task may be past its deadline as well.
            if recovered.tasks.len() < limit && self.tasks.is_live(slot) {
                gates.extend_from_slice(&self.tasks.task(slot).gates);
                recovered.tasks.push(self.cancel_by_force(slot, request.now));
            }
        }
        recovered.more = !self.orphans(1).is_empty() || !self.overdue(request.now, 1).is_empty();
        recovered.gates = self.waited_at(gates, request.now);
        recovered
    }

    /// Held tasks whose holder is dead, superseded or gone, by token and id.
    fn orphans(&self, limit: usize) -> Vec<Slot> {
        let dead = self
            .leases
            .iter()
            .filter(|(_, lease)| !matches!(self.executors.standing(&lease.holder), Standing::Alive(_)));
        let mut orphans = Vec::new();
        for (token, _) in dead {
            orphans.append(&mut self.held_under(token));
            if orphans.len() >= limit {
                break;
            }
        }
        orphans.truncate(limit);
        orphans
    }

    /// Held tasks past their cancel deadline.
    fn overdue(&self, now: Timestamp, limit: usize) -> Vec<Slot> {
        self.cancelling
            .iter()
            .take_while(|((deadline, _), _)| *deadline <= now)
            .map(|(_, slot)| *slot)
            .take(limit)
            .collect()
    }

    fn recover_one(&mut self, slot: Slot, now: Timestamp) -> RecoveredTask {
        let task = self.tasks.task(slot);
        let decision = decide(task, now);
        let began = task.state == TaskState::Running;
        let (holder, mut recovered) = self.taken_back(slot);
        self.detach(slot);
        self.end_attempt(slot, AttemptStatus::Lost, None);
        recovered.state = match decision {
            Orphan::Final { state, reason } => {
                self.finish_taken_back(slot, state, reason, now);
                state
            }
            Orphan::Wait {
                state,
                orphanings,
                suspect_orphanings,
            } => {
                let began = if began { Began::Yes } else { Began::No };
                self.tasks.replace(slot, |mut task| {
                    task.orphanings = orphanings;
                    task.suspect_orphanings = suspect_orphanings;
                    task.wait_again(state, now, began)
                });
                if is_suspect(orphanings) {
                    self.quarantine(slot);
                }
                self.attach(slot);
                state
            }
        };
        RecoveredTask { holder, ..recovered }
    }

    /// Moves a detached task to the lane where it is claimed alone.
    fn quarantine(&mut self, slot: Slot) {
        let entry = self.tasks.entry_mut(slot);
        let lane = entry.task.lane.quarantine();
        let old = entry.lane;
        entry.lane = self.lanes.enter(&lane);
        entry.task.lane = lane;
        self.lanes.leave(old);
    }

    fn cancel_by_force(&mut self, slot: Slot, now: Timestamp) -> RecoveredTask {
        let (_, recovered) = self.taken_back(slot);
        let reason = self.tasks.task(slot).cancel.as_ref();
        let reason = reason.map(|cancel| cancel.reason.clone()).unwrap_or_default();
        self.detach(slot);
        self.end_attempt(slot, AttemptStatus::Cancelled, Some(now));
        self.finish_taken_back(slot, TaskState::Cancelled, reason, now);
        RecoveredTask {
            state: TaskState::Cancelled,
            ..recovered
        }
    }

    fn taken_back(&self, slot: Slot) -> (Holder, RecoveredTask) {
        let task = self.tasks.task(slot);
        let holder = task
            .holder
            .clone()
            .expect("invariant: a task under a lease has a holder");
        let recovered = RecoveredTask {
            task_id: task.task_id.clone(),
            job_id: task.job_id.clone(),
            holder: holder.clone(),
            state: task.state,
        };
        (holder, recovered)
    }

    /// Ends the attempt whose start was recorded, if there is one.
    fn end_attempt(&mut self, slot: Slot, status: AttemptStatus, end_time: Option<Timestamp>) {
        let entry = self.tasks.entry(slot);
        let attempts = &mut self.history.attempts;
        attempts.abandon(entry.last_attempt, entry.task.token, status, end_time);
    }

    /// Makes a detached task final without its holder, so that what the holder settles later is refused.
    fn finish_taken_back(&mut self, slot: Slot, state: TaskState, reason: String, now: Timestamp) {
        let task = self.tasks.task_mut(slot);
        if task.state == TaskState::Leased {
            task.attempt -= 1;
        }
        task.holder = None;
        self.finish(
            slot,
            Ending {
                state,
                reason: Some(reason),
                now,
                output: None,
            },
        );
    }
}
