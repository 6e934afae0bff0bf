//! A batch of stream records.

use std::collections::BTreeMap;
use std::time::Duration;

use aws::StoreError;
use aws::queue::Outgoing;
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use domain::message::{Body, Message, to_queue_json};
use domain::source::Change;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::App;
use crate::record::{read, sequence_number};
use crate::route::{Routed, route};

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

/// Fans out a batch.
///
/// A record that cannot be mapped goes to stream-failures, whole and with the reason, and the shard goes on. For a fault of
/// ours the batch is handed back from the first record that is not done: a stream is a rewind, not a set.
#[tracing::instrument(name = "fanout.batch", skip_all, fields(records = event.records.len()))]
pub async fn handle(app: &App, event: StreamEvent) -> DynamoDbEventResponse {
    let mut response = DynamoDbEventResponse::default();
    // Boxed: the type of all that happens below is too deep for the compiler.
    match Box::pin(fan_out(app, &event.records)).await {
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
async fn fan_out(app: &App, records: &[Box<RawValue>]) -> Result<Option<usize>, StoreError> {
    let mut routed: BTreeMap<usize, Routed> = BTreeMap::new();
    let mut by_table: BTreeMap<String, Vec<(usize, Change)>> = BTreeMap::new();
    for (index, raw) in records.iter().enumerate() {
        match read(raw) {
            Ok(record) => by_table.entry(record.table).or_default().push((index, record.change)),
            Err(error) => {
                routed.insert(index, Err(error.to_string()));
            }
        }
    }
    for (table, changes) in by_table {
        let (indexes, changes): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        routed.extend(indexes.into_iter().zip(route(app, &table, changes).await?));
    }
    let mut messages = Vec::new();
    let mut failures = Vec::new();
    for (index, routed) in routed {
        match routed {
            Ok(deliveries) => messages.extend(deliveries.into_iter().map(|message| (index, outgoing(&message)))),
            Err(reason) => {
                tracing::warn!(
                    dynamodb.sequence_number = sequence_number(&records[index]),
                    reason,
                    "record cannot be mapped"
                );
                failures.push((index, stream_failure(app, &records[index], &reason).await?));
            }
        }
    }
    tracing::info!(deliveries = messages.len(), failures = failures.len(), "batch fanned out");
    let (sent, parked) = tokio::join!(send(&app.deliveries, messages), send(&app.stream_failures, failures));
    Ok(sent.into_iter().chain(parked).min())
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
    let results = indexes.into_iter().zip(queue.send(messages).await);
    let failed = results.filter_map(|(index, result)| {
        let error = result.err()?;
        tracing::error!(%error, "message was not sent");
        Some(index)
    });
    failed.collect()
}
