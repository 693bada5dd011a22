//! Settling: how attempts ended, and what becomes of their tasks.

use super::places::Ending;
use super::state::State;
use super::tasks::Slot;
use crate::attempt::AttemptStatus;
use crate::engine::record::is_repetition;
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
        let Some(slot) = self.slot_of(&fence) else {
            return SettleOutcome::Fenced;
        };
        if !self.tasks.is_live(slot) {
            return self.repeated(slot, &fence);
        }
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
        let finished = self.tasks.finished_in(slot);
        let last = finished.map(|finished| (finished.token, finished.holder.as_ref()));
        let attempts = self.history.attempts.of_task(self.tasks.last_attempt(slot));
        let recorded = is_repetition(fence, last, attempts.map(|(_, row)| row.recorded()));
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
        let attempts = &mut self.history.attempts;
        let Some(end) = end else {
            attempts.abandon(
                entry.last_attempt,
                fence.token,
                AttemptStatus::Released,
                Some(now),
            );
            return None;
        };
        let output = entry.task.step.is_some().then(|| end.output.clone());
        entry.task.start_time = Some(end.start_time);
        entry.last_attempt = Some(attempts.end(slot, fence, entry.last_attempt, end));
        output
    }
}
