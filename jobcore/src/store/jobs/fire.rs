//! Jobs that are due, and what their fires write.

use crate::id::JobId;
use crate::store::Decision;
use crate::task::NewTask;
use crate::time::Timestamp;

/// Which due jobs to read.
#[derive(Clone, Debug, PartialEq)]
pub struct DueJobs {
    /// The last instant that counts.
    pub until: Timestamp,
    /// Where the last page ended.
    pub after: Option<(Timestamp, JobId)>,
    /// How many at the most, up to [`MAX_BATCH`](crate::store::MAX_BATCH).
    pub limit: usize,
}

/// A fire of one job, planned by the pure engine: what comes due, and what comes next.
#[derive(Clone, Debug, PartialEq)]
pub struct Fire {
    /// The job.
    pub job_id: JobId,
    /// The version it was planned for.
    pub version: u64,
    /// The next fire time it was planned for.
    pub expected_next_fire_time: Option<Timestamp>,
    /// The next fire time afterwards.
    pub next_fire_time: Option<Timestamp>,
    /// The latest nominal time that this fire covers; `None` leaves it.
    pub last_fire_time: Option<Timestamp>,
    /// The version of the time zone data the plan was computed with.
    pub zone_version: String,
    /// Why the job can't be scheduled; `None` clears it.
    pub error: Option<String>,
    /// The tasks that come due.
    pub tasks: Vec<NewTask>,
    /// What was decided against making tasks.
    pub decisions: Vec<Decision>,
    /// The present time.
    pub now: Timestamp,
}

/// What became of a fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum FireOutcome {
    /// Tasks, decisions and next fire time are written.
    Fired,
    /// The job was changed, paused, deleted or fired by somebody else first.
    Conflict,
}
