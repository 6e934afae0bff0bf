//! Explains whether a webhook gets an event, and tries a change of a webhook on past events. Both only read.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use domain::attempt::retry::{RetryPolicy, Wait};
use domain::event::Event;
use domain::event::types::EventType;
use domain::id::EventId;
use domain::matching::dry_run::{Changed, Failed, Named, Rehearsal};
use domain::matching::subscription::ConditionResult;
use domain::webhook::explain::Explanation;
use domain::webhook::sample::Sample;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::Ref;

use crate::body::JsonBody;
use crate::caller::Admin;
use crate::parameters::WebhookPath;
use crate::problem::{Fault, Problem};
use crate::registration::input::{self, Input};
use crate::registration::representation::WebhookBody;
use crate::registration::visible;
use crate::sample::{SampleBody, sample_event};
use crate::{App, events};

/// How many events a dry run evaluates by default.
const DEFAULT_EVENTS: usize = 100;

/// The largest number of events that a dry run evaluates.
const MAX_EVENTS: usize = 1000;

/// How many events are in memory at a time, because each may be large.
const AT_A_TIME: usize = 50;

/// The time limit of a dry run, which occupies a process that serves all tenants.
const MAX_TIME: Duration = Duration::from_secs(5);

/// The event to explain: a past event or a sample.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The id of a past event.
    #[schema(value_type = Option<String>, pattern = "^evt_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    event_id: Option<EventId>,
    /// A sample event.
    sample: Option<SampleBody>,
}

/// Whether a webhook gets an event, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub struct ExplanationBody {
    /// Whether the webhook gets the event: whether all conditions hold.
    wants: bool,
    /// The event type under which the webhook gets it.
    #[schema(value_type = Option<String>)]
    event_type: Option<EventType>,
    conditions: Vec<ConditionResult>,
    /// The body that would be sent.
    payload: Option<String>,
    /// Why there is no body although the conditions hold: the template fails.
    error: Option<String>,
}

/// Explains whether the webhook gets an event
///
/// Shows whether the event meets each of the webhook's conditions, and the body that would be sent. Nothing is sent.
#[utoipa::path(post, path = "/webhooks/{id}/explain", tag = "Webhooks", params(WebhookPath), request_body = ExplainRequest,
    responses((status = 200, description = "Whether the webhook gets the event, and why", body = ExplanationBody)))]
pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<ExplainRequest>,
) -> Result<Json<ExplanationBody>, Problem> {
    let invalid = |fault: Fault| Problem::Invalid(vec![fault]);
    let webhook = visible(&app, &admin, &id).await?.webhook;
    let event = match request {
        ExplainRequest { event_id: Some(event), sample: None } => {
            let event = events::visible(&app, &admin, event).await?;
            let missing = || invalid(Fault::field("/event_id", "is not an event, or is no longer stored"));
            let event = event.ok_or_else(missing)?;
            let key = app.registry.state_key(&admin.tenant).await?;
            event.with_named_states(key.as_ref())
        }
        ExplainRequest { event_id: None, sample: Some(sample) } => {
            let sample = Sample::from(sample);
            sample_event(&app, sample, webhook.app.as_ref(), webhook.tenant.clone(), &webhook.settings).await?
        }
        _ => return Err(invalid(Fault::field("", "must have either event_id or sample"))),
    };
    let Explanation { wants, event_type, conditions } = webhook.explain(&event);
    let rendered = event_type.as_ref().map(|event_type| webhook.settings.rendering().render(&event, event_type));
    let (payload, error) = match rendered {
        Some(Ok(payload)) => (Some(payload), None),
        Some(Err(error)) => (None, Some(error.to_string())),
        None => (None, None),
    };
    Ok(Json(ExplanationBody { wants, event_type, conditions, payload, error }))
}

/// A change to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DryRunRequest {
    /// The change, as for `PATCH`.
    #[schema(schema_with = webhook_patch)]
    webhook: Input,
    /// The number of latest events on which to try it.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 1000, default = 100)]
    events: Option<usize>,
}

fn webhook_patch() -> Ref {
    Ref::from_schema_name("WebhookPatch")
}

/// What a change would have done.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRun {
    /// How many events were evaluated: fewer than requested if there are no more, or if the time was up.
    looked_at: usize,
    /// Whether all requested events that are stored were evaluated. `false` if five seconds were not enough: the result
    /// is then about the newest events, which were evaluated.
    complete: bool,
    /// How many of them the webhook gets now.
    before: usize,
    /// How many it would get after the change.
    after: usize,
    /// Events that it would additionally get; at most 100, newest first.
    added: Vec<NamedEvent>,
    /// Events that it would no longer get; at most 100.
    removed: Vec<NamedEvent>,
    /// Number of events received both before and after, with a different body.
    changed_payloads: usize,
    /// Examples of them.
    examples: Vec<ChangedPayload>,
    /// Events that it would get but whose template would fail, and events that take too much work to evaluate; at most
    /// 100.
    errors: Vec<FailedPayload>,
    /// When a delivery that fails would be retried after the change.
    retries: RetrySchedule,
}

/// When a delivery that fails is retried, if the receiver asks for no other time.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetrySchedule {
    /// One for each attempt except the last. Waits are random within their bounds.
    waits: Vec<RetryWait>,
    /// The longest time from the first attempt until the delivery is exhausted, in milliseconds: all waits, and the
    /// timeout of each attempt.
    exhausted_after_ms: u64,
}

/// The wait between two attempts.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetryWait {
    /// The number of the attempt before the wait.
    after_attempt: u32,
    /// The shortest wait, in milliseconds.
    min_ms: u64,
    /// The longest wait, in milliseconds.
    max_ms: u64,
}

impl From<&RetryPolicy> for RetrySchedule {
    fn from(policy: &RetryPolicy) -> Self {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let waits = policy.waits();
        let longest: Duration = waits.iter().map(|wait| wait.longest).sum();
        let wait = |wait: Wait| RetryWait {
            after_attempt: wait.after_attempt,
            min_ms: milliseconds(wait.shortest),
            max_ms: milliseconds(wait.longest),
        };
        Self {
            exhausted_after_ms: milliseconds(longest + policy.timeout() * policy.max_attempts),
            waits: waits.into_iter().map(wait).collect(),
        }
    }
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
pub struct NamedEvent {
    #[schema(value_type = String)]
    id: EventId,
    /// The event type under which the webhook gets it.
    #[schema(value_type = String)]
    event_type: EventType,
}

/// An event's body before and after a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangedPayload {
    #[schema(value_type = String)]
    id: EventId,
    before: String,
    after: String,
}

/// An event that could not be rendered or evaluated.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedPayload {
    #[schema(value_type = String)]
    id: EventId,
    /// The reason.
    detail: String,
}

impl DryRun {
    fn new(rehearsal: Rehearsal, complete: bool, policy: &RetryPolicy) -> Self {
        let Rehearsal { looked_at, before, after, added, removed, changed_payloads, examples, errors } = rehearsal;
        let named = |named: Vec<Named>| {
            named.into_iter().map(|Named { id, event_type }| NamedEvent { id, event_type }).collect()
        };
        let changed = |Changed { id, before, after }| ChangedPayload { id, before, after };
        let failed = |Failed { id, detail }| FailedPayload { id, detail };
        Self {
            looked_at,
            complete,
            before,
            after,
            added: named(added),
            removed: named(removed),
            changed_payloads,
            examples: examples.into_iter().map(changed).collect(),
            errors: errors.into_iter().map(failed).collect(),
            retries: policy.into(),
        }
    }
}

/// Tries a change of the webhook on past events
///
/// Shows which of the latest events the webhook would additionally get or no longer get, and which payloads would
/// differ, and when failed deliveries would be retried. Nothing is written or sent. The dry run stops after five seconds; `complete` is `false` if it did not reach
/// all events.
#[utoipa::path(post, path = "/webhooks/{id}/dry-run", tag = "Webhooks", params(WebhookPath), request_body = DryRunRequest,
    responses((status = 200, description = "What the change would have done", body = DryRun)))]
pub(crate) async fn dry_run(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
    JsonBody(mut request): JsonBody<DryRunRequest>,
) -> Result<Json<DryRun>, Problem> {
    // Nothing is sent, so the authorization makes no difference.
    request.webhook.remove("authorization");
    let record = visible(&app, &admin, &id).await?;
    let wanted = request.events.unwrap_or(DEFAULT_EVENTS);
    if !(1..=MAX_EVENTS).contains(&wanted) {
        return Err(Problem::Invalid(vec![Fault::field("/events", format!("must be 1 to {MAX_EVENTS}"))]));
    }
    let current = WebhookBody::new(record.clone(), None, &app.public_url);
    let mut changed = record.webhook.clone();
    let settings = input::merge(&app, &record.webhook, &current, request.webhook).finish();
    changed.settings = settings.map_err(|problem| problem.below("/webhook"))?;
    let (before, after) = (record.webhook.subscription(), changed.subscription());
    let key = app.registry.state_key(&admin.tenant).await?;
    let started = app.clock.now();
    let is_late = || app.clock.now() >= started + MAX_TIME;
    let (mut rehearsal, mut below) = (Rehearsal::default(), None);
    while rehearsal.looked_at < wanted {
        let few = AT_A_TIME.min(wanted - rehearsal.looked_at);
        let seen = |event: &Event| event.is_visible_to(admin.app.as_ref());
        let page = app.events.list(&admin.tenant, events::kept(started, below), few, seen).await?;
        for event in page.events {
            // At least one event is evaluated, because a result about none is useless.
            if rehearsal.looked_at > 0 && is_late() {
                return Ok(Json(DryRun::new(rehearsal, false, &changed.settings.retry_policy)));
            }
            rehearsal.look_at(&event.with_named_states(key.as_ref()), before.as_ref(), after.as_ref());
        }
        below = page.next;
        if below.is_none() {
            break;
        }
        if rehearsal.looked_at < wanted && is_late() {
            return Ok(Json(DryRun::new(rehearsal, false, &changed.settings.retry_policy)));
        }
    }
    Ok(Json(DryRun::new(rehearsal, true, &changed.settings.retry_policy)))
}
