//! A task succeeded only if an attempt under its last lease did; and where one did, its lease ends so.

use std::collections::HashSet;

use jobcore::id::TaskId;
use jobcore::lease::FencingToken;
use jobcore::store::SettleOutcome;
use jobcore::task::TaskState;

use super::super::call::{Answer, Call};
use super::{AttemptEvent, AttemptEventKind, Invariant, Mirror, Step, ensure};

#[derive(Default)]
pub(super) struct Outcomes {
    succeeded: HashSet<(TaskId, FencingToken)>,
}

impl Invariant for Outcomes {
    fn name(&self) -> &'static str {
        "a stale result doesn't count"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        for change in step
            .changes
            .iter()
            .filter(|change| change.after.state == TaskState::Succeeded)
        {
            let task = &change.after;
            let succeeded = self.succeeded.contains(&(task.task_id.clone(), task.token));
            ensure!(succeeded, "no attempt under its token succeeded: {task:?}");
        }
        let (Call::Settle(settlements, _), Ok(Answer::Settle(outcomes))) = (step.call, step.answer) else {
            return Ok(());
        };
        for (settlement, outcome) in settlements.iter().zip(outcomes) {
            let SettleOutcome::Settled { state, .. } = outcome else {
                continue;
            };
            let fence = &settlement.fence;
            let succeeded = self.succeeded.contains(&(fence.task_id.clone(), fence.token));
            ensure!(
                !succeeded || *state == TaskState::Succeeded,
                "its attempt succeeded, and it became {state}: {settlement:?}"
            );
        }
        Ok(())
    }

    fn attempt(&mut self, event: &AttemptEvent, _: &Mirror) -> Result<(), String> {
        if event.kind == AttemptEventKind::Succeeded {
            self.succeeded.insert((event.task_id.clone(), event.token));
        }
        Ok(())
    }
}
