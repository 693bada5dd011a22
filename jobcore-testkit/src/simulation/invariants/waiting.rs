//! Everything that isn't final has a holder, a due time or a gate.

use jobcore::lease::FencingToken;
use jobcore::task::TaskState;

use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct Waiting;

impl Invariant for Waiting {
    fn name(&self) -> &'static str {
        "everything not final has a holder, a due time or a gate"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        for change in step.changes {
            let task = &change.after;
            let right = match task.state {
                TaskState::Blocked => !task.gates.is_empty() && task.holder.is_none(),
                TaskState::Scheduled | TaskState::Ready => task.holder.is_none(),
                TaskState::Leased | TaskState::Running => {
                    task.holder.is_some() && task.token > FencingToken(0)
                }
                _ => true,
            };
            ensure!(right, "nobody will look at it: {task:?}");
            let passed = task.is_gated()
                && matches!(task.state, TaskState::Scheduled | TaskState::Ready)
                && !task.passed;
            ensure!(!passed, "past its gates without having passed them: {task:?}");
        }
        Ok(())
    }
}
