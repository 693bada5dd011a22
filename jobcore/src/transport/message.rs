//! What travels between schedulers and executors.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire::{WireReport, WireTask};
use crate::attempt::AttemptStatus;
use crate::id::{ExecutorId, JobId, TaskId};
use crate::job::Job;
use crate::json::Json;
use crate::lane::ExecutorProfile;
use crate::lease::{FencingToken, Holder, Incarnation};
use crate::store::{ExecutorStatus, JoinKey};
use crate::task::Progress;
use crate::time::Timestamp;

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The executor's incarnation. Others drop the message.
    pub holder: Holder,
    /// Its inbox: opaque to all but the transport's two ends.
    pub inbox: Json,
}

/// Names a received batch for its acknowledgement, within one scheduler's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// What was received together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// Its name.
    pub id: BatchId,
    /// The messages.
    pub messages: Vec<T>,
}

/// Joins and signs of life that were received together.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeats {
    /// The messages; may be none.
    pub messages: Vec<HeartbeatMessage>,
    /// Whether there are more.
    pub end: LaneEnd,
}

/// Whether a lane was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneEnd {
    /// Everything that had arrived before the call was handed out.
    Reached,
    /// There may be more.
    Ahead,
}

/// A task on its way to its holder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "WireTask", from = "WireTask")]
pub struct TaskMessage {
    /// The task.
    pub task_id: TaskId,
    /// Its job, as it was at the claim.
    pub job: Arc<Job>,
    /// Arguments in place of the job's.
    pub arguments: Option<Json>,
    /// Its priority.
    pub priority: i32,
    /// The number of the attempt that the lease is for.
    pub attempt: u32,
    /// The lease's number.
    pub token: FencingToken,
    /// Whose lease.
    pub holder: Holder,
    /// Which task of a broadcast or shard, from 0.
    pub part: u32,
    /// How many parts there are; 1 for ordinary tasks.
    pub parts: u32,
    /// The nominal fire time.
    pub scheduled_for: Option<Timestamp>,
    /// What an earlier attempt saved.
    pub checkpoint: Option<Json>,
    /// Refused if it arrives at this instant of store time or later. Once taken it may wait for its turn.
    pub start_before: Timestamp,
    /// How it is to be started.
    pub start: StartMode,
    /// When the task was made.
    pub create_time: Timestamp,
}

/// How a remote attempt begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartMode {
    /// At once; the report that it started may come later than its end. Default.
    #[default]
    AtOnce,
    /// After [`ControlMessage::Go`], which follows the report that it started: for at most once, and for suspects.
    Confirm,
}

/// What a scheduler tells an executor besides tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "control", rename_all = "snake_case")]
pub enum ControlMessage {
    /// The answer to a sign of life.
    Alive {
        /// Which sign of life.
        sequence: u64,
        /// The store's clock.
        now: Timestamp,
        /// How it stands, by order of people.
        status: ExecutorStatus,
    },
    /// The answer to a sign of life: declared dead. Drop what hasn't started; join anew.
    Dead,
    /// The answer to a sign of life: a newer incarnation has the id. Stop.
    Superseded,
    /// Cancel an attempt.
    Cancel {
        /// The task.
        task_id: TaskId,
        /// Under which lease.
        token: FencingToken,
    },
    /// The start is durable: run.
    Go {
        /// The task.
        task_id: TaskId,
        /// Under which lease.
        token: FencingToken,
    },
    /// A checkpoint is durable.
    Saved {
        /// The task.
        task_id: TaskId,
        /// Under which lease.
        token: FencingToken,
        /// Which checkpoint of the attempt.
        sequence: u64,
    },
    /// The store closed the lease: the report was settled, or others have the task. Forget it; stop what still runs.
    Closed {
        /// The task.
        task_id: TaskId,
        /// Under which lease.
        token: FencingToken,
    },
}

/// What an executor reports about a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "WireReport", try_from = "WireReport")]
pub struct Report {
    /// The task.
    pub task_id: TaskId,
    /// Its job.
    pub job_id: JobId,
    /// Who reports.
    pub executor_id: ExecutorId,
    /// Under which lease; `None` from an executor that knows only the basic fields of a result. The task's row stands
    /// in for it then: the report counts if this executor holds the task.
    pub lease: Option<ReportLease>,
    /// What.
    pub event: ReportEvent,
}

/// The lease that a report stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReportLease {
    /// Its number.
    pub token: FencingToken,
    /// The number of the attempt that it is for.
    pub attempt: u32,
    /// Which life of the executor holds it.
    pub incarnation: Incarnation,
}

/// What happened to a task at an executor.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportEvent {
    /// It has begun; with [`StartMode::Confirm`]: it wants to begin.
    Started {
        /// When.
        start_time: Timestamp,
    },
    /// It goes on.
    Progress {
        /// How far it is.
        progress: Option<Progress>,
        /// What it saved for the next attempt.
        checkpoint: Option<Checkpoint>,
    },
    /// It is over.
    Finished(Finished),
    /// It didn't begin, and is handed back: too late, no room, not able to, or the executor drains.
    Returned {
        /// Why, for people.
        reason: String,
    },
}

/// A checkpoint on its way to the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What the next attempt shall find.
    pub value: Json,
    /// Higher than that of the attempt's checkpoint before; comes back in [`ControlMessage::Saved`].
    pub sequence: u64,
}

/// How an attempt at a remote executor ended: the result message.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// How.
    pub status: AttemptStatus,
    /// When it began.
    pub start_time: Timestamp,
    /// When it ended.
    pub end_time: Timestamp,
    /// The exit code of a process.
    pub exit_code: Option<i32>,
    /// What it returned or printed, capped.
    pub output: String,
    /// What went wrong, capped; empty for none.
    pub error: String,
    /// The class of the error, for the retry policy.
    pub class: Option<String>,
    /// Whether it asked for a repetition, or never wants one.
    pub repeat: RemoteRepeat,
    /// What it saved for the next attempt.
    pub checkpoint: Option<Json>,
}

/// What a finished remote attempt says about a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteRepeat {
    /// As the job's policy says.
    #[default]
    ByPolicy,
    /// After this many milliseconds; counts as a failure.
    AfterMillis(u64),
    /// After this many milliseconds; doesn't count as a failure.
    SnoozeMillis(u64),
    /// Never.
    Never,
}

/// What arrives in the heartbeat lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeartbeatMessage {
    /// An executor wants to join.
    Join(JoinMessage),
    /// It lives.
    Beat(Beat),
    /// It goes, having handed everything back.
    Leave(Holder),
}

/// A join as it arrives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinMessage {
    /// What was asked.
    pub join: Join,
    /// Where the answer goes: opaque to all but the transport's two ends.
    pub reply_to: Json,
}

/// A remote executor's wish to join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// Its id.
    pub executor_id: ExecutorId,
    /// What it offers.
    pub profile: ExecutorProfile,
    /// Recognises repetitions, and the answer.
    pub key: JoinKey,
    /// Where it runs, for people; may be empty.
    pub host: String,
    /// Its port, 0 if it has none.
    pub port: u16,
    /// How long its leases outlive its last heartbeat.
    #[serde(with = "crate::duration")]
    pub lease_duration: Duration,
}

/// The answer to a join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The join's nonce.
    pub nonce: u64,
    /// The new incarnation, and its inbox.
    pub address: Address,
    /// The store's clock.
    pub now: Timestamp,
}

/// Whether an executor takes new tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taking {
    /// It does.
    #[default]
    Tasks,
    /// It drains.
    Nothing,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Whose, and where the answer goes.
    pub from: Address,
    /// Counts its signs of life.
    pub sequence: u64,
    /// When it was made, by the same clock by which the executor judges
    /// [`start_before`](TaskMessage::start_before), which never goes backwards: a task that isn't named here and was
    /// due to arrive before will never be taken.
    pub beat_time: Timestamp,
    /// Whether it takes new tasks now. What is sent all the same is handed back.
    pub taking: Taking,
    /// What it holds: received, running, and finished but not known to be closed. `None` from an executor that can't
    /// say: nothing is taken back from it while it lives.
    pub held: Option<Vec<(TaskId, FencingToken)>>,
    /// Its resources and load, now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Json>,
}
