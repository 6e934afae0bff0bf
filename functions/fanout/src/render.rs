//! The render function: reads slices and lists from their queue, renders them and sends the deliveries.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use aws::queue::Outgoing;
use aws::{Aws, Bodies, Queue, Registry, StoreError, Usage};
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use domain::delivery::message::{Body, Message};
use domain::delivery::slice::{JUDGE_EFFORT, Part, SliceMessage, parts};
use domain::event::Event;
use domain::id::WebhookId;
use domain::matching::effort::Effort;
use domain::matching::subscription::TypedEvent;
use domain::time::Clock;
use futures::FutureExt as _;
use jiff::Timestamp;
use runtime::SystemClock;
use runtime::metrics::{self, Metric};
use tokio::sync::Mutex;

use crate::RenderConfig;
use crate::budget::take_turns;
use crate::cache::Matchers;
use crate::deliveries::{inline_bytes, render as render_part};
use crate::route::refresh;

/// The time that must be left for a slice: half a second of work, or ten if webhooks are evaluated, some calls for
/// stored bodies, and up to 100 calls to send its messages.
const RESERVE: Duration = Duration::from_secs(20);

/// The clients of an execution environment.
pub struct Renderer {
    registry: Registry,
    /// A table that is never registered as a source, used to read only the tenant's generation.
    events_table: String,
    bodies: Bodies,
    usage: Usage,
    matchers: Mutex<Matchers>,
    deliveries: Queue,
    clock: Box<dyn Clock>,
}

impl Renderer {
    /// Creates the clients, without making a call.
    pub async fn connect(config: RenderConfig) -> Self {
        Self::new(config, &Aws::connect().await, Box::new(SystemClock))
    }

    /// Creates a renderer from the given clients and clock, so that tests control the responses and the time.
    #[must_use]
    pub fn new(config: RenderConfig, aws: &Aws, clock: Box<dyn Clock>) -> Self {
        let (registry, events) = (aws.registry(config.registry_table), aws.events(config.events_table.clone()));
        Self {
            usage: Usage::new(registry.clone(), events, config.budgets, config.payload_retention_days),
            registry,
            bodies: aws.bodies(config.events_table.clone()),
            events_table: config.events_table,
            matchers: Mutex::default(),
            deliveries: aws.queue(config.deliveries_queue_url),
            clock,
        }
    }
}

/// Renders the slices of a batch and sends their deliveries. `deadline` is the end of the invocation.
///
/// A slice returns to the queue if something of it was not sent, or if there is no time left for it. The first slice is
/// processed however late it is. Deliveries that are sent twice have the same ids and bytes, and the ledger recognizes
/// them.
#[tracing::instrument(name = "render.batch", skip_all, fields(slices = event.records.len()))]
pub async fn render(renderer: &Renderer, event: SqsEvent, deadline: SystemTime) -> SqsBatchResponse {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX);
    let mut response = SqsBatchResponse::default();
    for (index, message) in event.records.into_iter().enumerate() {
        let is_late = index > 0 && renderer.clock.now() + RESERVE > deadline;
        let body = message.body.unwrap_or_default();
        let done = if is_late {
            Err(StoreError::Unavailable("the invocation has no time left for this slice".to_owned()))
        } else {
            let work = AssertUnwindSafe(Box::pin(render_slice(renderer, &body))).catch_unwind().await;
            work.unwrap_or_else(|_| Err(StoreError::Unavailable("it panicked; the log has the location".to_owned())))
        };
        if let Err(error) = done {
            tracing::error!(%error, "some deliveries of an event were not rendered; the queue hands them out again");
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
    }
    metrics::flush();
    response
}

async fn render_slice(renderer: &Renderer, text: &str) -> Result<(), StoreError> {
    let Renderer { bodies, deliveries, clock, .. } = renderer;
    let unreadable =
        |error: serde_json::Error| StoreError::Inconsistent { key: "a slice".to_owned(), why: error.to_string() };
    // What an earlier slice counted and did not send.
    renderer.usage.not_sent();
    let SliceMessage { event, parts, webhooks } = serde_json::from_str(text).map_err(unreadable)?;
    let event: Event = serde_json::from_str(&bodies.text(&event, clock.now()).await?).map_err(unreadable)?;
    let (parts, failed): (Vec<Part>, _) = match parts {
        Some(parts) => {
            (serde_json::from_str(&bodies.text(&parts, clock.now()).await?).map_err(unreadable)?, Vec::new())
        }
        None => look_up(renderer, &event, &webhooks).await?,
    };
    let inline = inline_bytes(parts.iter().map(|part| part.webhooks.len()).sum());
    let mut messages: Vec<_> = failed.into_iter().map(Outgoing::first).collect();
    for part in &parts {
        let (made, _) = render_part(bodies, &event, part, inline, clock.now()).await?;
        messages.extend(made.into_iter().map(Outgoing::first));
    }
    let sent = messages.len();
    for result in deliveries.send(messages).await {
        result?;
    }
    renderer.usage.sent();
    renderer.usage.flush(clock.now()).await;
    metrics::count(Metric::DeliveriesMade, sent);
    tracing::info!(event.id = %event.id, messages = sent, "some deliveries of an event were rendered and sent");
    Ok(())
}

/// Looks up webhooks with their current settings. Returns the renderings of those that want the event, and failed
/// messages to those whose conditions take too much work. Counts the deliveries.
async fn look_up(
    renderer: &Renderer,
    event: &Event,
    webhooks: &[WebhookId],
) -> Result<(Vec<Part>, Vec<Message>), StoreError> {
    let Renderer { registry, usage, clock, .. } = renderer;
    let versions = registry.read_versions(&renderer.events_table, [&event.tenant]).await?;
    let generation = versions.generations.get(&event.tenant).copied().unwrap_or_default();
    let matchers = &mut *renderer.matchers.lock().await;
    if matchers.of(&event.tenant, generation).is_none() {
        refresh(registry, matchers, &event.tenant, generation).await?;
    }
    usage.prepare([&event.tenant], clock.now()).await;
    let seen = TypedEvent::new(event);
    let (mut wanted, mut not_judged) = (Vec::new(), Vec::new());
    let known = matchers.of(&event.tenant, generation);
    let subscriptions = webhooks.iter().filter_map(|webhook| known.as_ref()?.matcher.get(*webhook));
    for subscription in subscriptions {
        let effort = Effort::new(JUDGE_EFFORT);
        let wants = subscription.wants_within(&seen, &effort);
        if effort.is_spent() {
            not_judged.push(subscription.clone());
        } else if wants {
            wanted.push(subscription.clone());
        }
    }
    // A webhook that has become ordered in the meantime is ordered from later events on.
    let counted = |mut part: Part| {
        part.webhooks.iter_mut().for_each(|wanting| wanting.ordered = false);
        take_turns(usage, event, &mut part);
        part
    };
    let why = Body::Failed(format!(
        "the webhook's conditions take more than {JUDGE_EFFORT} units of work for this event; use fewer wildcards and alternatives"
    ));
    let failed = parts(event, &not_judged).into_iter().map(counted);
    let failed = failed.flat_map(|part| part.messages(event, &why)).collect();
    Ok((parts(event, &wanted).into_iter().map(counted).collect(), failed))
}
