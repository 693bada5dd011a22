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
