//! Attempts: single tries of tasks, the rows of `job_logs`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ExecutorId, JobId, TaskId};
use crate::lease::FencingToken;
use crate::time::Timestamp;

/// How an attempt stands. The numbers are the codes in column `status` and in result messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptStatus {
    /// Started, not yet over.
    Running = 0,
    /// The handler returned success.
    Success = 1,
    /// The handler returned an error, panicked, or exited with another code than 0.
    Failed = 2,
    /// It took longer than the job's timeout.
    TimedOut = 3,
    /// It ended because it was cancelled.
    Cancelled = 4,
    /// Its node died; nobody knows how far it came. No end time.
    Lost = 5,
    /// It gave the task back unfinished: a snooze, or a draining node.
    Released = 6,
}

impl AttemptStatus {
    /// All of them, by code.
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Success,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Lost,
        Self::Released,
    ];

    /// The code in SQL and in result messages.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The status with this code.
    ///
    /// # Errors
    /// `Corrupt` for any other number.
    pub fn from_code(code: i16) -> Result<Self> {
        usize::try_from(code)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("{code} is no attempt status")))
    }

    /// The name in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            Self::Released => "released",
        }
    }
}

/// One try of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The task.
    pub task_id: TaskId,
    /// Its job.
    pub job_id: JobId,
    /// Counted from 1.
    pub attempt: u32,
    /// Who carried it out.
    pub executor_id: ExecutorId,
    /// Under which lease.
    pub token: FencingToken,
    /// How it stands.
    pub status: AttemptStatus,
    /// When it started.
    pub start_time: Timestamp,
    /// When it ended; `None` while it runs and when it was lost.
    pub end_time: Option<Timestamp>,
    /// The exit code of a process.
    pub exit_code: Option<i32>,
    /// What it returned or printed, capped.
    pub output: String,
    /// What went wrong, capped; empty for none.
    pub error: String,
}

/// A piece of what an attempt logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// Counted from 0 within the attempt; (task, attempt, sequence) is unique, so a repeated append changes nothing.
    pub sequence: u64,
    /// Where it came from.
    pub stream: LogStream,
    /// When it was logged.
    pub log_time: Timestamp,
    /// The text, at most 64 KiB.
    pub text: String,
}

/// Where a log chunk came from. The numbers are its codes in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// The handler's log sink.
    Log = 0,
    /// Standard output of a process.
    Stdout = 1,
    /// Standard error of a process.
    Stderr = 2,
}

impl LogStream {
    /// The code in SQL.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The stream with this code.
    ///
    /// # Errors
    /// `Corrupt` for any other number.
    pub fn from_code(code: i16) -> Result<Self> {
        match code {
            0 => Ok(Self::Log),
            1 => Ok(Self::Stdout),
            2 => Ok(Self::Stderr),
            _ => Err(Error::new(ErrorKind::Corrupt, format!("{code} is no log stream"))),
        }
    }
}
