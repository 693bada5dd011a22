//! A job scheduler that a service embeds: cron, delayed, retried and limited jobs with leases and history, in your own
//! process, on the store of your choice.
//!
//! ```
//! use std::sync::Arc;
//! use jobcore::{clock::SystemClock, memory::MemoryStore};
//! use jobcore::{Engine, HandlerError, JobBuilder, SchedulerExt, TaskContext, Trigger};
//!
//! async fn greet(name: String, _: TaskContext) -> Result<String, HandlerError> {
//!     Ok(format!("Hello, {name}!"))
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> jobcore::Result<()> {
//! let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
//! let engine = Engine::builder(store).handler("greet", greet).start().await?;
//! let job = engine.put_job(JobBuilder::handler("greet").arguments("world").cron("0 9 * * *")).await?;
//! let task_id = engine.trigger_one(Trigger::new(job.job_id.clone())).await?;
//! assert_eq!(engine.wait(&task_id).await?.state, jobcore::task::TaskState::Succeeded);
//! # Ok(()) }
//! ```
//!
//! With `jobcore_sqlite::SqliteStore::open("jobs.db").await?` as the store, the same survives `kill -9`.
//!
//! # The words
//!
//! A **job** ([`JobBuilder`]) is a durable definition: what to run, when, with which policies. When it comes due (a
//! **fire**) or is [triggered](Trigger), it makes a **task**, which is durable when the call returns. Each try of a task is
//! an **attempt**, carried out by a **handler** (an async function of yours) or another [executor](executor::Executor) under
//! a **lease** with a **fencing token**. The [`Engine`] does all of it in your process; several engines over one store
//! share the work.
//!
//! # What is promised
//!
//! | | how | under which assumption |
//! |---|---|---|
//! | An accepted task is not lost | [`trigger`](Scheduler::trigger) and every fire return after the commit; the task of a node that died is carried out elsewhere | the store keeps what it committed |
//! | A fire makes its task once | (job, nominal time, part) is unique, also against history; a fire without a task has a [recorded decision](docs::misfire) | |
//! | At least once (default) | what a node that died had under way is [repeated](docs::delivery) | handlers stand being repeated, or check the token |
//! | At most once (per job) | the start is durable before the handler runs; what was cut off after it fails | the job has no retry policy, and its handler doesn't snooze |
//! | A stale result doesn't count | every write that decides something [names its token](docs::leases); an older one changes nothing | log lines are only kept apart by attempt |
//! | Tokens increase | strictly, for each task | what the handler writes to compares them |
//! | Limits, rates and overlap hold | counted under a lock before a task becomes eligible | they bound leases: a node that is frozen past its lease may still run |
//! | Only failures use up retries | not crashes, drains or snoozes; a task that keeps killing its node [fails as poison](docs::leases) | |
//! | Final is final | nothing changes a settled task; repeating it makes a new one | |
//!
//! **Not** promised: exactly once (nothing takes back what a handler did outside the store), an order of tasks (but behind
//! a limit or overlap of one), and that a handler that blocks its thread can be stopped (a cancel settles its
//! task without it; a timeout is noticed when it returns).
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | guides | [`docs`]: [lifecycle](docs::lifecycle), [leases](docs::leases), [delivery](docs::delivery), [failure](docs::failure), [misfires](docs::misfire), [schedules](docs::schedules) |
//! | defining jobs | [`job`], [`schedule`], [`misfire`], [`overlap`], [`retry`], [`gate`] (limits), [`placement`], [`resources`], [`shell`] |
//! | carrying them out | [`handler`], [`executor`], [`Engine`], [`config`] |
//! | controlling and watching | [`scheduler`], [`event`], [`telemetry`], [`error`] |
//! | enqueueing in your own transaction | [`enqueue`] |
//! | the model | [`task`], [`attempt`], [`lease`], [`lane`], [`id`], [`time`], [`json`] |
//! | writing a backend | [`store`], [`transport`], [`coordinator`], with the suites of `jobcore-testkit`; [`memory`] is the specification |
//! | how it decides | [`engine`]: pure functions, without I/O, clock or chance of their own ([`clock`]) |

pub mod attempt;
pub mod clock;
pub mod config;
pub mod coordinator;
pub mod docs;
mod duration;
pub mod engine;
pub mod enqueue;
pub mod error;
pub mod event;
pub mod executor;
pub mod gate;
pub mod handler;
pub mod id;
pub mod job;
pub mod json;
pub mod lane;
pub mod lease;
pub mod memory;
pub mod misfire;
pub mod overlap;
pub mod placement;
pub mod resources;
pub mod retry;
mod runtime;
pub mod schedule;
pub mod scheduler;
pub mod shell;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod time;
pub mod transport;

pub use error::{Error, ErrorKind, Result};
pub use executor::TaskContext;
pub use handler::HandlerError;
pub use job::JobBuilder;
pub use runtime::{Engine, EngineBuilder, ExecutorNode, ExecutorNodeBuilder, NodeState};
pub use schedule::Schedule;
pub use scheduler::{Scheduler, SchedulerExt, Trigger};
pub use time::Timestamp;
