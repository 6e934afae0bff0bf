//! Handles an invocation: adds up a batch of stream records, and counts the sums.

use std::collections::BTreeMap;

use aws::{StoreError, ledger};
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use domain::id::WebhookId;
use domain::webhook::arrivals::Arrival;
use futures::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::App;

/// How many webhooks are counted at the same time.
const CONCURRENCY: usize = 16;

/// What DynamoDB Streams hands over: records that are parsed one by one, so that an invalid one does not affect the
/// others.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    /// The records, in the stream's order.
    #[serde(rename = "Records")]
    pub records: Vec<Box<RawValue>>,
}

/// What identifies a record and its stream.
#[derive(Debug, Default, Deserialize)]
struct Envelope {
    #[serde(rename = "eventSourceARN", default)]
    arn: String,
    #[serde(default)]
    dynamodb: Position,
}

#[derive(Debug, Default, Deserialize)]
struct Position {
    #[serde(rename = "SequenceNumber", default)]
    sequence_number: Option<String>,
}

/// Counts a batch. After a fault, the whole batch is returned: what was counted already is not counted again.
///
/// A record that cannot be read would come again for a day, and no later one would be counted. It is skipped.
#[tracing::instrument(name = "tally.batch", skip_all, fields(records = event.records.len()))]
pub async fn handle(app: &App, event: StreamEvent) -> DynamoDbEventResponse {
    let mut response = DynamoDbEventResponse::default();
    let Some(first) = event.records.first() else { return response };
    let Envelope { arn, dynamodb } = serde_json::from_str(first.get()).unwrap_or_default();
    let arrivals = arrivals(&event.records);
    let count = |(webhook, arrivals): (WebhookId, Vec<Arrival>)| {
        let stream = label(&arn);
        async move { (webhook, app.registry.count_arrivals(webhook, stream, &arrivals).await) }
    };
    let counted: Vec<(WebhookId, Result<(), StoreError>)> =
        stream::iter(arrivals).map(count).buffer_unordered(CONCURRENCY).collect().await;
    let failed: Vec<_> = counted.iter().filter_map(|(webhook, done)| Some((webhook, done.as_ref().err()?))).collect();
    if let Some((webhook, error)) = failed.first() {
        tracing::error!(webhook.id = %webhook, %error, webhooks = failed.len(), "arrivals were not counted; Lambda reads the batch from the stream again");
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = dynamodb.sequence_number;
        response.batch_item_failures = vec![failure];
    }
    response
}

/// Returns the arrivals of each webhook.
fn arrivals(records: &[Box<RawValue>]) -> BTreeMap<WebhookId, Vec<Arrival>> {
    let mut arrivals: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        match ledger::arrival(record) {
            Ok(Some((webhook, arrival))) => arrivals.entry(webhook).or_default().push(arrival),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a record cannot be read and is missing in the statistics"),
        }
    }
    arrivals
}

/// Returns the label of a stream, the time of its creation: with the table, which is always the ledger, it identifies
/// the stream.
fn label(arn: &str) -> &str {
    arn.rsplit_once("/stream/").map_or(arn, |(_, label)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_identified_by_its_label() {
        let arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/deliveries/stream/2026-11-29T18:00:00.000";
        assert_eq!(label(arn), "2026-11-29T18:00:00.000");
        assert_eq!(label("no stream"), "no stream");
    }
}
