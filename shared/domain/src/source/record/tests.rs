use rstest::rstest;
use serde_json::json;

use super::wire::Wire;
use super::*;

fn records() -> Vec<Box<RawValue>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Batch {
        records: Vec<Box<RawValue>>,
    }
    let batch = include_str!("../../../../../tests/fixtures/dynamodb-stream.json");
    serde_json::from_str::<Batch>(batch).unwrap().records
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

/// Returns what serde reads, and what the own reader does.
fn both(json: &str) -> (Result<String, String>, Option<String>) {
    let raw: &RawValue = serde_json::from_str(json).unwrap();
    let shown = |wire: Wire<'_>| format!("{wire:?}");
    let by_serde = serde_json::from_str::<Wire<'_>>(raw.get()).map(shown).map_err(|error| error.to_string());
    (by_serde, quick::read(raw).map(shown))
}

const RECORD: &str = r#"{"eventID": "e1", "eventName": "MODIFY", "userIdentity": null, "tags": [1, {"a": "}\"]"}, null],
    "dynamodb": {"ApproximateCreationDateTime": 1.79e9, "Keys": {"id": {"S": "1"}}, "SequenceNumber": "7", "SizeBytes": 9,
        "OldImage": {}, "NewImage": VALUE}, "eventSourceARN": "arn:aws:dynamodb:r:1:table/orders/stream/x"}"#;

#[rstest]
#[case::texts(r#"{"a": {"S": "text"}, "b\u0041": {"S": "a \"quote\", \\ \n \u00e9 \ud83d\ude00 é"}, "": {"S": ""}, "c": {"B": "AAE="}}"#)]
#[case::numbers(r#"{"a": {"N": "1.50"}, "b": {"N": "-12345678901234567890123456789012345678"}, "c": {"N": "1E-130"}}"#)]
#[case::others(r#"{ "a" : {"BOOL" :true }, "b": {"BOOL":false}, "c": {"NULL": true}, "d": {"NULL":{"x":["]"]}} }"#)]
#[case::nested(r#"{"m": {"M": {"l": {"L": [{"S": "a"}, {"M": {}}, {"L": []}]}}}, "e": {"M": {}}, "l": {"L": [ ]}}"#)]
#[case::twice(r#"{"a": {"S": "1"}, "b": {"S": "2"}, "a": {"N": "3"}}"#)]
#[case::empty("{}")]
fn the_own_reader_reads_what_serde_reads(#[case] image: &str) {
    let (by_serde, own) = both(&RECORD.replace("VALUE", image));
    assert_eq!(own, Some(by_serde.unwrap()));
}

#[rstest]
#[case::set(RECORD, r#"{"a": {"SS": ["b", "a"]}}"#, true)]
#[case::not_a_number(RECORD, r#"{"a": {"N": "many"}}"#, true)]
#[case::no_image(RECORD, "null", true)]
#[case::list(RECORD, "[]", false)]
#[case::two_types(RECORD, r#"{"a": {"S": "1", "N": "1"}}"#, false)]
#[case::no_type(RECORD, r#"{"a": {}}"#, false)]
#[case::unknown_type(RECORD, r#"{"a": {"X": "1"}}"#, false)]
#[case::no_value(RECORD, r#"{"a": "S"}"#, false)]
#[case::number_as_number(RECORD, r#"{"a": {"N": 1}}"#, false)]
#[case::truth_as_text(RECORD, r#"{"a": {"BOOL": "true"}}"#, false)]
#[case::half_a_character(RECORD, r#"{"a": {"S": "\ud83d"}}"#, false)]
#[case::two_images(RECORD, r#"{}, "NewImage": {}"#, false)]
#[case::no_time(r#"{"dynamodb": {"NewImage": VALUE}}"#, "{}", false)]
#[case::time_as_text(r#"{"dynamodb": {"ApproximateCreationDateTime": "1"}}"#, "", false)]
#[case::nothing("{}", "", false)]
#[case::no_object("[]", "", false)]
#[case::expired(r#"{"dynamodb": {"ApproximateCreationDateTime": 1}, "userIdentity": {"type": "Service"}}"#, "", true)]
fn what_is_unusual_is_left_to_serde(#[case] record: &str, #[case] image: &str, #[case] is_read: bool) {
    let (by_serde, own) = both(&record.replace("VALUE", image));
    assert_eq!((by_serde.is_ok(), own), (is_read, None), "{by_serde:?}");
}

/// Puts each of some texts over each part of a record, which makes a valid one invalid, moves its borders, or is the
/// same. Where the own reader reads anything, it is what serde reads.
#[test]
fn the_own_reader_never_reads_anything_else() {
    let image = r#"{"a": {"S": "x\\\"y"}, "n": {"N": "1.5"}, "t": {"BOOL": true}, "l": {"L": [{"M": {"k": {"S": "v"}}}, {"NULL": true}]}}"#;
    let record = RECORD.replace("VALUE", image);
    let parts = [
        "", "\"", "\\", "{", "}", "[", "]", ",", ":", " ", "1", "S", "N", "L", "M", "null", "true", "{}", "[]",
        "\"S\"", "\\u00e9",
    ];
    let (mut same, mut left) = (0, 0);
    for at in 0..record.len() {
        for part in parts {
            for cut in [0, 1, part.len()] {
                let Some(rest) = record.get(at + cut..) else { continue };
                let text = format!("{}{part}{rest}", &record[..at]);
                if serde_json::from_str::<&RawValue>(&text).is_err() {
                    continue;
                }
                match both(&text) {
                    (Ok(by_serde), Some(own)) => {
                        assert_eq!(own, by_serde, "{text}");
                        same += 1;
                    }
                    (Err(error), Some(own)) => panic!("{text}: {error}, but {own}"),
                    (_, None) => left += 1,
                }
            }
        }
    }
    assert!(same > 1_000 && left > 100, "{same} records, {left} left");
}
