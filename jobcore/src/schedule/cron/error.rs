//! What is wrong with a cron expression, and where.

use std::fmt;

/// A cron expression that can't be read or never fires: the place in it and what would be right.
///
/// It is the source of the [`Error`](crate::Error) that [`Schedule::cron`](crate::Schedule::cron) returns, for
/// programs that point at the place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CronError {
    pub(super) column: usize,
    pub(super) length: usize,
    pub(super) message: String,
}

impl CronError {
    /// `at` is the byte offset of the place; everything before it is ASCII.
    pub(super) fn new(at: usize, length: usize, message: impl Into<String>) -> Self {
        Self {
            column: at + 1,
            length: length.max(1),
            message: message.into(),
        }
    }

    /// The column of the first character that is wrong, counted from 1; one past the end if something is missing.
    pub fn column(&self) -> usize {
        self.column
    }

    /// How many characters from there on are wrong, at least 1.
    pub fn length(&self) -> usize {
        self.length
    }

    /// What is wrong and what would be right, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for CronError {}
