//! Workflow runs.

use crate::id::{JobId, RunId, TaskId};
use crate::json::Json;
use crate::task::{NewTask, TaskState};
use crate::time::Timestamp;

/// A workflow run to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// Its id.
    pub run_id: RunId,
    /// The job that it is an occurrence of.
    pub job_id: JobId,
    /// The pure engine's state.
    pub state: Json,
    /// The first steps' tasks.
    pub tasks: Vec<NewTask>,
    /// The present time.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum InsertRunOutcome {
    /// It has begun.
    Inserted,
    /// The id exists.
    Duplicate,
}

/// A workflow run.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowRun {
    /// Its id.
    pub run_id: RunId,
    /// The job that it is an occurrence of.
    pub job_id: JobId,
    /// Counts its advances, from 1.
    pub version: u64,
    /// The pure engine's state.
    pub state: Json,
    /// What its steps reported and nobody has consumed yet, in order, at most [`MAX_BATCH`](crate::store::MAX_BATCH).
    pub inbox: Vec<StepReport>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
}

/// A workflow step's task that became final.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Its place in the inbox.
    pub sequence: u64,
    /// The step.
    pub step: String,
    /// The task.
    pub task_id: TaskId,
    /// How it ended.
    pub state: TaskState,
    /// What it returned.
    pub output: String,
}

/// What the pure engine made of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct AdvanceRun {
    /// The run.
    pub run_id: RunId,
    /// The version that it was computed for.
    pub expected_version: u64,
    /// The new state.
    pub state: Json,
    /// The last report that was consumed; `None`: none.
    pub consumed: Option<u64>,
    /// Tasks of steps that may begin.
    pub tasks: Vec<NewTask>,
    /// When it ended, if it did.
    pub end_time: Option<Timestamp>,
    /// The present time.
    pub now: Timestamp,
}

/// What became of an advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AdvanceRunOutcome {
    /// Applied.
    Advanced,
    /// The run has another version: read it again.
    Conflict,
    /// There is no such run.
    NotFound,
}
