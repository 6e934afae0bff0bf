//! Rows of deliveries that arrived, as the stream of the table shows them.

use domain::access::tenant::{AppId, TenantId};
use domain::attempt::outcome::{Outcome, Verdict};
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::webhook::arrivals::{Arrival, Position};
use domain::webhook::latency::Latency;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::delivery_item::{COUNTED_LATER, SHARDS};
use crate::StoreError;

/// A delivery that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Its webhook.
    pub webhook: WebhookId,
    /// The webhook's tenant.
    pub tenant: TenantId,
    /// The application that registered the webhook, if any.
    pub app: Option<AppId>,
    /// Set if the webhook's statistics do not count it yet.
    pub uncounted: Option<Arrival>,
    /// How long it took.
    pub latency: Latency,
}

/// A record of the table's stream.
#[derive(Debug, Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    event_name: String,
    dynamodb: Change,
}

#[derive(Debug, Deserialize)]
struct Change {
    #[serde(rename = "SequenceNumber")]
    sequence_number: String,
    #[serde(rename = "NewImage")]
    new_image: Option<serde_dynamo::Item>,
}

/// The part of a delivery's item that is counted.
#[derive(Debug, Deserialize)]
struct ArrivedItem {
    delivery: DeliveryId,
    event: EventId,
    webhook: WebhookId,
    tenant: TenantId,
    #[serde(default)]
    app: Option<AppId>,
    #[serde(default)]
    test: bool,
    #[serde(default)]
    tally: Option<String>,
    #[serde(default)]
    attempts: Vec<ArrivedAttempt>,
}

#[derive(Debug, Deserialize)]
struct ArrivedAttempt {
    at: Timestamp,
    outcome: ArrivedOutcome,
}

#[derive(Debug, Deserialize)]
struct ArrivedOutcome {
    verdict: Verdict,
    #[serde(default)]
    status: Option<u16>,
    duration_ms: u32,
}

impl ArrivedAttempt {
    fn arrived(&self) -> bool {
        let ArrivedOutcome { verdict, status, .. } = self.outcome;
        Outcome { status, ..Outcome::unanswered(verdict, "") }.arrived()
    }
}

/// Returns the arrival that a record of the table's stream shows. `None` if it is another change: a test, or a delivery
/// that has not arrived, or arrived earlier and was sent again.
///
/// # Errors
///
/// If the record cannot be read.
pub fn arrived(record: &RawValue) -> Result<Option<Arrived>, StoreError> {
    let unreadable = |error: String| StoreError::inconsistent("a record of the ledger's stream", error);
    let Record { event_name, dynamodb } =
        serde_json::from_str(record.get()).map_err(|error| unreadable(error.to_string()))?;
    let Some(image) = dynamodb.new_image else { return Ok(None) };
    if image.get("delivery").is_none() {
        return Ok(None);
    }
    let item: ArrivedItem = serde_dynamo::from_item(image).map_err(|error| unreadable(error.to_string()))?;
    let position = Position::of(&dynamodb.sequence_number)
        .ok_or_else(|| unreadable(format!("{} is no sequence number", dynamodb.sequence_number)))?;
    let Some((attempt, earlier)) = item.attempts.split_last() else { return Ok(None) };
    if item.test || !attempt.arrived() || earlier.iter().any(ArrivedAttempt::arrived) {
        return Ok(None);
    }
    let (at, duration_ms) = (attempt.at, u64::from(attempt.outcome.duration_ms));
    let is_uncounted = event_name == "INSERT" && item.tally.as_deref() == Some(COUNTED_LATER);
    let arrival = Arrival { partition: item.delivery.shard(SHARDS), position, at, duration_ms };
    Ok(Some(Arrived {
        webhook: item.webhook,
        tenant: item.tenant,
        app: item.app,
        uncounted: is_uncounted.then_some(arrival),
        latency: Latency { at, lateness_ms: lateness_ms(item.event, at, duration_ms), duration_ms },
    }))
}

/// Returns the time from the event to the end of the attempt, as
/// [`Delivery::lateness_ms`](domain::delivery::Delivery::lateness_ms) does.
fn lateness_ms(event: EventId, at: Timestamp, duration_ms: u64) -> u64 {
    let until_attempt = at.as_millisecond() - event.timestamp().as_millisecond();
    u64::try_from(until_attempt.saturating_add_unsigned(duration_ms)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use domain::attempt::Attempt;
    use domain::delivery::Delivery;
    use jiff::SignedDuration;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::delivery_item::DeliveryItem;
    use super::super::delivery_item::tests::delivered;
    use super::*;

    /// Returns the record of a row, as a stream shows it.
    fn record(item: &DeliveryItem, event_name: &str) -> Value {
        let image: serde_dynamo::Item = serde_dynamo::to_item(item).unwrap();
        json!({
            "eventID": "1", "eventName": event_name, "eventVersion": "1.1", "eventSource": "aws:dynamodb",
            "awsRegion": "eu-central-1", "eventSourceARN": "arn:aws:dynamodb:eu-central-1:1:table/d/stream/2026",
            "dynamodb": {"ApproximateCreationDateTime": 1_795_246_445, "SequenceNumber": "111700000000023456789012",
                "SizeBytes": 900, "StreamViewType": "NEW_IMAGE", "NewImage": image},
        })
    }

    fn read(record: &Value) -> Result<Option<Arrived>, StoreError> {
        arrived(&serde_json::value::to_raw_value(record).unwrap())
    }

    fn item(delivery: &Delivery) -> DeliveryItem {
        DeliveryItem::new(delivery, delivery.attempts[0].at).unwrap()
    }

    /// Returns the delivery with an attempt a minute before the one that arrived.
    fn retried(verdict: Verdict, status: u16) -> Delivery {
        let mut delivery = delivered();
        let last = delivery.attempts[0].clone();
        let outcome = Outcome { status: Some(status), ..Outcome::unanswered(verdict, "") };
        delivery.attempts.push(Attempt { at: last.at + SignedDuration::from_mins(1), ..last.clone() });
        delivery.attempts[0] = Attempt { outcome, ..last };
        delivery
    }

    #[test]
    fn a_row_that_is_counted_later_is_an_arrival() {
        let delivery = delivered();
        let found = read(&record(&item(&delivery).counted_later(), "INSERT")).unwrap().unwrap();
        let at = delivery.attempts[0].at;
        let uncounted = Arrival {
            partition: delivery.id.shard(SHARDS),
            position: Position::of("111700000000023456789012").unwrap(),
            at,
            duration_ms: 142,
        };
        let lateness_ms = delivery.lateness_ms().unwrap();
        assert_eq!(
            found,
            Arrived {
                webhook: delivery.webhook,
                tenant: delivery.tenant,
                app: delivery.app,
                uncounted: Some(uncounted),
                latency: Latency { at, lateness_ms, duration_ms: 142 },
            }
        );
    }

    #[rstest]
    #[case::counted_when_it_was_written("INSERT", "", json!(null))]
    #[case::changed("MODIFY", "/dynamodb/NewImage/tally", json!({"S": "later"}))]
    #[case::counted_by_a_later_version("INSERT", "/dynamodb/NewImage/tally", json!({"S": "elsewhere"}))]
    fn an_arrival_may_be_counted_already(#[case] event_name: &str, #[case] place: &str, #[case] value: Value) {
        let mut record = record(&item(&delivered()).counted_later(), event_name);
        if place.is_empty() {
            record["dynamodb"]["NewImage"].as_object_mut().unwrap().remove("tally");
        } else {
            *record.pointer_mut(place).unwrap() = value;
        }
        let found = read(&record).unwrap().unwrap();
        assert_eq!((found.uncounted, found.latency.duration_ms), (None, 142));
    }

    #[test]
    fn a_retry_is_late() {
        let delivery = retried(Verdict::ServerFailed, 500);
        let found = read(&record(&item(&delivery), "MODIFY")).unwrap().unwrap();
        assert_eq!((found.uncounted, found.latency.at), (None, delivery.attempts[1].at));
        assert_eq!(Some(found.latency.lateness_ms), delivery.lateness_ms());
        assert!(found.latency.lateness_ms > 60_000);
    }

    #[test]
    fn a_delivery_before_its_event_is_not_late() {
        let at = Timestamp::from_millisecond(1_795_246_444_123).unwrap();
        let event = EventId::from_parts(at + SignedDuration::from_secs(1), 1);
        assert_eq!((lateness_ms(event, at, 300), lateness_ms(event, at, 1_300)), (0, 300));
    }

    #[rstest]
    #[case::removed(delivered(), "/dynamodb/NewImage", json!(null))]
    #[case::no_delivery(delivered(), "/dynamodb/NewImage", json!({"pk": {"S": "W#1"}}))]
    #[case::a_test(delivered(), "/dynamodb/NewImage/test", json!({"BOOL": true}))]
    #[case::not_attempted(delivered(), "/dynamodb/NewImage/attempts/L", json!([]))]
    #[case::failed(retried(Verdict::ServerFailed, 500), "/dynamodb/NewImage/attempts/L/1/M/outcome/M/verdict/S", json!("server_failed"))]
    #[case::sent_again(retried(Verdict::Accepted, 200), "", json!(null))]
    #[case::sent_again_though_its_receiver_wanted_no_more(retried(Verdict::Gone, 204), "", json!(null))]
    fn another_change_is_none(#[case] delivery: Delivery, #[case] place: &str, #[case] value: Value) {
        let mut record = record(&item(&delivery), "MODIFY");
        record["dynamodb"]["NewImage"]["test"] = json!({"BOOL": false});
        if !place.is_empty() {
            *record.pointer_mut(place).unwrap() = value;
        }
        assert_eq!(read(&record).unwrap(), None);
    }

    #[rstest]
    #[case::no_position("/dynamodb/SequenceNumber", json!("?"))]
    #[case::no_webhook("/dynamodb/NewImage/webhook/S", json!("?"))]
    #[case::no_record("/dynamodb", json!(1))]
    fn what_cannot_be_read_is_an_error(#[case] place: &str, #[case] value: Value) {
        let mut record = record(&item(&delivered()).counted_later(), "INSERT");
        *record.pointer_mut(place).unwrap() = value;
        assert!(read(&record).is_err());
    }
}
