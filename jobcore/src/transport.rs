//! Transports: carry tasks, control and reports between schedulers and executors that have no store.
//!
//! A transport may delay, repeat, reorder or lose anything; correctness never rests on it. The store's leases decide
//! what counts, and what was lost is found by the heartbeats, which name what an executor holds.
//!
//! ```text
//! scheduler                                            executor
//!   dispatch(inbox, tasks)      ── inbox ──────────▶   receive()      tasks and control, in lanes of their own
//!   control(inbox, messages)    ── control ────────▶
//!   reports(), acknowledge()    ◀───────── reports ──  report()       accepted, started, progress, finished
//!   heartbeats(), answer()      ◀────── heartbeats ──  beat()         joins, signs of life
//!   logs()                      ◀──────────── logs ──  log()
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::attempt::{AttemptStatus, LogChunk};
use crate::error::Result;
use crate::id::{ExecutorId, JobId, TaskId};
use crate::job::Job;
use crate::json::Json;
use crate::lane::ExecutorProfile;
use crate::lease::{FencingToken, Holder, Incarnation};
use crate::store::ExecutorStatus;
use crate::task::Progress;
use crate::time::Timestamp;

/// The scheduler's end.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Its name for errors and metrics: `memory`, `kafka`, `http`, …
    fn name(&self) -> &'static str;

    /// Sends tasks to one executor incarnation's inbox, in order. Returns when they are on their way for good (for a
    /// broker: acknowledged).
    ///
    /// **Errors**: after any error the messages may or may not arrive; the lease's `start_before` settles it.
    async fn dispatch(&self, to: &Address, tasks: Vec<TaskMessage>) -> Result<()>;

    /// Sends control messages, which never queue behind tasks.
    async fn control(&self, to: &Address, messages: Vec<ControlMessage>) -> Result<()>;

    /// The next reports; waits until there are some. Each batch is acknowledged once what it says is settled; what
    /// isn't acknowledged comes again, to this scheduler or another.
    async fn reports(&self) -> Result<Batch<Report>>;

    /// The next joins and signs of life; waits until there are some. Every scheduler sees all of them.
    async fn heartbeats(&self) -> Result<Batch<HeartbeatMessage>>;

    /// The next log chunks; waits until there are some. Acknowledged like reports.
    async fn logs(&self) -> Result<Batch<LogChunk>>;

    /// Acknowledges a batch: it need not come again.
    async fn acknowledge(&self, batch: BatchId) -> Result<()>;
}

/// The executor's end.
#[async_trait]
pub trait ExecutorTransport: Send + Sync + 'static {
    /// Where this executor can be reached from its join on; opaque to all but the transport's two ends.
    fn address(&self) -> Json;

    /// From now on receive as this incarnation: messages for others are dropped.
    async fn open(&self, holder: &Holder) -> Result<()>;

    /// The next tasks; waits until there are some.
    async fn tasks(&self) -> Result<Vec<TaskMessage>>;

    /// The next control messages; waits until there are some. Answers to a join arrive here before [`open`](Self::open).
    async fn control(&self) -> Result<Vec<ControlMessage>>;

    /// Sends reports. Returns when they are on their way for good.
    async fn report(&self, reports: Vec<Report>) -> Result<()>;

    /// Sends a join or sign of life, in a lane of its own so that it waits behind nothing.
    async fn beat(&self, message: HeartbeatMessage) -> Result<()>;

    /// Sends log chunks, in a lane of their own.
    async fn log(&self, chunks: Vec<LogChunk>) -> Result<()>;
}

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The executor's incarnation. Others drop the message.
    pub holder: Holder,
    /// What the executor's end gave as its [`address`](ExecutorTransport::address).
    pub inbox: Json,
}

/// Names a received batch for its acknowledgement.
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

/// A task on its way to its holder.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskMessage {
    /// The task.
    pub task_id: TaskId,
    /// Its job, as it was at the claim.
    pub job: Arc<Job>,
    /// Arguments in place of the job's.
    pub arguments: Option<Json>,
    /// The number of the attempt that the lease is for.
    pub attempt: u32,
    /// The lease's number.
    pub token: FencingToken,
    /// Whose lease.
    pub holder: Holder,
    /// Which part, and of how many.
    pub part: (u32, u32),
    /// The nominal fire time.
    pub scheduled_for: Option<Timestamp>,
    /// What an earlier attempt saved.
    pub checkpoint: Option<Json>,
    /// Dropped, not started, after this instant in store time.
    pub start_before: Timestamp,
    /// Whether to wait for [`ControlMessage::Go`] after reporting `Started` and before running: for at most once.
    pub confirm_start: bool,
    /// When the task was made.
    pub create_time: Timestamp,
}

/// What a scheduler tells an executor besides tasks.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlMessage {
    /// The answer to a join.
    Joined {
        /// What the join's sender chose, to recognise the answer.
        nonce: u64,
        /// The new incarnation.
        incarnation: Incarnation,
        /// The store's clock.
        now: Timestamp,
    },
    /// The answer to a sign of life.
    Alive {
        /// Which sign of life.
        sequence: u64,
        /// The store's clock.
        now: Timestamp,
        /// How it stands, by order of people.
        status: ExecutorStatus,
        /// Tasks that are no longer its own.
        lost: Vec<(TaskId, FencingToken)>,
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
    /// Forget a finished attempt: its report was settled.
    Settled {
        /// The task.
        task_id: TaskId,
        /// Under which lease.
        token: FencingToken,
    },
}

/// What an executor reports about a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The task.
    pub task_id: TaskId,
    /// Its job.
    pub job_id: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Under which lease.
    pub token: FencingToken,
    /// Who reports.
    pub holder: Holder,
    /// What.
    pub event: ReportEvent,
}

/// What happened to a task at an executor.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportEvent {
    /// It has begun.
    Started {
        /// When.
        start_time: Timestamp,
    },
    /// It goes on.
    Progress {
        /// How far it is.
        progress: Option<Progress>,
        /// What it saved for the next attempt.
        checkpoint: Option<Json>,
    },
    /// It is over.
    Finished(Finished),
    /// It didn't begin, and is handed back: too late, no room, or the executor drains.
    Returned {
        /// Why, for people.
        reason: String,
    },
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

/// A join or sign of life of a remote executor.
#[derive(Clone, Debug, PartialEq)]
pub enum HeartbeatMessage {
    /// It wants to join.
    Join {
        /// Its id.
        executor_id: ExecutorId,
        /// What it offers.
        profile: ExecutorProfile,
        /// Where it can be reached.
        address: Json,
        /// Chosen by it, to recognise the answer.
        nonce: u64,
        /// Where it runs, for people.
        host: String,
        /// Its port, 0 if it has none.
        port: u16,
        /// How long its leases outlive its last heartbeat, in milliseconds.
        lease_millis: u64,
    },
    /// It lives.
    Alive {
        /// Who.
        holder: Holder,
        /// Counts its signs of life.
        sequence: u64,
        /// What it holds: leased, running, and finished but not known to be settled.
        held: Vec<(TaskId, FencingToken)>,
        /// Its resources and load.
        resources: Option<Json>,
    },
    /// It goes, having handed everything back.
    Leave {
        /// Who.
        holder: Holder,
    },
}
