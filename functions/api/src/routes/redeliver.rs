//! `/webhooks/{id}/deliveries/{delivery}/redeliver`: sends one delivery again. A [job](super::jobs) sends many.

use std::sync::Arc;
use std::time::Duration;

use aws::queue::Outgoing;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::delivery::Delivery;
use domain::delivery::redelivery::{Redelivery, Refusal, plan, started};

use crate::App;
use crate::caller::Admin;
use crate::deliveries::{DeliveryBody, find};
use crate::parameters::DeliveryPath;
use crate::problem::{Problem, ProblemBody};
use crate::registration::visible;

/// Sends a delivery again
///
/// A delivery that has ended starts a new cycle of attempts with the same id and `webhook-id`. One that failed before
/// sends the same bytes again. The body of one that arrived at once is rendered again, from the stored event and with the
/// webhook's current settings. A delivery that waits for its next attempt is attempted now. A parked one becomes the
/// probe of its webhook's circuit breaker: if it succeeds, the others follow.
#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{delivery}/redeliver", tag = "Deliveries", params(DeliveryPath),
    responses(
        (status = 202, description = "The delivery, which is being sent", body = DeliveryBody),
        (status = 409, description = "It cannot be sent now: the webhook is paused or disabled, or the event is no longer stored", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn redeliver(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<(StatusCode, Json<DeliveryBody>), Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    let row = find(&app, &webhook, &delivery).await?;
    let refused = |refusal: Refusal| Problem::Conflict(refusal.to_string());
    let message = match plan(&row, &webhook).map_err(refused)? {
        Redelivery::Send(message) => message,
        Redelivery::Probe(message) => {
            app.ledger.make_probe_due(webhook.id, app.clock.now()).await?;
            message
        }
        Redelivery::Render(message) => {
            let key = app.registry.state_key(&webhook.tenant).await?;
            app.events.revive(message, &webhook, key.as_ref(), app.clock.now()).await?.map_err(refused)?
        }
    };
    let progress = started(&row.progress, &message);
    app.deliveries.send(vec![Outgoing::of(&message, Duration::ZERO)]).await.remove(0)?;
    tracing::info!(delivery.id = %row.id, webhook.id = %webhook.id, by = admin.subject, "delivery sent again");
    Ok((StatusCode::ACCEPTED, Json(Delivery { progress, ..row }.into())))
}
