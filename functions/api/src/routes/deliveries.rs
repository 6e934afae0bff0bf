//! `/webhooks/{id}/deliveries`: the deliveries of a webhook, with their attempts.

use std::sync::Arc;

use aws::ledger::{Advance, Released};
use aws::queue::Outgoing;
use axum::Json;
use axum::extract::{Path, State};
use domain::delivery::{Delivery, Progress, State as DeliveryState};
use domain::id::DeliveryId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::body::Query;
use crate::caller::Admin;
use crate::deliveries::body::sent;
use crate::deliveries::filter::DeliveryQuery;
use crate::deliveries::{DeliveryBody, find};
use crate::page::fit;
use crate::parameters::{DeliveryPath, WebhookPath};
use crate::problem::{Problem, ProblemBody};
use crate::registration::visible;

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryList {
    /// Newest first. A page may have fewer entries than requested, or none, and still not be the last one.
    data: Vec<DeliveryBody>,
    /// The `cursor` of the next page; `null` if this is the last page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<DeliveryId>,
}

/// Lists deliveries
///
/// Deliveries in the ledger: attempted, parked, held or deferred; newest event first, each with its attempts.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "Deliveries", params(WebhookPath, DeliveryQuery),
    responses((status = 200, description = "A page", body = DeliveryList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
    Query(filter): Query<DeliveryQuery>,
) -> Result<Json<DeliveryList>, Problem> {
    let record = visible(&app, &admin, &id).await?;
    let (range, limit, conditions) = filter.read(app.clock.now())?;
    let wanted = |delivery: &Delivery| conditions.are_met_by(delivery);
    let page = app.ledger.deliveries(&[record.webhook.id], range, limit, wanted).await?;
    let shown = |delivery| DeliveryBody::from(delivery).of_webhook(&record);
    let mut data = page.deliveries.into_iter().map(shown).collect();
    let cut = fit(&mut data).map(|last: &DeliveryBody| last.id);
    Ok(Json(DeliveryList { data, next_cursor: cut.or(page.next) }))
}

/// Reads a delivery
///
/// Can be read once it was attempted, parked, held or deferred. A test can be read at once.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries/{delivery}", tag = "Deliveries", params(DeliveryPath),
    responses((status = 200, description = "The delivery, with its attempts", body = DeliveryBody)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Json<DeliveryBody>, Problem> {
    let record = visible(&app, &admin, &id).await?;
    let webhook = &record.webhook;
    match find(&app, webhook, &delivery).await {
        Err(Problem::NotFound(what)) => {
            let Ok(delivery) = delivery.parse() else { return Err(Problem::NotFound(what)) };
            let test = app.registry.running_test(&webhook.tenant, delivery, app.clock.now()).await?;
            let test = test.filter(|test| test.webhook == webhook.id).ok_or(Problem::NotFound(what))?;
            Ok(Json(test.into()))
        }
        found => {
            let mut found = found?;
            let response = found.last_response.take();
            let body = if admin.reads_events { Some(sent(&app, webhook, &found).await?) } else { None };
            let shown = DeliveryBody::from(found).of_webhook(&record).with_last_response(response);
            Ok(Json(if let Some(body) = body { shown.with_request_body(body) } else { shown }))
        }
    }
}

/// Skips a delivery
///
/// Cancels a delivery behind which later deliveries of its entity wait, whether it is exhausted or not, and sends the
/// next one. Only for a webhook with `ordering: entity`.
#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{delivery}/skip", tag = "Deliveries", params(DeliveryPath),
    responses(
        (status = 200, description = "The cancelled delivery", body = DeliveryBody),
        (status = 409, description = "No delivery waits for it, or it is being attempted", body = ProblemBody, content_type = "application/problem+json"),
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
        tracing::warn!(%error, "cannot send the message of the next delivery; the sweep will send it");
    }
    delivery.progress = Progress { state: DeliveryState::Cancelled, next_at: None, ..delivery.progress };
    Ok(Json(delivery.into()))
}
