//! Cancels, and what becomes of tasks whose holder is gone.

use std::time::Duration;

use jobcore::Timestamp;
use jobcore::attempt::AttemptStatus;
use jobcore::engine::recover::{Orphan, decide, is_suspect};
use jobcore::id::TaskId;
use jobcore::store::{CancelTasks, CancelWhich, Cancelled, RecoverRequest, Recovered, RecoveredTask};
use jobcore::task::{Began, CancelRequest, Task, TaskState};

use crate::listing::clamp;
use crate::state::{Ending, State};

/// The cancel grace of tasks whose job is gone.
const GRACE_WITHOUT_JOB: Duration = Duration::from_secs(30);

impl State {
    pub(crate) fn cancel_tasks(&mut self, request: &CancelTasks) -> Cancelled {
        let named = match &request.which {
            CancelWhich::Tasks(task_ids) => task_ids.clone(),
            CancelWhich::Job(job_id) => {
                let tasks = self.live.values().map(|live| &live.task);
                let tasks = tasks.filter(|task| task.job_id == *job_id && task.cancel.is_none());
                tasks.map(|task| task.task_id.clone()).collect()
            }
        };
        let limit = clamp(request.limit);
        let mut cancelled = Cancelled {
            more: named.len() > limit,
            ..Cancelled::default()
        };
        let mut gates = Vec::new();
        for task_id in named.into_iter().take(limit) {
            let Some(live) = self.live.get(&task_id) else {
                cancelled.not_live.push(task_id);
                continue;
            };
            if live.task.state.is_held() {
                self.request_cancel(&task_id, &request.reason, request.grace, request.now);
                cancelled.requested.push(task_id);
            } else {
                gates.extend_from_slice(&live.task.gates);
                cancelled
                    .settled
                    .push((task_id.clone(), live.task.job_id.clone()));
                let ending = Ending::without_attempt(TaskState::Cancelled, &request.reason, request.now);
                self.finish(&task_id, ending);
            }
        }
        cancelled.gates = self.waited_at(gates, request.now);
        cancelled
    }

    /// Asks a held task to end within `grace`, or what its job says. A second request can only hasten.
    pub(crate) fn request_cancel(
        &mut self,
        task_id: &TaskId,
        reason: &str,
        grace: Option<Duration>,
        now: Timestamp,
    ) {
        let Some(live) = self.live.get_mut(task_id) else {
            return;
        };
        let job = self.jobs.get(&live.task.job_id);
        let grace = grace.unwrap_or(job.map_or(GRACE_WITHOUT_JOB, |job| job.definition.cancel_grace));
        let request = live.task.cancel.get_or_insert(CancelRequest {
            request_time: now,
            deadline: now + grace,
            reason: reason.to_owned(),
        });
        request.deadline = request.deadline.min(now + grace);
    }

    pub(crate) fn recover(&mut self, request: RecoverRequest) -> Recovered {
        let (mut orphans, mut overdue) = (Vec::new(), Vec::new());
        for task in self.live.values().map(|live| &live.task) {
            let Some(holder) = task.holder.as_ref().filter(|_| task.state.is_held()) else {
                continue;
            };
            if !self.is_alive(holder) {
                orphans.push((task.token, task.task_id.clone()));
            } else if let Some(cancel) = task
                .cancel
                .as_ref()
                .filter(|cancel| cancel.deadline <= request.now)
            {
                overdue.push((cancel.deadline, task.task_id.clone()));
            }
        }
        orphans.sort();
        overdue.sort();
        let orphans = orphans.into_iter().map(|(_, task_id)| (task_id, true));
        let all: Vec<_> = orphans
            .chain(overdue.into_iter().map(|(_, task_id)| (task_id, false)))
            .collect();
        let limit = clamp(request.limit);
        let mut recovered = Recovered {
            more: all.len() > limit,
            ..Recovered::default()
        };
        let mut gates = Vec::new();
        for (task_id, orphan) in all.into_iter().take(limit) {
            let task = self.live[&task_id].task.clone();
            gates.extend_from_slice(&task.gates);
            recovered.tasks.extend(self.take_back(task, orphan, request.now));
        }
        recovered.gates = self.waited_at(gates, request.now);
        recovered
    }

    fn take_back(&mut self, task: Task, orphan: bool, now: Timestamp) -> Option<RecoveredTask> {
        let (task_id, job_id, holder) = (task.task_id.clone(), task.job_id.clone(), task.holder.clone()?);
        let state = if orphan {
            self.close_attempt(&task, AttemptStatus::Lost, None);
            self.take_from_dead(task, now)
        } else {
            self.close_attempt(&task, AttemptStatus::Cancelled, Some(now));
            let reason = task
                .cancel
                .clone()
                .map(|cancel| cancel.reason)
                .unwrap_or_default();
            self.finish_taken_back(&task, TaskState::Cancelled, &reason, now)
        };
        Some(RecoveredTask {
            task_id,
            job_id,
            holder,
            state,
        })
    }

    fn take_from_dead(&mut self, task: Task, now: Timestamp) -> TaskState {
        match decide(&task, now) {
            Orphan::Final { state, reason } => self.finish_taken_back(&task, state, &reason, now),
            Orphan::Wait {
                state,
                orphanings,
                suspect_orphanings,
            } => {
                let began = if task.state == TaskState::Running {
                    Began::Yes
                } else {
                    Began::No
                };
                let lane = if is_suspect(orphanings) {
                    task.lane.quarantine()
                } else {
                    task.lane.clone()
                };
                let waiting = Task {
                    orphanings,
                    suspect_orphanings,
                    lane,
                    ..task.wait_again(state, now, began)
                };
                self.give_back(waiting);
                state
            }
        }
    }

    /// Without a holder in history, so that what the old one settles later is refused.
    fn finish_taken_back(
        &mut self,
        task: &Task,
        state: TaskState,
        reason: &str,
        now: Timestamp,
    ) -> TaskState {
        if let Some(live) = self.live.get_mut(&task.task_id) {
            live.task.holder = None;
            live.task.attempt -= u32::from(task.state == TaskState::Leased);
        }
        self.finish(&task.task_id, Ending::without_attempt(state, reason, now));
        state
    }
}
