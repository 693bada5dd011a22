//! An embeddable distributed job scheduler with pluggable backends.

pub mod attempt;
pub mod clock;
pub mod coordinator;
pub mod docs;
mod duration;
pub mod engine;
pub mod error;
pub mod executor;
pub mod gate;
pub mod id;
pub mod job;
pub mod json;
pub mod lane;
pub mod lease;
pub mod memory;
pub mod misfire;
pub mod overlap;
pub mod placement;
pub mod retry;
pub mod schedule;
pub mod shell;
pub mod store;
pub mod task;
pub mod time;
pub mod transport;

pub use error::{Error, ErrorKind, Result};
pub use schedule::Schedule;
pub use time::Timestamp;
