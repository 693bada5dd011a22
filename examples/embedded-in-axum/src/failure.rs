//! What can go wrong, and what the client is told of it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jobcore::ErrorKind;
use serde_json::json;

/// Anything that goes wrong here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Jobs(#[from] jobcore::Error),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Invalid(&'static str),
    #[error("there is no order {0}")]
    NoOrder(String),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoOrder(_) => StatusCode::NOT_FOUND,
            Self::Jobs(error) if error.is_retryable() || error.kind() == ErrorKind::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Database(sqlx::Error::PoolTimedOut) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Jobs(_) | Self::Database(_) | Self::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let message = if status.is_server_error() {
            // Not the client's business.
            tracing::error!(error = %self, "a request failed");
            status.canonical_reason().unwrap_or_default().to_owned()
        } else {
            self.to_string()
        };
        (status, Json(json!({ "error": message }))).into_response()
    }
}
