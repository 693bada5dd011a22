//! [`HistoryStore`]: what ran, and why something didn't.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::jobs::Decision;
use super::page::{Page, PageRequest};
use crate::attempt::{Attempt, AttemptStatus, LogChunk};
use crate::error::Result;
use crate::id::{ExecutorId, JobId, TaskId};
use crate::store::Cursor;
use crate::task::{Task, TaskState};
use crate::time::Timestamp;

/// Attempts, logs, decisions, and the tasks that are final.
#[async_trait]
pub trait HistoryStore: Send + Sync + 'static {
    /// Attempts that match the filter, running ones included, newest first: in the reverse of the order in which the
    /// store first recorded them, be it by a start or by a settlement.
    ///
    /// **Conformance**: `a_final_task_moves_to_history`, `attempts_are_listed_newest_first`,
    /// `attempts_are_listed_by_what_they_are`, `the_history_of_a_deleted_job_stays`.
    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>>;

    /// Final tasks that match the filter, newest first: in the reverse of the order in which they became final.
    ///
    /// **Conformance**: `a_final_task_moves_to_history`, `final_tasks_are_listed_newest_first`,
    /// `final_tasks_are_listed_by_what_they_are`, `the_history_of_a_deleted_job_stays`.
    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>>;

    /// Decisions about a job (or all), newest first: in the reverse of the order in which they were recorded.
    ///
    /// **Conformance**: `decisions_are_listed_newest_first`.
    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>>;

    /// Appends log chunks. A chunk that is there already (task, attempt, sequence) isn't changed; one of a task that
    /// is neither live nor in history is dropped.
    ///
    /// **Conformance**: `logs_are_read_in_order`, `a_log_chunk_is_written_once`, `logs_of_attempts_are_kept_apart`,
    /// `logs_of_unknown_tasks_are_dropped`, `logs_can_come_after_the_end`.
    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<()>;

    /// Log chunks of an attempt from `first_sequence` on, by sequence, at most `limit`.
    ///
    /// **Conformance**: `logs_are_read_in_order`, `logs_are_read_from_a_sequence_on_up_to_a_limit`,
    /// `logs_of_attempts_are_kept_apart`.
    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>>;

    /// Changes of jobs and final transitions of tasks after `cursor`, in the order in which the store wrote them.
    ///
    /// **Contract**: a commit that becomes visible late may appear behind the cursor; readers read again with some
    /// overlap ([`Changes::cursor`] already includes it), so the same change may come twice, but none is missed.
    /// `None` starts at the present: no changes, only a cursor. Changes of tasks that were purged since may be left out.
    ///
    /// **Errors**: `InvalidInput` for a cursor that this store didn't make.
    ///
    /// **Conformance**: `changes_begin_at_the_present`, `changes_of_jobs_are_told`, `final_transitions_are_told`,
    /// `changes_are_read_on_page_by_page`, `no_concurrent_change_is_missed`, `a_foreign_cursor_is_refused`.
    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes>;

    /// Deletes history that became final before `before`, oldest first: at most `limit` final tasks with their attempts
    /// and logs, and at most as many each of decisions, ended workflow runs and expired unique keys of tasks that
    /// aren't live.
    ///
    /// **Conformance**: `a_purge_deletes_what_became_final_before`, `a_purge_takes_up_to_its_limit`,
    /// `a_purge_deletes_old_decisions`, `a_purge_deletes_ended_runs`,
    /// `a_purge_keeps_unique_keys_that_have_not_expired`.
    async fn purge(&self, purge: &Purge) -> Result<Purged>;
}

/// Which attempts to list. Empty fields match everything.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptFilter {
    /// Only of this task.
    pub task_id: Option<TaskId>,
    /// Only of this job.
    pub job_id: Option<JobId>,
    /// Only by this executor.
    pub executor_id: Option<ExecutorId>,
    /// Only with this status.
    pub status: Option<AttemptStatus>,
    /// Only started at or after this.
    pub from_time: Option<Timestamp>,
    /// Only started before this.
    pub until_time: Option<Timestamp>,
}

/// Which final tasks to list. Empty fields match everything.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FinishedFilter {
    /// Only of this job.
    pub job_id: Option<JobId>,
    /// Only in one of these final states.
    pub states: Vec<TaskState>,
}

/// Which log chunks to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadLogs {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// The first sequence number to read.
    pub first_sequence: u64,
    /// How many at the most.
    pub limit: usize,
}

impl ReadLogs {
    /// An attempt's log from its beginning, as much as one read gives.
    pub const fn new(task_id: TaskId, attempt: u32) -> Self {
        Self {
            task_id,
            attempt,
            first_sequence: 0,
            limit: super::MAX_BATCH,
        }
    }
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A job was created, changed, paused, resumed or deleted.
    Job {
        /// The job.
        job_id: JobId,
        /// Its version; `None` if it was deleted.
        version: Option<u64>,
    },
    /// A task became final.
    Task {
        /// The task.
        task_id: TaskId,
        /// Its job.
        job_id: JobId,
        /// Its final state.
        state: TaskState,
    },
}

/// Changes, and where to read on.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// What changed.
    pub changes: Vec<Change>,
    /// Where to read on.
    pub cursor: Cursor,
}

/// What to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Everything that became final before this.
    pub before: Timestamp,
    /// How many tasks at the most.
    pub limit: usize,
    /// The present time, for the expiry of unique keys.
    pub now: Timestamp,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Purged {
    /// How many tasks.
    pub tasks: usize,
    /// Whether there is more to delete, of any kind.
    pub more: bool,
}
