//! Writing in the caller's transaction: the statements of the store on a connection that isn't the store's.
//!
//! Nothing learned there is remembered, since the caller may roll it back; and what the store remembers is as safe
//! from this connection as from another process.

use jobcore::enqueue::{JobPlan, TriggerPlan, Written};
use jobcore::scheduler::Triggered;
use jobcore::store::{MAX_BATCH, PutJobOutcome};
use jobcore::{Error, Result};
use sqlx::{Connection as _, SqliteConnection};

use crate::BACKEND;
use crate::caches::Caches;
use crate::connection::{Care, Cx, Operation};
use crate::queries::insert::InsertTasks;
use crate::queries::jobs::PutJobs;
use crate::schema;
use crate::store::SqliteStore;

impl SqliteStore {
    /// Inserts what [`Engine::plan_triggers`](jobcore::Engine::plan_triggers) planned in a transaction of yours, so that
    /// it is committed with your own rows, or not at all.
    ///
    /// ```no_run
    /// use jobcore::enqueue::Written;
    /// use jobcore::{Engine, Trigger};
    /// use jobcore_sqlite::SqliteStore;
    /// use sqlx::SqlitePool;
    ///
    /// # type Failure = Box<dyn std::error::Error>;
    /// async fn order(engine: &Engine, store: &SqliteStore, pool: &SqlitePool, confirm: Trigger) -> Result<(), Failure> {
    ///     let plan = engine.plan_triggers(vec![confirm]).await?;
    ///     let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
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
    /// hold once it is committed, and it is as durable as your connection's `synchronous` makes it. A trigger whose id or
    /// unique key belongs to a task that is there inserts nothing, changes nothing, and names that task
    /// ([`Existing`](Triggered::Existing)), whether it waits, runs or is final; that is no error. A plan of any length may
    /// be written, and written again in a new transaction after a rollback.
    ///
    /// **The connection** is one to the store's own file, and its transaction was begun by sqlx. Give it a
    /// `busy_timeout` as long as the store's ([10 s](crate::SqliteConfig::busy_timeout)). Your tables live in the same
    /// file, beside the store's, whose names they don't use; a new file is made by opening the store first, which refuses
    /// one that another program made.
    ///
    /// **The transaction** begins with `BEGIN IMMEDIATE`. A plain `BEGIN` that has read something fails at once as soon as
    /// it writes, if anybody wrote in between (`SQLITE_BUSY_SNAPSHOT`), and no time-out helps.
    ///
    /// **Concurrency**: from `BEGIN IMMEDIATE` to its end the transaction holds the file's only write lock, and everything
    /// that the store writes waits for it: claims, results, heartbeats. So keep it to your statements, which is
    /// milliseconds: wait for nothing else in it, above all for no call of the scheduler that writes, which would wait for
    /// your commit until its own time-out.
    ///
    /// **Cancellation**, **Errors**: after an error, or if the future was dropped half-way, a part may have been written:
    /// roll back (dropping a sqlx transaction does). Then nothing was enqueued, and the same plan may be tried again.
    /// `Unavailable` if the lock or the disk couldn't be had, `InvalidInput` if the connection has no transaction,
    /// `Corrupt` or `Unsupported` if it is one to another database, or to one of a newer program.
    pub async fn enqueue_in(
        &self,
        tx: &mut SqliteConnection,
        plan: &TriggerPlan,
    ) -> Result<Written<Triggered>> {
        let insert = |tasks: &[_]| InsertTasks {
            tasks: tasks.to_vec(),
            now: plan.now(),
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
        tx: &mut SqliteConnection,
        plan: &JobPlan,
    ) -> Result<Written<PutJobOutcome>> {
        let puts = plan.jobs().chunks(MAX_BATCH).map(|jobs| PutJobs(jobs.to_vec()));
        Ok(plan.written(self.carry_out_in(tx, puts).await?))
    }

    /// Carries out operations, one after the other, and joins their answers.
    async fn carry_out_in<O, T>(
        &self,
        tx: &mut SqliteConnection,
        operations: impl Iterator<Item = O>,
    ) -> Result<Vec<T>>
    where
        O: Operation<Answer = Vec<T>>,
    {
        if !tx.is_in_transaction() {
            let error = Error::invalid("tx", "has no transaction; begin one with BEGIN IMMEDIATE");
            return Err(error.backend(BACKEND).operation(O::NAME));
        }
        let checked = schema::check(tx).await;
        checked.map_err(|failure| failure.into_error(O::NAME))?;
        let mut caches = Caches::default();
        let mut cx = Cx {
            sql: tx,
            caches: &mut caches,
            store_now: self.clock.now(),
            care: Care::Full,
        };
        let mut answers = Vec::new();
        for operation in operations {
            let answer = operation.run(&mut cx).await;
            answers.extend(answer.map_err(|failure| failure.into_error(O::NAME))?);
        }
        Ok(answers)
    }
}
