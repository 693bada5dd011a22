//! At most once: the start is durable before the attempt begins, and what began isn't repeated unless it said how it
//! ended.

use std::collections::{HashMap, HashSet};

use jobcore::id::TaskId;
use jobcore::job::Delivery;
use jobcore::lease::FencingToken;
use jobcore::store::SettleOutcome;
use jobcore::task::TaskState;

use super::super::call::{Answer, Call};
use super::{AttemptEvent, AttemptEventKind, Invariant, Mirror, Step, ensure};

#[derive(Default)]
pub(super) struct AtMostOnce {
    started: HashSet<(TaskId, FencingToken)>,
    settled: HashSet<(TaskId, FencingToken)>,
    begun: HashMap<TaskId, FencingToken>,
}

impl Invariant for AtMostOnce {
    fn name(&self) -> &'static str {
        "at most once is at most once"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        let started = step
            .changes
            .iter()
            .filter(|change| change.after.state == TaskState::Running);
        self.started
            .extend(started.map(|change| (change.after.task_id.clone(), change.after.token)));
        if let (Call::Settle(settlements, _), Ok(Answer::Settle(outcomes))) = (step.call, step.answer) {
            for (settlement, outcome) in settlements.iter().zip(outcomes) {
                if matches!(outcome, SettleOutcome::Settled { .. }) {
                    let fence = &settlement.fence;
                    self.settled.insert((fence.task_id.clone(), fence.token));
                }
            }
        }
        Ok(())
    }

    fn attempt(&mut self, event: &AttemptEvent, mirror: &Mirror) -> Result<(), String> {
        let task = mirror.task(&event.task_id);
        if event.kind != AttemptEventKind::Began
            || task.is_none_or(|task| task.delivery != Delivery::AtMostOnce)
        {
            return Ok(());
        }
        let durable = self.started.contains(&(event.task_id.clone(), event.token));
        ensure!(durable, "it began before its start was durable: {event:?}");
        if let Some(earlier) = self.begun.insert(event.task_id.clone(), event.token) {
            let ended = self.settled.contains(&(event.task_id.clone(), earlier));
            ensure!(
                ended,
                "it began under token {earlier} before, and nobody knows how that ended: {event:?}"
            );
        }
        Ok(())
    }
}
