//! [`JobStore`]: jobs and their fires, versioned records, and the executors that are there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::page::{Page, PageRequest};
use crate::error::Result;
use crate::id::{ExecutorId, JobId, TaskId};
use crate::job::{Job, JobDefinition, JobKind};
use crate::json::Json;
use crate::lane::ExecutorProfile;
use crate::lease::{Holder, Incarnation};
use crate::task::NewTask;
use crate::time::Timestamp;

/// Jobs and their fires, versioned records, and executors.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// The backend's name for errors and metrics: `memory`, `sqlite`, `mysql`, …
    ///
    /// **Conformance**: `the_store_has_a_name`.
    fn name(&self) -> &'static str;

    /// The store's own clock, by which leases are judged.
    ///
    /// **Conformance**: `the_clock_never_goes_backwards`, `the_clock_is_the_injected_one`.
    async fn now(&self) -> Result<Timestamp>;

    /// Creates and changes jobs.
    ///
    /// **Contract**: each item holds its expectation and its write together. Putting a definition that is equal to the
    /// stored one under [`Expected::Any`] changes nothing, not even the next fire time (`Unchanged`), so that ten
    /// starting replicas don't disturb a schedule; unless the job has an `error`, which a put repairs. Any other change
    /// raises `version` by one and takes over `next_fire_time` (none for a paused job) and `zone_version` from the
    /// request. `error` becomes `None`; `paused` and `last_fire_time` stay. A new job is active and has version 1.
    /// `Absent` where it exists, and another version than the expected one, is a `VersionConflict`; an expected version
    /// where nothing exists is `NotFound`.
    ///
    /// **Conformance**: `a_new_job_begins_at_version_one`, `an_equal_definition_changes_nothing`,
    /// `a_change_raises_the_version`, `a_change_under_the_right_version_counts`,
    /// `a_change_under_a_stale_version_is_refused`, `a_change_of_a_missing_job_finds_nothing`,
    /// `creating_what_exists_is_refused`, `a_change_keeps_a_job_paused`, `a_change_clears_the_error`,
    /// `an_equal_definition_repairs_a_job`, `puts_are_answered_in_order_and_independently`,
    /// `one_of_many_concurrent_changes_wins`, `one_of_many_concurrent_creations_wins`, `a_definition_is_kept_whole`.
    async fn put_jobs(&self, jobs: Vec<PutJob>) -> Result<Vec<PutJobOutcome>>;

    /// Pauses and resumes jobs. A change raises `version`; a pause clears `next_fire_time`, a resume takes it over from
    /// the request, and `zone_version` stays. Pausing a paused job or resuming an active one changes nothing
    /// (`Unchanged`), but is a `VersionConflict` under another expected version.
    ///
    /// **Conformance**: `pausing_takes_the_next_fire_time_away`, `resuming_brings_a_next_fire_time`,
    /// `pausing_twice_changes_nothing`, `pausing_under_a_stale_version_is_refused`,
    /// `pausing_a_missing_job_finds_nothing`.
    async fn pause_jobs(&self, jobs: Vec<PauseJob>) -> Result<Vec<PutJobOutcome>>;

    /// Deletes jobs. Their live tasks are left: the caller cancels them first, and claim and promotion settle as
    /// `Cancelled` what slipped in between (reason [`JOB_DELETED`](crate::engine::settle::JOB_DELETED)). What is held
    /// goes on, and recovery treats it like any other task. Their history stays.
    ///
    /// **Conformance**: `a_deleted_job_is_gone`, `a_task_of_a_deleted_job_is_cancelled_at_its_claim`,
    /// `deleting_leaves_live_tasks`, `deleting_under_a_stale_version_is_refused`,
    /// `due_tasks_of_a_deleted_job_are_cancelled`, `tasks_of_a_deleted_job_behind_a_full_gate_are_cancelled`,
    /// `the_history_of_a_deleted_job_stays`.
    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>>;

    /// The jobs with these ids, in order; `None` for those that don't exist.
    ///
    /// **Conformance**: `a_new_job_begins_at_version_one`, `a_definition_is_kept_whole`, `a_deleted_job_is_gone`,
    /// `jobs_are_got_in_the_order_of_the_request`.
    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>>;

    /// Jobs that match the filter, by `job_id` (byte by byte).
    ///
    /// **Conformance**: `jobs_are_listed_by_id_page_by_page`, `jobs_are_listed_by_what_they_are`.
    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<Arc<Job>>>;

    /// Jobs whose `next_fire_time` is at or before `until`, by (`next_fire_time`, `job_id`), after `after`, at most
    /// `limit`. Paused jobs have no next fire time.
    ///
    /// **Contract**: costs in proportion to its answer, not to the number of jobs. The result is a hint: only
    /// [`fire`](Self::fire) decides.
    ///
    /// **Conformance**: `a_deleted_job_is_gone`, `due_jobs_come_in_order_of_time_and_id`, `due_jobs_come_in_pages`,
    /// `a_paused_job_is_never_due`.
    async fn due_jobs(&self, due: &DueJobs) -> Result<Vec<Arc<Job>>>;

    /// The earliest `next_fire_time` later than `after`, so that an idle node knows how long it may sleep.
    ///
    /// **Conformance**: `a_paused_job_is_never_due`, `the_next_due_time_is_the_earliest_after_an_instant`.
    async fn next_due_time(&self, after: Timestamp) -> Result<Option<Timestamp>>;

    /// Active jobs with a schedule whose `zone_version` is another than this: rows written by hand, and all rows after
    /// new time zone data came; by `job_id`, at most `limit`. A plan that found an error stores it together with the
    /// present `zone_version`, so such a row doesn't come again.
    ///
    /// **Conformance**: `unplanned_jobs_are_those_of_other_zone_data`, `unplanned_jobs_are_limited`.
    async fn unplanned_jobs(&self, zone_version: &str, limit: usize) -> Result<Vec<Arc<Job>>>;

    /// Inserts the tasks of fires, records decisions, and advances next fire times.
    ///
    /// **Contract**: each fire is carried out wholly if the job is active and still has the expected `version` and
    /// `next_fire_time`, else not at all (`Conflict`). Its tasks are inserted as by
    /// [`insert_tasks`](super::TaskStore::insert_tasks), so one whose (job, `scheduled_for`, part) exists, live or in
    /// history, is not inserted again. `version` and `update_time` stay. This is also how plans without a fire are
    /// written (no tasks).
    ///
    /// **Concurrency**: of two nodes that fire the same instant, one gets `Conflict`.
    ///
    /// **Conformance**: `a_fire_makes_tasks_and_moves_the_job_on`, `a_fire_under_a_stale_version_writes_nothing`,
    /// `a_fire_of_a_stale_instant_writes_nothing`, `a_fire_of_a_missing_or_paused_job_is_a_conflict`,
    /// `fires_are_answered_in_order_and_independently`, `one_of_many_concurrent_fires_counts`,
    /// `an_occurrence_is_inserted_once`, `an_occurrence_in_history_is_not_inserted_again`,
    /// `parts_of_one_instant_are_tasks_of_their_own`, `a_fire_can_only_plan`, `fired_tasks_wait_where_they_should`.
    async fn fire(&self, fires: Vec<Fire>) -> Result<Vec<FireOutcome>>;

    /// Writes versioned records: users, settings, alarm rules, workflow definitions. A record that was deleted and is
    /// written again begins at version 1.
    ///
    /// **Conformance**: `a_record_is_written_and_read`, `a_record_is_replaced_under_its_version`,
    /// `a_stale_write_of_a_record_is_refused`, `a_missing_record_has_no_version`, `a_record_is_deleted`,
    /// `one_of_many_concurrent_writes_of_a_record_wins`.
    async fn put_records(&self, records: Vec<PutRecord>) -> Result<Vec<PutRecordOutcome>>;

    /// One record.
    ///
    /// **Conformance**: `a_record_is_written_and_read`, `a_record_is_deleted`.
    async fn get_record(&self, namespace: &str, key: &str) -> Result<Option<Record>>;

    /// The records of a namespace, by key (byte by byte).
    ///
    /// **Conformance**: `records_of_a_namespace_are_listed_by_key`.
    async fn list_records(&self, namespace: &str, page: &PageRequest) -> Result<Page<Record>>;

    /// Registers an executor in a new incarnation, higher than all before it under the same id, and marks it alive.
    ///
    /// **Contract**: earlier incarnations are superseded at once: their heartbeats answer `Superseded`, and recovery
    /// takes their leases at its next pass without waiting for them to expire. A disabled executor stays disabled; a
    /// drain ends with the incarnation. Its reported resources are forgotten.
    ///
    /// A registration whose [`join`](RegisterExecutor::join) has the nonce of the newest incarnation and names an earlier
    /// one (or none) as its previous is a repetition: it changes nothing and answers with the newest incarnation,
    /// even if that one is gone by now.
    ///
    /// **Errors**: `InvalidInput` for a lease shorter than [`MIN_LEASE`](crate::lease::MIN_LEASE).
    ///
    /// **Conformance**: `a_disabled_executor_stays_disabled`, `a_join_that_is_not_repeated_is_a_new_incarnation`,
    /// `a_new_incarnation_supersedes_the_old_one_at_once`, `a_repeated_join_changes_nothing`,
    /// `an_executor_that_joins_is_online`, `concurrent_registrations_get_incarnations_of_their_own`,
    /// `each_registration_is_a_higher_incarnation`, `parts_of_an_executor_that_comes_back_are_taken`,
    /// `reported_resources_are_kept`.
    async fn register_executor(&self, registration: RegisterExecutor) -> Result<Registration>;

    /// Executors that match the filter, by `executor_id`.
    ///
    /// **Conformance**: `an_executor_that_joins_is_online`, `executors_are_listed_by_id_and_filter`.
    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>>;

    /// Disables, enables or drains an executor, or takes it off.
    ///
    /// **Contract**: an executor that is gone (it left, or was declared dead) is `Offline`, whatever else was said of
    /// it; else one that is disabled is `Disabled`, one that drains is `Draining`, and any other `Online`. Disabling
    /// and enabling are remembered while it is gone; a drain of one that is gone changes nothing (`Set`).
    ///
    /// **Conformance**: `a_disabled_executor_stays_disabled`, `a_heartbeat_tells_what_people_ordered`,
    /// `an_enabled_executor_takes_tasks_again`, `an_executor_that_left_is_offline`,
    /// `parts_of_a_disabled_executor_are_skipped`, `the_status_of_an_unknown_executor_is_not_set`.
    async fn set_executor_status(&self, change: SetExecutorStatus) -> Result<SetExecutorStatusOutcome>;
}

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

/// Which due jobs to read.
#[derive(Clone, Debug, PartialEq)]
pub struct DueJobs {
    /// The last instant that counts.
    pub until: Timestamp,
    /// Where the last page ended.
    pub after: Option<(Timestamp, JobId)>,
    /// How many at the most, up to [`MAX_BATCH`](super::MAX_BATCH).
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

/// A versioned record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What kind of thing it is; at most 64 bytes.
    pub namespace: String,
    /// Its key within the namespace; at most 255 bytes.
    pub key: String,
    /// Its content.
    pub value: Json,
    /// Counts its changes, from 1.
    pub version: u64,
    /// When it was last changed.
    pub update_time: Timestamp,
}

/// A record to write or delete.
#[derive(Clone, Debug, PartialEq)]
pub struct PutRecord {
    /// What kind of thing it is.
    pub namespace: String,
    /// Its key.
    pub key: String,
    /// Its content; `None` deletes it.
    pub value: Option<Json>,
    /// What must be there.
    pub expected: Expected,
    /// The present time.
    pub now: Timestamp,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutRecordOutcome {
    /// Written, with this version.
    Written {
        /// The new version.
        version: u64,
    },
    /// Deleted, or not there to delete under `Any`.
    Deleted,
    /// Another version is there (`None`: nothing is there).
    VersionConflict {
        /// The version it has now.
        current: Option<u64>,
    },
}

/// How an executor stands. The numbers are the codes in column `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorStatus {
    /// Gone: ended, or declared dead.
    Offline = 0,
    /// Takes tasks.
    Online = 1,
    /// Online and at its capacity. Shown, never stored as a state of its own.
    Busy = 2,
    /// Takes nothing new, by order of a person.
    Disabled = 3,
    /// Takes nothing new, finishes what it runs, then goes.
    Draining = 4,
}

impl ExecutorStatus {
    /// The code in column `status`.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The status with this code.
    ///
    /// # Errors
    /// `Corrupt` for any other number.
    pub fn from_code(code: i16) -> Result<Self> {
        match code {
            0 => Ok(Self::Offline),
            1 => Ok(Self::Online),
            2 => Ok(Self::Busy),
            3 => Ok(Self::Disabled),
            4 => Ok(Self::Draining),
            _ => Err(crate::Error::new(
                crate::ErrorKind::Corrupt,
                format!("{code} is no executor status"),
            )),
        }
    }

    /// Whether it may get new tasks.
    pub const fn takes_tasks(self) -> bool {
        matches!(self, Self::Online | Self::Busy)
    }
}

/// Who keeps an executor's leases alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It has the store: it claims and beats for itself.
    Direct,
    /// It has only a transport: schedulers claim and beat on its behalf.
    Remote,
}

/// An executor that joins.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterExecutor {
    /// Its id.
    pub executor_id: ExecutorId,
    /// Where it runs, for people and for pushing transports; may be empty.
    pub host: String,
    /// Its port, 0 if it has none.
    pub port: u16,
    /// What it offers.
    pub profile: ExecutorProfile,
    /// Who beats for it.
    pub reach: Reach,
    /// Where a transport reaches it: its inbox, opaque to the store.
    pub address: Option<Json>,
    /// How long its leases outlive its last heartbeat. Default 4 s; at least 100 ms.
    pub lease_duration: Duration,
    /// Recognises a repeated registration; `None` for one that can't be repeated.
    pub join: Option<JoinKey>,
}

/// Recognises a registration that was carried out before: a transport may repeat a join, and several schedulers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JoinKey {
    /// Chosen at random by the executor's process, once for its life.
    pub nonce: u64,
    /// The incarnation that the same process had before; `None` at its first join.
    pub previous: Option<Incarnation>,
}

/// An executor that has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its new incarnation.
    pub incarnation: Incarnation,
    /// The store's clock.
    pub now: Timestamp,
}

/// An executor as the store knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorRecord {
    /// Its id.
    pub executor_id: ExecutorId,
    /// Its newest incarnation.
    pub incarnation: Incarnation,
    /// Where it runs.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it stands.
    pub status: ExecutorStatus,
    /// What it offers.
    pub profile: ExecutorProfile,
    /// Who beats for it.
    pub reach: Reach,
    /// Where a transport reaches it.
    pub address: Option<Json>,
    /// How long its leases outlive its last heartbeat.
    #[serde(with = "crate::duration")]
    pub lease_duration: Duration,
    /// By the store's clock.
    pub last_heartbeat_time: Timestamp,
    /// When its newest incarnation joined.
    pub register_time: Timestamp,
    /// What it last reported of its resources and load.
    pub resources: Option<Json>,
}

/// Which executors to list. Empty fields match everything.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutorFilter {
    /// Only this one.
    pub executor_id: Option<ExecutorId>,
    /// Only those with this status.
    pub status: Option<ExecutorStatus>,
    /// Only those of this group.
    pub group: Option<String>,
}

/// A change of an executor's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetExecutorStatus {
    /// By a person: nothing new. Survives the executor's restart.
    Disable(ExecutorId),
    /// By a person: take tasks again. Doesn't take back a drain.
    Enable(ExecutorId),
    /// By a person or the executor: finish what runs, then go.
    Drain(ExecutorId),
    /// By the executor itself, at its end. Its remaining leases are recovered at the next pass. `NotFound` unless it
    /// is the newest incarnation.
    Leave(Holder),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SetExecutorStatusOutcome {
    /// It is so now.
    Set,
    /// There is no such executor, or not in this incarnation.
    NotFound,
}
