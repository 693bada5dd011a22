//! What [`JobStore`](jobcore::store::JobStore) promises.

mod clock;
mod due;
mod executors;
mod fires;
mod jobs;
mod listing;
mod records;

crate::__job_store_cases! { [super::table::suite] [] }

/// The table of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __job_store_cases {
    ([$($callback:tt)*] [$($argument:tt)*]) => { $($callback)* ! { [$($argument)*]
        clock {
            the_store_has_a_name [name]
                "The name is there for errors and metrics.";
            the_clock_never_goes_backwards [now]
                "Each answer is at or after the one before.";
            the_clock_is_the_injected_one [now]
                "A store that was given a clock answers with its time.";
        }
        jobs {
            a_new_job_begins_at_version_one [put_jobs, get_jobs]
                "A job that is put for the first time has version 1, the request's next fire time, and isn't paused.";
            an_equal_definition_changes_nothing [put_jobs]
                "Putting what is there already under `Any` leaves version, next fire time and update time.";
            a_change_raises_the_version [put_jobs]
                "A change takes over definition, next fire time and zone version, and leaves the create time.";
            a_change_under_the_right_version_counts [put_jobs]
                "`Expected::Version` with the present version lets a change through.";
            a_change_under_a_stale_version_is_refused [put_jobs]
                "`Expected::Version` with another version answers with the present one and changes nothing.";
            a_change_of_a_missing_job_finds_nothing [put_jobs]
                "`Expected::Version` of a job that doesn't exist answers `NotFound` and creates nothing.";
            creating_what_exists_is_refused [put_jobs]
                "`Expected::Absent` of a job that exists answers with its version and changes nothing.";
            a_change_keeps_a_job_paused [put_jobs]
                "A put leaves `paused`, and a paused job gets no next fire time.";
            a_change_clears_the_error [put_jobs]
                "A job that couldn't be scheduled has no error any more after a change.";
            an_equal_definition_repairs_a_job [put_jobs]
                "Putting what is there already changes a job that couldn't be scheduled: it has no error any more.";
            puts_are_answered_in_order_and_independently [put_jobs]
                "A refused item of a batch doesn't touch the others, and a later one sees the earlier ones.";
            one_of_many_concurrent_changes_wins [put_jobs]
                "Of many changes under the same version at once, one counts.";
            one_of_many_concurrent_creations_wins [put_jobs]
                "Of many creations of the same job at once, one counts.";
            a_definition_is_kept_whole [put_jobs, get_jobs]
                "Every field of a definition comes back as it was put.";
            pausing_takes_the_next_fire_time_away [pause_jobs]
                "A paused job has a raised version and no next fire time.";
            resuming_brings_a_next_fire_time [pause_jobs]
                "A resumed job has a raised version and the request's next fire time.";
            pausing_twice_changes_nothing [pause_jobs]
                "Pausing a paused job and resuming an active one leave it as it is.";
            pausing_under_a_stale_version_is_refused [pause_jobs]
                "`Expected::Version` with another version answers with the present one and changes nothing.";
            pausing_a_missing_job_finds_nothing [pause_jobs]
                "Pausing what doesn't exist answers `NotFound`, and doesn't touch the rest of the batch.";
            a_deleted_job_is_gone [delete_jobs, get_jobs, due_jobs]
                "A deleted job is neither found nor due, and can't be deleted again.";
            deleting_under_a_stale_version_is_refused [delete_jobs]
                "`Expected::Version` with another version answers with the present one and deletes nothing.";
            deleting_leaves_live_tasks [delete_jobs]
                "A delete doesn't touch the job's waiting and running tasks.";
        }
        listing {
            jobs_are_got_in_the_order_of_the_request [get_jobs]
                "Answers stand in the order of the ids, `None` for what doesn't exist.";
            jobs_are_listed_by_id_page_by_page [list_jobs]
                "Pages follow on one another without gaps or repetitions, and the last one says so.";
            jobs_are_listed_by_what_they_are [list_jobs]
                "Each filter lets through only what matches; an empty one matches everything.";
        }
        due {
            due_jobs_come_in_order_of_time_and_id [due_jobs]
                "Jobs due at or before the instant, by next fire time and id; later ones aren't among them.";
            due_jobs_come_in_pages [due_jobs]
                "`after` goes on behind the last one, also between jobs of the same instant.";
            a_paused_job_is_never_due [due_jobs, next_due_time]
                "A paused job is neither due nor waited for.";
            the_next_due_time_is_the_earliest_after_an_instant [next_due_time]
                "Strictly after it; `None` if there is none.";
            unplanned_jobs_are_those_of_other_zone_data [unplanned_jobs]
                "Only active jobs with a schedule whose next fire time was computed with another zone version.";
            unplanned_jobs_are_limited [unplanned_jobs]
                "At most `limit` are answered, by id.";
        }
        fires {
            a_fire_makes_tasks_and_moves_the_job_on [fire]
                "Tasks, decisions and the next fire time are written together; version and update time stay.";
            a_fire_under_a_stale_version_writes_nothing [fire]
                "A job that was changed since the plan answers `Conflict`, and none of the fire is written.";
            a_fire_of_a_stale_instant_writes_nothing [fire]
                "A job whose next fire time was moved answers `Conflict`, and none of the fire is written.";
            a_fire_of_a_missing_or_paused_job_is_a_conflict [fire]
                "A job that was deleted or paused since the plan isn't fired.";
            fires_are_answered_in_order_and_independently [fire]
                "A conflict of one job doesn't touch the fires of others in the batch.";
            one_of_many_concurrent_fires_counts [fire]
                "Of many nodes that fire the same instant, one succeeds, and one task exists.";
            an_occurrence_is_inserted_once [fire]
                "A task whose job, nominal time and part exist among the live ones isn't inserted again.";
            an_occurrence_in_history_is_not_inserted_again [fire]
                "The same holds if it has finished.";
            parts_of_one_instant_are_tasks_of_their_own [fire]
                "Tasks of one job and nominal time with different parts all exist.";
            a_fire_can_only_plan [fire]
                "A fire without tasks writes next fire time, zone version and error, and leaves the last fire time.";
            fired_tasks_wait_where_they_should [fire]
                "A fired task is ready, scheduled or blocked as an inserted one would be.";
        }
        records {
            a_record_is_written_and_read [put_records, get_record]
                "A new record has version 1 and comes back as it was put.";
            a_record_is_replaced_under_its_version [put_records]
                "Each write raises the version; `Any` and the right version let it through.";
            a_stale_write_of_a_record_is_refused [put_records]
                "Another version, or something where nothing should be, is answered and changes nothing.";
            a_missing_record_has_no_version [put_records]
                "`Expected::Version` of a record that isn't there answers that nothing is there.";
            a_record_is_deleted [put_records, get_record]
                "A write without a value deletes, under the same expectations; deleting nothing under `Any` is fine.";
            records_of_a_namespace_are_listed_by_key [list_records]
                "Pages of one namespace, in order of the key, without those of others.";
            one_of_many_concurrent_writes_of_a_record_wins [put_records]
                "Of many writes under the same version at once, one counts.";
        }
        executors {
            an_executor_that_joins_is_online [register_executor, list_executors]
                "Its record has what it said, and the store's clock as join and heartbeat time.";
            each_registration_is_a_higher_incarnation [register_executor]
                "Also after the executor left, and after it was declared dead.";
            a_repeated_join_changes_nothing [register_executor, heartbeat]
                "The nonce of the newest incarnation under an earlier previous one answers with that incarnation again.";
            a_join_that_is_not_repeated_is_a_new_incarnation [register_executor]
                "Another nonce, or the newest incarnation as the previous one, makes a new incarnation.";
            concurrent_registrations_get_incarnations_of_their_own [register_executor]
                "Of many registrations under one id at once, no two get the same number, and the highest one stays.";
            a_new_incarnation_supersedes_the_old_one_at_once [register_executor, heartbeat, claim]
                "Heartbeats of the old one answer `Superseded`, and it can claim nothing.";
            a_disabled_executor_stays_disabled [register_executor, set_executor_status]
                "A new incarnation is still disabled, also after the executor left or was declared dead.";
            an_enabled_executor_takes_tasks_again [set_executor_status, claim]
                "After `Enable`, claims succeed.";
            an_executor_that_left_is_offline [set_executor_status]
                "Only its present incarnation can leave, and it can claim nothing afterwards.";
            the_status_of_an_unknown_executor_is_not_set [set_executor_status]
                "Each change of an executor that doesn't exist answers `NotFound`.";
            executors_are_listed_by_id_and_filter [list_executors]
                "In order of the id; by id, status and group.";
        }
    } };
}
