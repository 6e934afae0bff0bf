//! Published events, in the Events table: its stream hands them to fan-out.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use domain::delivery::KEPT;
use domain::event::EventType;
use domain::id::EventId;
use domain::inbound::Published;
use domain::tenant::TenantId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::StoreError;
use crate::items::{from_item, to_item};

/// Published events.
#[derive(Debug, Clone)]
pub struct Events {
    client: Client,
    table: String,
}

/// Fan-out reads these attributes from the stream: renaming one is a migration.
#[derive(Debug, Serialize)]
struct EventItem<'a> {
    pk: String,
    sk: &'a str,
    v: u8,
    /// The stream mapping lets only `published` through.
    kind: &'a str,
    event: EventId,
    tenant: &'a TenantId,
    event_type: &'a EventType,
    at: i64,
    entity_id: &'a str,
    collection: &'a str,
    /// JSON text: numbers keep their digits.
    data: String,
    expires_at: i64,
}

/// That something was published, and as which event.
#[derive(Debug, Serialize, Deserialize)]
struct OnceItem {
    pk: String,
    sk: String,
    v: u8,
    kind: String,
    event: EventId,
    expires_at: i64,
}

impl Events {
    pub(crate) fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Publishes an event, once in 30 days for each `once`: a scope, and a name in it. Returns the event's id, that of the
    /// first one if there was one.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn publish(
        &self,
        id: EventId,
        tenant: &TenantId,
        published: &Published,
        once: (&str, &str),
        now: Timestamp,
    ) -> Result<EventId, StoreError> {
        let expires_at = (now + KEPT).as_second();
        let data = serde_json::to_string(&published.data).map_err(|error| StoreError::inconsistent(id, error))?;
        let event = to_item(&EventItem {
            pk: format!("E#{id}"),
            sk: "EVENT",
            v: 1,
            kind: "published",
            event: id,
            tenant,
            event_type: &published.event_type,
            at: now.as_millisecond(),
            entity_id: &published.entity_id,
            collection: &published.collection,
            data,
            expires_at,
        })?;
        let once = to_item(&OnceItem {
            pk: format!("ONCE#{}", once.0),
            sk: hex::encode(Sha256::digest(once.1)),
            v: 1,
            kind: "once".to_owned(),
            event: id,
            expires_at,
        })?;
        let once = Put::builder()
            .table_name(&self.table)
            .set_item(Some(once))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let puts = [once, Put::builder().table_name(&self.table).set_item(Some(event))];
        let mut request = self.client.transact_write_items();
        for put in puts {
            let put = put.build().map_err(|error| StoreError::inconsistent("a request", error))?;
            request = request.transact_items(TransactWriteItem::builder().put(put).build());
        }
        let Err(error) = request.send().await else { return Ok(id) };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
            return Err(StoreError::unavailable(&error));
        };
        match cancelled.cancellation_reasons().first().and_then(|reason| reason.item.clone()) {
            Some(first) => Ok(from_item::<OnceItem>(first)?.event),
            // Two at once: the other one wins, and this one comes again.
            None => Err(StoreError::unavailable(&error)),
        }
    }
}
