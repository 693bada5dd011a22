//! What [`HistoryStore`](jobcore::store::HistoryStore) promises.

mod changes;
mod listings;
mod logs;
mod purges;

crate::__history_store_cases! { [super::table::suite] [] }

/// The table of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __history_store_cases {
    ([$($callback:tt)*] [$($argument:tt)*]) => { $($callback)* ! { [$($argument)*]
        logs {
            logs_are_read_in_order [append_logs, read_logs]
                "Chunks of an attempt come in order of their sequence, whatever the order of the appends.";
            logs_are_read_from_a_sequence_on_up_to_a_limit [read_logs]
                "`first_sequence` is the first one read, and at most `limit` are.";
            a_log_chunk_is_written_once [append_logs]
                "A chunk that is there isn't changed by a second append of the same sequence.";
            logs_of_attempts_are_kept_apart [append_logs, read_logs]
                "Reading gives only chunks of the task and attempt that were asked for.";
            logs_of_unknown_tasks_are_dropped [append_logs]
                "A chunk of a task that is neither live nor in history isn't kept, and doesn't touch the others.";
            logs_can_come_after_the_end [append_logs]
                "A chunk of a task that has finished is kept.";
        }
        listings {
            attempts_are_listed_newest_first [list_attempts]
                "In the reverse of the order in which they were first recorded, running ones included, page by page.";
            attempts_are_listed_by_what_they_are [list_attempts]
                "By task, job, executor, status and start time, alone and together.";
            final_tasks_are_listed_newest_first [list_finished]
                "In the reverse of the order in which they became final, page by page.";
            final_tasks_are_listed_by_what_they_are [list_finished]
                "By job and states.";
            decisions_are_listed_newest_first [list_decisions]
                "In the reverse of the order in which they were recorded, page by page, for one job or all.";
            the_history_of_a_deleted_job_stays [list_finished, list_attempts, delete_jobs]
                "A delete touches no history.";
        }
        changes {
            changes_begin_at_the_present [changes]
                "Without a cursor there are no changes, only where to read on.";
            changes_of_jobs_are_told [changes]
                "Created, changed, paused, resumed and deleted, each with its version; what changed nothing isn't told.";
            final_transitions_are_told [changes]
                "However a task became final, and nothing that is not final.";
            changes_are_read_on_page_by_page [changes]
                "From each cursor the next changes follow, in the order of writing, and none is missed.";
            no_concurrent_change_is_missed [changes]
                "A reader that follows many writers at once sees every change.";
            a_foreign_cursor_is_refused [changes]
                "A cursor that the store didn't make is `InvalidInput`.";
        }
        purges {
            a_purge_deletes_what_became_final_before [purge]
                "Tasks with their attempts and logs; what became final at that instant or later, or lives, stays.";
            a_purge_takes_up_to_its_limit [purge]
                "The oldest first, and the answer says whether there is more.";
            a_purge_deletes_old_decisions [purge]
                "Decisions taken before the instant are deleted, later ones stay.";
            a_purge_deletes_ended_runs [purge]
                "Workflow runs that ended before the instant are deleted, others stay.";
            a_purge_keeps_unique_keys_that_have_not_expired [purge, insert_tasks]
                "A key outlives the history of its task, and is free once it has expired.";
        }
    } };
}
