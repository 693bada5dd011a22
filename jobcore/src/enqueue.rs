//! Enqueueing inside your own database transaction: what you write and the tasks that follow from it are committed
//! together, or not at all.
//!
//! Without it, a service that writes an order and then triggers its confirmation can die in between, and one that does
//! it the other way round can confirm an order that was rolled back.
//!
//! The engine [plans](crate::Engine::plan_triggers) what is to be inserted, without writing anything. The store's own
//! crate carries the plan out on your connection (`enqueue_in`, `put_jobs_in`; they stay out of the traits, since a
//! connection is of one database's driver), and the [`WakeUp`] that it returns starts the work after your commit:
//!
//! ```text
//! plan ──▶ begin ──▶ your rows, enqueue_in ──▶ commit ──▶ wake
//!                              └─ error ─────▶ rollback: nothing was enqueued; the plan can be used again
//! ```
//!
//! What a backend does with a plan, here without a transaction around it:
//!
//! ```
//! # use std::sync::Arc;
//! # use jobcore::{clock::SystemClock, memory::MemoryStore};
//! # use jobcore::{Engine, HandlerError, JobBuilder, SchedulerExt, TaskContext, Trigger};
//! use jobcore::enqueue::Written;
//! use jobcore::store::TaskStore;
//!
//! # #[tokio::main]
//! # async fn main() -> jobcore::Result<()> {
//! # let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
//! # let confirm = |_: u64, _: TaskContext| async { Ok::<_, HandlerError>(()) };
//! # let engine = Engine::builder(store.clone()).handler("confirm", confirm).start().await?;
//! let job = engine.put_job(JobBuilder::handler("confirm")).await?;
//! let confirm = Trigger::new(job.job_id.clone()).arguments(&17)?;
//! let plan = engine.plan_triggers(vec![confirm]).await?;
//!
//! let inserted = store.insert_tasks(plan.tasks().to_vec(), plan.now()).await?;
//! let Written { outcomes, wake_up } = plan.inserted(inserted);
//! // … the commit …
//! wake_up.wake();
//! assert!(engine.wait(outcomes[0].task_id()).await?.state.is_final());
//! # Ok(()) }
//! ```

pub use crate::runtime::{JobPlan, TriggerPlan, WakeUp, Written};
