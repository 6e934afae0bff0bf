use rstest::rstest;
use serde_json::json;

use super::*;
use crate::StreamEvent;

fn records() -> Vec<Box<RawValue>> {
    let event = include_str!("../../../../tests/fixtures/dynamodb-stream.json");
    serde_json::from_str::<StreamEvent>(event).unwrap().records
}

/// The first record of the fixture, with a change to its JSON.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Result<Record, String> {
    let mut record = serde_json::from_str(records()[0].get()).unwrap();
    change(&mut record);
    read(&serde_json::value::to_raw_value(&record).unwrap()).map_err(|error| error.to_string())
}

#[test]
fn every_type_has_its_json_form() {
    let record = read(&records()[0]).unwrap();
    assert_eq!(record.table, "Books.v2");
    assert_eq!(record.change.stream_event_id, "c4ca4238a0b923820dcc509a6f75849b");
    assert_eq!(record.change.at.to_string(), "2016-11-18T20:09:00Z");
    let Images::Insert(image) = record.change.images else { panic!("an insert") };
    insta::assert_snapshot!(serde_json::to_string_pretty(&image).unwrap());
}

#[test]
fn the_kind_decides_the_images() {
    let kinds: Vec<_> = records()
        .iter()
        .map(|raw| match read(raw).unwrap().change.images {
            Images::Insert(new) => (None, Some(new.len())),
            Images::Modify(old, new) => (Some(old.len()), Some(new.len())),
            Images::Remove(old) => (Some(old.len()), None),
        })
        .collect();
    assert_eq!(kinds, [(None, Some(11)), (Some(2), Some(2)), (Some(2), None)]);
}

#[test]
fn a_record_that_cannot_be_read_still_has_its_sequence_number() {
    let raw = RawValue::from_string(r#"{"eventID":7,"dynamodb":{"SequenceNumber":"444","NewImage":[]}}"#.to_owned());
    let raw = raw.unwrap();
    assert!(read(&raw).is_err());
    assert_eq!(sequence_number(&raw).as_deref(), Some("444"));
}

#[rstest]
#[case::keys_only("/dynamodb/NewImage", json!(null), "the record has no NewImage; the table's stream must hold NEW_AND_OLD_IMAGES")]
#[case::strange_kind("/eventName", json!("UPSERT"), "the record is of no known kind")]
#[case::no_id("/eventID", json!(""), "the record has no eventID")]
#[case::no_table("/eventSourceARN", json!("arn:aws:sqs:us-east-1:123456789012:q"), "the record has no eventSourceARN of a table's stream")]
#[case::no_number("/dynamodb/NewImage/Price/N", json!("many"), "attribute \"Price\" holds a number that is not one")]
fn says_why_a_record_cannot_be_read(#[case] at: &str, #[case] value: serde_json::Value, #[case] reason: &str) {
    let error = changed(|record| *record.pointer_mut(at).unwrap() = value).unwrap_err();
    assert_eq!(error, reason);
}

#[test]
fn a_reason_never_quotes_a_value() {
    let error = changed(|record| record["dynamodb"]["NewImage"]["Title"] = json!({"S": ["s3cret"]})).unwrap_err();
    assert!(error.starts_with("not a DynamoDB stream record"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}
