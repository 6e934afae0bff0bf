//! `POST /webhooks/{id}/test`: sends a test and waits a moment for its outcome.

use std::sync::Arc;
use std::time::Duration;

use aws::queue::Outgoing;
use aws::registry::{RunningTest, TEST_PLACES};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use domain::access::tenant::TenantId;
use domain::delivery::message::{Body, Message, entity_path};
use domain::delivery::redelivery::Refusal;
use domain::webhook::sample::Sample;
use domain::webhook::settings::Direction;

use crate::App;
use crate::body::OptionalJson;
use crate::caller::Admin;
use crate::deliveries::DeliveryBody;
use crate::parameters::WebhookPath;
use crate::problem::{Problem, ProblemBody};
use crate::registration::visible;
use crate::sample::{SampleBody, sample_event};

/// How much longer than the webhook's own timeout a test may take. After that, it has ended or will never be attempted.
const QUEUE_TIME: Duration = Duration::from_secs(8);

/// How long a request waits for the outcome. Meanwhile it occupies a process that serves all tenants.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// How often the ledger is read.
const POLL: Duration = Duration::from_millis(100);

/// Sends a test
///
/// Sends a real, signed delivery, even if the webhook is disabled or paused. It is attempted once. The result contains
/// the receiver's response. Returns 202 if the receiver does not answer within two seconds; delivery continues, and
/// `Location` is the delivery's URL. A tenant may run two tests at once.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "Webhooks", params(WebhookPath),
    request_body = Option<SampleBody>,
    responses(
        (status = 200, description = "The outcome", body = DeliveryBody),
        (status = 202, description = "The receiver has not responded yet", body = DeliveryBody,
            headers(("Location" = String, description = "Where to read the delivery"))),
        (status = 409, description = "The webhook is inbound, or has no `url`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Two tests are running", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
    OptionalJson(sample): OptionalJson<SampleBody>,
) -> Result<Response, Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    if webhook.settings.direction == Direction::Inbound {
        return Err(Problem::Conflict(Refusal::Inbound.to_string()));
    }
    if webhook.settings.url.is_empty() {
        return Err(Problem::Conflict("the webhook has no `url`; set it first".to_owned()));
    }
    let (sample, now) = (Sample::from(sample), app.clock.now());
    let event = sample_event(&app, sample, webhook.app.as_ref(), webhook.tenant.clone(), &webhook.settings).await?;
    let rendering = webhook.settings.rendering();
    let body = match rendering.render(&event, &event.event_type) {
        Ok(body) => Body::Inline(body),
        Err(error) => Body::Failed(error.to_string()),
    };
    let first = Message::first(event.id, event.event_type.clone(), webhook.id, webhook.tenant.clone(), body);
    let sequence = Some(event.sequence.clone());
    let (content_type, entity_path) = (rendering.content_type(), entity_path(&event));
    let message = Message { sequence, entity_path, content_type, test: true, ..first };
    let running = RunningTest {
        delivery: message.delivery,
        webhook: webhook.id,
        event: message.event,
        event_type: message.event_type.clone(),
        entity_path: message.entity_path.clone(),
        expires_at: (now + webhook.settings.retry_policy.timeout() + QUEUE_TIME).as_second(),
    };
    let place = take_place(&app, &webhook.tenant, &running).await?;
    if let Err(error) = app.deliveries.send(vec![Outgoing::of(&message, Duration::ZERO)]).await.remove(0) {
        leave_place(&app, &webhook.tenant, place, &running).await;
        return Err(error.into());
    }
    let deadline = now + MAX_WAIT;
    while app.clock.now() < deadline {
        if let Some(delivery) = app.ledger.delivery(webhook.id, message.delivery, app.clock.now()).await? {
            leave_place(&app, &webhook.tenant, place, &running).await;
            return Ok((StatusCode::OK, Json(DeliveryBody::from(delivery))).into_response());
        }
        tokio::time::sleep(POLL).await;
    }
    let location =
        format!("{}/api/v1/integration/webhooks/{}/deliveries/{}", app.public_url, webhook.id, message.delivery);
    let location = HeaderValue::from_str(&location).ok().map(|location| (LOCATION, location));
    let mut response = (StatusCode::ACCEPTED, Json(DeliveryBody::from(running))).into_response();
    response.headers_mut().extend(location);
    Ok(response)
}

/// Takes one of the tenant's test slots: a free one, or one whose test has ended without releasing it, because its
/// process had already answered or died.
async fn take_place(app: &App, tenant: &TenantId, test: &RunningTest) -> Result<u8, Problem> {
    let now = app.clock.now();
    let mut free_at = test.expires_at;
    for place in 0..TEST_PLACES {
        let mut instead_of = None;
        // Try again if the test that has the slot has ended.
        for _ in 0..2 {
            let Some(held) = app.registry.take_test_place(tenant, place, test, instead_of, now).await? else {
                return Ok(place);
            };
            if app.ledger.delivery(held.webhook, held.delivery, now).await?.is_none() {
                free_at = free_at.min(held.expires_at);
                break;
            }
            instead_of = Some(held.delivery);
        }
    }
    Err(Problem::TooManyTests(u64::try_from(free_at - now.as_second()).unwrap_or(0).max(1)))
}

/// Releases a test slot. If that fails, the slot is free when another test finds this one ended, or when it expires.
async fn leave_place(app: &App, tenant: &TenantId, place: u8, test: &RunningTest) {
    if let Err(error) = app.registry.leave_test_place(tenant, place, test.delivery).await {
        tracing::warn!(%error, "a place for a running test was not freed; it becomes free on its own");
    }
}
