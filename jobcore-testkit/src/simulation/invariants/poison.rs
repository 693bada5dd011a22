//! A task that kills its process neither visits every node nor takes its neighbours with it.

use std::collections::{HashMap, HashSet};

use jobcore::id::TaskId;
use jobcore::lease::FencingToken;
use jobcore::store::ClaimOutcome;
use jobcore::task::{POISON_AFTER, SUSPECT_AFTER, TaskState};

use super::super::call::Answer;
use super::{AttemptEvent, AttemptEventKind, Invariant, Mirror, Step, ensure};

#[derive(Default)]
pub(super) struct Poison {
    killed: HashMap<TaskId, u32>,
    started: HashSet<(TaskId, FencingToken)>,
}

impl Invariant for Poison {
    fn name(&self) -> &'static str {
        "poison is contained"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        for change in step
            .changes
            .iter()
            .filter(|change| change.after.state == TaskState::Running)
        {
            self.started
                .insert((change.after.task_id.clone(), change.after.token));
        }
        let Ok(Answer::Claim(ClaimOutcome::Claimed(lease))) = step.answer else {
            return Ok(());
        };
        let before = lease
            .tasks
            .iter()
            .filter_map(|claimed| step.before(&claimed.task.task_id));
        let suspects = before.filter(|task| task.is_suspect()).count();
        ensure!(
            suspects == 0 || lease.tasks.len() == 1,
            "a suspect was claimed together with others: {lease:?}"
        );
        Ok(())
    }

    fn attempt(&mut self, event: &AttemptEvent, mirror: &Mirror) -> Result<(), String> {
        let suspect = mirror
            .task(&event.task_id)
            .is_some_and(|task| task.is_suspect() && task.state.is_held() && task.token == event.token);
        if event.kind == AttemptEventKind::Began && suspect {
            let durable = self.started.contains(&(event.task_id.clone(), event.token));
            ensure!(durable, "a suspect began before its start was durable: {event:?}");
        }
        if event.kind == AttemptEventKind::Killed {
            let killed = self.killed.entry(event.task_id.clone()).or_default();
            *killed += 1;
            ensure!(
                *killed <= SUSPECT_AFTER + POISON_AFTER,
                "it killed {killed} processes: {event:?}"
            );
        }
        Ok(())
    }
}
