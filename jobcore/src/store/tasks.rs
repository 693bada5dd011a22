//! [`TaskStore`]: live tasks, from insert to settle, with the leases that guard them.

mod attempt;
mod change;
mod claim;
mod heartbeat;
mod insert;
mod read;
mod recover;
mod run;
mod settle;

use async_trait::async_trait;

pub use self::attempt::*;
pub use self::change::*;
pub use self::claim::*;
pub use self::heartbeat::*;
pub use self::insert::*;
pub use self::read::*;
pub use self::recover::*;
pub use self::run::*;
pub use self::settle::*;
use crate::error::Result;
use crate::id::{RunId, TaskId};
use crate::lane::Lane;
use crate::lease::Holder;
use crate::store::page::{Page, PageRequest};
use crate::task::{NewTask, Task};
use crate::time::Timestamp;

/// Live tasks and their leases.
#[async_trait]
pub trait TaskStore: Send + Sync + 'static {
    /// Whether writes take effect in the order in which their futures are first polled, so that a claim finds the tasks
    /// of an insert or a fire that is still on its way, and may share its commit. Engines then claim beside such a call
    /// instead of after it; it changes speed, never safety. Default: `false`.
    ///
    /// **Conformance**: `a_claim_finds_what_is_on_its_way_where_promised`.
    fn is_ordered(&self) -> bool {
        false
    }

    /// Inserts tasks.
    ///
    /// **Contract**: a task whose id, or whose (job, `scheduled_for`, part) if it has a `scheduled_for`, exists, live or
    /// in history, or whose unique key is taken, isn't inserted and changes nothing; the answer names the task that is
    /// there, by the first of these that applies. A key is free again when it has expired (`keep` after the insert's
    /// `now`) and its task is final; it outlives the task's history. Gates that come with the task are created or get
    /// its policy. The new task is [`Task::from_new`]. Whether its job exists is not checked.
    ///
    /// **Errors**: after `Indeterminate`, inserting the same tasks again is safe.
    ///
    /// **Conformance**: `an_inserted_task_waits_where_it_should`, `an_id_is_inserted_once`,
    /// `an_id_in_history_is_not_inserted_again`, `an_id_twice_in_a_batch_is_inserted_once`,
    /// `an_occurrence_is_inserted_once_whatever_its_id`, `inserts_are_answered_in_order_and_independently`,
    /// `an_insert_can_be_repeated`, `a_unique_key_names_its_first_task`, `a_unique_key_counts_within_its_scope`,
    /// `an_expired_unique_key_holds_while_its_task_lives`, `an_expired_unique_key_of_a_final_task_is_free`,
    /// `one_of_many_concurrent_inserts_of_a_unique_key_wins`, `one_of_many_concurrent_inserts_of_an_id_wins`,
    /// `a_dropped_insert_is_whole_or_absent`, `the_newest_policy_holds_for_a_gate`, `a_full_batch_is_carried_out`,
    /// `a_longer_batch_is_refused`, `empty_requests_are_answered_with_nothing`,
    /// `a_purge_keeps_unique_keys_that_have_not_expired`.
    async fn insert_tasks(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<InsertOutcome>>;

    /// Moves on what waits: `Scheduled` tasks that are due become `Ready`; tasks behind gates pass, are skipped or
    /// cancelled as [`engine::gate::plan`](crate::engine::gate::plan) decides under the gates' locks.
    ///
    /// **Contract**: moves at most `limit` tasks, and says whether more can move on now. What comes due and whose job is
    /// gone is settled as `Cancelled` (reason [`JOB_DELETED`](crate::engine::settle::JOB_DELETED)) instead.
    ///
    /// - `Scheduled` tasks are taken by (`due_time`, `task_id`), and only where no gates are named. Behind gates, tasks
    ///   of jobs that are gone are settled first, by `task_id`.
    /// - Then, also only where no gates are named, `Ready` parts of broadcasts that nobody will start are settled as
    ///   `Skipped`, as [`engine::part::abandoned`](crate::engine::part::abandoned) says of their lanes' executors: by
    ///   lane, within one by (rank, `task_id`).
    /// - Gates are locked in key order before anything behind them is counted. What shares a gate is decided
    ///   together: the plan sees all due `Blocked` tasks behind the gates concerned, behind the other gates of those
    ///   tasks, and so on. Tasks that the plan would certainly let wait may be left out of it. If more than `limit`
    ///   could move, it is the store's choice with which of them it begins.
    /// - `live` of a gate counts its `Ready`, `Leased` and `Running` tasks and the `Scheduled` ones that passed;
    ///   `occupants` are its live tasks that passed, `Blocked` ones included.
    /// - A task that passes is marked `passed` for the rest of its life. It becomes `Ready` with the due time and rank
    ///   that it has; or, if a rate lets it pass a little later, `Scheduled` with that due time and the rank that
    ///   belongs to it, and then `Ready` without asking its gates again.
    /// - What an overlap policy skips or cancels gets a [`Decision`](super::Decision), and
    ///   [`SKIPPED`](crate::engine::gate::SKIPPED) or [`SUPERSEDED`](crate::engine::gate::SUPERSEDED) as its reason; a
    ///   held one gets the request as by [`cancel_tasks`](Self::cancel_tasks) with its job's grace, and is not counted
    ///   among the moved ones.
    /// - A gate lasts as long as a live task names it or its rate's arrival time lies in the future.
    ///
    /// **Conformance**: `a_burst_passes_at_once`, `a_cancel_names_the_gates_it_opens`,
    /// `a_gated_orphan_comes_back_to_its_gates`, `a_gated_task_waits_for_its_due_time`,
    /// `a_limit_counts_ready_leased_and_running_tasks`, `a_limit_lets_the_lowest_ranks_pass`,
    /// `a_promotion_moves_up_to_its_limit`, `a_rate_remembers_what_passed_and_is_gone`,
    /// `a_rate_spreads_tasks_up_to_a_second_ahead`, `a_repeated_task_comes_back_to_its_gates`,
    /// `a_scheduled_task_becomes_ready_when_due`, `a_step_reports_however_it_ends`,
    /// `a_task_passes_all_its_gates_or_none`, `a_task_that_waits_for_its_retry_still_overlaps`,
    /// `cancel_previous_asks_what_is_held_and_waits`, `cancel_previous_cancels_what_waits`,
    /// `cancel_previous_frees_the_places_of_what_waits`, `concurrent_promoters_keep_a_limit`,
    /// `due_tasks_of_a_deleted_job_are_cancelled`, `gates_are_connected_by_what_waits_behind_a_full_one`,
    /// `named_gates_alone_are_promoted`, `parts_of_a_disabled_executor_are_skipped`,
    /// `parts_of_an_executor_that_comes_back_are_taken`, `parts_of_an_executor_that_stays_away_are_skipped`,
    /// `promotion_races_with_settlement_within_the_limit`, `queue_all_lets_one_after_the_other_pass`,
    /// `queue_one_lets_a_single_task_wait`, `skip_lets_pass_once_the_earlier_task_is_final`,
    /// `skip_settles_what_meets_an_earlier_task`, `skipped_parts_make_room_at_their_gates`,
    /// `tasks_of_a_deleted_job_behind_a_full_gate_are_cancelled`, `the_newest_policy_holds_for_a_gate`,
    /// `what_a_disabled_executor_holds_goes_on`, `what_passed_a_rate_becomes_ready_without_asking_again`.
    async fn promote(&self, request: PromoteRequest) -> Result<Promoted>;

    /// All lanes that have live tasks, in order; may also name lanes that had some lately.
    ///
    /// **Conformance**: `lanes_with_live_tasks_are_named`.
    async fn lanes(&self) -> Result<Vec<Lane>>;

    /// Takes `Ready` tasks of the given lanes under a new lease, lowest rank first within a lane.
    ///
    /// **Contract**: one new token, higher than every token that any of these tasks ever had. Each task is claimed
    /// only if it is `Ready` at the commit; its `attempt` is raised by one. Refused (`NotAlive`) unless the holder is
    /// the newest incarnation, not declared dead and not offline, and `NotTaking` if it is disabled or draining. An
    /// expired lease that nobody has acted upon is no hindrance. With `max_held`, the tasks that the holder holds
    /// afterwards don't exceed it. Tasks whose job is gone are settled as `Cancelled` instead, at most
    /// [`MAX_BATCH`](super::MAX_BATCH) in one call.
    ///
    /// - Within a lane tasks are taken by (rank, `task_id`), and the lease lists them so, lane by lane in the order
    ///   given.
    /// - Where several lanes have tasks, none starves: each gets up to an even share first (`limit` divided by the
    ///   number of lanes, rounded down, at least 1), then what is left goes to the lanes in the order given. Callers
    ///   who name more lanes than `limit` change the order from call to call.
    /// - A suspect is claimed alone: from a [quarantine lane](Lane::is_quarantine) one task is taken, and only if the
    ///   lanes before it gave nothing; nothing else is taken with it. The share is reckoned without quarantine lanes.
    ///
    /// **Concurrency**: two claims never get the same task, and don't wait for each other longer than a transaction.
    ///
    /// **Errors**: after `Indeterminate`, the same request with `replay` answers with the lease that exists for its
    /// `claim_id` (what of it is still held, by `task_id`), also if the holder takes nothing new by now; or claims anew
    /// if there is none or nothing of it is held any more. What is held and whose job is gone is left out, and left as it
    /// is, since it may run: `Nothing` if that is all. A holder that isn't alive gets `NotAlive` here too. A `claim_id`
    /// is never used for another request.
    ///
    /// **Conformance**: `a_changed_priority_moves_a_task_in_its_lane`, `a_checkpoint_reaches_the_next_attempt`,
    /// `a_claim_makes_a_lease`, `a_claim_takes_no_more_than_its_limit`,
    /// `a_claim_that_never_happened_is_made_by_its_replay`, `a_dead_holder_claims_nothing`,
    /// `a_dead_holder_is_not_told_its_lease`, `a_deleted_job_does_not_keep_an_orphan`,
    /// `a_disabled_or_draining_holder_takes_nothing_new`, `a_dispatched_task_is_missed_only_after_its_start_before`,
    /// `a_full_batch_is_carried_out`, `a_full_lane_does_not_starve_the_others`,
    /// `a_holder_gets_no_more_than_it_may_hold`, `a_lease_that_was_not_named_is_told`,
    /// `a_limit_below_the_number_of_lanes_serves_the_first`, `a_lost_answer_can_be_asked_for`,
    /// `a_missed_lease_alone_is_no_hindrance`, `a_new_incarnation_supersedes_the_old_one_at_once`,
    /// `a_replay_leaves_what_is_held_of_a_deleted_job`, `a_step_reports_however_it_ends`, `a_suspect_is_claimed_alone`,
    /// `a_suspect_moves_to_the_quarantine`, `a_task_of_a_deleted_job_is_cancelled_at_its_claim`,
    /// `an_enabled_executor_takes_tasks_again`, `an_unregistered_holder_claims_nothing`,
    /// `concurrent_claims_on_behalf_keep_what_a_holder_may_hold`, `empty_requests_are_answered_with_nothing`,
    /// `only_ready_tasks_are_claimed`, `only_the_named_lanes_are_claimed`,
    /// `parts_of_an_executor_that_comes_back_are_taken`, `promotion_races_with_settlement_within_the_limit`,
    /// `the_lowest_rank_goes_first`, `tokens_strictly_increase_per_task`, `two_claims_never_get_the_same_task`,
    /// `what_a_lane_leaves_goes_to_the_others_in_order`.
    async fn claim(&self, request: ClaimRequest) -> Result<ClaimOutcome>;

    /// Records that attempts began: task `Running`, and a row in the history with status `running`.
    ///
    /// **Contract**: `Started` again, without another change, if it was recorded before under the same fence. A task
    /// with a request to cancel isn't started (`CancelRequested`); the caller settles it. The fence alone decides, not
    /// whether the holder is alive.
    ///
    /// **Conformance**: `a_full_batch_is_carried_out`, `empty_requests_are_answered_with_nothing`,
    /// `a_started_attempt_is_on_record`, `a_start_can_be_repeated`, `a_task_to_be_cancelled_is_not_started`,
    /// `a_stale_fence_starts_nothing`, `starts_are_answered_in_order_and_independently`,
    /// `the_fence_alone_decides_a_start`, `a_recovered_lease_is_fenced`.
    async fn start(&self, starts: Vec<Start>) -> Result<Vec<StartOutcome>>;

    /// Keeps executors alive, and with them all their leases.
    ///
    /// **Contract**: conditional on the incarnation being the newest and not declared dead; else it changes nothing
    /// and says why: `Superseded` if there is a newer one, else `Dead` (declared dead, left, or never registered). An
    /// executor that has missed its lease but was not yet declared dead lives on. Leases named in `closed` may be
    /// forgotten once nothing under them is held; until then they count as not named.
    ///
    /// **Conformance**: `a_repeated_join_changes_nothing`, `a_new_incarnation_supersedes_the_old_one_at_once`,
    /// `empty_requests_are_answered_with_nothing`, `a_heartbeat_keeps_an_executor_alive`,
    /// `a_missed_lease_is_forgiven_until_the_executor_is_dead`, `a_dead_executor_learns_that_it_is_dead`,
    /// `an_executor_that_left_or_never_joined_is_dead`, `heartbeats_are_answered_in_order_and_independently`,
    /// `a_heartbeat_tells_what_people_ordered`, `a_heartbeat_tells_what_is_to_be_cancelled`,
    /// `a_lease_that_was_not_named_is_told`, `a_dispatched_task_is_missed_only_after_its_start_before`,
    /// `a_task_that_is_no_longer_held_is_told`, `a_closed_lease_changes_nothing_that_is_held`,
    /// `reported_resources_are_kept`.
    async fn heartbeat(&self, heartbeats: Vec<Heartbeat>) -> Result<Vec<HeartbeatOutcome>>;

    /// Records how attempts ended, and what becomes of their tasks, as
    /// [`engine::settle::resolve`](crate::engine::settle::resolve) decides.
    ///
    /// **Contract**: a task that becomes final leaves the live tasks and enters the history in the same transaction,
    /// with its attempt; one that is to be repeated waits again (behind its gates, where it has some). A settlement
    /// that was recorded before under the same fence answers `AlreadySettled`: if the task is final under the fence's
    /// token, when its last holder is the fence's; else when there is an attempt of this task, number and token that
    /// ended otherwise than as `Lost`. (Giving a task back twice without an attempt is `Fenced` the second time.) A
    /// stale fence changes nothing.
    ///
    /// The attempt's record replaces the one that [`start`](Self::start) wrote. An attempt whose start was recorded and
    /// whose settlement brings no record becomes `Released` now. One that never began (no record, no recorded start)
    /// doesn't count: the task's `attempt` goes back by one, in history too. `start_time` of a final task is that of
    /// the attempt that its last lease was for, if it began, and none if the task ended while it waited.
    ///
    /// **Errors**: `InvalidInput` if a wish for a final state names one that isn't.
    ///
    /// **Conformance**: `a_checkpoint_reaches_the_next_attempt`, `a_final_task_moves_to_history`,
    /// `a_full_batch_is_carried_out`, `a_recorded_start_given_back_is_released`, `a_recovered_lease_is_fenced`,
    /// `a_repeated_task_comes_back_to_its_gates`, `a_repetition_does_not_survive_a_cancel`,
    /// `a_retry_that_is_due_is_ready_at_once`, `a_retry_waits_and_counts_as_a_failure`,
    /// `a_settled_step_reports_to_its_run`, `a_settlement_can_bring_a_checkpoint`, `a_settlement_counts_once`,
    /// `a_settlement_names_the_gates_it_opens`, `a_settlement_twice_in_a_batch_counts_once`, `a_snooze_is_no_failure`,
    /// `a_stale_fence_settles_nothing`, `a_success_counts_before_a_cancel`,
    /// `a_wish_for_a_state_that_is_not_final_is_refused`, `an_attempt_that_never_began_does_not_count`,
    /// `concurrent_settlements_all_report`, `concurrent_settlements_of_one_lease_all_count`,
    /// `empty_requests_are_answered_with_nothing`, `every_final_state_is_kept`, `final_is_final`,
    /// `giving_back_twice_is_fenced`, `one_of_many_concurrent_settlements_counts`,
    /// `promotion_races_with_settlement_within_the_limit`, `settlements_are_answered_in_order_and_independently`,
    /// `start_and_end_can_be_written_together`, `what_a_disabled_executor_holds_goes_on`.
    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<SettleOutcome>>;

    /// Saves checkpoints and progress of attempts, whether their start was recorded or not. A stale fence changes
    /// nothing (`Fenced`).
    ///
    /// **Conformance**: `empty_requests_are_answered_with_nothing`, `progress_and_checkpoint_are_saved`,
    /// `a_checkpoint_reaches_the_next_attempt`, `a_stale_fence_saves_nothing`, `a_recovered_lease_is_fenced`.
    async fn save(&self, updates: Vec<SaveProgress>) -> Result<Vec<SaveOutcome>>;

    /// Declares executors dead whose lease has expired by the store's clock: conditional on their incarnation and
    /// their last heartbeat, in a transaction of its own, before any of their tasks is touched.
    ///
    /// **Contract**: a lease has expired once its duration plus `grace` has passed since the executor's last heartbeat.
    /// At most `limit` executors, by `executor_id`; those in `spare` are left. Answers with those that it declared
    /// dead; they are `Offline`.
    ///
    /// **Conformance**: `a_dead_holder_claims_nothing`, `a_heartbeat_keeps_an_executor_alive`,
    /// `a_dead_executor_learns_that_it_is_dead`, `a_silent_executor_is_declared_dead_once`,
    /// `a_lease_holds_until_its_end`, `spared_executors_live_on`, `a_grace_lengthens_every_lease`,
    /// `at_most_a_limit_is_declared_dead`, `who_left_or_was_superseded_is_not_declared_dead`,
    /// `disabled_and_draining_executors_can_die`, `each_death_is_told_to_one_of_many`.
    async fn expire_executors(&self, request: ExpireExecutors) -> Result<Vec<Holder>>;

    /// Takes tasks back from leases whose holder is dead, superseded, gone or offline, as
    /// [`engine::recover::decide`](crate::engine::recover::decide) says, and settles as `Cancelled` held tasks whose
    /// cancel deadline has passed.
    ///
    /// **Contract**: finds leases by their holder, whenever they were committed. At most `limit` tasks: first those of
    /// dead holders by (token, `task_id`), then those past their deadline by (deadline, `task_id`). Due time of what
    /// waits again is `now`; a [suspect](crate::engine::recover::is_suspect) moves to the
    /// [quarantine](Lane::quarantine) of its lane. An attempt whose start was recorded becomes `Lost` without an end
    /// time, one past its deadline `Cancelled` now; one whose start was not recorded leaves no trace, and its number is
    /// used again. What becomes final here has no holder in history, so that a later settlement by the old one is
    /// `Fenced`.
    ///
    /// **Conformance**: `a_suspect_moves_to_the_quarantine`, `a_closed_lease_changes_nothing_that_is_held`,
    /// `a_leased_orphan_waits_again`, `a_started_orphan_loses_its_attempt`,
    /// `what_the_dead_superseded_and_gone_hold_is_recovered`, `what_the_living_hold_is_left`,
    /// `a_recovered_lease_is_fenced`, `a_started_orphan_at_most_once_fails`,
    /// `an_orphan_to_be_cancelled_is_cancelled`, `a_passed_cancel_deadline_is_enforced`,
    /// `a_gated_orphan_comes_back_to_its_gates`, `recovery_takes_up_to_its_limit`,
    /// `a_deleted_job_does_not_keep_an_orphan`, `a_task_that_kills_its_nodes_is_poison`,
    /// `a_suspect_that_never_starts_is_no_poison`, `each_orphan_is_recovered_once`, `a_step_reports_however_it_ends`.
    async fn recover(&self, request: RecoverRequest) -> Result<Recovered>;

    /// Changes waiting tasks: their priority or due time.
    ///
    /// **Contract**: the rank follows both. A `Blocked` task stays so; another becomes `Scheduled` or `Ready` as its
    /// due time says.
    ///
    /// **Conformance**: `a_changed_priority_moves_a_task_in_its_lane`,
    /// `a_changed_due_time_moves_a_task_between_states`, `held_and_final_tasks_are_not_changed`.
    async fn change_tasks(&self, changes: Vec<ChangeTask>, now: Timestamp) -> Result<Vec<ChangeOutcome>>;

    /// Asks to cancel tasks: waiting ones become `Cancelled` at once, held ones get the request.
    ///
    /// **Contract**: handles the first `limit` of the named tasks, in order, or of the job's tasks by `task_id`. The
    /// grace of a job that is gone is 30 s. A second request can only bring the deadline forward; the first reason stays.
    ///
    /// **Conformance**: `a_task_to_be_cancelled_is_not_started`, `a_heartbeat_tells_what_is_to_be_cancelled`,
    /// `a_repetition_does_not_survive_a_cancel`, `a_success_counts_before_a_cancel`, `final_is_final`,
    /// `an_orphan_to_be_cancelled_is_cancelled`, `a_passed_cancel_deadline_is_enforced`,
    /// `waiting_tasks_are_cancelled_at_once`, `held_tasks_get_the_request`, `a_second_request_can_only_hasten`,
    /// `the_grace_of_a_deleted_job_is_thirty_seconds`, `final_and_unknown_tasks_are_not_live`,
    /// `a_task_named_twice_is_cancelled_once`, `a_cancel_takes_up_to_its_limit`, `a_cancel_names_the_gates_it_opens`,
    /// `a_step_reports_however_it_ends`.
    async fn cancel_tasks(&self, request: CancelTasks) -> Result<Cancelled>;

    /// The tasks with these ids, in order, live or from history; `None` for those that don't exist.
    ///
    /// **Conformance**: `an_inserted_task_waits_where_it_should`, `a_full_batch_is_carried_out`,
    /// `a_final_task_moves_to_history`, `tasks_are_got_in_the_order_of_the_request`.
    async fn get_tasks(&self, task_ids: &[TaskId]) -> Result<Vec<Option<Task>>>;

    /// Live tasks that match the filter, by `task_id`.
    ///
    /// **Conformance**: `live_tasks_are_listed_by_id_page_by_page`, `live_tasks_are_listed_by_what_they_are`.
    async fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Result<Page<Task>>;

    /// How many live tasks there are, by lane and state (in this order; none with 0), and since when the oldest waits.
    ///
    /// **Contract**: may be up to a second old, and must not slow claims.
    ///
    /// **Conformance**: `live_tasks_are_counted_by_lane_and_state`.
    async fn task_counts(&self) -> Result<Vec<TaskCount>>;

    /// Begins a workflow run with its first tasks, unless the id exists. Tasks are inserted as by
    /// [`insert_tasks`](Self::insert_tasks).
    ///
    /// **Conformance**: `a_run_begins_with_its_tasks`, `a_run_begins_once`.
    async fn insert_run(&self, run: NewRun) -> Result<InsertRunOutcome>;

    /// A workflow run with what its steps reported and nobody has consumed yet.
    ///
    /// **Conformance**: `a_run_begins_with_its_tasks`, `a_settled_step_reports_to_its_run`,
    /// `a_step_reports_however_it_ends`, `concurrent_settlements_all_report`.
    async fn get_run(&self, run_id: &RunId) -> Result<Option<WorkflowRun>>;

    /// Applies what the pure engine made of a run: new state, new tasks, and reports consumed, together, if the run's
    /// version is still the expected one.
    ///
    /// **Contract**: settling a task with a [`StepRef`](crate::task::StepRef) appends to its run's inbox in the settling
    /// transaction; nothing but this method takes from it.
    ///
    /// **Conformance**: `an_advance_is_applied_whole`, `an_advance_without_consumption_leaves_the_inbox`,
    /// `a_run_ends`, `a_stale_advance_changes_nothing`, `an_advance_of_an_unknown_run_finds_nothing`,
    /// `one_of_many_concurrent_advances_counts`.
    async fn advance_run(&self, advance: AdvanceRun) -> Result<AdvanceRunOutcome>;
}
