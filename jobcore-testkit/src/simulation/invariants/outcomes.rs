//! A task succeeded only if an attempt under its last lease did.

use std::collections::HashSet;

use jobcore::id::TaskId;
use jobcore::lease::FencingToken;
use jobcore::task::TaskState;

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
        Ok(())
    }

    fn attempt(&mut self, event: &AttemptEvent, _: &Mirror) -> Result<(), String> {
        if event.kind == AttemptEventKind::Succeeded {
            self.succeeded.insert((event.task_id.clone(), event.token));
        }
        Ok(())
    }
}
