//! A stale token changes nothing, and a valid one isn't refused.

use std::collections::HashSet;

use jobcore::lease::Fence;
use jobcore::store::{SaveOutcome, SettleOutcome, StartOutcome};
use jobcore::task::{Task, TaskState};

use super::super::call::{Answer, Call};
use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct Fencing {
    settled: HashSet<Fence>,
}

impl Invariant for Fencing {
    fn name(&self) -> &'static str {
        "a stale token changes nothing"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        match (step.call, step.answer) {
            (Call::Settle(settlements, _), Ok(Answer::Settle(outcomes))) => {
                ensure!(settlements.len() == outcomes.len(), "a settlement has no answer");
                let fences = settlements.iter().map(|settlement| &settlement.fence);
                fences
                    .zip(outcomes)
                    .try_for_each(|(fence, outcome)| self.settle(step, fence, outcome))
            }
            (Call::Start(starts), Ok(Answer::Start(outcomes))) => {
                let fences = starts.iter().map(|start| &start.fence);
                fences
                    .zip(outcomes)
                    .try_for_each(|(fence, outcome)| start(step, fence, *outcome))
            }
            (Call::Save(updates), Ok(Answer::Save(outcomes))) => {
                let fences = updates.iter().map(|update| &update.fence);
                fences
                    .zip(outcomes)
                    .try_for_each(|(fence, outcome)| save(step, fence, *outcome))
            }
            (Call::Settle(..) | Call::Start(_) | Call::Save(_), _) => {
                ensure!(
                    step.changes.is_empty(),
                    "a refused call changed {:?}",
                    step.changes
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Fencing {
    fn settle(&mut self, step: &Step<'_>, fence: &Fence, outcome: &SettleOutcome) -> Result<(), String> {
        // Of two settlements under one fence in a batch the first counts.
        let again = self.settled.contains(fence);
        let valid = holds(step.before(&fence.task_id), fence) && !again;
        match outcome {
            SettleOutcome::Settled { state, .. } => {
                ensure!(
                    valid,
                    "settled under a stale fence {fence:?}, was {:?}",
                    step.before(&fence.task_id)
                );
                let after = step.after(&fence.task_id).map(|task| task.state);
                ensure!(after == Some(*state), "settled as {state}, and is {after:?}");
                self.settled.insert(fence.clone());
            }
            SettleOutcome::AlreadySettled => {
                ensure!(again, "said to be settled already, and never was: {fence:?}");
                unchanged(step, fence, "repeated settlement")?;
            }
            SettleOutcome::Fenced => {
                ensure!(!valid, "a valid fence was refused: {fence:?}");
                unchanged(step, fence, "fenced settlement")?;
            }
        }
        Ok(())
    }
}

fn start(step: &Step<'_>, fence: &Fence, outcome: StartOutcome) -> Result<(), String> {
    let before = step.before(&fence.task_id);
    let valid = holds(before, fence);
    match outcome {
        StartOutcome::Started => {
            ensure!(valid, "started under a stale fence {fence:?}, was {before:?}");
            let after = step.after(&fence.task_id).map(|task| task.state);
            ensure!(
                after == Some(TaskState::Running),
                "said to be started, and is {after:?}"
            );
        }
        StartOutcome::CancelRequested => {
            ensure!(
                before.is_some_and(|task| task.cancel.is_some()),
                "nobody asked to cancel {before:?}"
            );
            unchanged(step, fence, "refused start")?;
        }
        StartOutcome::Fenced => {
            ensure!(!valid, "a valid fence was refused: {fence:?}");
            unchanged(step, fence, "fenced start")?;
        }
    }
    Ok(())
}

fn save(step: &Step<'_>, fence: &Fence, outcome: SaveOutcome) -> Result<(), String> {
    let valid = holds(step.before(&fence.task_id), fence);
    match outcome {
        SaveOutcome::Saved => ensure!(valid, "saved under a stale fence {fence:?}"),
        SaveOutcome::Fenced => {
            ensure!(!valid, "a valid fence was refused: {fence:?}");
            unchanged(step, fence, "fenced save")?;
        }
    }
    Ok(())
}

fn unchanged(step: &Step<'_>, fence: &Fence, what: &str) -> Result<(), String> {
    // Another item of the same batch may have changed it.
    let changes = step.change(&fence.task_id);
    let own = changes.filter(|change| !others(step, fence) && change.before.is_some());
    ensure!(own.is_none(), "a {what} changed {own:?}");
    Ok(())
}

fn others(step: &Step<'_>, fence: &Fence) -> bool {
    let count = match step.call {
        Call::Settle(items, _) => items
            .iter()
            .filter(|item| item.fence.task_id == fence.task_id)
            .count(),
        Call::Start(items) => items
            .iter()
            .filter(|item| item.fence.task_id == fence.task_id)
            .count(),
        Call::Save(items) => items
            .iter()
            .filter(|item| item.fence.task_id == fence.task_id)
            .count(),
        _ => 0,
    };
    count > 1
}

fn holds(task: Option<&Task>, fence: &Fence) -> bool {
    task.is_some_and(|task| {
        task.state.is_held()
            && task.token == fence.token
            && task.attempt == fence.attempt
            && task.holder.as_ref() == Some(&fence.holder)
    })
}
