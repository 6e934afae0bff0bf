//! Deliveries: how responses show them, and how a request finds one.

use std::collections::BTreeMap;

use aws::registry::{RunningTest, WebhookRecord};
use domain::attempt::outcome::{Timing, Verdict};
use domain::attempt::{Attempt, urls};
use domain::delivery::health::parked_until;
use domain::delivery::{Delivery, State as DeliveryState};
use domain::event::types::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::signing::secret::Fingerprint;
use domain::webhook::Webhook;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::{App, help};

pub(crate) mod body;
mod conditions;
pub(crate) mod filter;
pub(crate) mod search;

/// A delivery, as the API returns it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryBody {
    /// `dlv_` and a ULID.
    #[schema(value_type = String)]
    pub(crate) id: DeliveryId,
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    #[schema(value_type = String)]
    pub(crate) event_id: EventId,
    #[schema(value_type = String)]
    event_type: EventType,
    state: DeliveryState,
    /// The path of the event's entity: its collection and its id. `null` for deliveries of versions that did not record
    /// it, and if it is longer than 512 bytes.
    #[schema(examples("orders/3"))]
    entity: Option<String>,
    /// When the event happened: when its change was committed, or it was published.
    #[schema(value_type = String, format = DateTime)]
    event_time: Timestamp,
    /// The time from `event_time` to the end of the first successful attempt, in milliseconds; `null` until there is
    /// one. DynamoDB reports when a change was committed in whole seconds.
    lateness_ms: Option<u64>,
    /// Whether it is a test: `POST /webhooks/{id}/test`.
    test: bool,
    /// How many times a finished delivery was redelivered.
    cycle: u32,
    /// When its next attempt is due. For a parked delivery: when the next probe is due, or when parked deliveries are
    /// sent next; `null` while the webhook is paused manually.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// When its first attempt becomes possible, if it exceeded the tenant's budget.
    #[schema(value_type = Option<String>, format = DateTime)]
    deferred_until: Option<Timestamp>,
    /// Oldest first. Only the last 20 attempts of earlier cycles are kept.
    attempts: Vec<AttemptBody>,
    /// The exact body that was or will be sent. Missing in lists, and with a key that may not read events. `null` if it
    /// is unknown: a delivery that arrived at once does not keep its body, which is then rendered again from the stored
    /// event, as long as the webhook's settings give the same bytes. A body of more than 2.5 MB is not shown either.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    request_body: Option<RequestBody>,
}

/// The body of a request, if it is known.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct RequestBody(Option<String>);

/// An attempt, as the API returns it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptBody {
    cycle: u32,
    /// The first attempt of a cycle is number 1.
    number: u32,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The webhook's URL at that time; a long one is cut after 500 bytes. `null` if it was not recorded.
    #[schema(examples("https://example.com/webhooks"))]
    url: Option<String>,
    duration_ms: u32,
    /// The parts of `duration_ms`.
    timing: Timing,
    /// The headers that were sent. `***` replaces secrets and signatures.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    request_headers: BTreeMap<String, String>,
    verdict: Verdict,
    /// The page that explains the verdict, relative to this server; `null` for `accepted`.
    #[schema(examples("/docs/use/verdicts#timed_out"))]
    help: Option<String>,
    /// The receiver's status, if it responded.
    status: Option<u16>,
    /// How long the receiver asked to wait, in seconds.
    retry_after_s: Option<u32>,
    error: Option<String>,
    /// The start of the response body: up to 1 KB. If one delivery is read and its last attempt failed, up to
    /// 16 KB of that one.
    response_excerpt: Option<String>,
    /// Identifies the secret that signed the request.
    #[schema(value_type = String)]
    secret_fingerprint: Fingerprint,
}

impl DeliveryBody {
    /// Adds the body that was sent, or that it is unknown.
    pub(crate) fn with_request_body(self, body: Option<String>) -> Self {
        Self { request_body: Some(RequestBody(body)), ..self }
    }

    /// Shows more of the response to the last attempt, if more is known.
    pub(crate) fn with_last_response(mut self, response: Option<String>) -> Self {
        if let (Some(last), Some(response)) = (self.attempts.last_mut(), response) {
            last.response_excerpt = Some(response);
        }
        self
    }

    /// Adds until when a parked delivery waits, which its webhook's breaker decides.
    pub(crate) fn of_webhook(mut self, record: &WebhookRecord) -> Self {
        if self.state == DeliveryState::Parked {
            self.next_at = self.next_at.or_else(|| parked_until(&record.webhook, record.breaker.as_ref()));
        }
        self
    }
}

/// A test that has not been attempted yet.
impl From<RunningTest> for DeliveryBody {
    fn from(test: RunningTest) -> Self {
        let RunningTest { delivery, webhook, event, event_type, entity_path, expires_at: _ } = test;
        Self {
            id: delivery,
            webhook_id: webhook,
            event_id: event,
            event_type,
            state: DeliveryState::Pending,
            entity: entity_path,
            event_time: event.timestamp(),
            lateness_ms: None,
            test: true,
            cycle: 0,
            next_at: None,
            deferred_until: None,
            attempts: Vec::new(),
            request_body: None,
        }
    }
}

impl From<Delivery> for DeliveryBody {
    fn from(delivery: Delivery) -> Self {
        let urls: Vec<_> = urls(&delivery.attempts).map(|url| url.map(str::to_owned)).collect();
        let lateness_ms = delivery.lateness_ms();
        Self {
            id: delivery.id,
            webhook_id: delivery.webhook,
            event_id: delivery.event,
            event_type: delivery.event_type,
            state: delivery.progress.state,
            entity: delivery.entity_path,
            event_time: delivery.event.timestamp(),
            lateness_ms,
            test: delivery.test,
            cycle: delivery.progress.cycle,
            next_at: delivery.progress.next_at,
            deferred_until: delivery.deferred_until,
            attempts: delivery.attempts.into_iter().zip(urls).map(AttemptBody::from).collect(),
            request_body: None,
        }
    }
}

impl From<(Attempt, Option<String>)> for AttemptBody {
    fn from((attempt, url): (Attempt, Option<String>)) -> Self {
        let headers = attempt.request_headers.iter();
        Self {
            cycle: attempt.cycle,
            number: attempt.number,
            at: attempt.at,
            url,
            duration_ms: attempt.outcome.duration_ms,
            timing: attempt.outcome.timing,
            request_headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            verdict: attempt.outcome.verdict,
            help: help::of_verdict(attempt.outcome.verdict),
            status: attempt.outcome.status,
            retry_after_s: attempt.outcome.retry_after_s,
            error: attempt.outcome.error,
            response_excerpt: attempt.outcome.response_excerpt,
            secret_fingerprint: attempt.secret_fingerprint,
        }
    }
}

/// Returns a delivery of the webhook.
pub(crate) async fn find(app: &App, webhook: &Webhook, id: &str) -> Result<Delivery, Problem> {
    let not_found = || Problem::NotFound("delivery");
    let id = id.parse().map_err(|_| not_found())?;
    app.ledger.delivery(webhook.id, id, app.clock.now()).await?.ok_or_else(not_found)
}
