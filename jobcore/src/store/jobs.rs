//! [`JobStore`]: jobs and their fires, versioned records, and the executors that are there.

mod decision;
mod executor;
mod fire;
mod put;
mod record;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::decision::*;
pub use self::executor::*;
pub use self::fire::*;
pub use self::put::*;
pub use self::record::*;
use crate::error::Result;
use crate::id::JobId;
use crate::job::Job;
use crate::store::page::{Page, PageRequest};
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
