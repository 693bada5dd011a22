//! Decisions: what became of fires and tasks without an attempt.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::{JobId, TaskId};
use crate::time::Timestamp;

/// Why a fire time has no task, or a task has no attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The job.
    pub job_id: JobId,
    /// The nominal fire time that it is about, if any.
    pub scheduled_for: Option<Timestamp>,
    /// How many fire times it covers, from `scheduled_for` on; 1 unless several misfires are summed up.
    pub count: u64,
    /// The task that it is about, if there was one.
    pub task_id: Option<TaskId>,
    /// What was decided.
    pub kind: DecisionKind,
    /// When.
    pub decision_time: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// What was decided. The numbers are its codes in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// A misfire was not made up for.
    MisfireSkipped = 0,
    /// A misfire was made up for by one task that stands for it.
    MisfireMerged = 1,
    /// The overlap policy skipped a task.
    OverlapSkipped = 2,
    /// The overlap policy cancelled a task in favour of a newer one.
    OverlapCancelled = 3,
    /// A broadcast found no executor online.
    NoExecutor = 4,
}

impl DecisionKind {
    /// The code in SQL.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The kind with this code.
    ///
    /// # Errors
    /// `Corrupt` for any other number.
    pub fn from_code(code: i16) -> Result<Self> {
        match code {
            0 => Ok(Self::MisfireSkipped),
            1 => Ok(Self::MisfireMerged),
            2 => Ok(Self::OverlapSkipped),
            3 => Ok(Self::OverlapCancelled),
            4 => Ok(Self::NoExecutor),
            _ => Err(crate::Error::new(
                crate::ErrorKind::Corrupt,
                format!("{code} is no decision kind"),
            )),
        }
    }
}
