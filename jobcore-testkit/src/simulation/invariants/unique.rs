//! A second enqueue with the same key returns the first task while the key is kept.

use std::collections::HashMap;

use jobcore::Timestamp;
use jobcore::id::TaskId;
use jobcore::store::InsertOutcome;
use jobcore::task::UniqueKey;

use super::super::call::{Answer, Call};
use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct Unique {
    taken: HashMap<(String, String), (TaskId, Timestamp)>,
}

impl Invariant for Unique {
    fn name(&self) -> &'static str {
        "a unique key has one task"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        let (Call::Insert(tasks, time), Ok(Answer::Insert(outcomes))) = (step.call, step.answer) else {
            return Ok(());
        };
        for (task, outcome) in tasks.iter().zip(outcomes) {
            let Some(UniqueKey { scope, key, keep }) = task.unique_key.clone() else {
                continue;
            };
            if *outcome != InsertOutcome::Inserted {
                continue;
            }
            let until = *time + keep;
            let old = self.taken.insert((scope, key), (task.task_id.clone(), until));
            let Some((task_id, until)) = old else { continue };
            let lives = step.mirror.live.contains_key(&task_id);
            ensure!(
                *time >= until && !lives,
                "the key has task {task_id} until {until}: {task:?}"
            );
        }
        Ok(())
    }
}
