//! Answers that are no success: one sentence as JSON, with the status that
//! belongs to it. Used by every handler.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::station::Refusal;

/// A request that is not fulfilled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// A sentence for people.
    pub(super) error: String,
    /// The name that was probably meant.
    pub(super) nearest: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), nearest: None }
    }

    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::NoStream { .. } | Refusal::NoChange(_) => StatusCode::NOT_FOUND,
            Refusal::NoHead { .. } | Refusal::NoClass(_) | Refusal::Impossible(_) => {
                StatusCode::BAD_REQUEST
            }
            Refusal::Exists(_) | Refusal::Full(_) => StatusCode::CONFLICT,
            Refusal::NoPicture | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let error = refusal.to_string();
        let nearest = match refusal {
            Refusal::NoStream { nearest, .. } | Refusal::NoHead { nearest, .. } => nearest,
            Refusal::NoClass(unknown) => unknown.nearest,
            _ => None,
        };
        Self { status, error, nearest }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = match self.nearest {
            Some(nearest) => json!({ "error": self.error, "nearest": nearest }),
            None => json!({ "error": self.error }),
        };
        (self.status, Json(body)).into_response()
    }
}
