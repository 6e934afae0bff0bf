//! Publishing: events that the table's stream passes to fan-out, each once.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use domain::delivery::KEPT;
use domain::event::Event;
use domain::id::EventId;
use domain::inbound::Earlier;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Events, item, to_json};
use crate::items::{IS_NEW, Item, from_item, is_live, key, live_at, to_item};
use crate::{StoreError, batch, bodies};

/// The kind of published events, the only one that the filter of fan-out's event source mapping lets through.
const PUBLISHED: &str = "published";

/// A deduplication item: what was published, and as which event. Without an event, it records a call that became none.
#[derive(Debug, Serialize, Deserialize)]
struct OnceItem {
    pk: String,
    sk: String,
    v: u8,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<EventId>,
    /// What an unsigned header of the call said about the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said: Option<String>,
    expires_at: i64,
}

/// Returns the key of a deduplication item, from a scope and a name that is unique within it.
fn once_key((scope, id): (&str, &str)) -> (String, String) {
    (format!("ONCE#{scope}"), hex::encode(Sha256::digest(id)))
}

/// Returns a deduplication item; `once` is a scope and a name that is unique within it.
fn once_item(
    once: (&str, &str),
    event: Option<EventId>,
    said: Option<&str>,
    now: Timestamp,
) -> Result<Item, StoreError> {
    let (pk, sk) = once_key(once);
    to_item(&OnceItem {
        pk,
        sk,
        v: 1,
        kind: "once".to_owned(),
        event,
        said: said.map(str::to_owned),
        expires_at: (now + KEPT).as_second(),
    })
}

/// Returns the item that publishes an event.
fn published(event: &Event, now: Timestamp) -> Result<Item, StoreError> {
    item(event, PUBLISHED, bodies::pack(&to_json(event)?)?, None, now + KEPT)
}

/// Returns the write that publishes an event, for a transaction of another table.
pub(crate) fn publication(table: &str, event: &Event, now: Timestamp) -> Result<TransactWriteItem, StoreError> {
    put(Put::builder().table_name(table).set_item(Some(published(event, now)?)))
}

/// Returns the details if a put failed because its condition did not hold.
fn not_new<R>(error: &SdkError<PutItemError, R>) -> Option<&ConditionalCheckFailedException> {
    let PutItemError::ConditionalCheckFailedException(failed) = error.as_service_error()? else { return None };
    Some(failed)
}

fn put(put: aws_sdk_dynamodb::types::builders::PutBuilder) -> Result<TransactWriteItem, StoreError> {
    let put = put.build().map_err(|error| StoreError::inconsistent("a request", error))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

impl Events {
    /// Publishes events, and overwrites what is stored under their ids. Publishing the same event again has no effect.
    ///
    /// # Errors
    ///
    /// If the table is unavailable. Some of the events may have been published.
    pub async fn publish(&self, events: &[Event], now: Timestamp) -> Result<(), StoreError> {
        let items = events.iter().map(|event| published(event, now));
        batch::put(&self.client, &self.table, items.collect::<Result<_, _>>()?).await
    }

    /// Publishes an event unless one with its id exists; several processes may derive the same id. Returns whether this
    /// call published it.
    ///
    /// This uses `PutItem`, because the roles of some callers allow no batched writes, which can also delete.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or refuses the event.
    pub async fn publish_first(&self, event: &Event, now: Timestamp) -> Result<bool, StoreError> {
        let item = published(event, now)?;
        let packed = item.get("zstd").cloned();
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = put.condition_expression(IS_NEW).expression_attribute_values(":live_at", live_at(now));
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(true) };
        let failed = not_new(&error).ok_or_else(|| StoreError::unavailable(&error))?;
        // The SDK repeats a request whose answer was lost. The item that exists is then this very event, time included.
        Ok(failed.item().is_some_and(|first| first.get("zstd") == packed.as_ref()))
    }

    /// Reads, consistently, which of `ids` were seen before within a scope. An id that was not seen in the last 30 days
    /// is absent.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn earlier<'a>(
        &self,
        scope: &str,
        ids: impl IntoIterator<Item = &'a str>,
        now: Timestamp,
    ) -> Result<HashMap<&'a str, Earlier>, StoreError> {
        let keys: HashMap<_, _> = ids.into_iter().map(|id| (once_key((scope, id)), id)).collect();
        let wanted = keys.keys().map(|(pk, sk)| (self.table.clone(), key(pk, sk))).collect();
        let found = batch::get(&self.client, wanted).await?.into_values().flatten();
        let read = found.filter(|item| is_live(item, now)).map(|item| {
            let OnceItem { pk, sk, event, said, .. } = from_item(item)?;
            Ok(keys.get(&(pk, sk)).map(|id| (*id, Earlier { event, said })))
        });
        read.filter_map(Result::transpose).collect()
    }

    /// Publishes an event once in 30 days for each `once`, which is a scope and a name within it. Returns the id of the
    /// event, or that of the first one if there was one.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn publish_once(&self, event: &Event, once: (&str, &str), now: Timestamp) -> Result<EventId, StoreError> {
        let published = self.publish_call(event, once, None, now).await?;
        published.ok_or_else(|| StoreError::inconsistent(once.0, "its deduplication item names no event"))
    }

    /// Publishes an inbound call, once for the same signed bytes. `said` is what an unsigned header of the call says
    /// about it.
    ///
    /// Returns the id of the event, also if an earlier call published it. Returns `None` if the same signed bytes came
    /// before with another `said` and became no event then.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn publish_call(
        &self,
        event: &Event,
        once: (&str, &str),
        said: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<EventId>, StoreError> {
        let once = Put::builder()
            .table_name(&self.table)
            .set_item(Some(once_item(once, Some(event.id), said, now)?))
            .expression_attribute_values(":live_at", live_at(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let once = match said {
            // A call that became no event may be published when it is sent again, because the webhook may accept its
            // type by then; but only with the `said` of the first time.
            Some(said) => once
                .condition_expression(format!("{IS_NEW} OR (attribute_not_exists(#event) AND said = :said)"))
                .expression_attribute_names("#event", "event")
                .expression_attribute_values(":said", AttributeValue::S(said.to_owned())),
            None => once.condition_expression(IS_NEW),
        };
        let request = self.client.transact_write_items().transact_items(put(once)?);
        let request = request.transact_items(publication(&self.table, event, now)?);
        let Err(error) = request.send().await else { return Ok(Some(event.id)) };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
            return Err(StoreError::unavailable(&error));
        };
        match cancelled.cancellation_reasons().first().and_then(|reason| reason.item.clone()) {
            Some(first) => Ok(from_item::<OnceItem>(first)?.event),
            // Two calls ran at once and the other one wins. This one fails, so its sender repeats it.
            None => Err(StoreError::unavailable(&error)),
        }
    }

    /// Records the unsigned `said` of a verified call that became no event, unless the same signed bytes came before.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn note_call(&self, once: (&str, &str), said: &str, now: Timestamp) -> Result<(), StoreError> {
        let put =
            self.client.put_item().table_name(&self.table).set_item(Some(once_item(once, None, Some(said), now)?));
        let put = put.condition_expression(IS_NEW).expression_attribute_values(":live_at", live_at(now));
        match put.send().await {
            Err(error) if not_new(&error).is_none() => Err(StoreError::unavailable(&error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
