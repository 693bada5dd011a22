//! What [`TaskStore`](jobcore::store::TaskStore) promises.

mod inserts;

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
    } };
}
