//! jobcore's store in one SQLite file: embedded, durable, no server.
//!
//! ```no_run
//! # async fn example() -> jobcore::Result<()> {
//! use std::sync::Arc;
//! use jobcore::store::Store;
//! use jobcore_sqlite::SqliteStore;
//!
//! let store: Arc<dyn Store> = Arc::new(SqliteStore::open("jobs.db").await?);
//! # Ok(()) }
//! ```
//!
//! # How it works
//!
//! - **One writer.** All that changes something is queued to one task on a thread of its own, which takes everything
//!   that waits, carries it out in one transaction and answers after one flush. So many callers share a flush, and one
//!   alone pays one. An operation that fails takes nothing else with it.
//! - **Readers beside it.** The file is in write-ahead-log mode: a few further connections read without waiting.
//! - **Several processes** may open the same file. Each write waits for its turn up to the
//!   [busy time-out](SqliteConfig::busy_timeout). All must run on one machine, on a local file system.
//! - **Your own tables** may live in the same file, and tasks and jobs be written in your own transactions:
//!   [`enqueue_in`](SqliteStore::enqueue_in).
//! - **Live tasks apart from history.** A task that becomes final moves to `job_logs` in the settling transaction, with
//!   its attempt in the same row, so that however long the history grows, claims stay as fast.
//! - **Readable.** Any SQLite tool can open the file; the views `readable_jobs`, `readable_tasks` and
//!   `readable_job_logs` show times as text. A row that a person inserts into `jobs` with no more than `job_id`, `name`,
//!   `command`, `type` and `cron_expression` is found and planned, and so is one that a person changes; one that can't be
//!   understood carries its `error`.
//!
//! # What is promised
//!
//! What a call reported as done survives a kill of the process, and a power cut with [`Synchronous::Full`] (the default)
//! if the disk honours flushes. A call that failed changed nothing, unless its error says
//! [`Indeterminate`](jobcore::ErrorKind::Indeterminate): the flush of the commit failed.

mod caches;
mod checkpoints;
mod clock;
mod config;
mod connection;
mod error;
mod queries;
mod readers;
mod schema;
mod store;
mod transaction;
mod writer;

pub use config::{SqliteConfig, Synchronous};
pub use store::SqliteStore;

/// The name in errors and metrics.
const BACKEND: &str = "sqlite";
