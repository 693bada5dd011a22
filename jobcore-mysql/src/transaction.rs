//! Writing in the caller's transaction: the statements of the store on a connection that isn't the store's.
//!
//! Nothing learned there is remembered, since the caller may roll it back.

use std::collections::BTreeSet;

use jobcore::enqueue::{JobPlan, TriggerPlan, Written};
use jobcore::scheduler::Triggered;
use jobcore::store::{MAX_BATCH, PutJobOutcome};
use jobcore::{Error, Result};
use sqlx::{Connection as _, MySqlConnection};

use crate::BACKEND;
use crate::connection::{Care, Cx, Operation};
use crate::error::Failure;
use crate::queries::insert::InsertTasks;
use crate::queries::jobs::PutJobs;
use crate::queries::lanes::UseLanes;
use crate::store::MySqlStore;

/// How often something is looked for that somebody else is just inserting.
const MAX_TRIES: usize = 5;

impl MySqlStore {
    /// Inserts what [`Engine::plan_triggers`](jobcore::Engine::plan_triggers) planned in a transaction of yours, so that
    /// it is committed with your own rows, or not at all.
    ///
    /// ```no_run
    /// use jobcore::enqueue::Written;
    /// use jobcore::{Engine, Trigger};
    /// use jobcore_mysql::MySqlStore;
    /// use sqlx::MySqlPool;
    ///
    /// # type Failure = Box<dyn std::error::Error>;
    /// async fn order(engine: &Engine, store: &MySqlStore, pool: &MySqlPool, confirm: Trigger) -> Result<(), Failure> {
    ///     let plan = engine.plan_triggers(vec![confirm]).await?;
    ///     let mut tx = pool.begin().await?;
    ///     sqlx::query("INSERT INTO orders (item) VALUES (?)").bind("tea").execute(&mut *tx).await?;
    ///     let Written { outcomes, wake_up } = store.enqueue_in(&mut tx, &plan).await?;
    ///     tx.commit().await?;
    ///     wake_up.wake(); // the handler starts now, not at the next poll
    ///     println!("task {}", outcomes[0].task_id());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// **Contract**: as [`insert_tasks`](jobcore::store::TaskStore::insert_tasks) within your transaction: the outcomes
    /// hold once it is committed. A trigger whose id or unique key belongs to a task that is there inserts nothing,
    /// changes nothing, and names that task ([`Existing`](Triggered::Existing)), whether it waits, runs or is final; that
    /// is no error. A plan of any length may be written, and written again in a new transaction after a rollback.
    ///
    /// **The connection** is one to the store's own database, and its transaction was begun by sqlx. Your tables live
    /// there beside the store's, whose names they don't use.
    ///
    /// **The transaction** may have any isolation. Under REPEATABLE READ, the server's default, an id that you chose
    /// yourself and whose task became final after your transaction's first read isn't noticed; ids that the engine made are
    /// always new.
    ///
    /// **Concurrency**: until its end the transaction holds the new rows, and the gates (limits, rates, overlap) that the
    /// tasks have, so that nothing else passes those meanwhile. Whoever enqueues the same unique key waits for it. Keep it
    /// to your statements; call nothing else of the scheduler in it.
    ///
    /// **Cancellation**, **Errors**: after an error, or if the future was dropped half-way, a part may have been written:
    /// roll back (dropping a sqlx transaction does). Then nothing was enqueued, and the same plan may be tried again.
    /// `Unavailable` after a deadlock or a lost connection, `InvalidInput` if the connection has no transaction.
    pub async fn enqueue_in(
        &self,
        tx: &mut MySqlConnection,
        plan: &TriggerPlan,
    ) -> Result<Written<Triggered>> {
        // Beforehand, and by itself: in your transaction it would make all others wait who use the lane.
        let lanes: BTreeSet<_> = plan.tasks().iter().map(|task| task.lane.clone()).collect();
        self.call(UseLanes(lanes.into_iter().collect(), plan.now()))
            .await?;
        let insert = |tasks: &[jobcore::task::NewTask]| {
            InsertTasks(tasks.iter().map(|task| (task.clone(), plan.now())).collect())
        };
        let inserts = plan.tasks().chunks(MAX_BATCH).map(insert);
        Ok(plan.inserted(self.carry_out_in(tx, inserts).await?))
    }

    /// Creates and changes the jobs that [`Engine::plan_jobs`](jobcore::Engine::plan_jobs) planned in a transaction of
    /// yours. All that [`enqueue_in`](Self::enqueue_in) says holds here too.
    ///
    /// **Contract**: as [`put_jobs`](jobcore::store::JobStore::put_jobs) within your transaction. A version that isn't as
    /// expected is an outcome, and the other jobs are written all the same: roll back if you want none of them then.
    pub async fn put_jobs_in(
        &self,
        tx: &mut MySqlConnection,
        plan: &JobPlan,
    ) -> Result<Written<PutJobOutcome>> {
        let puts = plan.jobs().chunks(MAX_BATCH).map(|jobs| PutJobs(jobs.to_vec()));
        Ok(plan.written(self.carry_out_in(tx, puts).await?))
    }

    /// Carries out operations, one after the other, and joins their answers.
    async fn carry_out_in<O, T>(
        &self,
        tx: &mut MySqlConnection,
        operations: impl Iterator<Item = O>,
    ) -> Result<Vec<T>>
    where
        O: Operation<Answer = Vec<T>>,
    {
        if !tx.is_in_transaction() {
            let error = Error::invalid("tx", "has no transaction; begin one with `pool.begin()`");
            return Err(error.backend(BACKEND).operation(O::NAME));
        }
        let mut answers = Vec::new();
        for operation in operations {
            let answer = self.carry_out_one(tx, &operation).await;
            answers.extend(answer.map_err(|failure| failure.into_error(O::NAME))?);
        }
        Ok(answers)
    }

    /// Carries one out; again from a savepoint where somebody else was faster with something of it, which a look then finds.
    async fn carry_out_one<O: Operation>(
        &self,
        tx: &mut MySqlConnection,
        operation: &O,
    ) -> Result<O::Answer, Failure> {
        let mut care = Care::Ordinary;
        for _ in 1..MAX_TRIES {
            let mut savepoint = tx.begin().await?;
            let ran = operation
                .run(&mut Cx::new(&mut savepoint, self.shared(), care))
                .await;
            match ran {
                Ok(answer) => {
                    savepoint.commit().await?;
                    return Ok(answer);
                }
                Err(failure) if failure.is_duplicate() => savepoint.rollback().await?,
                Err(failure) => return Err(failure),
            }
            care = Care::Full;
        }
        operation.run(&mut Cx::new(tx, self.shared(), care)).await
    }
}
