//! What the server's errors mean for the caller.

use jobcore::{Error, ErrorKind};

use crate::BACKEND;

/// Shorthand for what runs inside a transaction.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// What can go wrong inside a transaction.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server, the connection or the driver.
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

/// What to do about a failure before the commit, which has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The same again, after a short rest.
    Repeat,
    /// The same again on another connection.
    Reconnect,
    /// Tell the caller.
    Tell,
}

impl Failure {
    /// Stored data that can't be understood.
    pub(crate) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Core(Error::new(ErrorKind::Corrupt, what.to_string()))
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Stale => Remedy::Repeat,
            Self::Core(_) => Remedy::Tell,
            Self::Sql(error) if is_lost(error) => Remedy::Reconnect,
            Self::Sql(error) => match number(error) {
                Some(1213) => Remedy::Repeat, // ER_LOCK_DEADLOCK: this transaction was chosen to end
                Some(1205) => Remedy::Repeat, // ER_LOCK_WAIT_TIMEOUT: another one holds its locks for long
                Some(1020) => Remedy::Repeat, // ER_CHECKREAD: a row changed under a snapshot
                Some(1062) => Remedy::Repeat, // ER_DUP_ENTRY: another one inserted the same first, which a look shows
                Some(8002 | 8022 | 9007) => Remedy::Repeat, // TiDB: a write conflict
                Some(1461) => Remedy::Reconnect, // too many prepared statements: a new connection has none
                Some(1615) => Remedy::Repeat, // ER_NEED_REPREPARE: a table was altered
                _ => Remedy::Tell,
            },
        }
    }

    /// Whether something of what was to be inserted is there already, which a look shows.
    pub(crate) fn is_duplicate(&self) -> bool {
        match self {
            Self::Stale => true,
            Self::Sql(error) => is_duplicate(error),
            Self::Core(_) => false,
        }
    }

    /// Whether an error of a commit says that it was rolled back and can be repeated.
    pub(crate) fn is_repeatable(error: &sqlx::Error) -> bool {
        matches!(number(error), Some(1213 | 1205 | 1020 | 8002 | 8022 | 9007))
    }

    /// The error of the public API.
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        let error = match self {
            Self::Core(error) => error,
            Self::Sql(error) => Error::new(kind(&error), format!("{error}{}", advice(&error))).source(error),
            Self::Stale => Error::new(
                ErrorKind::Unavailable,
                "rows changed while they were written; try again",
            ),
        };
        error.backend(BACKEND).operation(operation)
    }
}

/// The error of a `COMMIT` that failed: without an answer, nobody knows whether it took effect.
pub(crate) fn commit_failed(error: sqlx::Error, operation: &'static str) -> Error {
    let kind = if is_lost(&error) {
        ErrorKind::Indeterminate
    } else {
        kind(&error)
    };
    Error::new(kind, format!("commit: {error}"))
        .source(error)
        .backend(BACKEND)
        .operation(operation)
}

/// Whether the connection is of no use any more, so that what was sent last has no answer.
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            true
        }
        // ER_SERVER_SHUTDOWN, ER_QUERY_INTERRUPTED (killed by hand), ER_CONNECTION_KILLED (MariaDB),
        // ER_SESSION_WAS_KILLED (MySQL), ER_CLIENT_INTERACTION_TIMEOUT
        _ => matches!(number(error), Some(1053 | 1317 | 1927 | 3169 | 4031)),
    }
}

/// Whether what was inserted is there already.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    number(error) == Some(1062)
}

/// Whether the user has no right to this.
pub(crate) fn is_denied(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(1044 | 1142 | 1143 | 1227)) // of the database, a table, a column; a right of its own
}

/// The server's error number.
fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    error
        .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .map(sqlx::mysql::MySqlDatabaseError::number)
}

/// What an error other than that of a commit means. The numbers are those of MySQL and MariaDB.
fn kind(error: &sqlx::Error) -> ErrorKind {
    match number(error) {
        Some(1021 | 1041 | 1114 | 3) => ErrorKind::Unavailable, // no disk space, no memory, a full table
        Some(1040 | 1203 | 1226) => ErrorKind::Unavailable, // too many connections: of the server, of the user
        Some(1044 | 1045 | 1142 | 1143) => ErrorKind::Unavailable, // no right, by an operator's mistake that can be mended
        Some(1053 | 1927 | 3169 | 1317 | 4031) => ErrorKind::Unavailable, // the server ends, or ended the session
        Some(1205 | 1213 | 1020) => ErrorKind::Unavailable, // lock time-out, deadlock, changed under a snapshot
        Some(1290 | 1792 | 1836) => ErrorKind::Unavailable, // read-only after a fail-over
        Some(3024 | 1969) => ErrorKind::TimedOut, // ended by the server at our limit, which is the same as ours
        Some(1461) => ErrorKind::Unavailable, // max_prepared_stmt_count: too many connections with too many statements
        Some(1030 | 1031 | 1180) => ErrorKind::Unavailable, // the storage engine failed, as on a full disk
        Some(1153 | 1406 | 1264 | 1292) => ErrorKind::InvalidInput, // packet too large, value too long or out of range
        Some(1062) => ErrorKind::Conflict,                          // what is unique was taken
        Some(1049) => ErrorKind::NotFound,                          // no such database
        Some(1054 | 1146) => ErrorKind::Corrupt, // no such column or table: the schema isn't as this program made it
        Some(_) => ErrorKind::Corrupt,           // the tables aren't as this program made them
        None => without_number(error),
    }
}

/// What a person can do, where the server's message doesn't say.
fn advice(error: &sqlx::Error) -> &'static str {
    match number(error) {
        Some(1040) => "; raise its max_connections, or give its clients fewer connections each",
        _ => "",
    }
}

fn without_number(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => ErrorKind::Corrupt, // a column of another type
        sqlx::Error::ColumnNotFound(_) | sqlx::Error::RowNotFound => ErrorKind::Corrupt, // a table of another shape
        sqlx::Error::Configuration(_) => ErrorKind::InvalidInput, // a URL that can't be one
        _ => ErrorKind::Unavailable,                              // no connection, or one that was lost
    }
}
