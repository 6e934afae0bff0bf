//! Records that could not be turned into events: what is sent to the queue stream-failures, and what is listed.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::image::Image;
use crate::id::FailureId;
use crate::text::clip;
use crate::value::{Map, Value};

/// The length to which a reason is cut in the list, in bytes; the queue has the whole text.
const MAX_REASON: usize = 1_000;

/// A message to stream-failures: a record, whole and with the reason. Messages of earlier versions lack `table`, `id`
/// and `failures`.
#[derive(Debug, Serialize, Deserialize)]
pub struct FailureMessage<'a> {
    /// Why the record became no event. Contains names, never values.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// The table, if the record names one.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub table: Option<Cow<'a, str>>,
    /// The failure in the list of the table's failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FailureId>,
    /// How often the record has failed.
    #[serde(default = "once")]
    pub failures: u32,
    /// The record.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub record: Option<&'a RawValue>,
    /// The key of the stored record, if it is too large for a message.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub record_ref: Option<Cow<'a, str>>,
}

fn once() -> u32 {
    1
}

/// A record that could not be turned into events, as it is listed. Of the item it has the key only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFailure {
    /// Derived from the record, so that a record that fails again is listed once.
    pub id: FailureId,
    /// The table.
    pub table: String,
    /// Why it became no event.
    pub reason: String,
    /// The key of the item: the names and values of its key attributes.
    pub keys: Map,
    /// What was done to the item.
    pub change: Option<ChangeKind>,
    /// When the change was committed.
    pub committed_at: Timestamp,
    /// When it failed last.
    pub failed_at: Timestamp,
    /// How often it failed: once, and once for each time that it was sent again in vain.
    pub failures: u32,
}

/// What was done to an item, in the words of DynamoDB's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChangeKind {
    /// The item is new.
    Insert,
    /// The item was changed.
    Modify,
    /// The item was removed.
    Remove,
}

/// The parts of a record that can be read even if the rest is invalid.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The table; empty if the record does not name one.
    pub table: String,
    /// What was done to the item.
    pub change: Option<ChangeKind>,
    /// When the change was committed.
    pub committed_at: Timestamp,
    /// The key of the item.
    pub keys: Map,
    /// The sequence number in the stream.
    pub sequence: String,
    /// How often the record has failed before, if it was sent again.
    pub failures: u32,
}

/// The field of a record that was sent again, with the number of its failures. DynamoDB writes no field of this name,
/// and readers of records ignore it.
const FAILURES: &str = "dynahookFailures";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire<'a> {
    #[serde(rename = "eventSourceARN", borrow)]
    source_arn: Cow<'a, str>,
    #[serde(rename = "eventName")]
    change: Option<ChangeKind>,
    #[serde(rename = "dynahookFailures")]
    failures: u32,
    dynamodb: StreamRecord,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct StreamRecord {
    /// In seconds.
    approximate_creation_date_time: Option<Value>,
    keys: Image,
    sequence_number: String,
}

impl Outline {
    /// Reads the outline of a record. `None` if it does not have the form of a stream record.
    #[must_use]
    pub fn read(record: &str) -> Option<Self> {
        // serde's derived code would also accept an array, field by field.
        let record = record.trim_start();
        if !record.starts_with('{') {
            return None;
        }
        let Wire { source_arn, change, failures, dynamodb } = serde_json::from_str(record).ok()?;
        let StreamRecord { approximate_creation_date_time, keys, sequence_number } = dynamodb;
        let milliseconds = match &approximate_creation_date_time {
            Some(Value::Number(seconds)) => seconds.decimal().scaled(3).and_then(|scaled| i64::try_from(scaled).ok()),
            _ => None,
        };
        Some(Self {
            table: table_of(&source_arn).unwrap_or_default().to_owned(),
            change,
            committed_at: milliseconds.and_then(|at| Timestamp::from_millisecond(at).ok()).unwrap_or_default(),
            keys: keys.read().ok().flatten().unwrap_or_default(),
            sequence: sequence_number,
            failures,
        })
    }

    /// Returns the id of the record's failure.
    #[must_use]
    pub fn id(&self) -> FailureId {
        FailureId::derive(self.committed_at, &[&self.table, &self.sequence])
    }

    /// Returns the failure to list. `None` if the record names no table.
    #[must_use]
    pub fn failed(self, reason: &str, failed_at: Timestamp) -> Option<SourceFailure> {
        let id = self.id();
        let Self { table, change, committed_at, keys, failures, .. } = self;
        let failures = failures.saturating_add(1);
        let reason = clip(reason, MAX_REASON);
        (!table.is_empty()).then_some(SourceFailure {
            id,
            table,
            reason,
            keys,
            change,
            committed_at,
            failed_at,
            failures,
        })
    }
}

/// Returns a record that notes how often it has failed. `None` if it is not an object.
#[must_use]
pub fn with_failures(record: &str, failures: u32) -> Option<Box<RawValue>> {
    let rest = record.trim_start().strip_prefix('{')?;
    // A record that was sent again before has the field already, and only the first one counts.
    let earlier = serde_json::from_str::<Wire<'_>>(record).map_or(0, |wire| wire.failures);
    let own = format!("\"{FAILURES}\":{earlier},");
    let rest = rest.strip_prefix(own.as_str()).unwrap_or(rest);
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    RawValue::from_string(format!("{{\"{FAILURES}\":{failures}{comma}{rest}")).ok()
}

/// Returns the table's name in `arn:aws:dynamodb:<region>:<account>:table/<name>/stream/<label>`.
#[must_use]
pub fn table_of(arn: &str) -> Option<&str> {
    let (_, rest) = arn.split_once(":table/")?;
    let (table, _) = rest.split_once("/stream/")?;
    Some(table).filter(|table| !table.is_empty())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const RECORD: &str = r#"{"eventID": "1", "eventName": "MODIFY",
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-11-21T10:00:00.000",
        "dynamodb": {"ApproximateCreationDateTime": 1795244140.5, "Keys": {"id": {"S": "o1"}, "n": {"N": "12345678901234567890"}},
            "NewImage": {"id": {"S": "o1"}, "secret": {"S": "x"}}, "SequenceNumber": "400"}}"#;

    fn outline() -> Outline {
        Outline::read(RECORD).unwrap()
    }

    #[test]
    fn a_failure_has_the_key_of_the_item_and_no_other_value() {
        let failed_at = Timestamp::from_second(1_795_244_200).unwrap();
        let failure = outline().failed("no reason", failed_at).unwrap();
        assert_eq!(serde_json::to_string(&failure.keys).unwrap(), r#"{"id":"o1","n":12345678901234567890}"#);
        assert_eq!((failure.table.as_str(), failure.change, failure.failures), ("orders", Some(ChangeKind::Modify), 1));
        assert_eq!(failure.committed_at.to_string(), "2026-11-21T06:55:40.5Z");
        assert_eq!(failure.id.timestamp(), failure.committed_at);
        assert_eq!(failure.id, outline().id(), "it is derived");
    }

    #[test]
    fn a_record_counts_how_often_it_failed() {
        let once = with_failures(RECORD, 1).unwrap();
        assert_eq!(Outline::read(once.get()).unwrap(), Outline { failures: 1, ..outline() });
        let twice = with_failures(once.get(), 2).unwrap();
        assert_eq!(Outline::read(twice.get()).unwrap().failures, 2);
        assert_eq!(twice.get().matches(FAILURES).count(), 1);
        assert_eq!(outline().failed("", Timestamp::UNIX_EPOCH).unwrap().failures, 1);
        let again = Outline::read(twice.get()).unwrap().failed("", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((again.failures, again.id), (3, outline().id()));
        assert_eq!(with_failures("{}", 1).unwrap().get(), r#"{"dynahookFailures":1}"#);
        assert!(with_failures("[]", 1).is_none());
    }

    #[rstest]
    #[case::empty("{}", "")]
    #[case::other_fields(r#"{"eventSourceARN": "arn:aws:dynamodb:r:1:table/t-1/stream/x", "dynamodb": {"SequenceNumber": "1", "NewImage": 7}}"#, "t-1")]
    #[case::another_service(r#"{"eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:queue"}"#, "")]
    fn an_outline_needs_little(#[case] record: &str, #[case] table: &str) {
        assert_eq!(Outline::read(record).unwrap().table, table);
    }

    #[test]
    fn what_names_no_table_is_not_listed() {
        assert!(Outline::read("[]").is_none());
        assert!(Outline::default().failed("", Timestamp::UNIX_EPOCH).is_none());
    }

    #[test]
    fn messages_of_earlier_versions_are_read() {
        let text = r#"{"reason": "no \"id\"", "record": {"eventName": "INSERT"}}"#;
        let message: FailureMessage<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((message.table, message.id, message.failures), (None, None, 1));
        assert_eq!((&*message.reason, message.record.unwrap().get()), ("no \"id\"", r#"{"eventName": "INSERT"}"#));
        let text = r#"{"reason": "no", "record_ref": "failure-1-00"}"#;
        assert_eq!(
            serde_json::from_str::<FailureMessage<'_>>(text).unwrap().record_ref.as_deref(),
            Some("failure-1-00")
        );
    }
}
