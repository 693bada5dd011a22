//! Settling: how attempts ended, and what becomes of their tasks.

use super::places::Ending;
use super::state::State;
use super::tasks::Slot;
use crate::attempt::{Attempt, AttemptStatus};
use crate::engine::settle::{Resolution, resolve};
use crate::error::{Error, Result};
use crate::lease::Fence;
use crate::store::{AttemptEnd, Next, SettleOutcome, Settlement};
use crate::task::{Began, TaskState};
use crate::time::Timestamp;

/// Refuses a wish for a final state that isn't one.
pub(super) fn check(settlements: &[Settlement]) -> Result<()> {
    for settlement in settlements {
        if let Next::Final { state, .. } = &settlement.next
            && !state.is_final()
        {
            let task_id = &settlement.fence.task_id;
            return Err(Error::invalid(
                "settlement.next",
                format_args!("`{state}` is not a final state, for task {task_id}"),
            ));
        }
    }
    Ok(())
}

impl State {
    pub(super) fn settle(&mut self, settlements: Vec<Settlement>, now: Timestamp) -> Vec<SettleOutcome> {
        let mut outcomes: Vec<SettleOutcome> = settlements
            .into_iter()
            .map(|settlement| self.settle_one(settlement, now))
            .collect();
        for outcome in &mut outcomes {
            if let SettleOutcome::Settled { gates, .. } = outcome
                && !gates.is_empty()
            {
                *gates = self.waited_at(std::mem::take(gates), now);
            }
        }
        outcomes
    }

    fn settle_one(&mut self, settlement: Settlement, now: Timestamp) -> SettleOutcome {
        let fence = settlement.fence;
        let Some(slot) = self.tasks.slot(&fence.task_id) else {
            return SettleOutcome::Fenced;
        };
        let task = self.tasks.task(slot);
        let resolution = resolve(task, &fence, &settlement.next, now);
        if resolution == Resolution::Fenced {
            return self.repeated(slot, &fence);
        }
        let gates = task.gates.clone();
        let began = settlement.attempt.is_some() || task.state == TaskState::Running;
        self.detach(slot);
        let output = self.record_end(slot, fence, settlement.attempt, now);
        if settlement.checkpoint.is_some() {
            self.tasks.task_mut(slot).checkpoint = settlement.checkpoint;
        }
        let state = match resolution {
            Resolution::Fenced => return SettleOutcome::Fenced,
            Resolution::Final { state, reason } => {
                if !began {
                    self.tasks.task_mut(slot).attempt -= 1;
                }
                self.finish(
                    slot,
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
                self.tasks.replace(slot, |mut task| {
                    task.failures = failures;
                    task.wait_again(state, due_time, began)
                });
                self.attach(slot);
                state
            }
        };
        SettleOutcome::Settled { state, gates }
    }

    /// What a settlement under a lease that is over is: the repetition of an earlier one, or stale.
    fn repeated(&self, slot: Slot, fence: &Fence) -> SettleOutcome {
        let entry = self.tasks.entry(slot);
        let task = &entry.task;
        let recorded = if task.state.is_final() && task.token == fence.token {
            // What recovery ended has no holder, so that its attempt's own end counts as stale.
            task.holder.as_ref() == Some(&fence.holder)
        } else {
            self.history.is_settled(entry.last_attempt, fence)
        };
        if recorded {
            SettleOutcome::AlreadySettled
        } else {
            SettleOutcome::Fenced
        }
    }

    /// Records the end of the attempt, if it began. Returns its output where a workflow run wants it.
    fn record_end(
        &mut self,
        slot: Slot,
        fence: Fence,
        end: Option<AttemptEnd>,
        now: Timestamp,
    ) -> Option<String> {
        let entry = self.tasks.entry_mut(slot);
        let running = self.history.running(entry.last_attempt, fence.token);
        let Some(end) = end else {
            if let Some(attempt) = running {
                attempt.status = AttemptStatus::Released;
                attempt.end_time = Some(now);
            }
            return None;
        };
        let output = entry.task.step.is_some().then(|| end.output.clone());
        entry.task.start_time = Some(end.start_time);
        if let Some(attempt) = running {
            attempt.status = end.status;
            attempt.start_time = end.start_time;
            attempt.end_time = Some(end.end_time);
            attempt.exit_code = end.exit_code;
            attempt.output = end.output;
            attempt.error = end.error;
            return output;
        }
        let attempt = Attempt {
            task_id: fence.task_id,
            job_id: entry.task.job_id.clone(),
            attempt: fence.attempt,
            executor_id: fence.holder.executor_id,
            token: fence.token,
            status: end.status,
            start_time: end.start_time,
            end_time: Some(end.end_time),
            exit_code: end.exit_code,
            output: end.output,
            error: end.error,
        };
        entry.last_attempt = Some(self.history.record(attempt, entry.last_attempt));
        output
    }
}
