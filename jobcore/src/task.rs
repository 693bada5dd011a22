//! Tasks: single occurrences of jobs, and the states they go through.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::gate::{Gate, GateKey};
use crate::id::{JobId, RunId, TaskId};
use crate::job::Delivery;
use crate::json::Json;
use crate::lane::Lane;
use crate::lease::{FencingToken, Holder};
use crate::time::Timestamp;

/// How much waiting one step of priority is worth: a task of priority 1 goes before one of priority 0 that has been
/// waiting up to ten seconds longer.
pub const PRIORITY_STEP: Duration = Duration::from_secs(10);

/// After this many orphanings a task is a suspect: claimed alone, and with a durable start.
pub const SUSPECT_AFTER: u32 = 2;

/// A suspect whose node died this many times after its durable start fails as poison.
pub const POISON_AFTER: u32 = 3;

/// Where a task stands. The numbers are its codes in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for a gate (limit, rate, overlap) or for workflow steps. The promoter moves it on.
    Blocked = 0,
    /// Due later, also after a retry or snooze. The promoter moves it on.
    Scheduled = 1,
    /// Eligible: the next claim of its lane may take it.
    Ready = 2,
    /// Claimed or dispatched; its holder will start it, or recovery will take it back.
    Leased = 3,
    /// An attempt was recorded as started.
    Running = 4,
    /// Final: an attempt succeeded.
    Succeeded = 5,
    /// Final: attempts failed and no retry is left, or it may not be repeated.
    Failed = 6,
    /// Final: the last attempt took too long and no retry is left.
    TimedOut = 7,
    /// Final: cancelled before it succeeded.
    Cancelled = 8,
    /// Final: the overlap policy let it go, or it is a part of a broadcast that its executor won't start any more.
    Skipped = 9,
}

impl TaskState {
    /// All states.
    pub const ALL: [Self; 10] = [
        Self::Blocked,
        Self::Scheduled,
        Self::Ready,
        Self::Leased,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// The code in SQL.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The state with this code.
    ///
    /// # Errors
    /// `Corrupt` for any other number.
    pub fn from_code(code: i16) -> Result<Self> {
        usize::try_from(code)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
            .ok_or_else(|| Error::new(crate::ErrorKind::Corrupt, format!("{code} is no task state")))
    }

    /// The name in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing can change it any more.
    pub const fn is_final(self) -> bool {
        self as i16 >= Self::Succeeded as i16
    }

    /// Whether it counts against a limit: `Ready`, `Leased` or `Running`.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Ready | Self::Leased | Self::Running)
    }

    /// Whether it waits, and so can be cancelled at once.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Blocked | Self::Scheduled | Self::Ready)
    }

    /// Whether somebody holds a lease on it.
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Leased | Self::Running)
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What made a task. The numbers are its codes in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A fire of its job's schedule.
    Fire = 0,
    /// A trigger by hand or by code.
    #[default]
    Manual = 1,
    /// An event.
    Event = 2,
    /// A workflow step.
    Workflow = 3,
}

impl Origin {
    /// The code in SQL.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The origin with this code.
    ///
    /// # Errors
    /// `Corrupt` for any other number.
    pub fn from_code(code: i16) -> Result<Self> {
        match code {
            0 => Ok(Self::Fire),
            1 => Ok(Self::Manual),
            2 => Ok(Self::Event),
            3 => Ok(Self::Workflow),
            _ => Err(Error::new(
                crate::ErrorKind::Corrupt,
                format!("{code} is no task origin"),
            )),
        }
    }
}

/// The order of claims within a lane: smaller goes first.
///
/// Ready time − priority × [`PRIORITY_STEP`], in microseconds: linear ageing that is never sorted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rank(pub i64);

impl Rank {
    /// The rank of a task that becomes eligible at `ready_time`.
    pub fn new(ready_time: Timestamp, priority: i32) -> Self {
        let step = i64::try_from(PRIORITY_STEP.as_micros()).unwrap_or(i64::MAX);
        Self(
            ready_time
                .as_micros()
                .saturating_sub(i64::from(priority).saturating_mul(step)),
        )
    }
}

/// A second enqueue with the same key returns the first task, also after that one finished.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UniqueKey {
    /// Within what the key is unique, for example the job's id; at most 64 bytes.
    pub scope: String,
    /// The key; at most 255 bytes.
    pub key: String,
    /// How long it stays taken, counted from the insert, but never less than the task lives. Default 24 h.
    #[serde(with = "crate::duration")]
    pub keep: Duration,
}

impl UniqueKey {
    /// The key `key` within `scope`, kept for 24 hours.
    ///
    /// # Errors
    /// `InvalidInput` if one of them is empty or too long.
    pub fn new(scope: impl Into<String>, key: impl Into<String>) -> Result<Self> {
        let (scope, key) = (scope.into(), key.into());
        crate::id::check_name("unique_key.scope", &scope, &[])?;
        if key.is_empty() || key.len() > 255 {
            return Err(Error::invalid(
                "unique_key.key",
                format_args!("must have 1 to 255 bytes, has {}", key.len()),
            ));
        }
        Ok(Self {
            scope,
            key,
            keep: Duration::from_secs(24 * 3600),
        })
    }
}

/// Which step of which workflow run a task carries out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepRef {
    /// The workflow run.
    pub run_id: RunId,
    /// The step within it.
    pub step: String,
}

/// A request to cancel, in the task's row: start, retry and recovery honour it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// When it was asked for.
    pub request_time: Timestamp,
    /// When a running attempt is settled as `Cancelled` and fenced, whether it listened or not.
    pub deadline: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// A task to insert: planned by the pure engine, written by the store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// Its id, made by the caller.
    pub task_id: TaskId,
    /// Its job.
    pub job_id: JobId,
    /// The nominal fire time, for a task made by a fire; (job, `scheduled_for`, part) is unique.
    pub scheduled_for: Option<Timestamp>,
    /// Which task of a broadcast or shard, from 0.
    pub part: u32,
    /// How many parts there are; 1 for ordinary tasks.
    pub parts: u32,
    /// What made it.
    pub origin: Origin,
    /// Arguments in place of the job's.
    pub arguments: Option<Json>,
    /// Its priority.
    pub priority: i32,
    /// When it becomes due.
    pub due_time: Timestamp,
    /// The queue that it waits in.
    pub lane: Lane,
    /// What it must pass first; at most a job's and a key's gate.
    pub gates: Vec<Gate>,
    /// Whether it may be repeated after its node died.
    pub delivery: Delivery,
    /// The key under which a second enqueue finds it.
    pub unique_key: Option<UniqueKey>,
    /// The workflow step that it carries out.
    pub step: Option<StepRef>,
    /// When it was made.
    pub create_time: Timestamp,
}

/// A task as the store holds it: live, or from history when its state is final.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub task_id: TaskId,
    /// Its job.
    pub job_id: JobId,
    /// The nominal fire time, for a task made by a fire.
    pub scheduled_for: Option<Timestamp>,
    /// Which task of a broadcast or shard, from 0.
    pub part: u32,
    /// How many parts there are; 1 for ordinary tasks.
    pub parts: u32,
    /// What made it.
    pub origin: Origin,
    /// Arguments in place of the job's.
    pub arguments: Option<Json>,
    /// Its priority.
    pub priority: i32,
    /// Where it stands.
    pub state: TaskState,
    /// When it becomes, or became, due; a retry or snooze sets it anew.
    pub due_time: Timestamp,
    /// The queue that it waits in.
    pub lane: Lane,
    /// Its place in the lane.
    pub rank: Rank,
    /// The gates that it passes before every attempt.
    pub gates: Vec<GateKey>,
    /// Whether it passed its gates before; it keeps its place in the overlap until it is final.
    pub passed: bool,
    /// Whether it may be repeated after its node died.
    pub delivery: Delivery,
    /// The number of the latest started attempt; while held, of the attempt that the lease is for. 0 before the first.
    pub attempt: u32,
    /// How many attempts failed or timed out: what the retry policy counts.
    pub failures: u32,
    /// How often recovery took it from a dead holder.
    pub orphanings: u32,
    /// How often that happened after a durable start as a suspect.
    pub suspect_orphanings: u32,
    /// The number of its latest lease; 0 before the first. Never decreases.
    pub token: FencingToken,
    /// Who holds it, while `Leased` or `Running`; in history, who settled it.
    pub holder: Option<Holder>,
    /// When the present (or, when final, the last) attempt started.
    pub start_time: Option<Timestamp>,
    /// The request to cancel it, if any.
    pub cancel: Option<CancelRequest>,
    /// What the latest attempt saved for the next.
    pub checkpoint: Option<Json>,
    /// How far the present attempt is, as it said.
    pub progress: Option<Progress>,
    /// The workflow step that it carries out.
    pub step: Option<StepRef>,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it became final.
    pub end_time: Option<Timestamp>,
    /// Why it ended as it did, where no attempt says so: a cancel, a skip, poison.
    pub reason: Option<String>,
}

impl Task {
    /// The task that inserting `new` makes at `now`.
    pub fn from_new(new: NewTask, now: Timestamp) -> Self {
        Self {
            state: Self::waiting_state(!new.gates.is_empty(), new.due_time, now),
            rank: Rank::new(new.due_time, new.priority),
            task_id: new.task_id,
            job_id: new.job_id,
            scheduled_for: new.scheduled_for,
            part: new.part,
            parts: new.parts,
            origin: new.origin,
            arguments: new.arguments,
            priority: new.priority,
            due_time: new.due_time,
            lane: new.lane,
            gates: new.gates.into_iter().map(|gate| gate.key).collect(),
            passed: false,
            delivery: new.delivery,
            attempt: 0,
            failures: 0,
            orphanings: 0,
            suspect_orphanings: 0,
            token: FencingToken(0),
            holder: None,
            start_time: None,
            cancel: None,
            checkpoint: None,
            progress: None,
            step: new.step,
            create_time: new.create_time,
            end_time: None,
            reason: None,
        }
    }

    /// Where a task waits that is due at `due_time`: behind its gates, for its time, or for a claim.
    pub fn waiting_state(gated: bool, due_time: Timestamp, now: Timestamp) -> TaskState {
        if gated {
            TaskState::Blocked
        } else if due_time > now {
            TaskState::Scheduled
        } else {
            TaskState::Ready
        }
    }

    /// The task as history keeps it: final, without what only a live task needs.
    #[must_use]
    pub fn finish(self, state: TaskState, reason: Option<String>, end_time: Timestamp) -> Self {
        Self {
            state,
            reason,
            end_time: Some(end_time),
            gates: Vec::new(),
            passed: false,
            cancel: None,
            checkpoint: None,
            progress: None,
            ..self
        }
    }

    /// The task back among those that wait, after its holder gave it up or died. An attempt that never began doesn't
    /// count: its number is used again.
    #[must_use]
    pub fn wait_again(self, state: TaskState, due_time: Timestamp, began: Began) -> Self {
        let attempt = match began {
            Began::Yes => self.attempt,
            Began::No => self.attempt.saturating_sub(1),
        };
        let rank = Rank::new(due_time, self.priority);
        Self {
            state,
            due_time,
            rank,
            attempt,
            holder: None,
            start_time: None,
            progress: None,
            ..self
        }
    }

    /// Whether gates stand before it.
    pub fn is_gated(&self) -> bool {
        !self.gates.is_empty()
    }

    /// Whether it must be claimed alone and started durably, because nodes died while they held it.
    pub fn is_suspect(&self) -> bool {
        self.orphanings >= SUSPECT_AFTER
    }
}

/// Whether the attempt that a lease was for has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    /// It has, or its record says so.
    Yes,
    /// Not as far as anybody knows.
    No,
}

/// How far an attempt is, as it said itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: f32,
    /// For people.
    #[serde(default)]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::from_code(state.code()).unwrap(), state);
        }
        assert!(TaskState::from_code(10).is_err() && TaskState::from_code(-1).is_err());
    }

    #[test]
    fn a_low_priority_ages_past_a_high_one() {
        let high = |second| Rank::new(Timestamp::from_secs(second), 1);
        let low = Rank::new(Timestamp::from_secs(0), 0);
        assert!(high(9) < low && low < high(11));
    }
}
