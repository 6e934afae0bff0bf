//! A batch of stream records.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws::StoreError;
use aws::queue::{InOrder, Outgoing};
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use domain::event::{Event, EventType};
use domain::message::{Body, Message, to_queue_json};
use domain::operational::OPERATIONAL;
use domain::published::PUBLISHED;
use domain::source::Change;
use domain::tenant::TenantId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::App;
use crate::app::Cache;
use crate::record::{read, sequence_number};
use crate::route::{Mapped, deliveries, map};

/// The largest record that goes to stream-failures within its message, in bytes; a larger one goes by reference.
const MAX_FAILURE_BYTES: usize = 900 * 1024;

/// What DynamoDB Streams hands over: records that are read one by one, so that a bad one spoils none of the others.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    /// The records, in the stream's order.
    #[serde(rename = "Records")]
    pub records: Vec<Box<RawValue>>,
}

/// A record that could not be mapped, as it stands in stream-failures.
#[derive(Debug, Serialize)]
struct StreamFailure<'a> {
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
    /// The key of the stored record, if it is too large for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_ref: Option<&'a str>,
}

/// Fans out a batch; `deadline` is the end of the invocation.
///
/// A record that cannot be mapped goes to stream-failures, whole and with the reason, and the shard goes on. For a fault of
/// ours, or if the time is up, the batch is handed back from the first record that is not done: a stream is a rewind, not a
/// set.
#[tracing::instrument(name = "fanout.batch", skip_all, fields(records = event.records.len()))]
pub async fn handle(app: &App, event: StreamEvent, deadline: SystemTime) -> DynamoDbEventResponse {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX);
    let mut response = DynamoDbEventResponse::default();
    // Boxed: the type of all that happens below is too deep for the compiler.
    match Box::pin(fan_out(app, &event.records, deadline)).await {
        Ok(None) => {}
        Ok(Some(first)) => response.batch_item_failures = vec![failure(&event.records[first])],
        Err(error) => {
            tracing::error!(%error, "batch goes back to the stream");
            response.batch_item_failures = event.records.first().map(|record| failure(record)).into_iter().collect();
        }
    }
    response
}

fn failure(record: &RawValue) -> DynamoDbBatchItemFailure {
    let mut failure = DynamoDbBatchItemFailure::default();
    failure.item_identifier = sequence_number(record);
    failure
}

/// Returns the first record that is not done, if one is not.
///
/// If it gets late while records are mapped, all come again, and what was read of the Registry is known then; if it does while
/// they are kept, the deliveries of those that are kept are still made, and sent when the time is up.
async fn fan_out(app: &App, records: &[Box<RawValue>], deadline: Timestamp) -> Result<Option<usize>, StoreError> {
    let is_up = || app.clock.now() + RESERVE > deadline;
    let is_late = || app.clock.now() + 2 * RESERVE > deadline;
    let cache = &mut *app.cache.lock().await;
    cache.trim();
    let Some(mut mapped) = map_all(app, cache, records, &is_late).await? else {
        tracing::warn!("it is late; the whole batch comes again");
        return Ok(Some(0));
    };
    let archived = archive(app, cache, &mapped, &is_late).await?;
    let types = new_types(cache, &mapped);
    let mut chunk = Chunk::default();
    let mut sent = 0;
    for index in 0..records.len() {
        // One at least, or a slow batch would never end.
        if index >= archived || (index > 0 && is_up()) {
            tracing::warn!(records = index, "the time is up; the rest of the batch comes again");
            return Ok(chunk.send(app).await.or(Some(index)));
        }
        match mapped.remove(&index).unwrap_or_else(|| Ok(Vec::new())) {
            Ok(events) => {
                for event in events {
                    let messages = deliveries(app, cache, &event).await?;
                    chunk.add(index, &messages);
                }
            }
            Err(reason) => {
                let number = sequence_number(&records[index]);
                tracing::warn!(dynamodb.sequence_number = number, reason, "record cannot be mapped");
                chunk.failures.push((index, stream_failure(app, &records[index], &reason).await?));
            }
        }
        let is_last = index + 1 == records.len();
        if is_last || chunk.len() >= CHUNK {
            sent += chunk.len();
            if let Some(first) = std::mem::take(&mut chunk).send(app).await {
                return Ok(Some(first));
            }
        }
    }
    record_types(app, cache, types).await;
    tracing::info!(deliveries = sent, "batch fanned out");
    Ok(None)
}

/// Maps all records, by their place in the batch; `None` if it gets late before.
async fn map_all(
    app: &App,
    cache: &mut Cache,
    records: &[Box<RawValue>],
    is_late: &impl Fn() -> bool,
) -> Result<Option<BTreeMap<usize, Mapped>>, StoreError> {
    let mut mapped = BTreeMap::new();
    let mut by_table: BTreeMap<String, (Vec<usize>, Vec<Change>)> = BTreeMap::new();
    for (index, raw) in records.iter().enumerate() {
        match read(raw) {
            Ok(record) => {
                let (indexes, changes) = by_table.entry(record.table).or_default();
                indexes.push(index);
                changes.push(record.change);
            }
            Err(error) => {
                mapped.insert(index, Err(error.to_string()));
            }
        }
    }
    for (table, (indexes, changes)) in by_table {
        let Some(events) = map(app, cache, &table, &changes, is_late).await? else { return Ok(None) };
        mapped.extend(indexes.into_iter().zip(events));
    }
    Ok(Some(mapped))
}

/// Keeps the events of tenants that have, or had, webhooks. A published one is kept already. Returns the first record of which
/// something is not kept because it is late; one behind the last otherwise.
async fn archive(
    app: &App,
    cache: &Cache,
    mapped: &BTreeMap<usize, Mapped>,
    is_late: &impl Fn() -> bool,
) -> Result<usize, StoreError> {
    let Some(retention) = app.retention else { return Ok(usize::MAX) };
    let has_webhooks = |event: &Event| cache.matchers.peek(&event.tenant).is_some_and(|known| known.generation > 0);
    let told = |event: &Event| event.source == PUBLISHED || event.source == OPERATIONAL;
    let events = mapped.iter().flat_map(|(index, events)| events.iter().flatten().map(|event| (*index, event)));
    let events: Vec<_> = events.filter(|(_, event)| has_webhooks(event) && !told(event)).collect();
    for (part, events) in events.chunks(ARCHIVED_AT_ONCE).enumerate() {
        if part > 0 && is_late() {
            return Ok(events[0].0);
        }
        let now = app.clock.now();
        let events: Vec<_> = events.iter().map(|(_, event)| *event).collect();
        app.events.archive(&events, now, now + retention).await?;
    }
    Ok(usize::MAX)
}

/// Returns the types that this process sees for the first time.
fn new_types(cache: &Cache, mapped: &BTreeMap<usize, Mapped>) -> Vec<(TenantId, EventType)> {
    let mut new = Vec::new();
    for event in mapped.values().flatten().flatten().filter(|event| event.source != OPERATIONAL) {
        let seen = (event.tenant.clone(), event.event_type.clone());
        if !cache.seen.contains(&seen) && !new.contains(&seen) {
            new.push(seen);
        }
    }
    new
}

/// Records types; the catalog keeps when the very first was seen. No delivery waits for a note: what fails is tried again when
/// the type is seen again.
async fn record_types(app: &App, cache: &mut Cache, types: Vec<(TenantId, EventType)>) {
    if let Err(error) = app.registry.record_types(&types, app.clock.now()).await {
        tracing::warn!(%error, "types of events were not recorded");
        return;
    }
    for seen in types {
        cache.seen.put(seen, ());
    }
}

/// How many deliveries are sent before the next records are looked at.
const CHUNK: usize = 1_000;

/// How many events are kept before the clock is looked at.
const ARCHIVED_AT_ONCE: usize = 100;

/// What an invocation keeps of its time to send a chunk; and as much again to make the deliveries of what is kept already.
const RESERVE: Duration = Duration::from_secs(15);

/// Messages to be sent, each with the place of its record in the batch.
#[derive(Default)]
struct Chunk {
    deliveries: Vec<(usize, Outgoing)>,
    ordered: Vec<(usize, InOrder)>,
    failures: Vec<(usize, Outgoing)>,
}

impl Chunk {
    /// Adds the messages of a record.
    fn add(&mut self, record: usize, messages: &[Message]) {
        for message in messages {
            match message.group() {
                Some(group) => {
                    let id = message.delivery.to_string();
                    self.ordered.push((record, InOrder { body: message.to_json(), group, id }));
                }
                None => self.deliveries.push((record, outgoing(message))),
            }
        }
    }

    /// Returns how many deliveries there are.
    fn len(&self) -> usize {
        self.deliveries.len() + self.ordered.len()
    }

    /// Returns the first record of which something was not sent.
    async fn send(self, app: &App) -> Option<usize> {
        let (ordered, in_order): (Vec<_>, Vec<_>) = self.ordered.into_iter().unzip();
        let (deliveries, in_order, failures) = tokio::join!(
            send(&app.deliveries, self.deliveries),
            app.ordered.send_in_order(in_order),
            send(&app.stream_failures, self.failures)
        );
        deliveries.into_iter().chain(unsent(ordered, in_order)).chain(failures).min()
    }
}

fn outgoing(message: &Message) -> Outgoing {
    Outgoing { body: message.to_json(), tenant: Some(message.tenant.clone()), delay: Duration::ZERO, cause: None }
}

async fn stream_failure(app: &App, record: &RawValue, reason: &str) -> Result<Outgoing, StoreError> {
    let name = sequence_number(record).unwrap_or_else(|| "record".to_owned());
    let stored = app.bodies.carry(&format!("failure-{name}"), record.get(), MAX_FAILURE_BYTES, app.clock.now()).await?;
    let failure = match &stored {
        Body::Inline(_) | Body::Failed(_) => StreamFailure { reason, record: Some(record), record_ref: None },
        Body::Stored(key) => StreamFailure { reason, record: None, record_ref: Some(key) },
    };
    let cause = Some(reason.to_owned());
    Ok(Outgoing { body: to_queue_json(&failure), tenant: None, delay: Duration::ZERO, cause })
}

/// Sends messages and returns the records of those that were not sent.
async fn send(queue: &aws::Queue, messages: Vec<(usize, Outgoing)>) -> Vec<usize> {
    let (indexes, messages): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
    unsent(indexes, queue.send(messages).await)
}

fn unsent(records: Vec<usize>, results: Vec<Result<(), StoreError>>) -> Vec<usize> {
    let failed = records.into_iter().zip(results).filter_map(|(index, result)| {
        let error = result.err()?;
        tracing::error!(%error, "message was not sent");
        Some(index)
    });
    failed.collect()
}
