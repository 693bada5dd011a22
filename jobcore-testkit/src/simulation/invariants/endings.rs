//! A lease that was settled is over: its attempt has ended or never began, and never will.

use std::collections::{HashMap, HashSet};

use jobcore::id::TaskId;
use jobcore::lease::FencingToken;
use jobcore::store::SettleOutcome;

use super::super::call::{Answer, Call};
use super::{AttemptEvent, AttemptEventKind, Invariant, Mirror, Step, ensure};

#[derive(Default)]
pub(super) struct Endings {
    settled: HashSet<(TaskId, FencingToken)>,
    /// The attempts that run.
    running: HashMap<(TaskId, FencingToken), AttemptEvent>,
}

impl Invariant for Endings {
    fn name(&self) -> &'static str {
        "what was settled is over"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        let (Call::Settle(settlements, _), Ok(Answer::Settle(outcomes))) = (step.call, step.answer) else {
            return Ok(());
        };
        for (settlement, outcome) in settlements.iter().zip(outcomes) {
            if !matches!(outcome, SettleOutcome::Settled { .. }) {
                continue;
            }
            let key = (settlement.fence.task_id.clone(), settlement.fence.token);
            let running = self.running.get(&key);
            ensure!(
                running.is_none(),
                "settled, and it runs: {settlement:?}, {running:?}"
            );
            self.settled.insert(key);
        }
        Ok(())
    }

    fn attempt(&mut self, event: &AttemptEvent, _: &Mirror) -> Result<(), String> {
        let key = (event.task_id.clone(), event.token);
        if event.kind != AttemptEventKind::Began {
            self.running.remove(&key);
            return Ok(());
        }
        ensure!(
            !self.settled.contains(&key),
            "it began after it was settled: {event:?}"
        );
        self.running.insert(key, event.clone());
        Ok(())
    }
}
