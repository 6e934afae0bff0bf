//! `/webhooks/{id}/deliveries`: what became of a webhook's events, attempt by attempt.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use domain::delivery::{Attempt, Delivery, State as DeliveryState, Verdict};
use domain::event::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::secret::Fingerprint;
use jiff::Timestamp;
use serde::Serialize;

use super::webhooks::visible;
use crate::App;
use crate::body::Query;
use crate::caller::Admin;
use crate::page::Page;
use crate::problem::Problem;

/// A delivery, as it goes over the wire.
#[derive(Debug, Serialize)]
pub struct DeliveryBody {
    id: DeliveryId,
    webhook_id: WebhookId,
    event_id: EventId,
    event_type: EventType,
    state: DeliveryState,
    cycle: u32,
    next_at: Option<Timestamp>,
    attempts: Vec<AttemptBody>,
}

/// An attempt, as it goes over the wire.
#[derive(Debug, Serialize)]
pub struct AttemptBody {
    cycle: u32,
    number: u32,
    at: Timestamp,
    duration_ms: u32,
    verdict: Verdict,
    status: Option<u16>,
    error: Option<String>,
    response_excerpt: Option<String>,
    secret_fingerprint: Fingerprint,
}

/// A page of deliveries.
#[derive(Debug, Serialize)]
pub struct DeliveryList {
    data: Vec<DeliveryBody>,
    next_cursor: Option<DeliveryId>,
}

impl From<Delivery> for DeliveryBody {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            webhook_id: delivery.webhook,
            event_id: delivery.event,
            event_type: delivery.event_type,
            state: delivery.progress.state,
            cycle: delivery.progress.cycle,
            next_at: delivery.progress.next_at,
            attempts: delivery.attempts.into_iter().map(AttemptBody::from).collect(),
        }
    }
}

impl From<Attempt> for AttemptBody {
    fn from(attempt: Attempt) -> Self {
        Self {
            cycle: attempt.cycle,
            number: attempt.number,
            at: attempt.at,
            duration_ms: attempt.outcome.duration_ms,
            verdict: attempt.outcome.verdict,
            status: attempt.outcome.status,
            error: attempt.outcome.error,
            response_excerpt: attempt.outcome.response_excerpt,
            secret_fingerprint: attempt.secret_fingerprint,
        }
    }
}

/// `GET /webhooks/{id}/deliveries`: lists deliveries that have been attempted, newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<DeliveryList>, Problem> {
    let webhook = visible(&app, &admin, &id).await?;
    let (before, limit) = page.read()?;
    // One more than asked for tells whether there is a next page.
    let mut deliveries = app.ledger.deliveries(webhook.id, before, limit + 1).await?;
    let more = deliveries.len() > limit;
    deliveries.truncate(limit);
    let next_cursor = deliveries.last().filter(|_| more).map(|delivery| delivery.id);
    Ok(Json(DeliveryList { data: deliveries.into_iter().map(DeliveryBody::from).collect(), next_cursor }))
}
