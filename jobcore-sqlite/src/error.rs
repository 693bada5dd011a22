//! What SQLite's errors mean for the caller.

use jobcore::{Error, ErrorKind};

use crate::BACKEND;

/// Shorthand for what runs inside a transaction.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// What can go wrong inside a transaction.
#[derive(Debug)]
pub(crate) enum Failure {
    /// SQLite or the driver.
    Sql(sqlx::Error),
    /// Stored data, or input, that can't be understood.
    Core(Error),
    /// What was expected to be so isn't: to be repeated with [full care](crate::connection::Care::Full).
    Stale,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl Failure {
    /// Stored data that can't be understood.
    pub(crate) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Core(Error::new(ErrorKind::Corrupt, what.to_string()))
    }

    /// The error of the public API.
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        let error = match self {
            Self::Core(error) => error,
            Self::Sql(error) => Error::new(kind(&error), error.to_string()).source(error),
            Self::Stale => Error::new(
                ErrorKind::Unavailable,
                "rows changed while they were written; try again",
            ),
        };
        error.backend(BACKEND).operation(operation)
    }
}

/// The error of a `COMMIT` that failed.
///
/// SQLite takes effect by the last frame that it appends to the write-ahead log, and flushes it afterwards. Where the
/// disk refused the write, the frame is incomplete and the transaction rolled back. Where the flush failed, or the
/// driver lost its thread, the frame may be found whole by the next process: nobody knows.
pub(crate) fn commit_failed(error: sqlx::Error, operation: &'static str) -> Error {
    let kind = match kind(&error) {
        ErrorKind::Unavailable if is_lost(&error) => ErrorKind::Indeterminate,
        kind => kind,
    };
    Error::new(kind, format!("commit: {error}"))
        .source(error)
        .backend(BACKEND)
        .operation(operation)
}

/// Whether an error at the commit leaves open what became of it.
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => true,
        _ => primary_code(error) == Some(10),
    }
}

/// Whether another connection holds the lock that was asked for.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(5 | 6))
}

/// Whether a row wasn't written because another has what must be unique.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation())
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// What an error other than that of a commit means. The numbers are SQLite's primary result codes.
fn kind(error: &sqlx::Error) -> ErrorKind {
    match primary_code(error) {
        Some(5) => ErrorKind::Unavailable, // BUSY: another process kept its lock longer than the busy time-out
        Some(6) => ErrorKind::Unavailable, // LOCKED: a conflict within this process, over when its statement ends
        Some(7) => ErrorKind::Unavailable, // NOMEM: no memory now
        Some(8) => ErrorKind::Unavailable, // READONLY: the file was made read-only, or the directory can't be written
        Some(9) => ErrorKind::Unavailable, // INTERRUPT: somebody broke the statement off; it was rolled back
        Some(10) => ErrorKind::Unavailable, // IOERR: the disk refused; nothing is committed before COMMIT
        Some(11) => ErrorKind::Corrupt,    // CORRUPT: the file's structure is broken; restore a backup
        Some(13) => ErrorKind::Unavailable, // FULL: no space is left; the transaction was rolled back
        Some(14) => ErrorKind::Unavailable, // CANTOPEN: no directory, no permission, or no file handle left
        Some(15) => ErrorKind::Unavailable, // PROTOCOL: lost races for the log's lock, which an idle moment ends
        Some(17) => ErrorKind::Unavailable, // SCHEMA: it changed under a statement, which is prepared anew next time
        Some(18) => ErrorKind::InvalidInput, // TOOBIG: a text of a gigabyte
        Some(19) => ErrorKind::Conflict, // CONSTRAINT: what is unique was taken by a hand that didn't come through here
        Some(26) => ErrorKind::Corrupt,  // NOTADB: another kind of file
        Some(_) => ErrorKind::Corrupt,   // ERROR, MISMATCH, …: the tables aren't as this program made them
        None => without_code(error),
    }
}

fn without_code(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => ErrorKind::Corrupt, // a column of another type
        sqlx::Error::ColumnNotFound(_) | sqlx::Error::RowNotFound => ErrorKind::Corrupt, // a table of another shape
        sqlx::Error::Configuration(_) => ErrorKind::InvalidInput, // a path that can't be one
        _ => ErrorKind::Unavailable, // the connection's thread ended; the next call opens another
    }
}
