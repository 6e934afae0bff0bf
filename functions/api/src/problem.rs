//! Everything that can go wrong, as [RFC 9457][1] problem details.
//!
//! [1]: https://www.rfc-editor.org/rfc/rfc9457

use aws::{LimitReached, Limited, StoreError};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::budget::Exceeded;
use domain::event::hops::HopsError;
use domain::fault::FieldError;
use runtime::Version;
use runtime::problem::MEDIA_TYPE;

mod body;
mod fault;
mod rate;

pub use body::ProblemBody;
pub use fault::Fault;
pub use rate::RateExceeded;

/// What went wrong with a request. Details about the request go to the caller; internal details go to the log only.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no usable token.
    #[error("{0}")]
    Unauthenticated(String),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The resource does not exist, or belongs to another tenant or application. The response does not say which.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The path does not support this method.
    #[error("this path does not support this method")]
    MethodNotAllowed,
    /// The resource's state does not allow the request, or another request changed it concurrently.
    #[error("{0}")]
    Conflict(String),
    /// The tenant, or the webhook, has as many of something as it may have.
    #[error("{}; {}", .0, remedy(.0.what))]
    Limit(LimitReached),
    /// The resource has a newer version than the caller expects.
    #[error("the current version is {current}; read it, and send the change again with If-Match: \"{current}\"")]
    Stale {
        /// The current version.
        current: u64,
    },
    /// The request replaces a resource without naming its version.
    #[error("send If-Match with the ETag of the version that you replace, or use PATCH")]
    PreconditionRequired,
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request; use a new one")]
    KeyReused,
    /// The request with that idempotency key is still running.
    #[error("the request with this Idempotency-Key is still running; try again in a moment")]
    KeyInUse,
    /// The request is part of a loop of webhooks.
    #[error("{0}")]
    Loop(#[from] HopsError),
    /// The tenant has used up a budget.
    #[error("{0}")]
    Budget(Box<Exceeded>),
    /// The tenant makes too many requests, or too many of one kind.
    #[error("{0}")]
    TooManyRequests(RateExceeded),
    /// Too many tests of one tenant are running.
    #[error("too many tests of this tenant are running; try again in {0} s, or when one of them has ended")]
    TooManyTests(u64),
    /// The body exceeds the size limit.
    #[error("the body must be at most {0} bytes")]
    TooLarge(usize),
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    Malformed(String),
    /// Fields, parameters or headers are invalid.
    #[error("{}", summary(.0))]
    Invalid(Vec<Fault>),
    /// A store is temporarily unavailable.
    #[error("try again in a moment")]
    Unavailable(#[source] StoreError),
    /// The authorizer has no keys to verify tokens with, and fetches them again after this many seconds.
    #[error("tokens cannot be verified now, because the issuer's key server does not answer; try again in {0} s")]
    NoKeys(u32),
    /// The authorizer's answer is from another version than this function. API Gateway caches it for a minute.
    #[error("Dynahook is being updated; try again in a minute")]
    Updating,
    /// These tables of the deployment cannot be read.
    #[error("the deployment's tables cannot be read: {}; try again in a few seconds", tables.join(", "))]
    Unreadable {
        /// Their names in the documentation.
        tables: Vec<&'static str>,
        /// The version that is deployed.
        version: Version,
    },
    /// An internal fault.
    #[error("internal error")]
    Internal(#[source] StoreError),
}

impl From<Vec<FieldError>> for Problem {
    fn from(faults: Vec<FieldError>) -> Self {
        Self::Invalid(faults.into_iter().map(Fault::from).collect())
    }
}

/// Returns what to do about a limit that is reached.
const fn remedy(what: Limited) -> &'static str {
    match what {
        Limited::Webhooks | Limited::Notices | Limited::EventTypes => "delete one first",
        Limited::Secrets => "try again in an hour",
    }
}

fn summary(faults: &[Fault]) -> String {
    let faults: Vec<_> = faults.iter().map(|Fault { pointer, detail }| format!("{pointer} {detail}")).collect();
    faults.join("; ")
}

impl Problem {
    /// Makes problems of rate limits of `what`, which must be in the plural.
    pub(crate) const fn exceeds(what: &'static str) -> impl Fn(domain::access::rate::Exceeded) -> Self {
        move |exceeded| Self::TooManyRequests(RateExceeded::new(what, exceeded))
    }

    /// Converts the problem of a field's value into a problem of the whole body, by prefixing the pointers.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "only one variant has pointers")]
    pub fn below(self, pointer: &str) -> Self {
        match self {
            Self::Invalid(faults) => Self::Invalid(faults.into_iter().map(|fault| fault.below(pointer)).collect()),
            other => other,
        }
    }

    /// Converts the problem into one for a body that is itself the value at the pointer, by removing that prefix.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "only one variant has pointers")]
    pub fn within(self, pointer: &str) -> Self {
        match self {
            Self::Invalid(faults) => Self::Invalid(faults.into_iter().map(|fault| fault.within(pointer)).collect()),
            other => other,
        }
    }

    /// Returns the problem of a portal link that has ended or was revoked.
    #[must_use]
    pub fn portal_link_ended() -> Self {
        Self::Unauthenticated("the portal link has ended or was revoked".to_owned())
    }

    /// Returns the status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.code().0
    }

    const fn code(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication required"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict", "Conflict"),
            Self::Limit(_) => (StatusCode::CONFLICT, "limit-reached", "Limit reached"),
            Self::Stale { .. } => (StatusCode::PRECONDITION_FAILED, "stale", "Changed in the meantime"),
            Self::PreconditionRequired => {
                (StatusCode::PRECONDITION_REQUIRED, "precondition-required", "Version required")
            }
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "Idempotency key used before"),
            Self::KeyInUse => (StatusCode::CONFLICT, "key-in-use", "Idempotency key in use"),
            Self::Loop(_) => (StatusCode::UNPROCESSABLE_ENTITY, "loop", "Loop of webhooks"),
            Self::Budget(_) => (StatusCode::TOO_MANY_REQUESTS, "budget-exceeded", "Budget used up"),
            Self::TooManyRequests(_) | Self::TooManyTests(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
            }
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "Malformed body"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid request"),
            Self::Unavailable(_) | Self::NoKeys(_) | Self::Updating | Self::Unreadable { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable")
            }
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    /// Returns the header that says how a client should react, if there is one.
    fn advice(&self) -> Option<(HeaderName, HeaderValue)> {
        let value = |text: String| HeaderValue::from_str(&text).ok();
        Some(match self {
            Self::Unauthenticated(_) => (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            Self::Unavailable(_) | Self::KeyInUse => (header::RETRY_AFTER, HeaderValue::from_static("1")),
            Self::NoKeys(seconds) => (header::RETRY_AFTER, value(seconds.to_string())?),
            Self::Updating => (header::RETRY_AFTER, HeaderValue::from_static("60")),
            Self::Unreadable { .. } => (header::RETRY_AFTER, HeaderValue::from_static("5")),
            Self::Budget(exceeded) => (header::RETRY_AFTER, value(exceeded.wait_seconds.to_string())?),
            Self::TooManyRequests(exceeded) => (header::RETRY_AFTER, value(exceeded.wait_seconds().to_string())?),
            Self::TooManyTests(seconds) => (header::RETRY_AFTER, value(seconds.to_string())?),
            Self::Stale { current } => (header::ETAG, value(format!("\"{current}\""))?),
            Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed
            | Self::Conflict(_)
            | Self::Limit(_)
            | Self::PreconditionRequired
            | Self::KeyReused
            | Self::Loop(_)
            | Self::TooLarge(_)
            | Self::Malformed(_)
            | Self::Invalid(_)
            | Self::Internal(_) => return None,
        })
    }
}

impl From<Exceeded> for Problem {
    fn from(exceeded: Exceeded) -> Self {
        Self::Budget(Box::new(exceeded))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable(error),
            StoreError::Limit(reached) => Self::Limit(reached),
            StoreError::TooHeavy { field, bytes, limit } => Self::Invalid(vec![Fault::field(
                field,
                format!(
                    "takes too much memory: with it, the tenant's webhooks would need {bytes} of {limit} bytes for \
                     matching events; shorten it (fewer alternatives, types or properties, a shorter template), or \
                     disable or delete other webhooks"
                ),
            )]),
            StoreError::Conflict { .. }
            | StoreError::Missing { .. }
            | StoreError::Refused(_)
            | StoreError::Inconsistent { .. } => Self::Internal(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Self::Unavailable(error) | Self::Internal(error) = &self {
            tracing::error!(%error, "a request failed because of a fault of ours");
        }
        let mut response = (self.status(), axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.extend(self.advice());
        response
    }
}

#[cfg(test)]
mod tests {
    use domain::budget::Budget;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn every_problem_has_a_page() {
        let text = || "why".to_owned();
        let store = || StoreError::Unavailable(text());
        let resets_at = Timestamp::UNIX_EPOCH;
        let exceeded =
            Exceeded { budget: Budget::JobsPerDay, used: 1, needed: 1, limit: 1, resets_at, wait_seconds: 1 };
        let all = [
            Problem::Unauthenticated(text()),
            Problem::Forbidden(text()),
            Problem::NotFound("webhook"),
            Problem::MethodNotAllowed,
            Problem::Conflict(text()),
            Problem::Limit(LimitReached { limit: 1, what: Limited::Webhooks }),
            Problem::Stale { current: 1 },
            Problem::PreconditionRequired,
            Problem::KeyReused,
            Problem::KeyInUse,
            Problem::Loop(HopsError::Unreadable),
            Problem::Budget(Box::new(exceeded)),
            Problem::exceeds("requests")(rate::tests::exceeded(1, 1)),
            Problem::TooManyTests(1),
            Problem::TooLarge(1),
            Problem::Malformed(text()),
            Problem::Invalid(Vec::new()),
            Problem::Unavailable(store()),
            Problem::NoKeys(60),
            Problem::Updating,
            Problem::Unreadable { tables: vec!["Events"], version: Version { number: "0.1.0", commit: "unknown" } },
            Problem::Internal(store()),
        ];
        for problem in all {
            let (status, code, title) = problem.code();
            let page = format!("{}/../../docs/problems/{code}.md", env!("CARGO_MANIFEST_DIR"));
            let page = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page}: {error}"));
            assert!(
                page.starts_with(&format!("# `urn:dynahook:problem:{code}`\n\nStatus {}. ", status.as_u16())),
                "{page}"
            );
            let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
            let example: serde_json::Value = serde_json::from_str(example).unwrap();
            let mut expected = serde_json::to_value(&problem).unwrap();
            // The example has the same fields; only its detail may be of another case.
            assert_eq!((&example["title"], &example["status"]), (&title.into(), &status.as_u16().into()), "{code}");
            for name in example.as_object().unwrap().keys() {
                let is_field = expected.as_object_mut().unwrap().remove(name).is_some();
                assert!(is_field || (code == "invalid" && name == "errors"), "{code} has no field {name}");
            }
            if let Problem::Unreadable { .. } = problem {
                expected.as_object_mut().unwrap().retain(|name, _| !["version", "commit"].contains(&name.as_str()));
            }
            assert_eq!(expected, serde_json::json!({}), "the example of {code} lacks fields");
        }
    }
}
