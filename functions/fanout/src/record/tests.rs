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
#[case::keys_only("/dynamodb/NewImage", json!(null), "the record has no NewImage; the table's stream must have the view type NEW_AND_OLD_IMAGES")]
#[case::strange_kind("/eventName", json!("UPSERT"), "the record's eventName is not INSERT, MODIFY or REMOVE")]
#[case::no_id("/eventID", json!(""), "the record has no eventID")]
#[case::no_table("/eventSourceARN", json!("arn:aws:sqs:us-east-1:123456789012:q"), "the record has no eventSourceARN of a table's stream")]
#[case::no_number("/dynamodb/NewImage/Price/N", json!("many"), "attribute \"Price\" contains an invalid number")]
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

/// DynamoDB allows 32 levels. A record with more cannot be read, but must not end the process.
#[rstest]
#[case::as_deep_as_dynamodb_takes(32, true)]
#[case::deeper(64, false)]
#[case::as_deep_as_a_batch_allows(300_000, false)]
fn a_deep_image_does_not_overflow_a_small_stack(#[case] levels: usize, #[case] is_read: bool) {
    let read_deep = move |open: &str, close: &str| {
        let value = format!("{}{}{}", open.repeat(levels - 1), r#"{"S":"x"}"#, close.repeat(levels - 1));
        let mut record: serde_json::Value = serde_json::from_str(records()[0].get()).unwrap();
        record["dynamodb"]["NewImage"] = json!({"Id": {"S": "1"}, "deep": "here"});
        let raw = RawValue::from_string(record.to_string().replace(r#""here""#, &value)).unwrap();
        read(&raw).map(drop).map_err(|error| error.to_string())
    };
    let thread = std::thread::Builder::new().stack_size(512 * 1024);
    let results = thread.spawn(move || [read_deep(r#"{"L":["#, "]}"), read_deep(r#"{"M":{"a":"#, "}}")]).unwrap();
    for result in results.join().unwrap() {
        assert_eq!(result.is_ok(), is_read, "{result:?}");
        assert!(result.err().is_none_or(|error| error.starts_with("not a DynamoDB stream record")));
    }
}
