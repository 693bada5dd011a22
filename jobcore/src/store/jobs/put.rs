//! Creating, changing, pausing, deleting and listing jobs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::JobId;
use crate::job::{Job, JobDefinition, JobKind};
use crate::time::Timestamp;

/// What a change of something versioned expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// Whatever is there, or nothing.
    Any,
    /// Nothing: create only.
    Absent,
    /// Exactly this version.
    Version(u64),
}

/// A job to create or change.
#[derive(Clone, Debug, PartialEq)]
pub struct PutJob {
    /// Its id.
    pub job_id: JobId,
    /// What people wrote.
    pub definition: JobDefinition,
    /// What must be there.
    pub expected: Expected,
    /// Its next fire time under the new definition, computed by the engine; ignored for a paused job.
    pub next_fire_time: Option<Timestamp>,
    /// The version of the time zone data it was computed with.
    pub zone_version: String,
    /// The present time.
    pub now: Timestamp,
}

/// What became of a put, pause or resume.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum PutJobOutcome {
    /// It was new.
    Created(Arc<Job>),
    /// It was changed.
    Updated(Arc<Job>),
    /// It was like that already.
    Unchanged(Arc<Job>),
    /// Somebody else changed or created it first.
    VersionConflict {
        /// The version it has now.
        current: u64,
    },
    /// It doesn't exist.
    NotFound,
}

/// A job to pause or resume.
#[derive(Clone, Debug, PartialEq)]
pub struct PauseJob {
    /// Its id.
    pub job_id: JobId,
    /// `Any` or the version that must be there.
    pub expected: Expected,
    /// What it becomes.
    pub to: PauseState,
    /// For a resume: its next fire time from now on.
    pub next_fire_time: Option<Timestamp>,
    /// The present time.
    pub now: Timestamp,
}

/// Whether a job fires by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseState {
    /// It fires.
    Active,
    /// It doesn't.
    Paused,
}

/// A job to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteJob {
    /// Its id.
    pub job_id: JobId,
    /// `Any` or the version that must be there.
    pub expected: Expected,
}

/// What became of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum DeleteJobOutcome {
    /// It is gone.
    Deleted,
    /// Somebody changed it first.
    VersionConflict {
        /// The version it has now.
        current: u64,
    },
    /// It didn't exist.
    NotFound,
}

/// Which jobs to list. Empty fields match everything.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobFilter {
    /// Text that the name or id contains, whatever its case (ASCII).
    pub text: Option<String>,
    /// The kind.
    pub kind: Option<JobKind>,
    /// The owner.
    pub owner: Option<String>,
    /// Paused or active.
    pub pause: Option<PauseState>,
    /// Labels that it has.
    pub labels: Vec<(String, String)>,
}
