//! Final is final.

use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct FinalStates;

impl Invariant for FinalStates {
    fn name(&self) -> &'static str {
        "final is final"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        for change in step.changes {
            let was_final = change.state_before().is_some_and(|state| state.is_final());
            ensure!(!was_final, "a final task changed: {change:?}");
            let after = &change.after;
            ensure!(
                after.state.is_final() == after.end_time.is_some(),
                "an end time and a final state belong together: {after:?}"
            );
        }
        Ok(())
    }
}
