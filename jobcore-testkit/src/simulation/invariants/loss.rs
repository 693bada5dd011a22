//! No accepted task is ever lost.

use jobcore::store::InsertOutcome;

use super::super::call::{Answer, Call};
use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct Loss;

impl Invariant for Loss {
    fn name(&self) -> &'static str {
        "no accepted task is ever lost"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        ensure!(step.missing.is_empty(), "gone: {:?}", step.missing);
        let (Call::Insert(tasks, _), Ok(Answer::Insert(outcomes))) = (step.call, step.answer) else {
            return Ok(());
        };
        ensure!(tasks.len() == outcomes.len(), "an insert has no answer");
        for (task, outcome) in tasks.iter().zip(outcomes) {
            let there = match outcome {
                InsertOutcome::Inserted => step.after(&task.task_id),
                InsertOutcome::Duplicate { task_id } => step.after(task_id),
            };
            ensure!(
                there.is_some(),
                "{outcome:?}, but there is no such task: {task:?}"
            );
        }
        Ok(())
    }
}
