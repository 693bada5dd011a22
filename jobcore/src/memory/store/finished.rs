//! Final tasks, in the form in which a million of them can be kept.

use super::tasks::Entry;
use crate::id::{JobId, TaskId};
use crate::job::Delivery;
use crate::json::Json;
use crate::lane::Lane;
use crate::lease::{FencingToken, Holder};
use crate::task::{Origin, Rank, StepRef, Task, TaskState};
use crate::time::Timestamp;

/// A final task, less than half the size of a live one.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) task_id: TaskId,
    pub(super) job_id: JobId,
    lane: Lane,
    pub(super) holder: Option<Holder>,
    pub(super) scheduled_for: Option<Timestamp>,
    start_time: Option<Timestamp>,
    due_time: Timestamp,
    create_time: Timestamp,
    pub(super) end_time: Timestamp,
    pub(super) token: FencingToken,
    /// Its latest attempt in the history.
    pub(super) last_attempt: Option<u64>,
    attempt: u32,
    priority: i32,
    pub(super) part: u32,
    pub(super) state: TaskState,
    origin: Origin,
    delivery: Delivery,
    rare: Option<Box<Rare>>,
}

/// What few tasks have.
#[derive(Debug, PartialEq)]
struct Rare {
    parts: u32,
    failures: u32,
    orphanings: u32,
    suspect_orphanings: u32,
    arguments: Option<Json>,
    step: Option<StepRef>,
    reason: Option<String>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.parts == 1
            && self.failures == 0
            && self.orphanings == 0
            && self.suspect_orphanings == 0
            && self.arguments.is_none()
            && self.step.is_none()
            && self.reason.is_none()
    }
}

impl Finished {
    /// Keeps the task of `entry`, which ended at `end_time`.
    pub(super) fn new(entry: Entry, state: TaskState, reason: Option<String>, end_time: Timestamp) -> Self {
        let task = entry.task.finish(state, reason, end_time);
        debug_assert_eq!(
            task.rank,
            Rank::new(task.due_time, task.priority),
            "invariant: the rank follows from due time and priority"
        );
        let rare = Rare {
            parts: task.parts,
            failures: task.failures,
            orphanings: task.orphanings,
            suspect_orphanings: task.suspect_orphanings,
            arguments: task.arguments,
            step: task.step,
            reason: task.reason,
        };
        Self {
            task_id: task.task_id,
            job_id: task.job_id,
            lane: task.lane,
            holder: task.holder,
            scheduled_for: task.scheduled_for,
            start_time: task.start_time,
            due_time: task.due_time,
            create_time: task.create_time,
            end_time,
            token: task.token,
            last_attempt: entry.last_attempt,
            attempt: task.attempt,
            priority: task.priority,
            part: task.part,
            state,
            origin: task.origin,
            delivery: task.delivery,
            rare: (!rare.is_empty()).then(|| Box::new(rare)),
        }
    }

    /// The task as it was kept.
    pub(super) fn to_task(&self) -> Task {
        let rare = self.rare.as_deref();
        Task {
            task_id: self.task_id.clone(),
            job_id: self.job_id.clone(),
            scheduled_for: self.scheduled_for,
            part: self.part,
            parts: rare.map_or(1, |rare| rare.parts),
            origin: self.origin,
            arguments: rare.and_then(|rare| rare.arguments.clone()),
            priority: self.priority,
            state: self.state,
            due_time: self.due_time,
            lane: self.lane.clone(),
            rank: Rank::new(self.due_time, self.priority),
            gates: Vec::new(),
            passed: false,
            delivery: self.delivery,
            attempt: self.attempt,
            failures: rare.map_or(0, |rare| rare.failures),
            orphanings: rare.map_or(0, |rare| rare.orphanings),
            suspect_orphanings: rare.map_or(0, |rare| rare.suspect_orphanings),
            token: self.token,
            holder: self.holder.clone(),
            start_time: self.start_time,
            cancel: None,
            checkpoint: None,
            progress: None,
            step: rare.and_then(|rare| rare.step.clone()),
            create_time: self.create_time,
            end_time: Some(self.end_time),
            reason: rare.and_then(|rare| rare.reason.clone()),
        }
    }
}
