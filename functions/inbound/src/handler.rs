//! Handles one call: finds its webhook, verifies its signature and publishes its event.

use std::time::Duration;

use aws::StoreError;
use domain::access::rate::{Exceeded as RateExceeded, RateKey};
use domain::access::tenant::TenantId;
use domain::budget::{Counts, Exceeded};
use domain::event::Event;
use domain::event::hops::{HEADER, Hops, HopsError};
use domain::event::types::EventType;
use domain::id::{CallId, EventId, WebhookId};
use domain::inbound::log::{CallOutcome, LoggedCall};
use domain::inbound::{Again, Call, Contradiction, MAX_BODY_BYTES, Unstored, collection, read};
use domain::signing::verify::{VerifyError, verify};
use domain::webhook::Webhook;
use domain::webhook::settings::Direction;
use jiff::Timestamp;
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Request, Response};
use runtime::headers::SECURITY;
use runtime::metrics::{self, Metric};
use runtime::problem::{MEDIA_TYPE, Problem};
use serde_json::json;

use crate::App;
use crate::log::note;

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// The webhook does not exist or cannot be called. The response does not say which.
    #[error("there is no such webhook")]
    NotFound,
    /// The body is larger than a call may be. Only the bytes that the caller sent count, whatever they are as JSON.
    #[error("the body has {0} bytes; send at most {MAX_BODY_BYTES}")]
    TooLarge(usize),
    /// The caller does not know the secret, or replays an old call.
    #[error("{0}")]
    Unverified(#[from] VerifyError),
    /// An unsigned header contradicts the body.
    #[error("{0}")]
    Contradicted(#[from] Contradiction),
    /// The same signed bytes were received before with a different header, and were not stored.
    #[error(
        "the same signed body was received before with a different type in its unsigned header, and was not stored"
    )]
    SaidOtherwise,
    /// The call is part of a loop of webhooks.
    #[error("{0}")]
    Loop(#[from] HopsError),
    /// The webhook's rate limit is exceeded.
    #[error("{0}")]
    TooMany(#[from] RateExceeded),
    /// The tenant has used up a budget.
    #[error("{0}")]
    Budget(Box<Exceeded>),
    /// The webhook is disabled.
    #[error("the webhook is disabled")]
    Disabled,
    /// An internal fault.
    #[error("try again in a moment")]
    Unavailable(#[from] StoreError),
}

impl Refusal {
    /// Returns how many seconds the caller should wait, if waiting helps.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unavailable(_) => Some(1),
            Self::TooMany(exceeded) => Some(exceeded.wait_seconds),
            Self::Budget(exceeded) => Some(exceeded.wait_seconds),
            Self::NotFound
            | Self::TooLarge(_)
            | Self::Unverified(_)
            | Self::Contradicted(_)
            | Self::SaidOtherwise
            | Self::Loop(_)
            | Self::Disabled => None,
        }
    }

    const fn code(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::Unverified(_) | Self::Contradicted(_) | Self::SaidOtherwise => {
                (StatusCode::UNAUTHORIZED, "unverified", "Call not verified")
            }
            Self::Loop(_) => (StatusCode::UNPROCESSABLE_ENTITY, "loop", "Loop of webhooks"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
            Self::Budget(_) => (StatusCode::TOO_MANY_REQUESTS, "budget-exceeded", "Budget used up"),
            Self::Disabled => (StatusCode::FORBIDDEN, "disabled", "Webhook disabled"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
        }
    }
}

/// Handles a call. The response is 202 with the id of the call's event, which is the same however often the call is
/// sent.
#[tracing::instrument(name = "inbound.call", skip_all, fields(tenant.id, webhook.id, event.id, http.response.status_code))]
pub async fn handle(app: &App, request: Request) -> Response<Body> {
    let began = app.clock.now();
    let mut seen = Seen::default();
    let taken = take(app, &request, &mut seen).await;
    let (status, content_type, body, retry_after) = match &taken {
        Ok(event) => {
            let stored = event.is_some();
            (StatusCode::ACCEPTED, "application/json", json!({"event_id": event, "stored": stored}), None)
        }
        Err(refusal) => {
            if let Refusal::Unavailable(error) = refusal {
                tracing::error!(%error, "a call was not processed; its sender is asked to repeat it");
            } else {
                tracing::info!(reason = %refusal, "a call was refused; it makes no event");
            }
            if let Refusal::TooMany(_) = refusal {
                metrics::count(Metric::ThrottledRequests, 1);
                metrics::flush();
            }
            let (status, code, title) = refusal.code();
            let body = json!(Problem::new(status.as_u16(), code, title, refusal.to_string()));
            (status, MEDIA_TYPE, body, refusal.retry_after())
        }
    };
    tracing::Span::current().record("http.response.status_code", status.as_u16());
    if let Some(webhook) = seen.webhook
        && let Some(call) = seen.logged(&taken, status, request.body().len(), began)
    {
        let duration = Duration::try_from(app.clock.now().duration_since(began)).unwrap_or_default();
        note(&app.log, (&app.registry, &app.events), webhook, &call, duration).await;
    }
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let common = [("content-type", content_type), ("cache-control", "no-store")];
    for (name, value) in common.into_iter().chain(SECURITY) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

/// What is known about a call, even if it is refused.
#[derive(Debug, Default)]
struct Seen {
    /// The webhook, if it exists and can be called.
    webhook: Option<WebhookId>,
    event_type: Option<EventType>,
    /// Whether the call had become an event before.
    duplicate: bool,
}

impl Seen {
    /// Returns the call as it is logged. `None` for an internal fault, after which the sender repeats the call.
    fn logged(
        self,
        taken: &Result<Option<EventId>, Refusal>,
        status: StatusCode,
        bytes: usize,
        at: Timestamp,
    ) -> Option<LoggedCall> {
        let Self { event_type, duplicate, .. } = self;
        let (outcome, event, reason) = match taken {
            Ok(Some(event)) => (CallOutcome::Accepted, Some(*event), None),
            Ok(None) => {
                (CallOutcome::Ignored, None, Some("the webhook's `event_types` do not name the type".to_owned()))
            }
            Err(Refusal::Unavailable(_)) => return None,
            Err(refusal) => (CallOutcome::Refused, None, Some(refusal.to_string())),
        };
        let id = CallId::from_parts(at, runtime::random::bits());
        let (status, bytes) = (status.as_u16(), u64::try_from(bytes).unwrap_or(u64::MAX));
        Some(LoggedCall { id, at, outcome, status, event, duplicate, event_type, reason, bytes })
    }
}

/// Verifies a call and publishes its event. Returns the event, or `None` if the webhook does not name the call's type.
async fn take(app: &App, request: &Request, seen: &mut Seen) -> Result<Option<EventId>, Refusal> {
    let (tenant, id) = address(request.uri().path()).ok_or(Refusal::NotFound)?;
    let span = tracing::Span::current();
    span.record("tenant.id", tracing::field::display(&tenant)).record("webhook.id", tracing::field::display(id));
    let webhook = app.registry.webhook(&tenant, id).await?.map(|record| record.webhook);
    let webhook = webhook.filter(is_called).ok_or(Refusal::NotFound)?;
    seen.webhook = Some(id);
    let hops = Hops::read(request.headers().get_all(HEADER).iter().map(|value| value.to_str().ok()))?;
    let body: &[u8] = request.body();
    if body.len() > MAX_BODY_BYTES {
        return Err(Refusal::TooLarge(body.len()));
    }
    let now = app.clock.now();
    let secrets = app.keyring.secrets(&webhook, now).await?;
    let secrets: Vec<_> = secrets.iter().map(AsRef::as_ref).collect();
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let signature = webhook.settings.signatures().swap_remove(0);
    let signed_id = verify(&signature, &secrets, header, body, now)?;
    // After the signature, so that a caller who does not know the secret cannot use up the rate limit.
    let key = RateKey::new("inbound", &[tenant.as_str(), &id.to_string()]);
    app.rates.take(&key, app.rate, now).await?;
    let Call { fact, once, said } = read(&webhook, signed_id, header, body);
    let collection = collection(&webhook);
    // Before the response, so that the same signed bytes cannot become an event later under a different header.
    if let (true, Some(said)) = (fact.is_err() || !webhook.settings.enabled, &said) {
        app.events.note_call((&collection, &once), said, now).await?;
    }
    if !webhook.settings.enabled {
        return Err(Refusal::Disabled);
    }
    let fact = match fact {
        Ok(fact) => fact,
        // The caller did nothing wrong, so the response is 202 without an event.
        Err(Unstored::NotNamed(event_type)) => {
            let named = event_type.as_ref().map(EventType::as_str);
            tracing::info!(event.r#type = named, "a call makes no event: the webhook does not name its type");
            seen.event_type = event_type;
            return Ok(None);
        }
        Err(Unstored::Contradicted(contradiction)) => return Err(contradiction.into()),
    };
    let event_type = fact.event_type.clone();
    seen.event_type = Some(event_type.clone());
    // Before the budget is spent: a call that is sent again spends nothing, and gets the same response even if the
    // budget is used up.
    let earlier = app.events.earlier(&collection, [once.as_str()], now).await?;
    let event = match earlier.get(once.as_str()).map(|earlier| earlier.again(said.as_deref())) {
        Some(Again::Published(event)) => {
            seen.duplicate = true;
            event
        }
        Some(Again::SaidOtherwise) => return Err(Refusal::SaidOtherwise),
        Some(Again::Unpublished) | None => {
            let event = fact.event(EventId::from_parts(now, runtime::random::bits()), tenant, now);
            let event = Event { hops, ..event };
            let published_bytes = serde_json::to_string(&event).map_or(0, |json| json.len() as u64);
            let more = Counts { events: 1, published_bytes, ..Counts::default() };
            app.usage.spend(&event.tenant, more, now).await.map_err(|exceeded| Refusal::Budget(Box::new(exceeded)))?;
            let event = app.events.publish_call(&event, (&collection, &once), said.as_deref(), now).await?;
            event.ok_or(Refusal::SaidOtherwise)?
        }
    };
    span.record("event.id", tracing::field::display(event));
    let duplicate = seen.duplicate;
    tracing::info!(event.r#type = %event_type, duplicate, "a call was accepted as an event");
    Ok(Some(event))
}

fn is_called(webhook: &Webhook) -> bool {
    webhook.settings.direction == Direction::Inbound && !webhook.is_deleted()
}

/// Returns the tenant and the webhook of a path `/api/v1/inbound/<tenant>/<webhook>`, which may have a stage in front.
fn address(path: &str) -> Option<(TenantId, WebhookId)> {
    let (_, rest) = path.split_once("/api/v1/inbound/")?;
    let (tenant, webhook) = rest.split_once('/')?;
    Some((tenant.parse().ok()?, webhook.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("/api/v1/inbound/acme/whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", true)]
    #[case::below_a_stage("/prod/api/v1/inbound/acme/whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", true)]
    #[case::no_webhook("/api/v1/inbound/acme", false)]
    #[case::another_id("/api/v1/inbound/acme/evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", false)]
    #[case::no_tenant("/api/v1/inbound//whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", false)]
    #[case::more("/api/v1/inbound/acme/whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK/x", false)]
    fn finds_whom_a_call_is_for(#[case] path: &str, #[case] found: bool) {
        assert_eq!(address(path).is_some(), found);
    }
}
