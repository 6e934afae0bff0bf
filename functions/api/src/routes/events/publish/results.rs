//! What a request that publishes is answered.

use axum::http::StatusCode;
use domain::event::types::EventType;
use domain::id::EventId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{Problem, ProblemBody};

/// A published event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Published {
    /// `evt_` and a ULID; receivers get it as `webhook-id`.
    #[schema(value_type = String)]
    pub(super) id: EventId,
    #[schema(value_type = String)]
    pub(super) event_type: EventType,
    /// `true` if an event with your `id` was published before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(super) duplicate: bool,
}

/// The result of one event of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicationResult {
    /// 202 if it was published; otherwise the status it would get in a request of its own.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    event_type: Option<EventType>,
    /// `true` if an event with your `id` was published before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    duplicate: bool,
    /// Why it was not published. Pointers refer to this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ProblemBody, required = false)]
    problem: Option<Problem>,
}

/// The results of a list of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicationResults {
    /// In the order in which they were sent.
    pub(super) results: Vec<PublicationResult>,
}

impl From<Result<Published, Problem>> for PublicationResult {
    fn from(result: Result<Published, Problem>) -> Self {
        match result {
            Ok(Published { id, event_type, duplicate }) => Self {
                status: StatusCode::ACCEPTED.as_u16(),
                id: Some(id),
                event_type: Some(event_type),
                duplicate,
                problem: None,
            },
            Err(problem) => Self {
                status: problem.status().as_u16(),
                id: None,
                event_type: None,
                duplicate: false,
                problem: Some(problem),
            },
        }
    }
}
