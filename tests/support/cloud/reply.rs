//! A response of the cloud.

use serde_json::{Value, json};

use crate::refusals::Refusal;

/// A response, as it is sent.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body, as JSON.
    pub body: String,
}

impl Reply {
    pub(super) fn ok(body: &Value) -> Self {
        Self { status: 200, body: body.to_string() }
    }

    pub(super) fn error(status: u16, kind: &str) -> Self {
        Self { status, body: json!({"__type": kind, "message": "a fault of the test"}).to_string() }
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        Self { status: 400, body: json!({"__type": refusal.kind, "message": refusal.message}).to_string() }
    }
}
