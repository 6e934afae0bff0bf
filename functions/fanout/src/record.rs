//! One stream record: from the stream's encoding to a change.

use std::collections::HashMap;

use aws_lambda_events::event::dynamodb::EventRecord;
use domain::source::{Change, Images};
use domain::value::{Map, Value};
use jiff::Timestamp;
use serde::Deserialize;
use serde_dynamo::{AttributeValue, Item};
use serde_json::value::RawValue;

/// The most digits that a sequence number has; with zeros before them texts are in the order of the numbers.
const SEQUENCE_DIGITS: usize = 40;

/// A record that was read.
#[derive(Debug)]
pub struct Record {
    /// The table that changed.
    pub table: String,
    /// What changed.
    pub change: Change,
}

/// Why a record cannot be read. Says names, never values.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not a stream record.
    #[error("not a DynamoDB stream record: {0}")]
    Malformed(String),
    /// It has no id, or one that is empty.
    #[error("the record has no {0}")]
    Missing(&'static str),
    /// The stream does not hold both images.
    #[error("the record has no {0}; the table's stream must hold NEW_AND_OLD_IMAGES")]
    NoImage(&'static str),
    /// A number that is not one.
    #[error("attribute {0:?} holds a number that is not one")]
    Number(String),
    /// Neither of `INSERT`, `MODIFY` and `REMOVE`.
    #[error("the record is of no known kind")]
    Kind,
}

/// Returns the sequence number of a record that perhaps cannot be read otherwise.
#[must_use]
pub fn sequence_number(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Outer {
        dynamodb: Inner,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inner {
        sequence_number: String,
    }
    serde_json::from_str::<Outer>(raw.get()).ok().map(|outer| outer.dynamodb.sequence_number)
}

/// Reads a record.
///
/// # Errors
///
/// If it is not what DynamoDB sends, or lacks an image.
pub fn read(raw: &RawValue) -> Result<Record, RecordError> {
    let record: EventRecord = serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?;
    let arn = record.event_source_arn.as_deref().unwrap_or_default();
    let table = table_of(arn).ok_or(RecordError::Missing("eventSourceARN of a table's stream"))?.to_owned();
    let stream_event_id = Some(record.event_id).filter(|id| !id.is_empty()).ok_or(RecordError::Missing("eventID"))?;
    let seconds = record.change.approximate_creation_date_time.timestamp_millis();
    let at = Timestamp::from_millisecond(seconds).map_err(|_| RecordError::Missing("creation time"))?;
    let old = image(record.change.old_image)?;
    let new = image(record.change.new_image)?;
    let images = match record.event_name.as_str() {
        "INSERT" => Images::Insert(new.ok_or(RecordError::NoImage("NewImage"))?),
        "MODIFY" => {
            Images::Modify(old.ok_or(RecordError::NoImage("OldImage"))?, new.ok_or(RecordError::NoImage("NewImage"))?)
        }
        "REMOVE" => Images::Remove(old.ok_or(RecordError::NoImage("OldImage"))?),
        _ => return Err(RecordError::Kind),
    };
    let sequence = record.change.sequence_number.filter(|digits| !digits.is_empty());
    let sequence = format!("{:0>SEQUENCE_DIGITS$}", sequence.ok_or(RecordError::Missing("SequenceNumber"))?);
    // Only the service itself removes an item as this principal.
    let expired =
        record.user_identity.is_some_and(|who| who.type_ == "Service" && who.principal_id == "dynamodb.amazonaws.com");
    Ok(Record { table, change: Change { stream_event_id, sequence, at, expired, images } })
}

/// Says where the text is not as expected, without the text: the parser's own words may quote a value.
fn malformed(error: &serde_json::Error) -> RecordError {
    RecordError::Malformed(format!("{:?} error at column {}", error.classify(), error.column()))
}

/// Returns the table's name in `arn:aws:dynamodb:<region>:<account>:table/<name>/stream/<label>`.
fn table_of(arn: &str) -> Option<&str> {
    let (_, rest) = arn.split_once(":table/")?;
    let (table, _) = rest.split_once("/stream/")?;
    Some(table).filter(|table| !table.is_empty())
}

/// An item always holds its key, so that an empty image is none.
fn image(item: Item) -> Result<Option<Map>, RecordError> {
    let attributes: HashMap<String, AttributeValue> = item.into_inner();
    let map = attributes.into_iter().map(|(name, value)| Ok((name.clone(), json(&name, value)?)));
    let map = map.collect::<Result<Map, RecordError>>()?;
    Ok(Some(map).filter(|map| !map.is_empty()))
}

/// Returns the JSON form of an attribute: numbers keep their digits, binary is base64, a set is an array in order.
fn json(name: &str, value: AttributeValue) -> Result<Value, RecordError> {
    let number = |digits: String| digits.parse().map(Value::Number).map_err(|_| RecordError::Number(name.to_owned()));
    Ok(match value {
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Bool(value) => Value::Bool(value),
        AttributeValue::N(digits) => number(digits)?,
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::B(bytes) => Value::String(base64(&bytes)),
        AttributeValue::M(map) => {
            let map = map.into_iter().map(|(key, value)| Ok((key, json(name, value)?)));
            Value::Map(map.collect::<Result<_, RecordError>>()?)
        }
        AttributeValue::L(values) => {
            Value::List(values.into_iter().map(|value| json(name, value)).collect::<Result<_, _>>()?)
        }
        // DynamoDB gives the members of a set in no order; the same set must give the same bytes.
        AttributeValue::Ss(mut texts) => {
            texts.sort_unstable();
            Value::List(texts.into_iter().map(Value::String).collect())
        }
        AttributeValue::Ns(mut numbers) => {
            numbers.sort_unstable();
            Value::List(numbers.into_iter().map(number).collect::<Result<_, _>>()?)
        }
        AttributeValue::Bs(mut blobs) => {
            blobs.sort_unstable();
            Value::List(blobs.iter().map(|bytes| Value::String(base64(bytes))).collect())
        }
    })
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests;
