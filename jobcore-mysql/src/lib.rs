//! jobcore's store on MySQL 8, MariaDB 10.6 or later, and TiDB: several replicas of a service share one database, with no
//! further infrastructure.
//!
//! ```no_run
//! # async fn example() -> jobcore::Result<()> {
//! use std::sync::Arc;
//! use jobcore::store::Store;
//! use jobcore_mysql::MySqlStore;
//!
//! let store: Arc<dyn Store> = Arc::new(MySqlStore::open("mysql://app:secret@localhost/app").await?);
//! # Ok(()) }
//! ```
//!
//! # How it works
//!
//! - **Every node claims from the store.** A claim locks the first ready rows of its lanes, skips what others hold, and takes
//!   them under a new token in the same transaction. Nothing else coordinates the nodes; on TiDB, which can't skip locked
//!   rows, the condition in the statement that writes decides alone.
//! - **Few statements, large batches.** Claims and settlements take up to 1,000 tasks in a handful of multi-row statements;
//!   what many callers enqueue one by one goes into one transaction.
//! - **Live tasks apart from history.** `tasks` is small and lies in the order of claims; what becomes final moves to
//!   `job_logs` in the settling transaction. What only some tasks have (a due time to wait for, a request to cancel, a fire)
//!   stands in tables of its own.
//! - **Threads of its own.** Operations run on two threads of the store, heartbeats on a connection that nothing else uses, so
//!   that no handler that blocks the application costs a lease. A caller that goes away leaves its call wholly done or not
//!   at all.
//! - **Trouble is repeated.** Deadlocks and lock time-outs are repeated with jitter, lost connections are opened anew; a
//!   commit without an answer is [`Indeterminate`](jobcore::ErrorKind::Indeterminate), and the engine asks what became of it.
//! - **In your own transaction**: [`enqueue_in`](MySqlStore::enqueue_in) and [`put_jobs_in`](MySqlStore::put_jobs_in).
//! - **Coordination**: [`MySqlCoordinator`] elects leaders, locks, and keeps members and configuration in the same database.
//!
//! # Operating it
//!
//! - **Rights**: opening makes or updates the tables, which needs CREATE, ALTER and INDEX; after that, SELECT, INSERT, UPDATE
//!   and DELETE are enough. Who runs migrations by hand takes [`SCHEMA_SQL`] and [`MySqlConfig::migrate`]`(false)`.
//! - **Upgrades**: a release adds to the schema what it needs and takes nothing away that the one before uses, so both run
//!   side by side; a program that is too old for the schema is told so.
//! - **By hand**: a row inserted into `jobs` with no more than `job_id`, `name`, `command`, `type` and `cron_expression` is
//!   found and planned, and so is one that a person changes; one that can't be understood carries its `error`. `create_time`
//!   and `update_time` are UTC when the program writes them, and by your session's `time_zone` when you do.
//! - **Isolation** is READ COMMITTED on the store's own connections, whatever the server's default is.
//! - **TLS** is used where the server offers it; `?ssl-mode=VERIFY_IDENTITY&ssl-ca=/path/ca.pem` in the URL insists on it.
//! - **Snapshots** that stay open for long, as a dump makes them, keep the server from purging what was deleted. Claims
//!   begin beyond it, so that they stay fast; the disk still fills.
//!
//! Tested on MariaDB 10.11, with and without `SKIP LOCKED`. MySQL 8 and TiDB are supported by construction (nothing is sent
//! that they don't know) and **untested**.

#![recursion_limit = "256"] // futures within futures, each a type of its own

mod caches;
mod clock;
mod config;
mod connection;
mod coordinator;
mod database;
mod enqueuer;
mod error;
mod pool;
mod queries;
mod schema;
mod server;
mod store;
mod transaction;

pub use config::MySqlConfig;
pub use coordinator::MySqlCoordinator;
pub use store::MySqlStore;

/// The tables, for those who make them by hand: see [`MySqlConfig::migrate`]. Can be run again, and over older tables.
pub const SCHEMA_SQL: &str = include_str!("../schema.sql");

/// The name in errors and metrics.
const BACKEND: &str = "mysql";
