//! What holders write: starts, progress, and how attempts ended.

use jobcore::attempt::{Attempt, AttemptStatus};
use jobcore::engine::settle::{Resolution, holds, resolve};
use jobcore::lease::Fence;
use jobcore::store::{
    AttemptEnd, Next, SaveOutcome, SaveProgress, SettleOutcome, Settlement, Start, StartOutcome,
};
use jobcore::task::{Began, Task, TaskState};
use jobcore::{Error, Result, Timestamp};

use crate::state::{Ending, State};

/// Refuses a wish for a final state that isn't one.
pub(crate) fn check(settlements: &[Settlement]) -> Result<()> {
    let wrong = settlements.iter().find(|settlement| match &settlement.next {
        Next::Final { state, .. } => !state.is_final(),
        Next::Retry { .. } | Next::Again { .. } => false,
    });
    wrong.map_or(Ok(()), |settlement| {
        let task_id = &settlement.fence.task_id;
        Err(Error::invalid(
            "settlement.next",
            format_args!("no final state for task {task_id}"),
        ))
    })
}

impl State {
    /// The task that a fence holds.
    fn held(&mut self, fence: &Fence) -> Option<&mut Task> {
        let live = self.live.get_mut(&fence.task_id)?;
        holds(&live.task, fence).then_some(&mut live.task)
    }

    pub(crate) fn start(&mut self, start: Start) -> StartOutcome {
        let Some(task) = self.held(&start.fence) else {
            return StartOutcome::Fenced;
        };
        if task.state == TaskState::Running {
            return StartOutcome::Started;
        }
        if task.cancel.is_some() {
            return StartOutcome::CancelRequested;
        }
        task.state = TaskState::Running;
        task.start_time = Some(start.start_time);
        let attempt = attempt(task, &start.fence, start.start_time);
        self.attempts.add(attempt);
        StartOutcome::Started
    }

    pub(crate) fn save(&mut self, update: SaveProgress) -> SaveOutcome {
        let Some(task) = self.held(&update.fence) else {
            return SaveOutcome::Fenced;
        };
        task.checkpoint = update.checkpoint.or(task.checkpoint.take());
        task.progress = update.progress.or(task.progress.take());
        SaveOutcome::Saved
    }

    pub(crate) fn settle(&mut self, settlement: Settlement, now: Timestamp) -> SettleOutcome {
        let Settlement {
            fence,
            attempt,
            next,
            checkpoint,
        } = settlement;
        let Some(task) = self.held(&fence) else {
            return self.repeated(&fence);
        };
        let began = attempt.is_some() || task.state == TaskState::Running;
        task.checkpoint = checkpoint.or(task.checkpoint.take());
        if let Some(end) = &attempt {
            task.start_time = Some(end.start_time);
        }
        let task = task.clone();
        let output = attempt.as_ref().map(|end| end.output.clone()).unwrap_or_default();
        self.record(&task, &fence, attempt, now);
        let gates = task.gates.clone();
        let state = match resolve(&task, &fence, &next, now) {
            Resolution::Fenced => return SettleOutcome::Fenced,
            Resolution::Final { state, reason } => {
                if let Some(live) = self.live.get_mut(&fence.task_id).filter(|_| !began) {
                    live.task.attempt -= 1;
                }
                let reason = reason.as_deref();
                self.finish(
                    &fence.task_id,
                    Ending {
                        state,
                        reason,
                        now,
                        output,
                    },
                );
                state
            }
            Resolution::Wait {
                state,
                due_time,
                failures,
                ..
            } => {
                let began = if began { Began::Yes } else { Began::No };
                let waiting = Task {
                    failures,
                    ..task.wait_again(state, due_time, began)
                };
                self.give_back(waiting);
                state
            }
        };
        SettleOutcome::Settled { state, gates }
    }

    /// Puts a task back that is held no more.
    pub(crate) fn give_back(&mut self, task: Task) {
        if let Some(live) = self.live.get_mut(&task.task_id) {
            (live.task, live.claim_id, live.start_before) = (task, None, None);
        }
    }

    /// Of the gates of each settled task, leaves those behind which something waits now.
    pub(crate) fn name_gates(&self, mut outcomes: Vec<SettleOutcome>, now: Timestamp) -> Vec<SettleOutcome> {
        for outcome in &mut outcomes {
            if let SettleOutcome::Settled { gates, .. } = outcome {
                *gates = self.waited_at(std::mem::take(gates), now);
            }
        }
        outcomes
    }

    /// What a settlement is whose fence holds nothing: one that was recorded before, or a stale one.
    fn repeated(&mut self, fence: &Fence) -> SettleOutcome {
        let recorded = match self.task(&fence.task_id) {
            Some(task) if task.state.is_final() && task.token == fence.token => {
                task.holder.as_ref() == Some(&fence.holder)
            }
            _ => {
                let attempt = self.attempt_mut(&fence.task_id, fence.attempt, fence.token);
                attempt.is_some_and(|row| !matches!(row.status, AttemptStatus::Running | AttemptStatus::Lost))
            }
        };
        if recorded {
            SettleOutcome::AlreadySettled
        } else {
            SettleOutcome::Fenced
        }
    }

    /// Records how the attempt ended, if it began.
    fn record(&mut self, task: &Task, fence: &Fence, end: Option<AttemptEnd>, now: Timestamp) {
        let Some(end) = end else {
            return self.close_attempt(task, AttemptStatus::Released, Some(now));
        };
        let ended = Attempt {
            status: end.status,
            end_time: Some(end.end_time),
            exit_code: end.exit_code,
            output: end.output,
            error: end.error,
            ..attempt(task, fence, end.start_time)
        };
        match self.attempt_mut(&fence.task_id, fence.attempt, fence.token) {
            Some(started) => *started = ended,
            None => self.attempts.add(ended),
        }
    }
}

/// The record of an attempt that runs.
fn attempt(task: &Task, fence: &Fence, start_time: Timestamp) -> Attempt {
    Attempt {
        task_id: task.task_id.clone(),
        job_id: task.job_id.clone(),
        attempt: fence.attempt,
        executor_id: fence.holder.executor_id.clone(),
        token: fence.token,
        status: AttemptStatus::Running,
        start_time,
        end_time: None,
        exit_code: None,
        output: String::new(),
        error: String::new(),
    }
}
