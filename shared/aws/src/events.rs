//! The Events table: published events, which its stream passes to fan-out, the archive of tables' events, and stored
//! bodies.

use std::borrow::Cow;

use aws_sdk_dynamodb::Client;
use domain::access::tenant::TenantId;
use domain::delivery::message::{Body, MAX_INLINE_BYTES, Message};
use domain::delivery::redelivery::Refusal;
use domain::event::Event;
use domain::event::state::StateKey;
use domain::event::types::EventType;
use domain::id::EventId;
use domain::webhook::Webhook;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::bodies::{self, Bodies};
use crate::items::{Item, from_item, is_live, key, to_item};

mod archive;
mod calls;
mod list;
mod merge;
mod packs;
mod publish;

pub use archive::Archiving;
pub use calls::CallPage;
pub use list::{EventPage, Range};
pub(crate) use publish::publication;

/// Over how many partitions the rows of a tenant and a day are spread.
const SHARDS: u8 = 4;

/// The Events table.
#[derive(Debug, Clone)]
pub struct Events {
    client: Client,
    table: String,
    bodies: Bodies,
}

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

fn to_json(event: &Event) -> Result<String, StoreError> {
    serde_json::to_string(event).map_err(|error| StoreError::inconsistent(event.id, error))
}

/// Returns the row of an event.
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

impl Events {
    pub(crate) fn new(client: Client, table: String) -> Self {
        let bodies = Bodies::new(client.clone(), table.clone());
        Self { client, table, bodies }
    }

    /// Returns an event of the tenant, or `None` if the tenant has none with that id, or it has expired. It may have a
    /// row of its own or be in a pack.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn event(&self, tenant: &TenantId, id: EventId, now: Timestamp) -> Result<Option<Event>, StoreError> {
        let (pk, sk) = key_of(tenant, id);
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(&pk, &sk))).consistent_read(true);
        match get.send().await.map_err(|error| StoreError::unavailable(&error))?.item {
            Some(item) if is_live(&item, now) => Ok(Some(self.read(item, now).await?.0)),
            Some(_) | None => self.packed(tenant, id, now).await,
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

    /// Returns the event of a row, and its size as JSON in bytes.
    async fn read(&self, item: Item, now: Timestamp) -> Result<(Event, usize), StoreError> {
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
            let json = to_json(&draft.event(id, "acme".parse().unwrap(), None, at)).unwrap();
            let packed = bodies::pack(&json).unwrap();
            assert!(packed.len() <= CHUNK_BYTES, "{} bytes of {characters:?} are {}", json.len(), packed.len());
        }
    }
}
