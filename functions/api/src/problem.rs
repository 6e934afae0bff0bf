//! Everything that can go wrong, as [RFC 9457][1] problem details.
//!
//! [1]: https://www.rfc-editor.org/rfc/rfc9457

use aws::StoreError;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What went wrong with a request. Its details are for whoever sent it; what is ours goes to the log and not to them.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no usable token.
    #[error("{0}")]
    Unauthenticated(String),
    /// The token's bearer may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing, or it is somebody else's: nobody is told which.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The path does not take this method.
    #[error("this path does not take this method")]
    MethodNotAllowed,
    /// The thing is not in the state that the request takes for granted.
    #[error("{0}")]
    Conflict(String),
    /// The body is larger than any valid one.
    #[error("the body must be at most {0} bytes")]
    TooLarge(usize),
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    Malformed(String),
    /// Fields or parameters are not as they must be.
    #[error("{}", summary(.0))]
    Invalid(Vec<Fault>),
    /// A store cannot be reached just now.
    #[error("try again in a moment")]
    Unavailable(#[source] StoreError),
    /// A fault of ours.
    #[error("internal error")]
    Internal(#[source] StoreError),
}

/// One field or parameter that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The field, as a JSON pointer in the fragment form (`#/url`); for a query parameter its name (`?limit`).
    pub pointer: String,
    /// What it must be.
    pub detail: String,
}

impl Fault {
    /// Names a field of the body by its JSON pointer (`/url`).
    pub fn field(pointer: &str, detail: impl std::fmt::Display) -> Self {
        Self { pointer: format!("#{pointer}"), detail: detail.to_string() }
    }

    /// Names a query parameter.
    pub fn parameter(name: &str, detail: impl std::fmt::Display) -> Self {
        Self { pointer: format!("?{name}"), detail: detail.to_string() }
    }
}

fn summary(faults: &[Fault]) -> String {
    let faults: Vec<_> = faults.iter().map(|Fault { pointer, detail }| format!("{pointer} {detail}")).collect();
    faults.join("; ")
}

#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault],
}

impl Problem {
    const fn code(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication needed"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict", "Conflict"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "Malformed body"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid request"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    /// Returns the header that tells a client what to do about it.
    fn advice(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated(_) => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::Unavailable(_) => Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed
            | Self::Conflict(_)
            | Self::TooLarge(_)
            | Self::Malformed(_)
            | Self::Invalid(_)
            | Self::Internal(_) => None,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable(error),
            StoreError::Conflict { .. } | StoreError::Missing { .. } | StoreError::Inconsistent { .. } => {
                Self::Internal(error)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Self::Unavailable(error) | Self::Internal(error) = &self {
            tracing::error!(%error, "request failed");
        }
        let (status, code, title) = self.code();
        let errors = if let Self::Invalid(faults) = &self { faults.as_slice() } else { &[] };
        let details = Details {
            r#type: format!("urn:dynahook:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: self.to_string(),
            errors,
        };
        let mut response = (status, axum::Json(details)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.advice());
        response
    }
}
