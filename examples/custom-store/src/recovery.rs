//! Cancels, and what becomes of tasks whose holder is gone.

use std::time::Duration;

use jobcore::Timestamp;
use jobcore::engine::recover::{cancel_by_force, take_back};
use jobcore::id::TaskId;
use jobcore::store::{CancelTasks, CancelWhich, Cancelled, RecoverRequest, Recovered, RecoveredTask};
use jobcore::task::{CancelRequest, Task, TaskState};

use crate::listing::clamp;
use crate::state::State;

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
                self.end(&task_id, TaskState::Cancelled, &request.reason, request.now);
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
        let change = match orphan {
            true => take_back(&task, now),
            false => cancel_by_force(&task, now),
        };
        Some(RecoveredTask {
            state: self.apply(change),
            task_id: task.task_id,
            job_id: task.job_id,
            holder: task.holder?,
        })
    }
}
