//! The Events table: published events, which its stream passes to fan-out, the archive of tables' events, and stored
//! bodies.

use std::borrow::Cow;
use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use domain::access::tenant::TenantId;
use domain::delivery::KEPT;
use domain::delivery::message::{Body, MAX_INLINE_BYTES, Message};
use domain::delivery::redelivery::Refusal;
use domain::event::Event;
use domain::event::state::StateKey;
use domain::event::types::EventType;
use domain::id::EventId;
use domain::inbound::Earlier;
use domain::webhook::Webhook;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bodies::{self, Bodies};
use crate::items::{IS_NEW, Item, from_item, is_live, key, live_at, to_item};
use crate::{StoreError, batch};

mod archive;
mod calls;
mod list;

pub use archive::Archiving;
pub use calls::CallPage;
pub use list::{EventPage, Range};

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

/// Over how many partitions the events of a tenant and a day are spread.
const SHARDS: u8 = 4;

/// The Events table.
#[derive(Debug, Clone)]
pub struct Events {
    client: Client,
    table: String,
    bodies: Bodies,
}

/// The kind of published events, the only one that the filter of fan-out's event source mapping lets through.
const PUBLISHED: &str = "published";

/// Fan-out reads `zstd` from the stream: renaming it is a migration.
#[derive(Debug, Serialize, Deserialize)]
struct EventItem {
    pk: String,
    sk: String,
    v: u8,
    kind: String,
    event_type: EventType,
    /// The event as JSON, compressed. Empty if `body` is set.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    zstd: Vec<u8>,
    /// The key of the stored body with the event, if it is too large for the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    expires_at: i64,
}

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

fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn partition(tenant: &TenantId, day: Date, shard: u8) -> String {
    format!("T#{tenant}#{day}#{shard}")
}

fn key_of(tenant: &TenantId, id: EventId) -> (String, String) {
    (partition(tenant, day(id.timestamp()), id.shard(SHARDS)), id.to_string())
}

/// Reads a packed event from an item.
///
/// # Errors
///
/// What is wrong with the item, without any value of it.
pub fn unpack(zstd: &[u8]) -> Result<Event, String> {
    parse(&bodies::unpack(zstd)?)
}

/// Returns how many bytes a packed event unpacks to, if its first bytes contain the size.
#[must_use]
pub fn unpacked_bytes(header: &[u8]) -> Option<usize> {
    usize::try_from(zstd::zstd_safe::get_frame_content_size(header).ok()??).ok()
}

/// Parses an event. An error says where the JSON is wrong, without quoting a value.
fn parse(json: &str) -> Result<Event, String> {
    serde_json::from_str(json).map_err(|error| format!("{:?} error at column {}", error.classify(), error.column()))
}

fn pack(event: &Event) -> Result<(String, Vec<u8>), StoreError> {
    let json = serde_json::to_string(event).map_err(|error| StoreError::inconsistent(event.id, error))?;
    let packed = bodies::pack(&json)?;
    Ok((json, packed))
}

fn item(
    event: &Event,
    kind: &str,
    zstd: Vec<u8>,
    body: Option<String>,
    expires_at: Timestamp,
) -> Result<Item, StoreError> {
    let (pk, sk) = key_of(&event.tenant, event.id);
    let event_type = event.event_type.clone();
    let expires_at = expires_at.as_second();
    to_item(&EventItem { pk, sk, v: 2, kind: kind.to_owned(), event_type, zstd, body, expires_at })
}

/// Returns the write that publishes an event, for a transaction of another table.
pub(crate) fn publication(table: &str, event: &Event, now: Timestamp) -> Result<TransactWriteItem, StoreError> {
    let item = item(event, PUBLISHED, pack(event)?.1, None, now + KEPT)?;
    put(Put::builder().table_name(table).set_item(Some(item)))
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
    pub(crate) fn new(client: Client, table: String) -> Self {
        let bodies = Bodies::new(client.clone(), table.clone());
        Self { client, table, bodies }
    }

    /// Publishes events, and overwrites what is stored under their ids. Publishing the same event again has no effect.
    ///
    /// # Errors
    ///
    /// If the table is unavailable. Some of the events may have been published.
    pub async fn publish(&self, events: &[Event], now: Timestamp) -> Result<(), StoreError> {
        let items = events.iter().map(|event| item(event, PUBLISHED, pack(event)?.1, None, now + KEPT));
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
        let item = item(event, PUBLISHED, pack(event)?.1, None, now + KEPT)?;
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

    /// Returns an event of the tenant, or `None` if the tenant has none with that id, or it has expired.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn event(&self, tenant: &TenantId, id: EventId, now: Timestamp) -> Result<Option<Event>, StoreError> {
        let (pk, sk) = key_of(tenant, id);
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(&pk, &sk))).consistent_read(true);
        match get.send().await.map_err(|error| StoreError::unavailable(&error))?.item {
            Some(item) if is_live(&item, now) => self.read(item, now).await.map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// Returns the text of a body, inline or stored.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the body has expired.
    pub async fn body<'a>(&self, body: &'a Body, now: Timestamp) -> Result<Cow<'a, str>, StoreError> {
        self.bodies.text(body, now).await
    }

    /// Renders the body of a message that has none, with the webhook's current settings. `key` names the states of a
    /// published event, as fan-out does.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the event cannot be read. The inner error says why there is no body.
    pub async fn revive(
        &self,
        message: Message,
        webhook: &Webhook,
        key: Option<&StateKey>,
        now: Timestamp,
    ) -> Result<Result<Message, Refusal>, StoreError> {
        let event = match self.event(&message.tenant, message.event, now).await {
            Err(StoreError::Missing { .. }) => None,
            event => event?,
        };
        let Some(event) = event else { return Ok(Err(Refusal::Expired)) };
        let event = event.with_named_states(key);
        let rendering = webhook.settings.rendering();
        let (body, _) = self.bodies.render(&rendering, &event, &message.event_type, MAX_INLINE_BYTES, now).await?;
        if matches!(body, Body::Failed(_)) {
            return Ok(Err(Refusal::Unrendered));
        }
        Ok(Ok(Message { body: Some(body), content_type: rendering.content_type(), ..message }))
    }

    async fn read(&self, item: Item, now: Timestamp) -> Result<Event, StoreError> {
        Ok(self.read_sized(item, now).await?.0)
    }

    /// Returns the event and its size as JSON, in bytes.
    async fn read_sized(&self, item: Item, now: Timestamp) -> Result<(Event, usize), StoreError> {
        let EventItem { sk, zstd, body, .. } = from_item(item)?;
        let json = match body {
            None => bodies::unpack(&zstd).map_err(|why| StoreError::inconsistent(&sk, why))?,
            Some(body) => self.bodies.text(&Body::Stored(body), now).await?.into_owned(),
        };
        let event = parse(&json).map_err(|why| StoreError::inconsistent(sk, why))?;
        Ok((event, json.len()))
    }
}

#[cfg(test)]
mod tests {
    use domain::event::published::Draft;
    use domain::value::Value;

    use super::*;
    use crate::bodies::CHUNK_BYTES;

    /// Every inbound call within the limit fits into an item, however long it is as JSON.
    #[test]
    fn a_call_of_any_characters_fits_into_an_item() {
        let control: Vec<char> = ('\u{1}'..' ').collect();
        let mixed = ['\u{1}', 'b', '\u{1f}', 'd', '\u{5}', 'f', 'é', '\n'];
        for characters in [&['a', 'é', '"', '\\', ' '][..], &control, &mixed] {
            let mut random = 1_u64;
            let mut text = String::new();
            while text.len() < 256 * 1024 - 4 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push(characters[usize::try_from(random >> 33).unwrap() % characters.len()]);
            }
            let data = [("body".to_owned(), Value::String(text))].into();
            let event_type = "inbound.received".parse().unwrap();
            let draft = Draft { event_type, entity_id: None, entity_key: None, collection: None, data, old_data: None };
            let (id, at) = (EventId::from_parts(Timestamp::UNIX_EPOCH, 1), Timestamp::UNIX_EPOCH);
            let (json, packed) = pack(&draft.event(id, "acme".parse().unwrap(), None, at)).unwrap();
            assert!(packed.len() <= CHUNK_BYTES, "{} bytes of {characters:?} are {}", json.len(), packed.len());
        }
    }
}
