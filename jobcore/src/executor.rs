//! Executors: what carries out an attempt, and what it may use meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::attempt::LogStream;
use crate::clock::Clock;
use crate::error::Result;
use crate::id::{ExecutorId, JobId, TaskId};
use crate::job::{Job, OnLeaseLost};
use crate::json::Json;
use crate::lane::Capability;
use crate::lease::{ClaimedTask, Fence, FencingToken};
use crate::task::Progress;
use crate::time::Timestamp;

/// Carries out attempts of one kind of job.
///
/// Handlers, shell commands and HTTP requests are executors; an application may add its own.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// What it can do: decides which lanes its node serves.
    ///
    /// **Conformance**: `it_says_what_it_can_do`.
    fn capabilities(&self) -> Vec<Capability>;

    /// Carries out one attempt.
    ///
    /// **Contract**: returns when the attempt is over. It watches [`TaskContext::cancelled`] and ends soon after; the
    /// node enforces deadlines and cancel grace by dropping the future, so what must be cleaned up is in a drop guard.
    ///
    /// **Cancellation**: dropped half-way, it leaves nothing running.
    ///
    /// **Errors**: none; what went wrong is the outcome. A panic becomes a failed attempt with its message.
    ///
    /// **Conformance**: `a_success_has_its_output`, `a_failure_says_what_went_wrong`,
    /// `attempts_do_not_wait_for_each_other`, `many_attempts_at_once_all_end`, `a_cancelled_attempt_ends_soon`,
    /// `an_attempt_whose_time_is_up_ends`, `a_dropped_attempt_leaves_nothing`.
    async fn execute(&self, cx: TaskContext) -> Outcome;

    /// How long after its deadline an attempt may take to end in order, before its future is dropped. Default: not at
    /// all, which is right where dropping is enough.
    ///
    /// **Conformance**: `an_attempt_whose_time_is_up_ends`.
    fn end_grace(&self, _job: &Job) -> Duration {
        Duration::ZERO
    }
}

/// What an attempt was asked to do, and the means to do it.
#[derive(Clone)]
pub struct TaskContext {
    pub(crate) inner: Arc<ContextInner>,
}

/// What a node gives an attempt.
pub(crate) struct ContextInner {
    pub(crate) fence: Fence,
    pub(crate) job: Arc<Job>,
    pub(crate) arguments: Json,
    pub(crate) attempt: u32,
    pub(crate) part: u32,
    pub(crate) parts: u32,
    pub(crate) scheduled_for: Option<Timestamp>,
    pub(crate) start_time: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) checkpoint: Option<Json>,
    pub(crate) cancellation: CancellationToken,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) reporter: Arc<dyn Reporter>,
    pub(crate) log_sequence: AtomicU64,
}

/// Where an attempt's progress, logs and checkpoints go: to the store, or through a transport.
#[async_trait]
pub trait Reporter: Send + Sync + 'static {
    /// Takes a piece of log; waits while the way is full, so that a loud attempt is slowed and memory stays bounded.
    async fn log(&self, cx: &TaskContext, stream: LogStream, text: String);

    /// Takes the progress; only the latest of a short while is written.
    fn progress(&self, cx: &TaskContext, progress: Progress);

    /// Saves a checkpoint durably.
    ///
    /// # Errors
    /// `Conflict` if the lease is no longer valid; the store's errors otherwise.
    async fn checkpoint(&self, cx: &TaskContext, checkpoint: Json) -> Result<()>;

    /// How long the lease certainly holds, counted from the last acknowledged heartbeat; `None`: as long as the process.
    fn lease_until(&self) -> Option<Timestamp>;
}

/// What the context of an attempt is made of.
#[derive(Clone)]
pub struct AttemptSetup {
    /// The task under its lease, with its job.
    pub claimed: ClaimedTask,
    /// The lease under which the attempt writes.
    pub fence: Fence,
    /// When the attempt starts.
    pub start_time: Timestamp,
    /// The clock that goes with every instant of the context.
    pub clock: Arc<dyn Clock>,
    /// Where its reports go.
    pub reporter: Arc<dyn Reporter>,
}

impl fmt::Debug for AttemptSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptSetup")
            .field("fence", &self.fence)
            .field("start_time", &self.start_time)
            .finish_non_exhaustive()
    }
}

impl TaskContext {
    /// The context of an attempt of a claimed task. Engines make them; so do tests of executors.
    pub fn new(setup: AttemptSetup) -> Self {
        let AttemptSetup {
            claimed: ClaimedTask { task, job },
            fence,
            start_time,
            clock,
            reporter,
        } = setup;
        let own = task.arguments;
        let inner = ContextInner {
            arguments: own.unwrap_or_else(|| job.definition.command.arguments.clone()),
            attempt: fence.attempt,
            part: task.part,
            parts: task.parts,
            scheduled_for: task.scheduled_for,
            fence,
            start_time,
            deadline: job.definition.timeout.map(|timeout| start_time + timeout),
            checkpoint: task.checkpoint,
            cancellation: CancellationToken::new(),
            clock,
            reporter,
            log_sequence: AtomicU64::new(0),
            job,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The task.
    pub fn task_id(&self) -> &TaskId {
        &self.inner.fence.task_id
    }

    /// The job, as it was at the claim.
    pub fn job(&self) -> &Job {
        &self.inner.job
    }

    /// The job's id.
    pub fn job_id(&self) -> &JobId {
        &self.inner.job.job_id
    }

    /// What to work on: the trigger's arguments, or else the job's.
    pub fn arguments(&self) -> &Json {
        &self.inner.arguments
    }

    /// Which try this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// Which part of a broadcast or shard this is, from 0, and how many there are.
    pub fn part(&self) -> (u32, u32) {
        (self.inner.part, self.inner.parts)
    }

    /// The nominal fire time, if a schedule made the task.
    pub fn scheduled_for(&self) -> Option<Timestamp> {
        self.inner.scheduled_for
    }

    /// The executor node that carries it out.
    pub fn executor_id(&self) -> &ExecutorId {
        &self.inner.fence.holder.executor_id
    }

    /// The number to pass to whatever the handler writes to, so that a stale attempt can be refused there.
    pub fn fencing_token(&self) -> FencingToken {
        self.inner.fence.token
    }

    /// The lease under which the attempt writes.
    pub fn fence(&self) -> &Fence {
        &self.inner.fence
    }

    /// The number of the attempt's next log chunk, counted from 0: for [`Reporter`]s.
    pub fn next_log_sequence(&self) -> u64 {
        self.inner.log_sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// The clock that goes with every instant of the context: the node's, corrected by the store's.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// When the attempt started.
    pub fn start_time(&self) -> Timestamp {
        self.inner.start_time
    }

    /// When the attempt times out.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.inner.deadline
    }

    /// The lease's certain end, for attempts that must stop before it; `None` where the job says `finish`.
    pub fn lease_until(&self) -> Option<Timestamp> {
        match self.inner.job.definition.on_lease_lost {
            OnLeaseLost::Finish => None,
            OnLeaseLost::Stop => self.inner.reporter.lease_until(),
        }
    }

    /// Returns when the attempt should end: it was cancelled, its node drains and won't wait longer, or its lease was
    /// lost.
    pub async fn cancelled(&self) {
        self.inner.cancellation.cancelled().await;
    }

    /// Whether the attempt should end.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancellation.is_cancelled()
    }

    /// The token behind [`cancelled`](Self::cancelled), for code that takes one.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.inner.cancellation
    }

    /// Appends to the attempt's log.
    pub async fn log(&self, text: impl Into<String>) {
        self.log_to(LogStream::Log, text.into()).await;
    }

    /// Appends to one of the attempt's log streams.
    pub async fn log_to(&self, stream: LogStream, text: String) {
        self.inner.reporter.log(self, stream, text).await;
    }

    /// Says how far the attempt is, `percent` from 0 to 100.
    pub fn progress(&self, percent: f32, message: impl Into<String>) {
        let percent = if percent.is_finite() {
            percent.clamp(0.0, 100.0)
        } else {
            0.0
        };
        self.inner.reporter.progress(
            self,
            Progress {
                percent,
                message: message.into(),
            },
        );
    }

    /// What an earlier attempt saved; `None` in the first.
    pub fn checkpoint(&self) -> Option<&Json> {
        self.inner.checkpoint.as_ref()
    }

    /// Saves a checkpoint durably, for the attempt that may come after this one. At most 1 MiB.
    ///
    /// # Errors
    /// `Conflict` if the lease is no longer valid: stop. The store's errors otherwise.
    pub async fn save_checkpoint(&self, checkpoint: &(impl serde::Serialize + Sync)) -> Result<()> {
        self.inner
            .reporter
            .checkpoint(self, Json::encode(checkpoint)?)
            .await
    }

    /// What a process that carries out the attempt finds in its environment.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let inner = &self.inner;
        BTreeMap::from([
            ("JOBCORE_TASK_ID".to_owned(), inner.fence.task_id.to_string()),
            ("JOBCORE_JOB_ID".to_owned(), inner.job.job_id.to_string()),
            ("JOBCORE_ATTEMPT".to_owned(), inner.attempt.to_string()),
            ("JOBCORE_FENCING_TOKEN".to_owned(), inner.fence.token.to_string()),
            (
                "JOBCORE_EXECUTOR_ID".to_owned(),
                inner.fence.holder.executor_id.to_string(),
            ),
            (
                "JOBCORE_SCHEDULED_FOR".to_owned(),
                inner.scheduled_for.map_or(String::new(), |time| time.to_string()),
            ),
            ("JOBCORE_PART".to_owned(), inner.part.to_string()),
            ("JOBCORE_PARTS".to_owned(), inner.parts.to_string()),
            (
                "JOBCORE_ARGUMENTS".to_owned(),
                inner.arguments.as_str().to_owned(),
            ),
        ])
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("task_id", self.task_id())
            .field("job_id", self.job_id())
            .field("attempt", &self.inner.attempt)
            .field("token", &self.fencing_token())
            .finish_non_exhaustive()
    }
}

/// How an attempt ended, in the words of who carried it out. What becomes of the task is the engine's decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It worked.
    Success(Output),
    /// It failed; the job's retry policy decides.
    Failure(Failure),
    /// It asks to be repeated after this time; doesn't count as a failure.
    Snooze(Duration),
    /// It ended because it was told to.
    Cancelled(Output),
    /// It ended because its time was up.
    TimedOut(Output),
}

/// What an attempt returned or printed.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Output {
    /// The result, or the captured standard output; capped by the node.
    pub output: String,
    /// What went wrong, or the captured standard error; empty for none.
    pub error: String,
    /// The exit code of a process.
    pub exit_code: Option<i32>,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What it left.
    pub output: Output,
    /// The class of the error, for the retry policy.
    pub class: Option<String>,
    /// What the attempt says about a repetition.
    pub repeat: Repeat,
}

/// What a failed attempt says about a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Repeat {
    /// As the job's policy says. Default.
    #[default]
    ByPolicy,
    /// After this time, as long as the policy's count allows.
    After(Duration),
    /// Never: it can't work.
    Never,
}
