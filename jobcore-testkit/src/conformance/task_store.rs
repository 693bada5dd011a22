//! What [`TaskStore`](jobcore::store::TaskStore) promises.

mod claims;
mod expiry;
mod heartbeats;
mod inserts;
mod lanes;
mod overlaps;
mod parts;
mod promotions;
mod rates;
mod reads;
mod recovery;
mod repetitions;
mod runs;
mod settlements;
mod starts;
mod waiting;

crate::__task_store_cases! { [super::table::suite] [] }

/// The table of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __task_store_cases {
    ([$($callback:tt)*] [$($argument:tt)*]) => { $($callback)* ! { [$($argument)*]
        inserts {
            an_inserted_task_waits_where_it_should [insert_tasks, get_tasks]
                "Ready if due, scheduled if due later, blocked behind gates; every field comes back.";
            an_id_is_inserted_once [insert_tasks]
                "A task whose id is there isn't inserted, and the one there stays as it is.";
            an_id_in_history_is_not_inserted_again [insert_tasks]
                "The same holds if that task has finished.";
            an_id_twice_in_a_batch_is_inserted_once [insert_tasks]
                "The second of two equal ids in one batch is the duplicate.";
            an_occurrence_is_inserted_once_whatever_its_id [insert_tasks]
                "A task whose job, nominal time and part exist is a duplicate of the one there, live or final.";
            inserts_are_answered_in_order_and_independently [insert_tasks]
                "A duplicate doesn't touch the rest of the batch; answers stand in the order of the tasks.";
            an_insert_can_be_repeated [insert_tasks]
                "Inserting the same batch again, as after an indeterminate answer, changes nothing.";
            a_unique_key_names_its_first_task [insert_tasks]
                "A second task with the key isn't inserted; the answer names the first, also once that has finished.";
            a_unique_key_counts_within_its_scope [insert_tasks]
                "Equal keys in different scopes don't meet.";
            an_expired_unique_key_holds_while_its_task_lives [insert_tasks]
                "A key isn't free before its task is final, however long ago it expired.";
            an_expired_unique_key_of_a_final_task_is_free [insert_tasks]
                "Once both hold, the next task takes the key over.";
            one_of_many_concurrent_inserts_of_a_unique_key_wins [insert_tasks]
                "Of many inserts with one key at once, one succeeds, and the others name its task.";
            one_of_many_concurrent_inserts_of_an_id_wins [insert_tasks]
                "Of many inserts of one id at once, one succeeds.";
            a_dropped_insert_is_whole_or_absent [insert_tasks]
                "A batch whose future is dropped half-way is inserted wholly or not at all.";
        }
        promotions {
            a_scheduled_task_becomes_ready_when_due [promote]
                "At its due time, not before; the answer names the next due time.";
            a_promotion_moves_up_to_its_limit [promote]
                "The earliest first, and the answer says that there are more.";
            named_gates_alone_are_promoted [promote]
                "With gates named, neither other gates nor scheduled tasks are touched.";
            a_limit_lets_the_lowest_ranks_pass [promote]
                "As many as the limit allows pass, by rank, and are marked as passed.";
            a_limit_counts_ready_leased_and_running_tasks [promote]
                "A place is taken from passing until the task is final.";
            the_newest_policy_holds_for_a_gate [insert_tasks, promote]
                "The policy of the latest inserted task counts; that of a duplicate doesn't.";
            a_task_passes_all_its_gates_or_none [promote]
                "A task that is full behind one gate takes no place behind the others.";
            a_gated_task_waits_for_its_due_time [promote]
                "A blocked task passes only once it is due, and keeps its due time.";
            a_repeated_task_comes_back_to_its_gates [settle, promote]
                "A retry waits blocked, frees its place meanwhile, and passes again when due.";
            due_tasks_of_a_deleted_job_are_cancelled [promote, delete_jobs]
                "What comes due or waits at a gate and has no job any more is settled as cancelled.";
            tasks_of_a_deleted_job_behind_a_full_gate_are_cancelled [promote, delete_jobs]
                "They don't wait until the gate has room.";
            gates_are_connected_by_what_waits_behind_a_full_one [promote]
                "What is behind another gate of a task that waits behind a full one is decided with it.";
            concurrent_promoters_keep_a_limit [promote]
                "However many promoters run at once, no more than the limit pass.";
            promotion_races_with_settlement_within_the_limit [promote, claim, settle]
                "Promoters, claims and settlements at once never let more live than the limit, and none is forgotten.";
        }
        overlaps {
            skip_settles_what_meets_an_earlier_task [promote]
                "The later task is skipped, with reason and decision.";
            skip_lets_pass_once_the_earlier_task_is_final [promote]
                "A final task is no obstacle.";
            a_task_that_waits_for_its_retry_still_overlaps [promote]
                "A task keeps its place in the overlap between its attempts, and goes first.";
            queue_one_lets_a_single_task_wait [promote]
                "One waits, those that come while it waits are skipped.";
            queue_all_lets_one_after_the_other_pass [promote]
                "All wait, and pass one by one in the order in which they came due.";
            cancel_previous_cancels_what_waits [promote]
                "Waiting earlier tasks are cancelled with a decision each; the newest passes.";
            cancel_previous_frees_the_places_of_what_waits [promote]
                "What is cancelled gives its place back behind all its gates, so that the newest passes at once.";
            cancel_previous_asks_what_is_held_and_waits [promote]
                "A held earlier task is asked once, with its job's grace; the newest passes when it is final.";
        }
        parts {
            parts_of_a_disabled_executor_are_skipped [promote, set_executor_status]
                "Ready parts that only a disabled executor may take are settled as skipped, with the reason.";
            parts_of_an_executor_that_stays_away_are_skipped [promote]
                "Once it was offline for so long since its last heartbeat, and not before.";
            parts_of_an_executor_that_comes_back_are_taken [promote, register_executor, claim]
                "One that returns in time takes what waited for it.";
            what_a_disabled_executor_holds_goes_on [promote, settle]
                "A part that it holds isn't touched; given back, it is skipped.";
            skipped_parts_make_room_at_their_gates [promote]
                "The place of a part that nobody will start is free for others.";
        }
        rates {
            a_rate_spreads_tasks_up_to_a_second_ahead [promote]
                "One passes now, others get due times up to a second ahead, the rest waits.";
            what_passed_a_rate_becomes_ready_without_asking_again [promote]
                "At its due time it is ready, and doesn't use the rate twice.";
            a_burst_passes_at_once [promote]
                "After a quiet time as many as the burst allows pass at once.";
            a_rate_remembers_what_passed_and_is_gone [promote]
                "The rate holds also when no task is left behind its gate.";
        }
        claims {
            a_claim_finds_what_is_on_its_way_where_promised [is_ordered]
                "A store that says so carries out an insert or a fire before a claim that was made later, answered or not.";
            a_claim_makes_a_lease [claim]
                "One token, the task leased by the holder for its next attempt, and its job.";
            only_ready_tasks_are_claimed [claim]
                "Blocked, scheduled and held tasks aren't, whatever the time.";
            a_claim_takes_no_more_than_its_limit [claim]
                "At most `limit` tasks, and the rest by the next claim.";
            the_lowest_rank_goes_first [claim]
                "By rank, which is due time less ten seconds per step of priority; ties by id.";
            tokens_strictly_increase_per_task [claim]
                "Each lease of a task has a higher token than all before, whoever takes it.";
            an_unregistered_holder_claims_nothing [claim]
                "It answers `NotAlive`.";
            a_dead_holder_claims_nothing [claim, expire_executors]
                "It answers `NotAlive`.";
            a_missed_lease_alone_is_no_hindrance [claim]
                "Only a declaration of death ends an incarnation, not the time.";
            a_disabled_or_draining_holder_takes_nothing_new [claim]
                "It answers `NotTaking`.";
            a_holder_gets_no_more_than_it_may_hold [claim]
                "With `max_held`, what it held before counts.";
            concurrent_claims_on_behalf_keep_what_a_holder_may_hold [claim]
                "Several schedulers that claim for one executor don't overfill it.";
            a_task_of_a_deleted_job_is_cancelled_at_its_claim [claim, delete_jobs]
                "It isn't handed out, but settled as cancelled.";
            two_claims_never_get_the_same_task [claim]
                "Many claims at once take every task exactly once, each under a token of its own.";
            a_lost_answer_can_be_asked_for [claim]
                "A replay answers with what of the lease is still held, by id, and takes nothing more.";
            a_dead_holder_is_not_told_its_lease [claim]
                "A replay for a holder that was superseded or declared dead answers `NotAlive`.";
            a_replay_leaves_what_is_held_of_a_deleted_job [claim]
                "A replay neither names nor settles what is held of a deleted job, and takes nothing in its place.";
            a_claim_that_never_happened_is_made_by_its_replay [claim]
                "A replay without a lease, or with nothing of it held any more, claims anew.";
            a_full_batch_is_carried_out [insert_tasks, claim, start, settle, get_tasks]
                "A batch of the greatest length goes through all methods.";
            a_longer_batch_is_refused [insert_tasks]
                "One more is `InvalidInput`, and nothing is changed.";
            empty_requests_are_answered_with_nothing [insert_tasks, claim, start, settle, save, heartbeat]
                "No method minds an empty request.";
        }
        lanes {
            only_the_named_lanes_are_claimed [claim]
                "Tasks of other lanes aren't seen.";
            a_full_lane_does_not_starve_the_others [claim]
                "Each lane gets up to an even share first.";
            what_a_lane_leaves_goes_to_the_others_in_order [claim]
                "What is left of the limit goes to the lanes in the order given.";
            a_limit_below_the_number_of_lanes_serves_the_first [claim]
                "Then the share is one, and the first lanes of the request get it.";
            lanes_with_live_tasks_are_named [lanes]
                "All of them, in order.";
            a_suspect_moves_to_the_quarantine [recover, claim]
                "After two orphanings a task waits in the quarantine of its lane, where plain claims don't see it.";
            a_suspect_is_claimed_alone [claim]
                "One at a time, only if the lanes before gave nothing, and nothing with it.";
        }
        starts {
            a_started_attempt_is_on_record [start]
                "The task runs, and its attempt is listed as running.";
            a_start_can_be_repeated [start]
                "A second start under the same fence answers `Started` and changes nothing.";
            a_task_to_be_cancelled_is_not_started [start, cancel_tasks]
                "It answers `CancelRequested`, and nothing is recorded.";
            a_stale_fence_starts_nothing [start]
                "Another token, attempt, holder or task is `Fenced`, and so is one that is final.";
            starts_are_answered_in_order_and_independently [start]
                "A refused start doesn't touch the rest of the batch.";
            the_fence_alone_decides_a_start [start]
                "A dead holder whose task nobody took back yet still starts it.";
            progress_and_checkpoint_are_saved [save]
                "Each is kept, what isn't named stays, and no recorded start is needed.";
            a_checkpoint_reaches_the_next_attempt [save, settle, claim]
                "The next attempt finds the checkpoint, and no progress.";
            a_stale_fence_saves_nothing [save]
                "Another token, attempt, holder or task is `Fenced` and changes nothing.";
        }
        heartbeats {
            a_heartbeat_keeps_an_executor_alive [heartbeat, expire_executors]
                "It moves the last heartbeat to the store's time, so that the lease begins anew.";
            a_missed_lease_is_forgiven_until_the_executor_is_dead [heartbeat]
                "An executor that nobody declared dead lives on, however late.";
            a_dead_executor_learns_that_it_is_dead [heartbeat, expire_executors]
                "It answers `Dead` and changes nothing.";
            an_executor_that_left_or_never_joined_is_dead [heartbeat]
                "Both are answered with `Dead`.";
            heartbeats_are_answered_in_order_and_independently [heartbeat]
                "Dead and superseded ones don't touch the rest of the batch.";
            a_heartbeat_tells_what_people_ordered [heartbeat, set_executor_status]
                "The answer has the executor's status.";
            a_heartbeat_tells_what_is_to_be_cancelled [heartbeat, cancel_tasks]
                "Tasks that it holds and that have a request, by id; no one else's.";
            a_lease_that_was_not_named_is_told [heartbeat, claim]
                "Tasks under leases that the node doesn't name, by token, while they are held.";
            a_dispatched_task_is_missed_only_after_its_start_before [heartbeat, claim]
                "Tasks claimed on behalf of an executor count as not named only once their message is void.";
            a_task_that_is_no_longer_held_is_told [heartbeat]
                "Tasks named one by one that aren't its own under that token, in the order named.";
            a_closed_lease_changes_nothing_that_is_held [heartbeat, recover]
                "Closing a lease under which something is held forgets nothing.";
            reported_resources_are_kept [heartbeat, register_executor]
                "The latest report stays until the next, or a new incarnation.";
        }
        settlements {
            a_final_task_moves_to_history [settle, get_tasks, list_finished, list_attempts]
                "It leaves the live tasks, with end time, reason and its attempt's record.";
            every_final_state_is_kept [settle]
                "Each of the five final states can be wished for.";
            a_wish_for_a_state_that_is_not_final_is_refused [settle]
                "It is `InvalidInput`, and nothing of the batch is changed.";
            start_and_end_can_be_written_together [settle]
                "An attempt whose start was not recorded is recorded by its settlement.";
            a_retry_waits_and_counts_as_a_failure [settle]
                "The task is scheduled with one failure more, and its next attempt has the next number.";
            a_retry_that_is_due_is_ready_at_once [settle]
                "Without a pause it needs no promotion.";
            a_snooze_is_no_failure [settle]
                "`Again` leaves the failures, and the attempt keeps its number.";
            an_attempt_that_never_began_does_not_count [settle]
                "A task given back without record and start uses its attempt's number again.";
            a_recorded_start_given_back_is_released [settle]
                "The record of a started attempt that brings none is closed as `Released`.";
            a_settlement_can_bring_a_checkpoint [settle]
                "The next attempt finds it; none leaves what is there.";
            a_repetition_does_not_survive_a_cancel [settle, cancel_tasks]
                "A task with a request to cancel becomes `Cancelled` instead of waiting again.";
            a_success_counts_before_a_cancel [settle, cancel_tasks]
                "A success that comes first still counts.";
            a_settlement_names_the_gates_it_opens [settle]
                "Those behind which a task waits that is due, and no others.";
        }
        repetitions {
            a_settlement_counts_once [settle]
                "A repetition answers `AlreadySettled` and changes nothing, also after the next claim.";
            a_settlement_twice_in_a_batch_counts_once [settle]
                "The second item sees what the first did.";
            giving_back_twice_is_fenced [settle]
                "What left no record can't be recognised, and changes nothing.";
            a_stale_fence_settles_nothing [settle]
                "Another token, attempt, holder or task is `Fenced` and changes nothing.";
            final_is_final [settle, cancel_tasks]
                "Neither a settlement under another token or by another holder nor a cancel changes a final task.";
            settlements_are_answered_in_order_and_independently [settle]
                "A fenced settlement doesn't touch the rest of the batch.";
            one_of_many_concurrent_settlements_counts [settle]
                "Of many settlements under one fence at once, one is recorded, the others are told.";
            concurrent_settlements_of_one_lease_all_count [settle]
                "The tasks of one lease can be settled from many sides at once.";
        }
        expiry {
            a_silent_executor_is_declared_dead_once [expire_executors]
                "It is offline and told once; its tasks aren't touched yet.";
            a_lease_holds_until_its_end [expire_executors]
                "Nobody is dead before the lease has ended by the store's clock.";
            spared_executors_live_on [expire_executors]
                "Those in `spare` are left.";
            a_grace_lengthens_every_lease [expire_executors]
                "Only who was silent for lease and grace is dead.";
            at_most_a_limit_is_declared_dead [expire_executors]
                "At most `limit`, by id, and the rest by the next call.";
            who_left_or_was_superseded_is_not_declared_dead [expire_executors]
                "Only the newest incarnation of an executor that is there can die.";
            disabled_and_draining_executors_can_die [expire_executors]
                "An order of people doesn't keep the lease alive.";
            each_death_is_told_to_one_of_many [expire_executors]
                "Of many calls at once, one answers with each of the dead.";
        }
        recovery {
            a_leased_orphan_waits_again [recover]
                "It is ready at once; its attempt left no trace, and its next lease has a higher token.";
            a_started_orphan_loses_its_attempt [recover]
                "The attempt is recorded as lost, without end time; it is no failure.";
            what_the_dead_superseded_and_gone_hold_is_recovered [recover]
                "Whether declared dead, superseded or left, and not before.";
            what_the_living_hold_is_left [recover]
                "A missed lease alone doesn't cost a task.";
            a_recovered_lease_is_fenced [recover, start, save, settle]
                "Nothing can be written under it, neither before nor after the next claim.";
            a_started_orphan_at_most_once_fails [recover]
                "One that had started fails, one that hadn't waits again.";
            an_orphan_to_be_cancelled_is_cancelled [recover, cancel_tasks]
                "A request to cancel ends an orphan.";
            a_passed_cancel_deadline_is_enforced [recover, cancel_tasks]
                "At its deadline a held task becomes `Cancelled`, and its holder is fenced.";
            a_gated_orphan_comes_back_to_its_gates [recover, promote]
                "It is blocked, and the answer names the gate.";
            recovery_takes_up_to_its_limit [recover]
                "At most `limit`, by token and id, and the answer says whether there are more.";
            a_deleted_job_does_not_keep_an_orphan [recover, claim]
                "An orphan without a job is recovered, and cancelled when it is claimed.";
            a_task_that_kills_its_nodes_is_poison [recover]
                "After so many deaths as a started suspect it fails.";
            a_suspect_that_never_starts_is_no_poison [recover]
                "Deaths before the start don't count against it.";
            each_orphan_is_recovered_once [recover]
                "Of many recoveries at once, one takes each task.";
        }
        waiting {
            a_changed_priority_moves_a_task_in_its_lane [change_tasks, claim]
                "Its rank follows, and its due time stays.";
            a_changed_due_time_moves_a_task_between_states [change_tasks]
                "Later is scheduled, now is ready, and what is blocked stays so.";
            held_and_final_tasks_are_not_changed [change_tasks]
                "They are told apart, and don't touch the rest of the batch.";
            waiting_tasks_are_cancelled_at_once [cancel_tasks]
                "Blocked, scheduled and ready tasks become `Cancelled` with the reason.";
            held_tasks_get_the_request [cancel_tasks]
                "Leased and running tasks go on, with the job's grace as deadline.";
            a_second_request_can_only_hasten [cancel_tasks]
                "It brings the deadline forward or changes nothing; the first reason stays.";
            the_grace_of_a_deleted_job_is_thirty_seconds [cancel_tasks]
                "What is held by no job any more is cancelled with the default grace.";
            final_and_unknown_tasks_are_not_live [cancel_tasks]
                "They are named, and nothing about them changes.";
            a_task_named_twice_is_cancelled_once [cancel_tasks]
                "The second time it is final, or has its request.";
            a_cancel_takes_up_to_its_limit [cancel_tasks]
                "Of a job's tasks at most `limit`, by id; a second call takes those without a request.";
            a_cancel_names_the_gates_it_opens [cancel_tasks, promote]
                "Where a cancelled task had a place, the next one may pass.";
        }
        reads {
            tasks_are_got_in_the_order_of_the_request [get_tasks]
                "Live and final ones, `None` for what doesn't exist.";
            live_tasks_are_listed_by_id_page_by_page [list_tasks]
                "Pages follow on one another without gaps or repetitions, and without final tasks.";
            live_tasks_are_listed_by_what_they_are [list_tasks]
                "By job, states and executor, alone and together.";
            live_tasks_are_counted_by_lane_and_state [task_counts]
                "With the earliest due time of each; final tasks don't count.";
        }
        runs {
            a_run_begins_with_its_tasks [insert_run, get_run]
                "Version 1, an empty inbox, and the first steps' tasks.";
            a_run_begins_once [insert_run]
                "A second one under the id changes nothing and inserts no task.";
            a_settled_step_reports_to_its_run [settle, get_run]
                "Its step, state and output are in the inbox once; a retry doesn't report.";
            a_step_reports_however_it_ends [cancel_tasks, recover, claim, promote, get_run]
                "Cancelled, past its deadline, or of a deleted job: each end is in the inbox, in order.";
            an_advance_is_applied_whole [advance_run]
                "State, version, tasks and what was consumed change together; later reports stay.";
            an_advance_without_consumption_leaves_the_inbox [advance_run]
                "Nothing but an advance that says so takes from the inbox.";
            a_run_ends [advance_run]
                "Its end time is kept.";
            a_stale_advance_changes_nothing [advance_run]
                "Another version answers `Conflict`.";
            an_advance_of_an_unknown_run_finds_nothing [advance_run]
                "It answers `NotFound`, and inserts no task.";
            one_of_many_concurrent_advances_counts [advance_run]
                "Of many advances of the same version at once, one is applied.";
            concurrent_settlements_all_report [settle, get_run]
                "Many steps that finish at once are all in the inbox, in sequence.";
        }
    } };
}
