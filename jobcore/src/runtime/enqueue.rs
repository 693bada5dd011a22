//! Planning what enters the store, and waking whom it concerns: for the engine's own calls, and for those who write it
//! in a transaction of theirs.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::engine::{Engine, Shared};
use crate::engine::fire;
use crate::engine::task::{self, Occurrence};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::gate::GateKey;
use crate::id::{JobId, TaskId};
use crate::job::Job;
use crate::lane::Lane;
use crate::schedule::zone_data_version;
use crate::scheduler::{Due, PutJobRequest, Scheduler as _, Trigger, Triggered};
use crate::store::{InsertOutcome, PutJob, PutJobOutcome};
use crate::task::{NewTask, Origin, Task, TaskState};
use crate::time::Timestamp;

/// Tasks that triggers make, planned and not yet written. Made by [`Engine::plan_triggers`].
///
/// A plan may be written again after a rollback: its tasks keep their ids, so however often it is tried, they are
/// inserted once.
#[derive(Clone, Debug)]
pub struct TriggerPlan {
    pub(super) tasks: Vec<NewTask>,
    pub(super) now: Timestamp,
    engine: Weak<Shared>,
}

/// Jobs to write, planned. Made by [`Engine::plan_jobs`].
#[derive(Clone, Debug)]
pub struct JobPlan {
    pub(super) jobs: Vec<PutJob>,
    engine: Weak<Shared>,
}

/// What a plan came to, in a transaction that isn't committed yet.
#[derive(Clone, Debug)]
#[must_use = "after the commit, call `wake_up.wake()`"]
pub struct Written<T> {
    /// One for each trigger or job, in order. They hold once the transaction is committed.
    pub outcomes: Vec<T>,
    /// To be used after the commit.
    pub wake_up: WakeUp,
}

/// Starts what was written by others than the engine that planned it.
///
/// Dropping it loses nothing, after a rollback as well as after a commit: the loops of every engine find what is in the
/// store at their next look, tasks within [`poll_interval`](crate::config::EngineConfig::poll_interval).
#[derive(Clone, Debug)]
#[must_use = "after the commit, call `wake`: without it the work begins only at the next look"]
pub struct WakeUp {
    hints: Hints,
    engine: Weak<Shared>,
}

impl TriggerPlan {
    /// The tasks to insert, one for each trigger, in order; more than [`MAX_BATCH`](crate::store::MAX_BATCH) if there were
    /// more triggers.
    pub fn tasks(&self) -> &[NewTask] {
        &self.tasks
    }

    /// When it was planned: the `now` of the insert, from which delays count.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// For backends: what was inserted, one outcome for each task, in order.
    pub fn inserted(&self, outcomes: Vec<InsertOutcome>) -> Written<Triggered> {
        Written {
            outcomes: triggered(&self.tasks, outcomes).collect(),
            wake_up: WakeUp {
                hints: Hints::of_tasks(&self.tasks, self.now),
                engine: Weak::clone(&self.engine),
            },
        }
    }
}

impl JobPlan {
    /// The jobs to write, in order; more than [`MAX_BATCH`](crate::store::MAX_BATCH) if there were more requests.
    pub fn jobs(&self) -> &[PutJob] {
        &self.jobs
    }

    /// For backends: what was written, one outcome for each job, in order.
    pub fn written(&self, outcomes: Vec<PutJobOutcome>) -> Written<PutJobOutcome> {
        Written {
            wake_up: WakeUp {
                hints: Hints::of_jobs(outcomes.iter().filter_map(changed_job)),
                engine: Weak::clone(&self.engine),
            },
            outcomes,
        }
    }
}

impl WakeUp {
    /// Wakes the loops of the engine that planned this, and tells its subscribers; does nothing if that engine is gone.
    ///
    /// To be called after the commit: before it there is nothing to find yet.
    pub fn wake(self) {
        if let Some(engine) = self.engine.upgrade() {
            self.hints.give(&engine);
        }
    }
}

/// What the loops should know of what was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    /// Where there are new tasks.
    lanes: Vec<Lane>,
    /// Whether one of them can be claimed now.
    ready: bool,
    /// Before which of them stand that are due.
    gates: Vec<GateKey>,
    /// When the first of the others is due.
    due: Option<Timestamp>,
    /// Which jobs changed.
    jobs: Vec<JobId>,
}

impl Hints {
    pub(super) fn of_tasks(tasks: &[NewTask], now: Timestamp) -> Self {
        let mut hints = Self::default();
        for task in tasks {
            // Most tasks of a call share their lane.
            if hints.lanes.last() != Some(&task.lane) {
                hints.lanes.push(task.lane.clone());
            }
            match Task::waiting_state(!task.gates.is_empty(), task.due_time, now) {
                TaskState::Ready => hints.ready = true,
                TaskState::Blocked if task.due_time <= now => {
                    hints.gates.extend(task.gates.iter().map(|gate| gate.key.clone()));
                }
                _ => hints.due = Some(hints.due.map_or(task.due_time, |due| due.min(task.due_time))),
            }
        }
        hints
    }

    pub(super) fn of_jobs(job_ids: impl Iterator<Item = JobId>) -> Self {
        Self {
            jobs: job_ids.collect(),
            ..Self::default()
        }
    }

    /// Makes the lanes known, and says whether something there can be claimed as it is, if that wasn't asked before: then
    /// the caller wakes whoever claims, and may do so beside the insert.
    pub(super) fn claim_beside(&mut self, engine: &Shared) -> bool {
        for lane in self.lanes.drain(..) {
            engine.lanes.heard_of(&engine.node, &lane);
        }
        std::mem::take(&mut self.ready)
    }

    /// Wakes whoever moves it on.
    pub(super) fn give(self, engine: &Shared) {
        let node = &engine.node;
        for lane in &self.lanes {
            engine.lanes.heard_of(node, lane);
        }
        if self.ready {
            node.wake.claim.notify_one();
        }
        node.wake.promote.gates(&self.gates);
        if let Some(due) = self.due {
            node.wake.promote.due(due);
        }
        if !self.jobs.is_empty() {
            node.wake.fire.notify_one();
        }
        for job_id in self.jobs {
            node.emit(|| Event::Job { job_id });
        }
    }
}

impl Engine {
    /// Plans what [`trigger`](crate::Scheduler::trigger) would insert, for a store's `enqueue_in` to insert it in a
    /// transaction of yours; see [`enqueue`](crate::enqueue).
    ///
    /// It reads the jobs outside that transaction, so they must have been committed before. Plan before you begin the
    /// transaction: that keeps it short. What is planned is due from now on, delays count from now, and unless a trigger
    /// names one, each task gets its id now.
    ///
    /// # Errors
    /// `NotFound` if a job isn't there; one that is deleted afterwards makes its tasks `Cancelled`. `InvalidInput` for a
    /// limit key without a limit. `ShuttingDown` while the engine drains. The store's.
    pub async fn plan_triggers(&self, triggers: Vec<Trigger>) -> Result<TriggerPlan> {
        self.check_open()?;
        let now = self.shared.node.now();
        let mut ids: Vec<JobId> = triggers.iter().map(|trigger| trigger.job_id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let jobs = self.get_jobs(&ids).await?;
        let jobs: HashMap<JobId, Option<Arc<Job>>> = ids.into_iter().zip(jobs).collect();
        // In ascending order, so that tasks of one call are carried out in the order in which they stand there.
        let mut task_ids: Vec<TaskId> = triggers
            .iter()
            .map(|_| TaskId::generate(now, &*self.shared.node.entropy))
            .collect();
        task_ids.sort_unstable();
        let mut tasks = Vec::with_capacity(triggers.len());
        for (trigger, task_id) in triggers.into_iter().zip(task_ids) {
            let job = jobs
                .get(&trigger.job_id)
                .and_then(Option::as_ref)
                .ok_or_else(|| no_such_job(&trigger.job_id))?;
            let task_id = trigger.task_id.clone().unwrap_or(task_id);
            tasks.push(plan_trigger(job, trigger, task_id, now)?);
        }
        Ok(TriggerPlan {
            tasks,
            now,
            engine: Arc::downgrade(&self.shared),
        })
    }

    /// Plans what [`put_jobs`](crate::Scheduler::put_jobs) would write, for a store's `put_jobs_in` to write it in a
    /// transaction of yours; see [`enqueue`](crate::enqueue).
    ///
    /// # Errors
    /// `InvalidInput` names the field and what would be right. `ShuttingDown` while the engine drains. The store's.
    pub async fn plan_jobs(&self, requests: Vec<PutJobRequest>) -> Result<JobPlan> {
        self.check_open()?;
        let now = self.shared.node.now();
        let existing = self.jobs_named(&requests).await?;
        let jobs = requests
            .into_iter()
            .map(|job| self.plan_put(job, &existing, now))
            .collect::<Result<_>>()?;
        Ok(JobPlan {
            jobs,
            engine: Arc::downgrade(&self.shared),
        })
    }

    async fn jobs_named(&self, requests: &[PutJobRequest]) -> Result<HashMap<JobId, Arc<Job>>> {
        let ids: Vec<JobId> = requests
            .iter()
            .filter_map(|request| request.job.job_id.clone())
            .collect();
        let found = self.get_jobs(&ids).await?;
        Ok(found
            .into_iter()
            .flatten()
            .map(|job| (job.job_id.clone(), job))
            .collect())
    }

    fn plan_put(
        &self,
        request: PutJobRequest,
        existing: &HashMap<JobId, Arc<Job>>,
        now: Timestamp,
    ) -> Result<PutJob> {
        let PutJobRequest { job, expected } = request;
        job.definition.validate()?;
        let job_id = job
            .job_id
            .unwrap_or_else(|| JobId::generate(now, &*self.shared.node.entropy));
        let create_time = existing.get(&job_id).map_or(now, |job| job.create_time);
        let next_fire_time = fire::first_fire_time(job.definition.schedule.as_ref(), create_time, now);
        let zone_version = zone_data_version().to_owned();
        Ok(PutJob {
            job_id,
            definition: job.definition,
            expected,
            next_fire_time,
            zone_version,
            now,
        })
    }
}

fn plan_trigger(job: &Job, trigger: Trigger, task_id: TaskId, now: Timestamp) -> Result<NewTask> {
    let due_time = match trigger.due {
        None => now,
        Some(Due::At(time)) => time,
        Some(Due::In(delay)) => now + delay,
    };
    let occurrence = Occurrence {
        arguments: trigger.arguments,
        priority: trigger.priority,
        limit_key: trigger.limit_key,
        unique_key: trigger.unique_key,
        ..Occurrence::new(task_id, Origin::Manual, due_time)
    };
    task::plan(job, occurrence, now)
}

/// What became of the triggers whose tasks were inserted.
pub(super) fn triggered(
    tasks: &[NewTask],
    outcomes: Vec<InsertOutcome>,
) -> impl Iterator<Item = Triggered> + '_ {
    tasks.iter().zip(outcomes).map(|(task, outcome)| match outcome {
        InsertOutcome::Inserted => Triggered::Made {
            task_id: task.task_id.clone(),
        },
        InsertOutcome::Duplicate { task_id } => Triggered::Existing { task_id },
    })
}

pub(super) fn changed_job(outcome: &PutJobOutcome) -> Option<JobId> {
    match outcome {
        PutJobOutcome::Created(job) | PutJobOutcome::Updated(job) => Some(job.job_id.clone()),
        _ => None,
    }
}

pub(super) fn no_such_job(job_id: &JobId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no job {job_id}; create it first"),
    )
}

#[cfg(test)]
mod tests;
