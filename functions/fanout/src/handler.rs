//! Handles an invocation: fans out a batch of stream records, and reports the first of them that is not done.

use std::time::SystemTime;

use aws::StoreError;
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use domain::source::record::sequence_number;
use jiff::Timestamp;
use runtime::metrics::{self, Metric};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::App;
use crate::archive::Patience;
use crate::isolation::isolate;
use crate::redriven::unwrap;

/// What DynamoDB Streams hands over: records that are parsed one by one, so that an invalid one does not affect the
/// others.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    /// The records, in the stream's order.
    #[serde(rename = "Records")]
    pub records: Vec<Box<RawValue>>,
}

/// Fans out a batch. `deadline` is the end of the invocation.
///
/// A record that cannot be mapped, that makes fan-out panic or that AWS refuses goes to stream-failures, whole and with
/// the reason, and the shard continues. After an internal fault, or if the time is up, the batch is returned from the
/// first record that is not done: a stream resumes at a position, so all later records are received again too.
#[tracing::instrument(name = "fanout.batch", skip_all, fields(records = event.records.len()))]
pub async fn handle(app: &App, event: StreamEvent, deadline: SystemTime) -> DynamoDbEventResponse {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX);
    if let Some(tracer) = &app.tracer {
        tracer.ends_at(deadline);
    }
    let mut response = DynamoDbEventResponse::default();
    let mut patience = Patience::new(app.cache.lock().await.patience);
    // Boxed, because the type of the nested futures is too deep for the compiler.
    let fanned_out = Box::pin(fan_out(app, &event.records, deadline, &mut patience)).await;
    app.cache.lock().await.patience = patience.of_next_batch();
    match fanned_out {
        Ok(None) => {}
        Ok(Some(first)) => {
            metrics::count(Metric::RecordsReturned, event.records.len() - first);
            response.batch_item_failures = vec![failure(&event.records[first])];
        }
        Err(error) => {
            tracing::error!(%error, "a batch failed because of a fault of ours; Lambda reads it from the stream again");
            metrics::count(Metric::RecordsReturned, event.records.len());
            response.batch_item_failures = event.records.first().map(|record| failure(record)).into_iter().collect();
        }
    }
    metrics::flush();
    response
}

/// Fans out a batch, with the records that are sent again in the places of their items. Returns the first record that
/// is not done, if any.
async fn fan_out(
    app: &App,
    records: &[Box<RawValue>],
    deadline: Timestamp,
    patience: &mut Patience,
) -> Result<Option<usize>, StoreError> {
    let unwrapped = unwrap(app, records).await?;
    let first = isolate(app, &unwrapped, deadline, patience).await?;
    Ok(first.or_else(|| (unwrapped.len() < records.len()).then_some(unwrapped.len())))
}

fn failure(record: &RawValue) -> DynamoDbBatchItemFailure {
    let mut failure = DynamoDbBatchItemFailure::default();
    failure.item_identifier = sequence_number(record);
    failure
}
