//! The render function: slices of an event's renderings, from their queue.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use aws::queue::Outgoing;
use aws::{Aws, Bodies, Queue, StoreError};
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use domain::delivery::slice::{Part, SliceMessage};
use domain::event::Event;
use domain::time::Clock;
use futures::FutureExt as _;
use jiff::Timestamp;
use runtime::SystemClock;

use crate::RenderConfig;
use crate::deliveries::{inline_bytes, render as render_part};

/// What an invocation keeps of its time for the slice that it is at, which is half a second of work, some calls for bodies that are
/// stored, and up to 100 calls to send its messages.
const RESERVE: Duration = Duration::from_secs(20);

/// The clients of an execution environment.
pub struct Renderer {
    bodies: Bodies,
    deliveries: Queue,
    clock: Box<dyn Clock>,
}

impl Renderer {
    /// Makes the clients; no call is made.
    pub async fn connect(config: RenderConfig) -> Self {
        Self::new(config, &Aws::connect().await, Box::new(SystemClock))
    }

    /// Makes a renderer of what it is given, so that a test decides who answers and what time it is.
    #[must_use]
    pub fn new(config: RenderConfig, aws: &Aws, clock: Box<dyn Clock>) -> Self {
        let RenderConfig { events_table, deliveries_queue_url } = config;
        Self { bodies: aws.bodies(events_table), deliveries: aws.queue(deliveries_queue_url), clock }
    }
}

/// Renders the slices of a batch and sends their deliveries; `deadline` is the end of the invocation.
///
/// A slice of which not everything was sent comes again, and so does one that there was no time for: the first is done whatever
/// the time. What is sent twice has the same ids and bytes, and the ledger knows it.
#[tracing::instrument(name = "render.batch", skip_all, fields(slices = event.records.len()))]
pub async fn render(renderer: &Renderer, event: SqsEvent, deadline: SystemTime) -> SqsBatchResponse {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX);
    let mut response = SqsBatchResponse::default();
    for (index, message) in event.records.into_iter().enumerate() {
        let is_late = index > 0 && renderer.clock.now() + RESERVE > deadline;
        let body = message.body.unwrap_or_default();
        let done = if is_late {
            Err(StoreError::Unavailable("there is no time left".to_owned()))
        } else {
            let work = AssertUnwindSafe(Box::pin(render_slice(renderer, &body))).catch_unwind().await;
            work.unwrap_or_else(|_| Err(StoreError::Unavailable("it panicked; the log says where".to_owned())))
        };
        if let Err(error) = done {
            tracing::error!(%error, "a slice comes again");
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
    }
    response
}

async fn render_slice(renderer: &Renderer, text: &str) -> Result<(), StoreError> {
    let Renderer { bodies, deliveries, clock } = renderer;
    let unreadable =
        |error: serde_json::Error| StoreError::Inconsistent { key: "a slice".to_owned(), why: error.to_string() };
    let SliceMessage { event, parts } = serde_json::from_str(text).map_err(unreadable)?;
    let event: Event = serde_json::from_str(&bodies.text(&event, clock.now()).await?).map_err(unreadable)?;
    let parts: Vec<Part> = serde_json::from_str(&bodies.text(&parts, clock.now()).await?).map_err(unreadable)?;
    let inline = inline_bytes(parts.iter().map(|part| part.webhooks.len()).sum());
    let mut messages = Vec::new();
    for part in &parts {
        let (made, _) = render_part(bodies, &event, part, inline, clock.now()).await?;
        messages.extend(made.iter().map(|message| Outgoing::of(message, Duration::ZERO)));
    }
    let sent = messages.len();
    for result in deliveries.send(messages).await {
        result?;
    }
    tracing::info!(event.id = %event.id, messages = sent, "slice rendered");
    Ok(())
}
