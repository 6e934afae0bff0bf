//! Handles an invocation: adds up a batch of stream records, and counts the sums.

use std::collections::BTreeMap;

use aws::StoreError;
use aws::ledger::{self, Arrived};
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use domain::access::tenant::{AppId, TenantId};
use domain::id::WebhookId;
use domain::webhook::arrivals::{Arrival, Counted};
use domain::webhook::hours::Hour;
use domain::webhook::latency::Latencies;
use futures::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::App;

/// How many items are counted at the same time.
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
    let arrived = read(&event.records);
    let counted = count(app, label(&arn), &arrived).await;
    let failed: Vec<_> = counted.iter().filter_map(|(webhook, done)| Some((webhook, done.as_ref().err()?))).collect();
    if let Some((webhook, error)) = failed.first() {
        tracing::error!(webhook.id = %webhook, %error, webhooks = failed.len(), "arrivals were not counted; Lambda reads the batch from the stream again");
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = dynamodb.sequence_number;
        response.batch_item_failures = vec![failure];
    }
    let is_complete = failed.is_empty();
    let counted = counted.into_iter().filter_map(|(webhook, done)| Some((webhook, done.ok()?))).collect();
    add_latencies(app, latencies(&arrived, &counted, is_complete)).await;
    response
}

/// Reads the deliveries that arrived.
fn read(records: &[Box<RawValue>]) -> Vec<Arrived> {
    let read = |record: &RawValue| match ledger::arrived(record) {
        Ok(arrived) => arrived,
        Err(error) => {
            tracing::error!(%error, "a record cannot be read and is missing in the statistics");
            None
        }
    };
    records.iter().filter_map(|record| read(record)).collect()
}

/// Counts arrivals into the statistics of their webhooks. Returns how far each had been counted before.
async fn count(app: &App, stream: &str, arrived: &[Arrived]) -> Vec<(WebhookId, Result<Counted, StoreError>)> {
    let mut arrivals: BTreeMap<WebhookId, Vec<Arrival>> = BTreeMap::new();
    for one in arrived {
        if let Some(arrival) = one.uncounted {
            arrivals.entry(one.webhook).or_default().push(arrival);
        }
    }
    let count = |(webhook, arrivals): (WebhookId, Vec<Arrival>)| async move {
        (webhook, app.registry.count_arrivals(webhook, stream, &arrivals).await)
    };
    stream::iter(arrivals).map(count).buffer_unordered(CONCURRENCY).collect().await
}

/// The row of histograms that a delivery belongs to: of its tenant or of its application, and its hour.
type Row = (TenantId, Option<AppId>, Hour);

/// Adds up how long deliveries took, by row.
///
/// Those that this batch counted are new. Those that were counted when they were written are new as far as is known,
/// unless the batch will come again.
fn latencies(
    arrived: &[Arrived],
    counted: &BTreeMap<WebhookId, Counted>,
    is_complete: bool,
) -> BTreeMap<Row, Latencies> {
    let mut rows: BTreeMap<Row, Latencies> = BTreeMap::new();
    for Arrived { webhook, tenant, app, uncounted, latency } in arrived {
        let is_new = match uncounted {
            Some(arrival) => counted.get(webhook).is_some_and(|before| arrival.is_after(before)),
            None => is_complete,
        };
        if is_new {
            let of_tenant = (tenant.clone(), None, latency.hour());
            let of_app = app.clone().map(|app| (tenant.clone(), Some(app), latency.hour()));
            for row in std::iter::once(of_tenant).chain(of_app) {
                rows.entry(row).or_default().record(latency);
            }
        }
    }
    rows
}

/// Adds the times to the rows of the Registry. What cannot be added is missing in the percentiles, which are estimates.
async fn add_latencies(app: &App, rows: BTreeMap<Row, Latencies>) {
    let add = |((tenant, of, hour), latencies): (Row, Latencies)| async move {
        if let Err(error) = app.registry.add_latencies(&tenant, of.as_ref(), hour, &latencies).await {
            tracing::warn!(tenant.id = %tenant, %error, "times of deliveries are missing in the percentiles");
        }
    };
    stream::iter(rows).map(add).buffer_unordered(CONCURRENCY).collect::<()>().await;
}

/// Returns the label of a stream, the time of its creation: with the table, which is always the ledger, it identifies
/// the stream.
fn label(arn: &str) -> &str {
    arn.rsplit_once("/stream/").map_or(arn, |(_, label)| label)
}

#[cfg(test)]
mod tests {
    use domain::webhook::arrivals::Position;
    use domain::webhook::latency::Latency;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_stream_is_identified_by_its_label() {
        let arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/deliveries/stream/2026-11-29T18:00:00.000";
        assert_eq!(label(arn), "2026-11-29T18:00:00.000");
        assert_eq!(label("no stream"), "no stream");
    }

    fn position(number: u64) -> Position {
        Position::of(&number.to_string()).unwrap()
    }

    fn webhook(number: u128) -> WebhookId {
        WebhookId::from_parts(Timestamp::UNIX_EPOCH, number)
    }

    /// Returns a delivery to a webhook, which the batch counts if it has a position.
    fn arrived(number: u128, app: Option<&str>, uncounted: Option<u64>, second: i64) -> Arrived {
        let at = Timestamp::from_second(second).unwrap();
        let uncounted =
            uncounted.map(|number| Arrival { partition: 0, position: position(number), at, duration_ms: 20 });
        Arrived {
            webhook: webhook(number),
            tenant: "acme".parse().unwrap(),
            app: app.map(|app| app.parse().unwrap()),
            uncounted,
            latency: Latency { at, lateness_ms: 300, duration_ms: 20 },
        }
    }

    fn counts(rows: BTreeMap<Row, Latencies>) -> Vec<(Option<String>, i64, u64)> {
        let count = |((_, app, hour), latencies): (Row, Latencies)| {
            assert_eq!(latencies.lateness.count(), latencies.duration.count());
            (app.map(|app| app.to_string()), hour.number(), latencies.lateness.count())
        };
        rows.into_iter().map(count).collect()
    }

    #[test]
    fn each_hour_of_a_tenant_and_of_an_application_is_a_row() {
        let arrived =
            [arrived(1, None, None, 60), arrived(2, Some("crm"), None, 3599), arrived(2, Some("crm"), None, 3600)];
        let crm = || Some("crm".to_owned());
        let expected = [(None, 0, 2), (None, 1, 1), (crm(), 0, 1), (crm(), 1, 1)];
        assert_eq!(counts(latencies(&arrived, &BTreeMap::new(), true)), expected);
    }

    #[test]
    fn what_was_counted_before_or_will_come_again_is_not_added() {
        let arrived = [
            arrived(1, None, Some(5), 0),
            arrived(1, None, Some(6), 0),
            // Its webhook was not counted.
            arrived(2, None, Some(7), 0),
            // It was counted when it was written.
            arrived(3, None, None, 0),
        ];
        let counted = BTreeMap::from([(webhook(1), Counted::from([(0, position(5))]))]);
        assert_eq!(counts(latencies(&arrived, &counted, false)), [(None, 0, 1)]);
        assert_eq!(counts(latencies(&arrived, &counted, true)), [(None, 0, 2)]);
    }
}
