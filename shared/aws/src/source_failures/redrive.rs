//! Sends records that failed to fan-out again, after their mapping was changed.
//!
//! A record goes from the queue into an item of the Events table, whose stream passes it to fan-out. So it is processed
//! like every other record: if fan-out is interrupted it is read again, and if it fails again it is a new message.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::delivery::message::Body;
use domain::source::failure::{table_of, with_failures};
use domain::time::Clock;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::pass::{Found, More, Pass, Record};
use super::{SourceFailures, TOTAL, pk, sk};
use crate::bodies::{pack, unpack};
use crate::items::{Item, key, to_item};
use crate::queue::Queue;
use crate::{StoreError, batch};

/// The most records that one call sends again. Fan-out gets them next to published events, which must not wait for
/// long.
const MAX_RECORDS: usize = 2_000;

/// The longest record that is in the item itself, in bytes before it is compressed.
const MAX_INLINE: usize = 100 * 1024;

/// How long the item is kept. Fan-out reads it from the stream, within a day.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 7);

/// The kind of the items, which the filter of the Events table's stream lets through.
const REDRIVEN: &str = "redriven";

/// A record on its way to fan-out, which reads these fields from the stream. Renaming one is a migration.
#[derive(Debug, Serialize, Deserialize)]
struct RedrivenItem {
    pk: String,
    sk: String,
    v: u8,
    kind: String,
    failures: u32,
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    record_zstd: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record_ref: Option<String>,
    expires_at: i64,
}

/// The outcome of sending records again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redriven {
    /// Records that were sent to fan-out.
    pub redriven: usize,
    /// Why the queue may have more of them.
    pub more: Option<More>,
}

impl SourceFailures {
    /// Sends records of a table in the queue to fan-out again, each once, until the queue has no more, many were sent or
    /// `until` is reached. Their rows leave the list, and the total starts again.
    ///
    /// A message is deleted after its record was stored, so none is lost. If that fails, the message is received again
    /// and stored as the same item, of which fan-out reads only the first write.
    ///
    /// # Errors
    ///
    /// If the queue or the table is unavailable. Some records may have been sent.
    pub async fn redrive(
        &self,
        queue: &Queue,
        table: &str,
        until: Timestamp,
        clock: &dyn Clock,
    ) -> Result<Redriven, StoreError> {
        let mut pass = Pass::begin(self, queue, table, until, clock).await?;
        let redriven = self.redrive_some(&mut pass).await;
        let more = pass.end().await;
        let redriven = redriven?;
        Ok(Redriven { redriven, more: more.or((redriven >= MAX_RECORDS).then_some(More::Many)) })
    }

    async fn redrive_some(&self, pass: &mut Pass<'_>) -> Result<usize, StoreError> {
        let (mut redriven, mut seen) = (0, HashMap::new());
        while redriven < MAX_RECORDS {
            let Some(found) = pass.next().await? else { break };
            // A record that was sent a moment ago and failed again would be sent again without end.
            let is_new = |found: &Found| seen.get(&found.id).is_none_or(|failures| found.failures <= *failures);
            let (found, failed_again): (Vec<_>, Vec<_>) = found.into_iter().partition(is_new);
            pass.leave(failed_again);
            seen.extend(found.iter().map(|found| (found.id, found.failures)));
            let now = pass.now();
            let items = try_join_all(found.iter().map(|found| self.redriven_item(found, now))).await?;
            if items.is_empty() {
                continue;
            }
            let mut rows: Vec<_> = found.iter().map(|found| key(&pk(pass.table), &sk(found.id))).collect();
            if redriven == 0 {
                rows.push(key(&pk(pass.table), TOTAL));
            }
            redriven += items.len();
            // The rows first: a record that fails again at once writes its row again.
            batch::delete(&self.client, &self.table, rows).await?;
            batch::put(&self.client, &self.table, items).await?;
            for error in pass.delete(found).await.iter().filter_map(|result| result.as_ref().err()) {
                let table = pass.table;
                tracing::warn!(%error, table, "a message of stream-failures was not deleted; its record is sent once more later");
            }
        }
        Ok(redriven)
    }

    /// Returns the item that passes a record to fan-out.
    async fn redriven_item(&self, found: &Found, now: Timestamp) -> Result<Item, StoreError> {
        let (record_zstd, record_ref) = match &found.record {
            Record::Stored(stored) => (Vec::new(), Some(stored.clone())),
            Record::Inline(record) if record.get().len() <= MAX_INLINE => (pack(record.get())?, None),
            Record::Inline(record) => match self.bodies.carry("failure", record.get(), 0, now).await? {
                Body::Stored(stored) => (Vec::new(), Some(stored)),
                Body::Inline(_) | Body::Failed(_) => (pack(record.get())?, None),
            },
        };
        to_item(&RedrivenItem {
            pk: format!("REDRIVEN#{}", found.received.id),
            sk: "RECORD".to_owned(),
            v: 1,
            kind: REDRIVEN.to_owned(),
            failures: found.failures,
            record_zstd,
            record_ref,
            expires_at: (now + KEPT).as_second(),
        })
    }
}

/// A stream record of a [`RedrivenItem`].
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "eventSourceARN", borrow)]
    source_arn: Cow<'a, str>,
    #[serde(borrow)]
    dynamodb: StreamRecord<'a>,
}

#[derive(Deserialize)]
struct StreamRecord<'a> {
    #[serde(rename = "NewImage", borrow)]
    image: Image<'a>,
}

#[derive(Deserialize)]
struct Image<'a> {
    #[serde(borrow)]
    kind: Typed<'a>,
    #[serde(borrow)]
    failures: Typed<'a>,
    #[serde(default, borrow)]
    record_zstd: Option<Typed<'a>>,
    #[serde(default, borrow)]
    record_ref: Option<Typed<'a>>,
}

/// A value of DynamoDB with its type.
#[derive(Deserialize)]
enum Typed<'a> {
    #[serde(rename = "S", alias = "N", alias = "B", borrow)]
    Text(Cow<'a, str>),
}

impl SourceFailures {
    /// Returns the record that was sent again, if `record` is the write of its item. The record notes how often it
    /// failed.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or the record is no longer stored.
    pub async fn redriven(&self, record: &RawValue, now: Timestamp) -> Result<Option<Box<RawValue>>, StoreError> {
        // Almost every record is another one, and is not parsed for this.
        if !record.get().contains(REDRIVEN) {
            return Ok(None);
        }
        let Ok(Wire { source_arn, dynamodb: StreamRecord { image } }) = serde_json::from_str(record.get()) else {
            return Ok(None);
        };
        let Image { kind: Typed::Text(kind), failures: Typed::Text(failures), record_zstd, record_ref } = image;
        // An item of another table may look the same, and must not pass for a record of any table.
        if kind != REDRIVEN || table_of(&source_arn) != Some(self.table.as_str()) {
            return Ok(None);
        }
        let invalid = |why: &str| StoreError::inconsistent("a record that was sent again", why);
        let text = match (record_zstd, record_ref) {
            (Some(Typed::Text(packed)), _) => {
                let packed = STANDARD.decode(&*packed).map_err(|_| invalid("it is not base64"))?;
                unpack(&packed).map_err(|why| invalid(&why))?
            }
            (None, Some(Typed::Text(stored))) => {
                self.bodies.text(&Body::Stored(stored.into_owned()), now).await?.into_owned()
            }
            (None, None) => return Err(invalid("it is empty")),
        };
        let failures = failures.parse().map_err(|_| invalid("it has no number of failures"))?;
        with_failures(&text, failures).map(Some).ok_or_else(|| invalid("it is not an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_is_read_from_the_write_of_its_item() {
        let config = aws_sdk_dynamodb::Config::builder().behavior_version_latest().build();
        let failures = SourceFailures::new(aws_sdk_dynamodb::Client::from_conf(config), "events".to_owned());
        let record = r#"{"eventID": "1", "text": "é"}"#;
        let packed = STANDARD.encode(pack(record).unwrap());
        let write = |table: &str, kind: &str| {
            let image = format!(
                r#"{{"kind": {{"S": "{kind}"}}, "failures": {{"N": "2"}}, "record_zstd": {{"B": "{packed}"}}}}"#
            );
            let arn = format!("arn:aws:dynamodb:us-east-1:123456789012:table/{table}/stream/2026");
            let text = format!(r#"{{"eventSourceARN": "{arn}", "dynamodb": {{"NewImage": {image}}}}}"#);
            RawValue::from_string(text).unwrap()
        };
        let read = async |table: &str, kind: &str| {
            failures.redriven(&write(table, kind), Timestamp::UNIX_EPOCH).await.unwrap()
        };
        let expected = r#"{"dynahookFailures":2,"eventID": "1", "text": "é"}"#;
        assert_eq!(read("events", "redriven").await.unwrap().get(), expected);
        for (table, kind) in [("events", "published"), ("events", "not redriven"), ("orders", "redriven")] {
            assert!(read(table, kind).await.is_none(), "{kind} of {table}");
        }
    }
}
