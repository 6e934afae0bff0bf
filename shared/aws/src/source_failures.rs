//! Records that could not be turned into events: their list in the Events table, and how they are sent again or
//! dismissed.
//!
//! The whole records are in the queue stream-failures. A queue cannot be listed, so fan-out also writes a row for a
//! record, with the key of its item and the reason, and a total for each table.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use domain::id::FailureId;
use domain::source::failure::{ChangeKind, SourceFailure};
use domain::value::Map;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::batch::MAX_WRITES;
use crate::brief::brief;
use crate::error::is_conflict;
use crate::items::{IS_LIVE, Item, from_item, is_live, json_text, key, live_at, number, text, to_item};
use crate::{Bodies, StoreError};

mod dismiss;
mod dismissals;
mod pass;
mod redrive;

pub use dismiss::Dismissed;
pub use pass::More;
pub use redrive::Redriven;

/// How long a row is kept after its record failed last.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

const TOTAL: &str = "TOTAL";
const RECORD: &str = "RECORD#";

/// The list of the records that could not be turned into events, in the Events table.
#[derive(Debug, Clone)]
pub struct SourceFailures {
    client: Client,
    table: String,
    bodies: Bodies,
}

/// A row of the list. Its `kind` is not one that the table's stream passes to fan-out. Renaming a field is a migration.
#[derive(Debug, Serialize, Deserialize)]
struct FailureItem {
    pk: String,
    sk: String,
    v: u8,
    kind: String,
    source: String,
    reason: String,
    #[serde(with = "json_text")]
    item_key: Map,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<ChangeKind>,
    committed_at: Timestamp,
    failed_at: Timestamp,
    failures: u32,
    expires_at: i64,
}

/// How many records of a table failed since they were last sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureTotal {
    /// Records that failed. Those of a batch that was processed again count again.
    pub failed: u64,
    /// When the first of them failed.
    pub first_at: Timestamp,
    /// When the last of them failed.
    pub last_at: Timestamp,
    /// Why the last of them failed.
    pub last_reason: String,
}

/// A page of the list.
#[derive(Debug)]
pub struct FailurePage {
    /// The total of the table; `None` if no record failed.
    pub total: Option<FailureTotal>,
    /// The failures, latest change first.
    pub failures: Vec<SourceFailure>,
    /// Whether more follow the last one.
    pub more: bool,
}

fn pk(table: &str) -> String {
    format!("FAILURES#{table}")
}

fn sk(id: FailureId) -> String {
    format!("{RECORD}{id}")
}

fn failure_item(failure: &SourceFailure) -> Result<Item, StoreError> {
    let SourceFailure { id, table, reason, keys, change, committed_at, failed_at, failures } = failure.clone();
    to_item(&FailureItem {
        pk: pk(&table),
        sk: sk(id),
        v: 1,
        kind: "failure".to_owned(),
        source: table,
        reason,
        item_key: keys,
        change,
        committed_at,
        failed_at,
        failures,
        expires_at: (failed_at + KEPT).as_second(),
    })
}

fn failure(item: Item) -> Result<SourceFailure, StoreError> {
    let FailureItem { sk, source, reason, item_key, change, committed_at, failed_at, failures, .. } = from_item(item)?;
    let id = sk.strip_prefix(RECORD).and_then(|id| id.parse().ok());
    let id = id.ok_or_else(|| StoreError::inconsistent(&sk, "its key is not that of a failure"))?;
    Ok(SourceFailure { id, table: source, reason, keys: item_key, change, committed_at, failed_at, failures })
}

impl SourceFailures {
    pub(crate) fn new(client: Client, table: String) -> Self {
        let bodies = Bodies::new(client.clone(), table.clone());
        Self { client, table, bodies }
    }

    /// Adds failures to the list. A record that is listed already gets the latest reason.
    ///
    /// # Errors
    ///
    /// If the table does not answer in time or takes only a part. Nothing is repeated: a shard waits for this.
    pub async fn list(&self, failures: &[SourceFailure]) -> Result<(), StoreError> {
        let items: BTreeMap<_, _> = failures.iter().map(|failure| ((&failure.table, failure.id), failure)).collect();
        let writes = items.into_values().map(|failure| {
            let put = PutRequest::builder().set_item(Some(failure_item(failure)?)).build();
            let put = put.map_err(|error| StoreError::inconsistent("a request", error))?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let writes = writes.collect::<Result<Vec<_>, StoreError>>()?;
        for chunk in writes.chunks(MAX_WRITES) {
            let call = self.client.batch_write_item().request_items(&self.table, chunk.to_vec());
            let answer = call.customize().config_override(brief()).send().await;
            let answer = answer.map_err(|error| StoreError::unavailable(&error))?;
            if answer.unprocessed_items.is_some_and(|left| !left.is_empty()) {
                return Err(StoreError::Unavailable("the Events table is throttled".to_owned()));
            }
        }
        Ok(())
    }

    /// Adds to the number of a table's failures.
    ///
    /// # Errors
    ///
    /// If the table does not answer in time.
    pub async fn count(&self, table: &str, failed: u64, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        // A total that has expired counts nothing, even if DynamoDB has not deleted it yet.
        for (set, condition, zero) in [
            (
                "first_at = if_not_exists(first_at, :now), failed = if_not_exists(failed, :zero) + :failed",
                IS_LIVE,
                true,
            ),
            ("first_at = :now, failed = :failed", "expires_at <= :live_at", false),
        ] {
            let update = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key(&pk(table), TOTAL)))
                .update_expression(format!(
                    "SET {set}, last_at = :now, last_reason = :reason, v = :v, kind = :kind, expires_at = :expires_at"
                ))
                .condition_expression(condition)
                .expression_attribute_values(":now", text(now.to_string()))
                .expression_attribute_values(":failed", number(failed))
                .expression_attribute_values(":reason", text(reason))
                .expression_attribute_values(":v", number(1))
                .expression_attribute_values(":kind", text("failure"))
                .expression_attribute_values(":expires_at", number((now + KEPT).as_second()))
                .expression_attribute_values(":live_at", live_at(now));
            let update = if zero { update.expression_attribute_values(":zero", number(0)) } else { update };
            match update.customize().config_override(brief()).send().await {
                Ok(_) => return Ok(()),
                Err(error) if error.as_service_error().is_some_and(is_conflict) => {}
                Err(error) => return Err(StoreError::unavailable(&error)),
            }
        }
        Err(StoreError::Conflict { key: pk(table) })
    }

    /// Lists failures of a table, latest change first, starting after `after`.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn page(
        &self,
        table: &str,
        after: Option<FailureId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<FailurePage, StoreError> {
        let end = after.map_or_else(|| "RECORD$".to_owned(), sk);
        let query = self.client.query().table_name(&self.table).consistent_read(true).scan_index_forward(false);
        let query = query
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :end")
            .expression_attribute_values(":pk", text(pk(table)))
            .expression_attribute_values(":from", text(RECORD))
            .expression_attribute_values(":end", text(&end))
            .filter_expression(IS_LIVE)
            .expression_attribute_values(":live_at", live_at(now));
        let mut pages = query.into_paginator().items().send();
        let mut page = FailurePage { total: self.total(table, now).await?, failures: Vec::new(), more: false };
        while let Some(item) = pages.next().await {
            let failure = failure(item.map_err(|error| StoreError::unavailable(&error))?)?;
            if Some(failure.id) == after {
                continue;
            }
            if page.failures.len() == limit {
                page.more = true;
                break;
            }
            page.failures.push(failure);
        }
        Ok(page)
    }

    async fn total(&self, table: &str, now: Timestamp) -> Result<Option<FailureTotal>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(&pk(table), TOTAL)));
        let item = get.consistent_read(true).send().await.map_err(|error| StoreError::unavailable(&error))?.item;
        item.filter(|item| is_live(item, now)).map(from_item).transpose()
    }
}

#[cfg(test)]
mod tests {
    use domain::source::failure::Outline;

    use super::*;

    #[test]
    fn a_row_is_what_was_written() {
        let record = r#"{"eventName": "REMOVE", "eventSourceARN": "arn:aws:dynamodb:r:1:table/orders/stream/x", "dynamodb":
            {"ApproximateCreationDateTime": 1795244140, "Keys": {"id": {"N": "12345678901234567890"}}, "SequenceNumber": "400"}}"#;
        let listed = Outline::read(record).unwrap().failed("no", Timestamp::UNIX_EPOCH).unwrap();
        let item = failure_item(&listed).unwrap();
        assert_eq!((item.get("pk"), item.get("kind")), (Some(&text("FAILURES#orders")), Some(&text("failure"))));
        assert_eq!(failure(item).unwrap(), listed);
    }
}
