//! Firing: what comes due of a job's schedule, what is made up for, and what comes next.

use crate::clock::Entropy;
use crate::engine::task::{self, Occurrence};
use crate::error::Result;
use crate::id::{ExecutorId, TaskId};
use crate::job::Job;
use crate::misfire::MisfireAction;
use crate::placement::Strategy;
use crate::schedule::{self, Rule, Schedule};
use crate::store::{Decision, DecisionKind, ExecutorRecord, Fire};
use crate::task::{NewTask, Origin};
use crate::time::Timestamp;

/// The most nominal times that one plan looks at; what lies beyond is planned right after it.
const LONGEST_LOOK: usize = 10_000;

/// The most tasks that one plan makes.
const MOST_TASKS: usize = 1_000;

/// When the job's next nominal time becomes due, jitter included.
pub fn due_time(job: &Job) -> Option<Timestamp> {
    let schedule = job.definition.schedule.as_ref()?;
    Some(schedule.due_time(job.next_fire_time?, schedule::jitter_seed(job.job_id.as_str())))
}

/// The first fire time of a new, changed or resumed job.
pub fn first_fire_time(
    schedule: Option<&Schedule>,
    create_time: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let schedule = schedule?;
    if matches!(schedule.rule(), Rule::Once { .. }) {
        // A once in the past is a misfire, and its policy decides; it isn't lost.
        return schedule
            .next_after(Timestamp::MIN, create_time)
            .map(|fire| fire.scheduled_for);
    }
    schedule
        .next_after(now, create_time)
        .map(|fire| fire.scheduled_for)
}

/// Whether the job's fires count from the end of its last task.
pub fn counts_from_end(job: &Job) -> bool {
    job.definition
        .schedule
        .as_ref()
        .is_some_and(Schedule::counts_from_end)
}

/// The next fire time of a fixed delay whose last task ended at `end_time`.
pub fn next_after_end(job: &Job, end_time: Timestamp) -> Option<Timestamp> {
    let schedule = job.definition.schedule.as_ref()?;
    schedule
        .next_after(end_time, job.create_time)
        .map(|fire| fire.scheduled_for)
}

/// The executors that a broadcast reaches: online, and able to carry the job out.
pub fn broadcast_targets(job: &Job, executors: &[ExecutorRecord]) -> Vec<ExecutorId> {
    let serves = |executor: &&ExecutorRecord| {
        let lane = task::lane(job, Some(&executor.executor_id));
        executor.status.takes_tasks()
            && lane.is_ok_and(|lane| executor.profile.serves(&executor.executor_id, &lane))
    };
    executors
        .iter()
        .filter(serves)
        .map(|executor| executor.executor_id.clone())
        .collect()
}

/// A plan that only sets the next fire time.
pub fn reschedule(job: &Job, next_fire_time: Option<Timestamp>, now: Timestamp) -> Fire {
    Fire {
        job_id: job.job_id.clone(),
        version: job.version,
        expected_next_fire_time: job.next_fire_time,
        next_fire_time,
        last_fire_time: None,
        zone_version: schedule::zone_data_version().to_owned(),
        error: None,
        tasks: Vec::new(),
        decisions: Vec::new(),
        now,
    }
}

/// A plan that records why the job can't be scheduled.
pub fn refuse(job: &Job, error: String, now: Timestamp) -> Fire {
    Fire {
        error: Some(error),
        ..reschedule(job, None, now)
    }
}

/// Plans what `job`, which is due, fires at `now`. `online` are the executors that a broadcast reaches.
///
/// # Errors
/// `InvalidInput` if the definition, written by hand, can't make a task.
pub fn plan(job: &Job, online: &[ExecutorId], entropy: &dyn Entropy, now: Timestamp) -> Result<Fire> {
    let mut fire = reschedule(job, None, now);
    let (Some(schedule), Some(first)) = (&job.definition.schedule, job.next_fire_time) else {
        return Ok(fire);
    };
    let due = Due::collect(job, schedule, first, now);
    let mut planner = Planner {
        job,
        online,
        entropy,
        now,
        fire: &mut fire,
    };
    planner.carry_out(&due)?;
    fire.next_fire_time = due.next;
    fire.last_fire_time = due.times.last().copied();
    Ok(fire)
}

/// The nominal times of a schedule that have come due.
struct Due {
    /// Oldest first, at least one.
    times: Vec<Timestamp>,
    /// How many of them are misfires: older than the threshold.
    misfires: usize,
    /// The first that isn't among them.
    next: Option<Timestamp>,
    /// Whether `next` is due too, and was left for the next plan.
    more: bool,
}

impl Due {
    fn collect(job: &Job, schedule: &Schedule, first: Timestamp, now: Timestamp) -> Self {
        let seed = schedule::jitter_seed(job.job_id.as_str());
        let mut times = vec![first];
        let mut fires = schedule
            .fires_after(first, job.create_time)
            .map(|fire| fire.scheduled_for);
        let mut next = fires.next();
        let is_due = |time: Timestamp| !schedule.counts_from_end() && schedule.due_time(time, seed) <= now;
        while let Some(time) = next.filter(|time| is_due(*time) && times.len() < LONGEST_LOOK) {
            times.push(time);
            next = fires.next();
        }
        let more = next.is_some_and(is_due);
        let oldest_on_time = now - job.definition.misfire.threshold;
        let misfires = times.partition_point(|time| schedule.due_time(*time, seed) < oldest_on_time);
        Self {
            times,
            misfires,
            next,
            more,
        }
    }
}

struct Planner<'a> {
    job: &'a Job,
    online: &'a [ExecutorId],
    entropy: &'a dyn Entropy,
    now: Timestamp,
    fire: &'a mut Fire,
}

impl Planner<'_> {
    fn carry_out(&mut self, due: &Due) -> Result<()> {
        let policy = &self.job.definition.misfire;
        let (mut late, on_time) = due.times.split_at(due.misfires);
        if let Some(window) = policy.window {
            let oldest = self.now - window;
            let outside = late.partition_point(|time| *time < oldest);
            self.record(
                DecisionKind::MisfireSkipped,
                &late[..outside],
                "older than the catch-up window",
            );
            late = &late[outside..];
        }
        match policy.action {
            _ if late.is_empty() => self.make_all(on_time),
            MisfireAction::Skip => {
                self.record(
                    DecisionKind::MisfireSkipped,
                    late,
                    "the misfire policy is to skip",
                );
                self.make_all(on_time)
            }
            // The latest isn't known yet: the last of the plans that follow makes the task.
            MisfireAction::FireOnce if due.more => {
                self.record(DecisionKind::MisfireMerged, late, "a later task stands for them");
                Ok(())
            }
            MisfireAction::FireAll { .. } if due.more => {
                self.record(
                    DecisionKind::MisfireSkipped,
                    late,
                    "more misfires than the policy makes up for",
                );
                Ok(())
            }
            // One task stands for all that came due, those within the threshold included: after an outage nobody
            // wants a burst.
            MisfireAction::FireOnce => {
                let (latest, merged) = due
                    .times
                    .split_last()
                    .expect("invariant: a due job has a due time");
                let merged = &merged[due.misfires - late.len()..];
                self.record(
                    DecisionKind::MisfireMerged,
                    merged,
                    &format!("the task for {latest} stands for them"),
                );
                self.make_all(&[*latest])
            }
            MisfireAction::FireAll { limit } => {
                let kept = (limit as usize).min(MOST_TASKS - 1).min(late.len());
                let (dropped, kept) = late.split_at(late.len() - kept);
                self.record(
                    DecisionKind::MisfireSkipped,
                    dropped,
                    "more misfires than the policy makes up for",
                );
                self.make_all(kept)?;
                self.make_all(on_time)
            }
        }
    }

    fn record(&mut self, kind: DecisionKind, times: &[Timestamp], reason: &str) {
        let Some(first) = times.first() else { return };
        self.fire.decisions.push(Decision {
            job_id: self.job.job_id.clone(),
            scheduled_for: Some(*first),
            count: times.len() as u64,
            task_id: None,
            kind,
            decision_time: self.now,
            reason: reason.to_owned(),
        });
    }

    fn make_all(&mut self, times: &[Timestamp]) -> Result<()> {
        let room = MOST_TASKS.saturating_sub(self.fire.tasks.len()).max(1);
        let (dropped, kept) = times.split_at(times.len().saturating_sub(room));
        self.record(
            DecisionKind::MisfireMerged,
            dropped,
            "more fires at once than one plan makes tasks for",
        );
        kept.iter().try_for_each(|time| self.make(*time))
    }

    fn make(&mut self, scheduled_for: Timestamp) -> Result<()> {
        match self.job.definition.placement.strategy {
            Strategy::Broadcast if self.online.is_empty() => {
                self.record(
                    DecisionKind::NoExecutor,
                    &[scheduled_for],
                    "no executor was online for the broadcast",
                );
                Ok(())
            }
            Strategy::Broadcast => {
                let parts = self.online.len() as u32;
                let mut online = self.online.iter().zip(0..);
                online
                    .try_for_each(|(executor, part)| self.push(scheduled_for, (part, parts), Some(executor)))
            }
            Strategy::Shard { parts } => {
                (0..parts).try_for_each(|part| self.push(scheduled_for, (part, parts), None))
            }
            _ => self.push(scheduled_for, (0, 1), None),
        }
    }

    fn push(
        &mut self,
        scheduled_for: Timestamp,
        part: (u32, u32),
        executor: Option<&ExecutorId>,
    ) -> Result<()> {
        let task = self.task(scheduled_for, part, executor)?;
        self.fire.tasks.push(task);
        Ok(())
    }

    fn task(
        &self,
        scheduled_for: Timestamp,
        part: (u32, u32),
        executor: Option<&ExecutorId>,
    ) -> Result<NewTask> {
        let schedule = self.job.definition.schedule.as_ref();
        let seed = schedule::jitter_seed(self.job.job_id.as_str());
        let due_time = schedule.map_or(scheduled_for, |schedule| schedule.due_time(scheduled_for, seed));
        let task_id = TaskId::generate(self.now, self.entropy);
        let occurrence = Occurrence {
            scheduled_for: Some(scheduled_for),
            part,
            executor: executor.cloned(),
            ..Occurrence::new(task_id, Origin::Fire, due_time)
        };
        task::plan(self.job, occurrence, self.now)
    }
}
