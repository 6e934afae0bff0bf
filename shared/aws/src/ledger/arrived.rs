//! Rows of deliveries that arrived at once, as the stream of the table shows them.

use domain::id::{DeliveryId, WebhookId};
use domain::webhook::arrivals::{Arrival, Position};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::delivery_item::{COUNTED_LATER, SHARDS};
use crate::StoreError;

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
    webhook: WebhookId,
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
    duration_ms: u32,
}

/// Returns the arrival that a record of the table's stream shows. `None` if it is another change, or if the delivery
/// was counted when it was written.
///
/// # Errors
///
/// If the record cannot be read.
pub fn arrival(record: &RawValue) -> Result<Option<(WebhookId, Arrival)>, StoreError> {
    let unreadable = |error: String| StoreError::inconsistent("a record of the ledger's stream", error);
    let Record { event_name, dynamodb } =
        serde_json::from_str(record.get()).map_err(|error| unreadable(error.to_string()))?;
    let (Some(image), "INSERT") = (dynamodb.new_image, event_name.as_str()) else { return Ok(None) };
    if image.get("tally").is_none() {
        return Ok(None);
    }
    let item: ArrivedItem = serde_dynamo::from_item(image).map_err(|error| unreadable(error.to_string()))?;
    let position = Position::of(&dynamodb.sequence_number)
        .ok_or_else(|| unreadable(format!("{} is no sequence number", dynamodb.sequence_number)))?;
    let (true, Some(attempt)) = (item.tally.as_deref() == Some(COUNTED_LATER), item.attempts.last()) else {
        return Ok(None);
    };
    let arrival = Arrival {
        partition: item.delivery.shard(SHARDS),
        position,
        at: attempt.at,
        duration_ms: attempt.outcome.duration_ms.into(),
    };
    Ok(Some((item.webhook, arrival)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::delivery_item::DeliveryItem;
    use super::super::delivery_item::tests::delivered;
    use super::*;

    /// Returns the record of a row that is written for the first time, as a stream shows it.
    fn record(item: &DeliveryItem) -> Value {
        let image: serde_dynamo::Item = serde_dynamo::to_item(item).unwrap();
        json!({
            "eventID": "1", "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
            "awsRegion": "eu-central-1", "eventSourceARN": "arn:aws:dynamodb:eu-central-1:1:table/d/stream/2026",
            "dynamodb": {"ApproximateCreationDateTime": 1_795_246_445, "SequenceNumber": "111700000000023456789012",
                "SizeBytes": 900, "StreamViewType": "NEW_IMAGE", "NewImage": image},
        })
    }

    fn read(record: &Value) -> Result<Option<(WebhookId, Arrival)>, StoreError> {
        arrival(&serde_json::value::to_raw_value(record).unwrap())
    }

    fn item() -> DeliveryItem {
        let delivery = delivered();
        DeliveryItem::new(&delivery, delivery.attempts[0].at).unwrap()
    }

    #[test]
    fn a_row_that_is_counted_later_is_an_arrival() {
        let delivery = delivered();
        let expected = Arrival {
            partition: delivery.id.shard(SHARDS),
            position: Position::of("111700000000023456789012").unwrap(),
            at: delivery.attempts[0].at,
            duration_ms: 142,
        };
        assert_eq!(read(&record(&item().counted_later())).unwrap(), Some((delivery.webhook, expected)));
    }

    #[rstest]
    #[case::counted_when_it_was_written("", json!(null))]
    #[case::changed("/eventName", json!("MODIFY"))]
    #[case::removed("/dynamodb/NewImage", json!(null))]
    #[case::counted_by_a_later_version("/dynamodb/NewImage/tally/S", json!("elsewhere"))]
    fn another_change_is_none(#[case] place: &str, #[case] value: Value) {
        let mut record = record(&if place.is_empty() { item() } else { item().counted_later() });
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
        let mut record = record(&item().counted_later());
        *record.pointer_mut(place).unwrap() = value;
        assert!(read(&record).is_err());
    }
}
