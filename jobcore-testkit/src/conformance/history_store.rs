//! What [`HistoryStore`](jobcore::store::HistoryStore) promises.

mod logs;

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
    } };
}
