//! A request to cancel is kept, and start, retry and recovery honour it.

use jobcore::task::TaskState;

use super::super::call::{Answer, Call};
use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct Cancels;

impl Invariant for Cancels {
    fn name(&self) -> &'static str {
        "a request to cancel is honoured"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        for change in step.changes {
            let Some(before) = change.before.as_ref().filter(|task| task.cancel.is_some()) else {
                continue;
            };
            let after = &change.after;
            let kept = after.state.is_final() || (after.state.is_held() && after.cancel.is_some());
            ensure!(kept, "to be cancelled, and goes on: {before:?} became {after:?}");
            let started = before.state == TaskState::Leased && after.state == TaskState::Running;
            ensure!(!started, "to be cancelled, and started: {after:?}");
        }
        let (Call::Cancel(_), Ok(Answer::Cancel(cancelled))) = (step.call, step.answer) else {
            return Ok(());
        };
        for task_id in &cancelled.requested {
            let task = step.after(task_id);
            ensure!(
                task.is_some_and(|task| task.cancel.is_some()),
                "the request was not kept: {task:?}"
            );
        }
        for (task_id, _) in &cancelled.settled {
            let state = step.after(task_id).map(|task| task.state);
            ensure!(
                state == Some(TaskState::Cancelled),
                "said to be cancelled, and is {state:?}"
            );
        }
        Ok(())
    }
}
