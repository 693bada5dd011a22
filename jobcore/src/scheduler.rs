//! The scheduler: every operation of the control plane.
//!
//! [`Engine`](crate::Engine) implements it in process; a remote client implements the same trait, so that APIs, command
//! lines and tests are written once against `dyn Scheduler`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, LogChunk};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Events, Received};
use crate::id::{ExecutorId, JobId, TaskId};
use crate::job::{Job, NewJob};
use crate::json::Json;
use crate::schedule::{PreviewEntry, Schedule};
use crate::store::{
    AttemptFilter, ChangeOutcome, ChangeTask, Changes, Cursor, Decision, DeleteJob, DeleteJobOutcome,
    ExecutorFilter, ExecutorRecord, Expected, FinishedFilter, JobFilter, Page, PageRequest, PauseState,
    PutJobOutcome, ReadLogs, SetExecutorStatusOutcome, TaskCount, TaskFilter,
};
use crate::task::{Task, UniqueKey};
use crate::time::Timestamp;

/// The control plane. Answers stand in the order of the requests; batches may have any length.
#[async_trait]
pub trait Scheduler: Send + Sync + 'static {
    /// Creates and changes jobs.
    ///
    /// **Errors**: `InvalidInput` names the field; then none of the batch was written.
    async fn put_jobs(&self, jobs: Vec<PutJobRequest>) -> Result<Vec<PutJobOutcome>>;

    /// Jobs by id, in order; `None` for those that don't exist.
    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>>;

    /// Jobs that match the filter, by id.
    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Arc<Job>>>;

    /// Deletes jobs and cancels their tasks: waiting ones at once, running ones by request.
    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>>;

    /// Pauses and resumes jobs. Fire times that pass while a job is paused are not made up for.
    async fn pause_jobs(&self, jobs: Vec<PauseRequest>) -> Result<Vec<PutJobOutcome>>;

    /// Makes tasks of jobs, now or later, whatever their schedules say.
    ///
    /// **Errors**: `NotFound` names a job that doesn't exist; then no task was made. After `Indeterminate`, the same
    /// triggers can be sent again if they carry task ids.
    async fn trigger(&self, triggers: Vec<Trigger>) -> Result<Vec<Triggered>>;

    /// Cancels tasks: waiting ones at once, running ones by request, which is enforced after their cancel grace.
    async fn cancel(&self, cancel: Cancel) -> Result<CancelSummary>;

    /// Makes a new task of each final one, with the same job and arguments; `None` for those that aren't final.
    async fn retry(&self, task_ids: &[TaskId]) -> Result<Vec<Option<TaskId>>>;

    /// Changes priority or due time of waiting tasks.
    async fn change_tasks(&self, changes: Vec<ChangeTask>) -> Result<Vec<ChangeOutcome>>;

    /// Tasks by id, live or final, in order.
    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>>;

    /// Live tasks that match the filter.
    async fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Result<Page<Task>>;

    /// Final tasks that match the filter, newest first.
    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>>;

    /// Attempts that match the filter, newest first.
    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>>;

    /// Decisions about a job (or all), newest first.
    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>>;

    /// Log chunks of an attempt.
    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>>;

    /// Changes since a cursor.
    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes>;

    /// Executors that match the filter.
    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>>;

    /// Disables, enables or drains an executor.
    async fn order_executor(
        &self,
        executor_id: &ExecutorId,
        order: ExecutorOrder,
    ) -> Result<SetExecutorStatusOutcome>;

    /// The next fire times of a schedule, with the reason of each shift.
    ///
    /// **Errors**: `NotFound` if it is a job's and there is no such job.
    async fn preview(&self, preview: Preview) -> Result<Vec<PreviewEntry>>;

    /// How the system stands.
    async fn status(&self) -> Result<SystemStatus>;

    /// Subscribes to what this scheduler does and sees from now on.
    fn subscribe(&self) -> Events;
}

/// A job to create or change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutJobRequest {
    /// The job.
    pub job: NewJob,
    /// What must be there.
    pub expected: Expected,
}

/// A job to pause or resume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseRequest {
    /// The job.
    pub job_id: JobId,
    /// `Any` or the version that must be there.
    pub expected: Expected,
    /// What it becomes.
    pub to: PauseState,
}

/// A task to make of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// The job.
    pub job_id: JobId,
    /// The task's id; generated when absent.
    #[serde(default)]
    pub task_id: Option<TaskId>,
    /// Arguments in place of the job's.
    #[serde(default)]
    pub arguments: Option<Json>,
    /// A priority in place of the job's.
    #[serde(default)]
    pub priority: Option<i32>,
    /// When it is due; at once when absent.
    #[serde(default)]
    pub due: Option<Due>,
    /// A limit key in place of the job's; the job must have a limit.
    #[serde(default)]
    pub limit_key: Option<String>,
    /// The key under which a second trigger finds the first one's task.
    #[serde(default)]
    pub unique_key: Option<UniqueKey>,
}

/// When a triggered task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// At an instant.
    At(Timestamp),
    /// After a time.
    In(#[serde(with = "crate::duration")] Duration),
}

impl Trigger {
    /// A task of the job, due at once, with the job's own arguments and priority.
    pub const fn new(job_id: JobId) -> Self {
        Self {
            job_id,
            task_id: None,
            arguments: None,
            priority: None,
            due: None,
            limit_key: None,
            unique_key: None,
        }
    }

    /// With these arguments in place of the job's.
    ///
    /// # Errors
    /// `InvalidInput` if the value has no JSON form.
    pub fn arguments(mut self, arguments: &impl Serialize) -> Result<Self> {
        self.arguments = Some(Json::encode(arguments)?);
        Ok(self)
    }

    /// With this id, so that the caller can look for the task whatever happens.
    #[must_use]
    pub fn task_id(mut self, task_id: TaskId) -> Self {
        self.task_id = Some(task_id);
        self
    }

    /// Due after `delay`.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.due = Some(Due::In(delay));
        self
    }

    /// Due at `time`.
    #[must_use]
    pub const fn at(mut self, time: Timestamp) -> Self {
        self.due = Some(Due::At(time));
        self
    }

    /// With this priority in place of the job's.
    #[must_use]
    pub const fn priority(mut self, priority: i32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Unique by `key` among the job's tasks, for 24 hours.
    ///
    /// # Errors
    /// `InvalidInput` if the key is empty or longer than 255 bytes.
    pub fn unique(mut self, key: impl Into<String>) -> Result<Self> {
        self.unique_key = Some(UniqueKey::new(self.job_id.as_str(), key)?);
        Ok(self)
    }

    /// Behind the limit of `key`, in place of the key in the job's limit.
    #[must_use]
    pub fn limit_key(mut self, key: impl Into<String>) -> Self {
        self.limit_key = Some(key.into());
        self
    }
}

/// What became of a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use]
pub enum Triggered {
    /// A task was made.
    Made {
        /// Its id.
        task_id: TaskId,
    },
    /// The id or unique key belongs to a task that is there.
    Existing {
        /// Its id.
        task_id: TaskId,
    },
}

impl Triggered {
    /// The task, whether new or not.
    pub const fn task_id(&self) -> &TaskId {
        match self {
            Self::Made { task_id } | Self::Existing { task_id } => task_id,
        }
    }
}

/// Tasks to cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Which.
    pub tasks: CancelTarget,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// How long running attempts may take to end; `None`: what their job says.
    #[serde(default, with = "crate::duration::option")]
    pub grace: Option<Duration>,
}

/// Which tasks to cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelTarget {
    /// These.
    Tasks(Vec<TaskId>),
    /// All of a job that wait or run.
    Job(JobId),
}

impl Cancel {
    /// One task.
    pub fn task(task_id: TaskId, reason: impl Into<String>) -> Self {
        Self {
            tasks: CancelTarget::Tasks(vec![task_id]),
            reason: reason.into(),
            grace: None,
        }
    }

    /// All of a job's tasks that wait or run.
    pub fn job(job_id: JobId, reason: impl Into<String>) -> Self {
        Self {
            tasks: CancelTarget::Job(job_id),
            reason: reason.into(),
            grace: None,
        }
    }
}

/// What was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CancelSummary {
    /// How many waited, and are `Cancelled`.
    pub cancelled: usize,
    /// How many run, and were asked to end.
    pub requested: usize,
    /// How many of the named ones are final or don't exist.
    pub not_live: usize,
}

/// An order to an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorOrder {
    /// Take nothing new, until enabled.
    Disable,
    /// Take tasks again.
    Enable,
    /// Finish what runs, then go.
    Drain,
}

/// What to preview.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Whose schedule.
    pub of: PreviewOf,
    /// Fire times after this; `None`: after now.
    pub after: Option<Timestamp>,
    /// How many fire times, 1 to 1,000.
    pub count: usize,
}

/// Whose schedule to preview.
#[derive(Clone, Debug, PartialEq)]
pub enum PreviewOf {
    /// A job's.
    Job(JobId),
    /// This one.
    Schedule(Box<Schedule>),
}

/// How the system stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemStatus {
    /// The store's clock.
    pub now: Timestamp,
    /// The store's name.
    pub store: String,
    /// This node.
    pub executor_id: ExecutorId,
    /// Live tasks by lane and state.
    pub tasks: Vec<TaskCount>,
    /// Executors that are there.
    pub executors: Vec<ExecutorRecord>,
    /// Lanes with waiting tasks that no executor serves: their handlers are missing.
    pub unserved_lanes: Vec<String>,
    /// What goes wrong at present, by loop.
    pub troubles: Vec<Trouble>,
}

/// Something that goes wrong at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The loop that has it: `claim`, `fire`, `settle`, …
    pub part: String,
    /// Since when.
    pub since_time: Timestamp,
    /// How often it failed in a row.
    pub failures: u64,
    /// The latest error.
    pub error: String,
}

/// Shorthands for the most common calls, on every [`Scheduler`].
#[async_trait]
pub trait SchedulerExt: Scheduler {
    /// Creates a job, or changes it to this definition. Putting the same again changes nothing, so that every replica
    /// of a service can put its jobs when it starts.
    ///
    /// # Errors
    /// `InvalidInput` names the field and what would be right.
    async fn put_job<J>(&self, job: J) -> Result<Arc<Job>>
    where
        J: TryInto<NewJob> + Send,
        Error: From<J::Error>,
    {
        let request = PutJobRequest {
            job: job.try_into()?,
            expected: Expected::Any,
        };
        match self.put_jobs(vec![request]).await?.pop() {
            Some(
                PutJobOutcome::Created(job) | PutJobOutcome::Updated(job) | PutJobOutcome::Unchanged(job),
            ) => Ok(job),
            other => Err(Error::new(
                ErrorKind::Conflict,
                format!("the job was not written: {other:?}"),
            )),
        }
    }

    /// Makes one task of a job; says its id.
    ///
    /// # Errors
    /// As [`Scheduler::trigger`].
    async fn trigger_one(&self, trigger: Trigger) -> Result<TaskId> {
        let triggered = self.trigger(vec![trigger]).await?;
        let first = triggered.first().map(|triggered| triggered.task_id().clone());
        first.ok_or_else(|| Error::new(ErrorKind::Corrupt, "a trigger was not answered"))
    }

    /// One task, live or final.
    ///
    /// # Errors
    /// The store's.
    async fn get_task(&self, task_id: &TaskId) -> Result<Option<Task>> {
        Ok(self
            .get_tasks(std::slice::from_ref(task_id))
            .await?
            .pop()
            .flatten())
    }

    /// The latest attempt of a task: who carried it out, when, what it returned, what went wrong. `None` before the
    /// first is recorded, which is when it ends or after [`start_delay`](crate::config::EngineConfig::start_delay).
    ///
    /// # Errors
    /// The store's.
    async fn latest_attempt(&self, task_id: &TaskId) -> Result<Option<Attempt>> {
        let filter = AttemptFilter {
            task_id: Some(task_id.clone()),
            ..AttemptFilter::default()
        };
        Ok(self
            .list_attempts(&filter, &PageRequest::first(1))
            .await?
            .items
            .pop())
    }

    /// Waits until a task is final.
    ///
    /// # Errors
    /// `NotFound` if there is no such task. The store's.
    async fn wait(&self, task_id: &TaskId) -> Result<Task> {
        let mut events = self.subscribe();
        loop {
            let task = self.get_task(task_id).await?;
            let task =
                task.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no task {task_id}")))?;
            if task.state.is_final() {
                return Ok(task);
            }
            wait_for_hint(&mut events, task_id).await;
        }
    }
}

impl<S: Scheduler + ?Sized> SchedulerExt for S {}

/// How long to wait for an event before looking again: other processes' tasks give none.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

async fn wait_for_hint(events: &mut Events, wanted: &TaskId) {
    let about_it = async {
        loop {
            match events.next().await {
                Some(Received::Event(Event::Task { task_id, .. })) if task_id == *wanted => return,
                Some(Received::Missed(_)) => return,
                Some(Received::Event(_)) => {}
                None => std::future::pending().await,
            }
        }
    };
    // Whether the hint came or time ran out makes no difference: the caller looks again.
    let _ = tokio::time::timeout(LOOK_AGAIN, about_it).await;
}
