//! The Events table: published events, whose stream wakes fan-out, and the archive of all that happened.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use aws_smithy_async::future::pagination_stream::PaginationStream;
use domain::delivery::KEPT;
use domain::event::{Event, EventType};
use domain::id::EventId;
use domain::message::Body;
use domain::tenant::TenantId;
use futures::future::join_all;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bodies::{self, Bodies, CHUNK_BYTES};
use crate::items::{Item, from_item, key, text, to_item};
use crate::{StoreError, batch};

/// Over how many partitions the events of a tenant and a day spread.
const SHARDS: u8 = 4;

/// How many events a page looks at, at most: it may be short, or empty, and still not the last one.
const MAX_LOOKED_AT: usize = 1000;

/// How many bytes of JSON the events of a page take, at most, unless a single one takes more. A function answers with 6 MB, as a
/// text in JSON: quotation marks and backslashes take twice as much there.
const MAX_PAGE_BYTES: usize = 5 * 1024 * 1024 / 2;

/// The Events table.
#[derive(Debug, Clone)]
pub struct Events {
    client: Client,
    table: String,
    bodies: Bodies,
}

/// The kind that the stream mapping lets through.
const PUBLISHED: &str = "published";
const ARCHIVED: &str = "archived";

/// Fan-out reads `zstd` from the stream: renaming it is a migration.
#[derive(Debug, Serialize, Deserialize)]
struct EventItem {
    pk: String,
    sk: String,
    v: u8,
    kind: String,
    event_type: EventType,
    /// The event as JSON, packed; this or `body`.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    zstd: Vec<u8>,
    /// Where the packed event is, if it does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
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

/// Some of a tenant's events.
#[derive(Debug)]
pub struct EventPage {
    /// The newest first.
    pub events: Vec<Event>,
    /// Where the next page starts, if there is one: below this id.
    pub next: Option<EventId>,
}

/// Which events a page is of.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The oldest, inclusive.
    pub from: Timestamp,
    /// The newest, exclusive.
    pub to: Timestamp,
    /// Only those below this id.
    pub below: Option<EventId>,
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

/// Reads a packed event, as it stands in an item.
///
/// # Errors
///
/// What of it is not as it was written.
pub fn unpack(zstd: &[u8]) -> Result<Event, String> {
    parse(&bodies::unpack(zstd)?)
}

/// Says where an event is not as it was written, without a value of it.
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

fn put(put: aws_sdk_dynamodb::types::builders::PutBuilder) -> Result<TransactWriteItem, StoreError> {
    let put = put.build().map_err(|error| StoreError::inconsistent("a request", error))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

impl Events {
    pub(crate) fn new(client: Client, table: String) -> Self {
        let bodies = Bodies::new(client.clone(), table.clone());
        Self { client, table, bodies }
    }

    /// Publishes events, each whatever was there under its id: the same event again changes nothing, and wakes nobody.
    ///
    /// # Errors
    ///
    /// If the table is unavailable. Some may be published then.
    pub async fn publish(&self, events: &[Event], now: Timestamp) -> Result<(), StoreError> {
        let items = events.iter().map(|event| item(event, PUBLISHED, pack(event)?.1, None, now + KEPT));
        batch::put(&self.client, &self.table, items.collect::<Result<_, _>>()?).await
    }

    /// Publishes an event, once in 30 days for each `once`: a scope, and a name in it. Returns the event's id, that of the
    /// first one if there was one.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn publish_once(&self, event: &Event, once: (&str, &str), now: Timestamp) -> Result<EventId, StoreError> {
        let once = to_item(&OnceItem {
            pk: format!("ONCE#{}", once.0),
            sk: hex::encode(Sha256::digest(once.1)),
            v: 1,
            kind: "once".to_owned(),
            event: event.id,
            expires_at: (now + KEPT).as_second(),
        })?;
        let once = Put::builder()
            .table_name(&self.table)
            .set_item(Some(once))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = self.client.transact_write_items().transact_items(put(once)?);
        let request = request.transact_items(publication(&self.table, event, now)?);
        let Err(error) = request.send().await else { return Ok(event.id) };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
            return Err(StoreError::unavailable(&error));
        };
        match cancelled.cancellation_reasons().first().and_then(|reason| reason.item.clone()) {
            Some(first) => Ok(from_item::<OnceItem>(first)?.event),
            // Two at once: the other one wins, and this one comes again.
            None => Err(StoreError::unavailable(&error)),
        }
    }

    /// Keeps events that came from a table, to be looked at and sent again, until they expire.
    ///
    /// # Errors
    ///
    /// If the table is unavailable. Some may be kept then; keeping them again changes nothing.
    pub async fn archive(&self, events: &[&Event], now: Timestamp, expires_at: Timestamp) -> Result<(), StoreError> {
        let mut items = Vec::with_capacity(events.len());
        for event in events {
            let (json, packed) = pack(event)?;
            items.push(if packed.len() <= CHUNK_BYTES {
                item(event, ARCHIVED, packed, None, expires_at)?
            } else {
                // A body is kept so long after `now`, and no shorter than what names it.
                let kept = now.max(expires_at - KEPT);
                match self.bodies.carry(&event.id.to_string(), &json, 0, kept).await? {
                    Body::Stored(body) => item(event, ARCHIVED, Vec::new(), Some(body), expires_at)?,
                    Body::Inline(_) | Body::Failed(_) => item(event, ARCHIVED, packed, None, expires_at)?,
                }
            });
        }
        batch::put(&self.client, &self.table, items).await
    }

    /// Returns an event of the tenant, or `None` if the tenant has none with that id, or it has expired.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<Event>, StoreError> {
        let (pk, sk) = key_of(tenant, id);
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(&pk, &sk))).consistent_read(true);
        match get.send().await.map_err(|error| StoreError::unavailable(&error))?.item {
            Some(item) => self.read(item).await.map(Some),
            None => Ok(None),
        }
    }

    async fn read(&self, item: Item) -> Result<Event, StoreError> {
        Ok(self.read_sized(item).await?.0)
    }

    /// Returns how many bytes it takes as JSON, too.
    async fn read_sized(&self, item: Item) -> Result<(Event, usize), StoreError> {
        let EventItem { sk, zstd, body, .. } = from_item(item)?;
        let json = match body {
            None => bodies::unpack(&zstd).map_err(|why| StoreError::inconsistent(&sk, why))?,
            Some(body) => self.bodies.text(Body::Stored(body)).await?,
        };
        let event = parse(&json).map_err(|why| StoreError::inconsistent(sk, why))?;
        Ok((event, json.len()))
    }

    /// Lists those of the tenant's events that `wanted` says, the newest first: no more than `limit`, nor than an answer may hold.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn list(
        &self,
        tenant: &TenantId,
        range: Range,
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<EventPage, StoreError> {
        let below = match range.below {
            Some(below) if below.timestamp() < range.to => below,
            _ => EventId::from_parts(range.to, 0),
        };
        let from = EventId::from_parts(range.from, 0);
        let (mut events, mut looked_at) = (Vec::new(), 0);
        let (mut room, mut before) = (Room(MAX_PAGE_BYTES), None);
        // DynamoDB refuses a range whose end comes before its start.
        if below.timestamp() <= range.from {
            return Ok(EventPage { events, next: None });
        }
        let mut day = day(below.timestamp());
        while day >= self::day(range.from) {
            let mut shards =
                Merge::start((0..SHARDS).map(|shard| self.query(&partition(tenant, day, shard), from, below))).await?;
            while let Some(item) = shards.next().await? {
                looked_at += 1;
                let (event, bytes) = match self.read_sized(item).await {
                    // Its body has expired a moment before it.
                    Err(StoreError::Missing { .. }) => continue,
                    event => event?,
                };
                let id = event.id;
                if wanted(&event) {
                    if !room.take(bytes) {
                        return Ok(EventPage { events, next: before });
                    }
                    events.push(event);
                }
                before = Some(id);
                if events.len() == limit || looked_at == MAX_LOOKED_AT {
                    return Ok(EventPage { events, next: Some(id) });
                }
            }
            let Ok(yesterday) = day.yesterday() else { break };
            day = yesterday;
        }
        Ok(EventPage { events, next: None })
    }

    fn query(&self, pk: &str, from: EventId, below: EventId) -> Items {
        // Between takes both ends in; nothing has the id below the first.
        let query = self.client.query().table_name(&self.table).scan_index_forward(false);
        let query = query
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :below")
            .expression_attribute_values(":pk", text(pk))
            .expression_attribute_values(":from", text(from.to_string()))
            .expression_attribute_values(":below", text(just_below(below)));
        query.into_paginator().items().send()
    }
}

/// What is left of a page.
struct Room(usize);

impl Room {
    /// Takes so much, if there is as much; and whatever it is if it is the first.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.0 || self.0 == MAX_PAGE_BYTES;
        if fits {
            self.0 = self.0.saturating_sub(bytes.max(1));
        }
        fits
    }
}

/// Returns a text that stands between the id and whatever comes before it.
fn just_below(id: EventId) -> String {
    let mut text = id.to_string();
    // The last character has one before it, or is the first of all: then what is shorter comes before.
    match text.pop() {
        Some(last) if last > '0' => {
            text.push(char::from_u32(u32::from(last) - 1).unwrap_or('0'));
            text.push('~');
        }
        _ => {}
    }
    text
}

type Items = PaginationStream<Result<Item, SdkError<QueryError>>>;

/// Several descending streams as one.
struct Merge(Vec<(Option<Item>, Items)>);

impl Merge {
    async fn start(shards: impl Iterator<Item = Items>) -> Result<Self, StoreError> {
        let heads = shards.map(|mut items| async move { Ok((pull(&mut items).await?, items)) });
        Ok(Self(join_all(heads).await.into_iter().collect::<Result<_, StoreError>>()?))
    }

    async fn next(&mut self) -> Result<Option<Item>, StoreError> {
        fn id(head: Option<&Item>) -> Option<&str> {
            head.and_then(|item| item.get("sk")?.as_s().ok()).map(String::as_str)
        }
        let newest = self.0.iter_mut().max_by(|(one, _), (other, _)| id(one.as_ref()).cmp(&id(other.as_ref())));
        let Some((head, items)) = newest else { return Ok(None) };
        let found = head.take();
        if found.is_some() {
            *head = pull(items).await?;
        }
        Ok(found)
    }
}

async fn pull(items: &mut Items) -> Result<Option<Item>, StoreError> {
    items.next().await.transpose().map_err(|error| StoreError::unavailable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_what_an_answer_can_hold_and_one_event_whatever_it_is() {
        let takes = |sizes: &[usize]| {
            let mut room = Room(MAX_PAGE_BYTES);
            sizes.iter().map(|bytes| room.take(*bytes)).collect::<Vec<_>>()
        };
        assert_eq!(takes(&[MAX_PAGE_BYTES - 1, 1, 1]), [true, true, false]);
        assert_eq!(takes(&[MAX_PAGE_BYTES * 2, 0]), [true, true]);
        assert_eq!(takes(&[0, MAX_PAGE_BYTES]), [true, false]);
    }

    #[test]
    fn nothing_stands_between_an_id_and_what_is_just_below_it() {
        let at = Timestamp::from_millisecond(1_795_246_444_000).unwrap();
        for number in [0_u128, 1, 31, 32, 1000] {
            let id = EventId::from_parts(at, number);
            assert!(just_below(id) < id.to_string());
            if let Some(before) = number.checked_sub(1) {
                assert!(EventId::from_parts(at, before).to_string() < just_below(id));
            }
        }
    }
}
