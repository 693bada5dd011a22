//! An embeddable distributed job scheduler with pluggable backends.

pub mod error;
pub mod time;

pub use error::{Error, ErrorKind, Result};
pub use time::Timestamp;
