//! Changes and cancellations of live tasks.

use std::time::Duration;

use super::state::{State, clamp};
use super::tasks::Slot;
use crate::store::{CancelTasks, CancelWhich, Cancelled, ChangeOutcome, ChangeTask};
use crate::task::{CancelRequest, Rank, Task, TaskState};
use crate::time::Timestamp;

/// The cancel grace of tasks whose job is gone: what jobs have by default.
const GRACE_WITHOUT_JOB: Duration = Duration::from_secs(30);

impl State {
    pub(super) fn change_task(&mut self, change: &ChangeTask, now: Timestamp) -> ChangeOutcome {
        let Some(slot) = self.tasks.live_slot(&change.task_id) else {
            return ChangeOutcome::NotWaiting;
        };
        if self.tasks.task(slot).state.is_held() {
            return ChangeOutcome::Held;
        }
        self.detach(slot);
        let task = self.tasks.task_mut(slot);
        task.priority = change.priority.unwrap_or(task.priority);
        task.due_time = change.due_time.unwrap_or(task.due_time);
        task.rank = Rank::new(task.due_time, task.priority);
        task.state = Task::waiting_state(task.state == TaskState::Blocked, task.due_time, now);
        self.attach(slot);
        ChangeOutcome::Changed
    }

    pub(super) fn cancel_tasks(&mut self, request: &CancelTasks) -> Cancelled {
        let limit = clamp(request.limit);
        let mut cancelled = Cancelled::default();
        let mut gates = Vec::new();
        match &request.which {
            CancelWhich::Job(job_id) => {
                let slots = self.uncancelled(job_id, limit + 1);
                cancelled.more = slots.len() > limit;
                for slot in slots.into_iter().take(limit) {
                    self.cancel(slot, request, &mut cancelled, &mut gates);
                }
            }
            CancelWhich::Tasks(task_ids) => {
                cancelled.more = task_ids.len() > limit;
                for task_id in task_ids.iter().take(limit) {
                    match self.tasks.live_slot(task_id) {
                        Some(slot) => self.cancel(slot, request, &mut cancelled, &mut gates),
                        None => cancelled.not_live.push(task_id.clone()),
                    }
                }
            }
        }
        cancelled.gates = self.waited_at(gates, request.now);
        cancelled
    }

    fn cancel(
        &mut self,
        slot: Slot,
        request: &CancelTasks,
        cancelled: &mut Cancelled,
        gates: &mut Vec<crate::gate::GateKey>,
    ) {
        let task = self.tasks.task(slot);
        if task.state.is_waiting() {
            cancelled
                .settled
                .push((task.task_id.clone(), task.job_id.clone()));
            gates.extend_from_slice(&task.gates);
            self.finish_waiting(slot, TaskState::Cancelled, &request.reason, request.now);
        } else {
            cancelled.requested.push(task.task_id.clone());
            self.request_cancel(slot, &request.reason, request.grace, request.now);
        }
    }

    /// Asks a held task to end within `grace`, or what its job says.
    pub(super) fn request_cancel(
        &mut self,
        slot: Slot,
        reason: &str,
        grace: Option<Duration>,
        now: Timestamp,
    ) {
        let job_says = || {
            self.job_of(slot)
                .map_or(GRACE_WITHOUT_JOB, |job| job.definition.cancel_grace)
        };
        let deadline = now + grace.unwrap_or_else(job_says);
        let task = self.tasks.task_mut(slot);
        let request = match task.cancel.take() {
            None => CancelRequest {
                request_time: now,
                deadline,
                reason: reason.to_owned(),
            },
            Some(old) => {
                self.cancelling.remove(&(old.deadline, task.task_id.clone()));
                CancelRequest {
                    deadline: old.deadline.min(deadline),
                    ..old
                }
            }
        };
        self.cancelling
            .insert((request.deadline, task.task_id.clone()), slot);
        task.cancel = Some(request);
    }
}
