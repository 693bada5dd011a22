//! A fire gives exactly one task per part or one recorded decision, and never before its time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::id::{JobId, TaskId};
use jobcore::job::Job;
use jobcore::placement::Strategy;
use jobcore::store::{Fire, FireOutcome};

use super::super::call::{Answer, Call};
use super::super::mirror::JobChange;
use super::{Invariant, Step, ensure};

/// How much a process may be mistaken about the store's clock: a slow answer and a jump of either clock.
const MISTAKEN: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct Fires {
    made: HashMap<(JobId, Timestamp, u32), TaskId>,
}

impl Invariant for Fires {
    fn name(&self) -> &'static str {
        "a fire gives exactly one task per part or one recorded decision"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        for change in step.changes.iter().filter(|change| change.before.is_none()) {
            let task = &change.after;
            let Some(scheduled_for) = task.scheduled_for else {
                continue;
            };
            ensure!(
                matches!(step.call, Call::Fire(_)),
                "only a fire makes such a task: {task:?}"
            );
            ensure!(
                scheduled_for <= step.time + MISTAKEN,
                "fired before its time, at {}: {task:?}",
                step.time
            );
            let key = (task.job_id.clone(), scheduled_for, task.part);
            let other = self.made.insert(key, task.task_id.clone());
            ensure!(other.is_none(), "the fire made task {other:?} before: {task:?}");
        }
        let Call::Fire(fires) = step.call else {
            return Ok(());
        };
        for (index, (fire, change)) in fires.iter().zip(step.jobs).enumerate() {
            // Only the first of several fires of a job in a batch is seen with the job as it was before.
            if fires[..index].iter().any(|earlier| earlier.job_id == fire.job_id) {
                continue;
            }
            let outcome = match step.answer {
                Ok(Answer::Fire(outcomes)) => outcomes.get(index).copied(),
                _ => None,
            };
            self.fired(step, fire, outcome, change)?;
        }
        Ok(())
    }
}

impl Fires {
    fn fired(
        &self,
        step: &Step<'_>,
        fire: &Fire,
        outcome: Option<FireOutcome>,
        change: &JobChange,
    ) -> Result<(), String> {
        let advanced = next(&change.before) != next(&change.after);
        if !advanced && outcome != Some(FireOutcome::Fired) {
            let made = step
                .changes
                .iter()
                .any(|change| change.after.job_id == fire.job_id);
            ensure!(!made, "a fire that didn't take place made tasks: {fire:?}");
            return Ok(());
        }
        let (Some(before), Some(_)) = (&change.before, &change.after) else {
            return Err(format!("fired without a job: {fire:?}"));
        };
        ensure!(
            !before.paused
                && before.version == fire.version
                && before.next_fire_time == fire.expected_next_fire_time,
            "fired although the job had changed: {fire:?}, the job was {before:?}"
        );
        for task in &fire.tasks {
            let Some(scheduled_for) = task.scheduled_for else {
                continue;
            };
            let key = (task.job_id.clone(), scheduled_for, task.part);
            ensure!(
                self.made.contains_key(&key),
                "the schedule advanced without task {task:?}"
            );
        }
        decided(step, fire)?;
        covered(before, fire)
    }
}

fn next(job: &Option<Arc<Job>>) -> Option<Timestamp> {
    job.as_ref()?.next_fire_time
}

/// Whether the decisions of a fire were recorded.
fn decided(step: &Step<'_>, fire: &Fire) -> Result<(), String> {
    for decision in &fire.decisions {
        ensure!(
            step.mirror.has_decision(decision),
            "a decision was not recorded: {decision:?}"
        );
    }
    Ok(())
}

/// Whether each fire time that was passed has its tasks or its decision.
fn covered(job: &Job, fire: &Fire) -> Result<(), String> {
    let (Some(schedule), Some(first)) = (&job.definition.schedule, job.next_fire_time) else {
        return Ok(());
    };
    if fire.last_fire_time.is_none() {
        let silent = schedule.counts_from_end() || fire.error.is_some() || fire.next_fire_time >= Some(first);
        ensure!(
            silent && fire.tasks.is_empty(),
            "the schedule changed without a fire: {fire:?}"
        );
        return Ok(());
    }
    let times: BTreeSet<Timestamp> = fire.tasks.iter().filter_map(|task| task.scheduled_for).collect();
    let decided: u64 = fire.decisions.iter().map(|decision| decision.count).sum();
    let passed = if schedule.counts_from_end() {
        1
    } else {
        let later = schedule
            .fires_after(first, job.create_time)
            .map(|fire| fire.scheduled_for);
        let later = later.take_while(|time| fire.next_fire_time.is_none_or(|next| *time < next));
        1 + later.count() as u64
    };
    ensure!(
        times.len() as u64 + decided == passed,
        "{passed} fire times passed, {} have tasks and {decided} decisions: {fire:?}",
        times.len()
    );
    if let Strategy::Shard { parts } = job.definition.placement.strategy {
        let made = fire.tasks.len();
        ensure!(
            made == times.len() * parts as usize,
            "{made} tasks for {parts} parts: {fire:?}"
        );
    }
    Ok(())
}
