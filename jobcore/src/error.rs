//! What a caller can't learn from an outcome: errors of the store, the transport, the coordinator and of bad input.
//!
//! Expected races (a stale token, a changed version, a duplicate) are outcome values, never errors. What an error
//! means for the caller is in its [`ErrorKind`]:
//!
//! | kind | retry the same call? | may it have taken effect? |
//! |---|---|---|
//! | `InvalidInput`, `NotFound`, `AlreadyExists`, `Conflict`, `Unsupported`, `Corrupt` | no | no |
//! | `Unavailable` | yes, with back-off | no |
//! | `TimedOut` | yes, with back-off | no: it timed out before anything was sent |
//! | `Indeterminate` | only if the call is idempotent; else ask first | **maybe** |
//! | `ShuttingDown` | not on this engine | no |

use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and so what the caller may do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong; the message names the field and what would be right.
    InvalidInput,
    /// What the request names doesn't exist.
    NotFound,
    /// What the request would create exists already.
    AlreadyExists,
    /// Somebody else changed the same thing first; read it again and decide anew.
    Conflict,
    /// The backend can't be reached or is overloaded; nothing was done.
    Unavailable,
    /// No answer in time, and nothing was sent.
    TimedOut,
    /// The request was sent and the answer lost: it may or may not have taken effect.
    Indeterminate,
    /// This backend doesn't offer the operation.
    Unsupported,
    /// Stored data can't be understood.
    Corrupt,
    /// The engine is draining or stopped and takes nothing new.
    ShuttingDown,
}

impl ErrorKind {
    /// A stable name for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Indeterminate => "indeterminate",
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

/// An error with its kind, the operation and backend it came from, and its cause.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    operation: Option<&'static str>,
    backend: Option<&'static str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. The message is lower case, names the thing and its id, and says what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            backend: None,
            source: None,
        }))
    }

    /// Bad input: names the `field` and says what would be right.
    pub fn invalid(field: &str, message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidInput, format!("{field}: {message}"))
    }

    /// Adds the operation during which it happened, such as `"claim"`.
    #[must_use]
    pub fn operation(mut self, operation: &'static str) -> Self {
        self.0.operation = Some(operation);
        self
    }

    /// Adds the backend it came from, such as `"sqlite"`.
    #[must_use]
    pub fn backend(mut self, backend: &'static str) -> Self {
        self.0.backend = Some(backend);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without operation, backend and cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed later and certainly had no effect yet.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::TimedOut)
    }

    /// Whether the call may have taken effect although it failed.
    pub fn is_indeterminate(&self) -> bool {
        self.0.kind == ErrorKind::Indeterminate
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        match (inner.backend, inner.operation) {
            (Some(backend), Some(operation)) => write!(f, "{backend} {operation}: ")?,
            (Some(one), None) | (None, Some(one)) => write!(f, "{one}: ")?,
            (None, None) => {}
        }
        f.write_str(&inner.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_where_it_happened() {
        let error = Error::new(ErrorKind::Unavailable, "database is locked")
            .backend("sqlite")
            .operation("claim");
        assert_eq!(error.to_string(), "sqlite claim: database is locked");
        assert!(error.is_retryable() && !error.is_indeterminate());
        assert_eq!(
            Error::invalid("timeout", "must be positive").to_string(),
            "timeout: must be positive"
        );
    }
}
