//! `/webhooks/{id}/deliveries`: what became of a webhook's events, attempt by attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws::ledger::{Advance, Released};
use aws::queue::Outgoing;
use aws::registry::RunningTest;
use axum::Json;
use axum::extract::{Path, State};
use domain::attempt::Attempt;
use domain::attempt::outcome::{Timing, Verdict};
use domain::delivery::{Delivery, Progress, State as DeliveryState};
use domain::event::types::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::signing::secret::Fingerprint;
use domain::webhook::Webhook;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::webhooks::{WebhookPath, visible};
use crate::App;
use crate::body::Query;
use crate::caller::Admin;
use crate::page::fit;
use crate::problem::{Problem, ProblemBody};

mod filter;

pub use filter::Filter;

/// A delivery, as it goes over the wire.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryBody {
    /// `dlv_` and a ULID.
    #[schema(value_type = String)]
    pub(super) id: DeliveryId,
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    #[schema(value_type = String)]
    event_id: EventId,
    #[schema(value_type = String)]
    event_type: EventType,
    #[schema(inline)]
    state: DeliveryState,
    /// Counts how often it was sent again after it ended.
    cycle: u32,
    /// When it is attempted again.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// Until when its first attempt waits, or waited, because it was over the tenant's budget of deliveries.
    #[schema(value_type = Option<String>, format = DateTime)]
    deferred_until: Option<Timestamp>,
    /// The oldest first; of earlier cycles the last 20.
    attempts: Vec<AttemptBody>,
}

/// An attempt, as it goes over the wire.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptBody {
    cycle: u32,
    /// The first of a cycle is 1.
    number: u32,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    duration_ms: u32,
    /// What of that time went where.
    #[schema(inline)]
    timing: Timing,
    /// What was sent beside the body: `***` stands for what is secret, and for signatures.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    request_headers: BTreeMap<String, String>,
    #[schema(inline)]
    verdict: Verdict,
    /// The receiver's, if it answered.
    status: Option<u16>,
    /// How long the receiver asked to wait, in seconds.
    retry_after_s: Option<u32>,
    error: Option<String>,
    /// How the answer began.
    response_excerpt: Option<String>,
    /// Which secret signed.
    #[schema(value_type = String)]
    secret_fingerprint: Fingerprint,
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryList {
    /// Newest first. A page may have less than was asked for, even none, and yet not be the last one.
    data: Vec<DeliveryBody>,
    /// The `cursor` of the next page; nothing if this is the last one.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<DeliveryId>,
}

/// A test that has not been attempted yet.
impl From<RunningTest> for DeliveryBody {
    fn from(test: RunningTest) -> Self {
        let RunningTest { delivery, webhook, event, event_type, expires_at: _ } = test;
        Self {
            id: delivery,
            webhook_id: webhook,
            event_id: event,
            event_type,
            state: DeliveryState::Pending,
            cycle: 0,
            next_at: None,
            deferred_until: None,
            attempts: Vec::new(),
        }
    }
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
            deferred_until: delivery.deferred_until,
            attempts: delivery.attempts.into_iter().map(AttemptBody::from).collect(),
        }
    }
}

impl From<Attempt> for AttemptBody {
    fn from(attempt: Attempt) -> Self {
        let headers = attempt.request_headers.iter();
        Self {
            cycle: attempt.cycle,
            number: attempt.number,
            at: attempt.at,
            duration_ms: attempt.outcome.duration_ms,
            timing: attempt.outcome.timing,
            request_headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            verdict: attempt.outcome.verdict,
            status: attempt.outcome.status,
            retry_after_s: attempt.outcome.retry_after_s,
            error: attempt.outcome.error,
            response_excerpt: attempt.outcome.response_excerpt,
            secret_fingerprint: attempt.secret_fingerprint,
        }
    }
}

/// Lists deliveries
///
/// Those that have been attempted, newest first by their events' time, each with its attempts.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "Deliveries", params(WebhookPath, Filter),
    responses((status = 200, description = "A page", body = DeliveryList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
    Query(filter): Query<Filter>,
) -> Result<Json<DeliveryList>, Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    let (range, limit) = filter.range(app.clock.now())?;
    let page = app.ledger.deliveries(webhook.id, range, limit, |delivery| filter.wants(delivery)).await?;
    let mut data = page.deliveries.into_iter().map(DeliveryBody::from).collect();
    let cut = fit(&mut data).map(|last: &DeliveryBody| last.id);
    Ok(Json(DeliveryList { data, next_cursor: cut.or(page.next) }))
}

/// The ids of a webhook and a delivery.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "shows the form of a path")]
pub struct DeliveryPath {
    /// `whk_` and a ULID.
    #[param(pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    id: String,
    /// `dlv_` and a ULID.
    #[param(pattern = "^dlv_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "dlv_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    delivery: String,
}

/// Reads a delivery
///
/// A delivery is there once it has been attempted; a test is there at once.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries/{delivery}", tag = "Deliveries", params(DeliveryPath),
    responses((status = 200, description = "The delivery, with its attempts", body = DeliveryBody)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Json<DeliveryBody>, Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    match find(&app, &webhook, &delivery).await {
        Err(Problem::NotFound(what)) => {
            let Ok(delivery) = delivery.parse() else { return Err(Problem::NotFound(what)) };
            let test = app.registry.running_test(&webhook.tenant, delivery, app.clock.now()).await?;
            let test = test.filter(|test| test.webhook == webhook.id).ok_or(Problem::NotFound(what))?;
            Ok(Json(test.into()))
        }
        found => Ok(Json(found?.into())),
    }
}

/// Returns a delivery to a webhook that the caller may see.
pub(super) async fn find(app: &App, webhook: &Webhook, id: &str) -> Result<Delivery, Problem> {
    let not_found = || Problem::NotFound("delivery");
    let id = id.parse().map_err(|_| not_found())?;
    app.ledger.delivery(webhook.id, id, app.clock.now()).await?.ok_or_else(not_found)
}

/// Skips a delivery
///
/// Gives up one that the later ones of its entity wait for, be it exhausted or not: it is cancelled, and the next goes out. Only for
/// a webhook whose deliveries keep an order.
#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{delivery}/skip", tag = "Deliveries", params(DeliveryPath),
    responses(
        (status = 200, description = "The delivery, cancelled", body = DeliveryBody),
        (status = 409, description = "It holds nothing up, or it is being attempted", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn skip(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Json<DeliveryBody>, Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    let not_found = || Problem::NotFound("delivery");
    let delivery = delivery.parse().map_err(|_| not_found())?;
    let mut delivery = app.ledger.delivery(webhook.id, delivery, app.clock.now()).await?.ok_or_else(not_found)?;
    let next = match app.ledger.skip(&delivery, app.clock.now()).await? {
        Advance::Yes(next) => next,
        Advance::NotHead => return Err(Problem::Conflict("no other delivery waits for this one".to_owned())),
        Advance::TooLate => return Err(Problem::Conflict("it is being attempted; try again in a minute".to_owned())),
    };
    tracing::info!(delivery.id = %delivery.id, webhook.id = %webhook.id, by = admin.subject, "delivery skipped");
    if let Some(Released { message, delay }) = next.map(|next| *next)
        && let Err(error) = app.deliveries.send(vec![Outgoing::of(&message, delay)]).await.remove(0)
    {
        tracing::warn!(%error, "a message was not sent; the sweep will");
    }
    delivery.progress = Progress { state: DeliveryState::Cancelled, next_at: None, ..delivery.progress };
    Ok(Json(delivery.into()))
}
