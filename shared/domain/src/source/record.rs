//! Parses a stream record into a change.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::table_of;
use super::image::Image;
use super::{Change, Images};

mod quick;
mod wire;

use wire::StreamRecord;

/// The largest number of digits in a sequence number. Padded to it with zeros, sequence numbers sort as text.
const SEQUENCE_DIGITS: usize = 40;

/// A parsed record.
#[derive(Debug)]
pub struct Record {
    /// The table that changed.
    pub table: String,
    /// What changed.
    pub change: Change,
}

/// Why a record cannot be read. Contains names, never values.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not a stream record.
    #[error("not a DynamoDB stream record: {0}")]
    Malformed(String),
    /// A required field is missing or empty.
    #[error("the record has no {0}")]
    Missing(&'static str),
    /// The stream does not contain both images.
    #[error("the record has no {0}; the table's stream must have the view type NEW_AND_OLD_IMAGES")]
    NoImage(&'static str),
    /// An attribute contains an invalid number.
    #[error("attribute {0:?} contains an invalid number")]
    Number(String),
    /// It is neither `INSERT`, `MODIFY` nor `REMOVE`.
    #[error("the record's eventName is not INSERT, MODIFY or REMOVE")]
    Kind,
}

/// Returns the sequence number of a record, even if the rest of it cannot be read.
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

/// Parses a record.
///
/// # Errors
///
/// If it is not what DynamoDB sends, or lacks an image.
pub fn read(raw: &RawValue) -> Result<Record, RecordError> {
    let record = match quick::read(raw) {
        Some(record) => record,
        None => serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?,
    };
    let table =
        table_of(&record.source_arn).ok_or(RecordError::Missing("eventSourceARN of a table's stream"))?.to_owned();
    let stream_event_id = record.event_id.into_owned();
    if stream_event_id.is_empty() {
        return Err(RecordError::Missing("eventID"));
    }
    let StreamRecord { approximate_creation_date_time, new_image, old_image, sequence_number } = record.dynamodb;
    let at = jiff::SignedDuration::try_from_secs_f64(approximate_creation_date_time).ok();
    let at = at.map(|since| since.round(jiff::SignedDurationRound::new().smallest(jiff::Unit::Millisecond)));
    let at =
        at.and_then(|since| Timestamp::from_duration(since.ok()?).ok()).ok_or(RecordError::Missing("creation time"))?;
    let image = |image: Option<Image>| image.unwrap_or_default().read().map_err(RecordError::Number);
    let (old, new) = (image(old_image)?, image(new_image)?);
    let images = match &*record.event_name {
        "INSERT" => Images::Insert(new.ok_or(RecordError::NoImage("NewImage"))?),
        "MODIFY" => {
            Images::Modify(old.ok_or(RecordError::NoImage("OldImage"))?, new.ok_or(RecordError::NoImage("NewImage"))?)
        }
        "REMOVE" => Images::Remove(old.ok_or(RecordError::NoImage("OldImage"))?),
        _ => return Err(RecordError::Kind),
    };
    if sequence_number.is_empty() {
        return Err(RecordError::Missing("SequenceNumber"));
    }
    let sequence = format!("{sequence_number:0>SEQUENCE_DIGITS$}");
    // Only DynamoDB itself removes items as this principal, when they expire.
    let expired =
        record.user_identity.is_some_and(|who| who.r#type == "Service" && who.principal_id == "dynamodb.amazonaws.com");
    Ok(Record { table, change: Change { stream_event_id, sequence, at, expired, images } })
}

/// Returns an error with the position and without the text: the parser's own message may quote a value.
fn malformed(error: &serde_json::Error) -> RecordError {
    RecordError::Malformed(format!("{:?} error at column {}", error.classify(), error.column()))
}

#[cfg(test)]
mod tests;
