//! Planning tasks: what a fire or a trigger makes of a job's definition.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::gate::{Gate, GateKey, GatePolicy, KeyLimit};
use crate::id::{ExecutorId, TaskId};
use crate::job::Job;
use crate::json::Json;
use crate::lane::{Capability, Lane};
use crate::task::{NewTask, Origin, StepRef, UniqueKey};
use crate::time::Timestamp;

/// What is particular about one task; everything else comes from its job.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// Its id.
    pub task_id: TaskId,
    /// What made it.
    pub origin: Origin,
    /// The nominal fire time.
    pub scheduled_for: Option<Timestamp>,
    /// Which part, of how many.
    pub part: (u32, u32),
    /// The one executor that may take it.
    pub executor: Option<ExecutorId>,
    /// Arguments in place of the job's.
    pub arguments: Option<Json>,
    /// A priority in place of the job's.
    pub priority: Option<i32>,
    /// When it is due.
    pub due_time: Timestamp,
    /// A limit key in place of the job's.
    pub limit_key: Option<String>,
    /// The key under which a second enqueue finds it.
    pub unique_key: Option<UniqueKey>,
    /// The workflow step that it carries out.
    pub step: Option<StepRef>,
}

impl Occurrence {
    /// An occurrence with nothing particular about it but its id, origin and due time.
    pub fn new(task_id: TaskId, origin: Origin, due_time: Timestamp) -> Self {
        Self {
            task_id,
            origin,
            scheduled_for: None,
            part: (0, 1),
            executor: None,
            arguments: None,
            priority: None,
            due_time,
            limit_key: None,
            unique_key: None,
            step: None,
        }
    }
}

/// The task that `occurrence` of `job` makes.
///
/// # Errors
/// `InvalidInput` if the job's handler name or the limit key can't be used.
pub fn plan(job: &Job, occurrence: Occurrence, now: Timestamp) -> Result<NewTask> {
    Ok(NewTask {
        lane: lane(job, occurrence.executor.as_ref())?,
        gates: gates(job, occurrence.limit_key.as_deref())?,
        task_id: occurrence.task_id,
        job_id: job.job_id.clone(),
        scheduled_for: occurrence.scheduled_for,
        part: occurrence.part.0,
        parts: occurrence.part.1,
        origin: occurrence.origin,
        arguments: occurrence.arguments,
        priority: occurrence.priority.unwrap_or(job.definition.priority),
        due_time: occurrence.due_time,
        delivery: job.definition.delivery,
        unique_key: occurrence.unique_key,
        step: occurrence.step,
        create_time: now,
    })
}

/// The queue of the job's tasks.
pub(super) fn lane(job: &Job, executor: Option<&ExecutorId>) -> Result<Lane> {
    let placement = &job.definition.placement;
    let capability = Capability::needed_by(&job.definition.command)?;
    let labels: &BTreeMap<_, _> = &placement.required_labels;
    let lane = Lane::new(&placement.group, &capability, labels, executor);
    Ok(if placement.chooses() && executor.is_none() {
        lane.of_job(&job.job_id)
    } else {
        lane
    })
}

/// The gates of a task: the job's, for overlap and concurrency, and its limit key's.
fn gates(job: &Job, limit_key: Option<&str>) -> Result<Vec<Gate>> {
    let definition = &job.definition;
    let own = GatePolicy {
        overlap: definition.overlap,
        max_live: definition.max_concurrent,
        rate: None,
    };
    let own = (!own.is_open()).then(|| Gate {
        key: GateKey::of_job(&job.job_id),
        policy: own,
    });
    let shared = match (&definition.limit, limit_key) {
        (Some(limit), Some(key)) => {
            let limit = KeyLimit {
                key: key.to_owned(),
                ..limit.clone()
            };
            limit.validate()?;
            Some(limit.gate())
        }
        (Some(limit), None) => Some(limit.gate()),
        (None, Some(_)) => {
            let job_id = &job.job_id;
            let message = format_args!("job {job_id} has no limit that a key could select; give it one");
            return Err(crate::Error::invalid("limit_key", message));
        }
        (None, None) => None,
    };
    Ok(own.into_iter().chain(shared).collect())
}
