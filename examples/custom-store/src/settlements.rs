//! What holders write: starts, progress, and how attempts ended.

use jobcore::engine::record::{Recorded, begun, is_repetition};
use jobcore::engine::settle::{Change, holds, settle};
use jobcore::lease::Fence;
use jobcore::store::{Next, SaveOutcome, SaveProgress, SettleOutcome, Settlement, Start, StartOutcome};
use jobcore::task::{Task, TaskState};
use jobcore::{Error, Result, Timestamp};

use crate::state::State;

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
        let attempt = begun(task, &start.fence, start.start_time);
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
        let Some(live) = self.live.get(&settlement.fence.task_id) else {
            return self.repeated(&settlement.fence);
        };
        let gates = live.task.gates.clone();
        match settle(&live.task, &settlement, now) {
            Some(change) => SettleOutcome::Settled {
                state: self.apply(change),
                gates,
            },
            None => self.repeated(&settlement.fence),
        }
    }

    /// Carries out what the engine says of a task that was held.
    pub(crate) fn apply(&mut self, change: Change) -> TaskState {
        let Change { after, attempt } = change;
        let output = attempt.as_ref().map(|attempt| attempt.output.clone());
        if let Some(attempt) = attempt {
            match self.attempt_mut(&attempt.task_id, attempt.attempt, attempt.token) {
                Some(started) => *started = attempt,
                None => self.attempts.add(attempt),
            }
        }
        let state = after.state;
        if state.is_final() {
            self.finish(after, output.unwrap_or_default());
        } else if let Some(live) = self.live.get_mut(&after.task_id) {
            (live.task, live.claim_id, live.start_before) = (after, None, None);
        }
        state
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
    fn repeated(&self, fence: &Fence) -> SettleOutcome {
        let finished = self.task(&fence.task_id).filter(|task| task.state.is_final());
        let last = finished.map(|task| (task.token, task.holder.as_ref()));
        let attempts = self
            .attempts
            .rows
            .values()
            .filter(|row| row.task_id == fence.task_id);
        let attempts = attempts.map(|row| Recorded {
            attempt: row.attempt,
            token: row.token,
            executor_id: &row.executor_id,
            status: row.status,
        });
        let recorded = is_repetition(fence, last, attempts);
        if recorded {
            SettleOutcome::AlreadySettled
        } else {
            SettleOutcome::Fenced
        }
    }
}
