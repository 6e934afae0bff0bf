//! Packs: events of a tenant that a batch archives together, compressed as one item.
//!
//! A pack's sort key starts with its last id, and its events are at most [`MAX_SPAN`] apart. A range of ids is therefore
//! in the packs from the start of the range to `MAX_SPAN` after its end. The same events make the same item. After a
//! retry that splits a batch in another way, an event is in two packs; readers show it once.

use std::ops::Range;

use domain::access::tenant::TenantId;
use domain::event::Event;
use domain::id::EventId;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Events, parse};
use crate::StoreError;
use crate::bodies::{self, CHUNK_BYTES};
use crate::items::{IS_LIVE, Item, from_item, live_at, text, to_item};

/// Over how many partitions the packs of a tenant are spread.
pub(super) const SHARDS: u8 = 8;

/// How far apart the events of a pack are at most. DynamoDB's streams give times in whole seconds.
const MAX_SPAN: SignedDuration = SignedDuration::from_secs(2);

/// How many bytes of JSON the events of a pack have at most. Reading one event reads its whole pack.
const MAX_BYTES: usize = 512 * 1024;

/// The level of zstd. Compared with level 3, new packs of full batches need 11 to 15 % fewer units and bytes, which is a
/// hundred times the price of the longer compression.
const LEVEL: i32 = 9;

/// How many of an id's last characters are its tag.
const TAG: usize = 4;

/// A pack. Its `kind` is not one that the table's stream passes to fan-out. Renaming a field is a migration.
#[derive(Debug, Serialize, Deserialize)]
struct PackItem {
    pk: String,
    /// The last id, and a hash of all ids.
    sk: String,
    v: u8,
    kind: String,
    /// The tags of all ids, one after another. A query for an id filters by its tag, so that DynamoDB returns the one
    /// pack and not all of the same seconds. A tag may also match by chance.
    tags: String,
    /// The events as lines of JSON, in the order of their ids, compressed.
    #[serde(with = "serde_bytes")]
    zstd: Vec<u8>,
    expires_at: i64,
}

/// An event to archive, and its JSON.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) event: &'a Event,
    pub(super) json: String,
}

/// Divides events into the packs in which they are stored.
pub(super) fn divide(mut entries: Vec<Entry<'_>>) -> Vec<Vec<Entry<'_>>> {
    entries.sort_by(|a, b| (&a.event.tenant, a.event.id).cmp(&(&b.event.tenant, b.event.id)));
    let mut packs: Vec<Vec<Entry<'_>>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.json.len() + 1;
        let fits = |first: &Entry<'_>| {
            first.event.tenant == entry.event.tenant
                && entry.event.id.timestamp().duration_since(first.event.id.timestamp()) <= MAX_SPAN
                && bytes <= MAX_BYTES
        };
        if let Some(pack) = packs.last_mut().filter(|pack| pack.first().is_some_and(fits)) {
            pack.push(entry);
        } else {
            bytes = entry.json.len() + 1;
            packs.push(vec![entry]);
        }
    }
    packs
}

/// Returns the item of a pack, or `None` if it would be too large. The events are of one tenant and ordered by id.
pub(super) fn item(entries: &[Entry<'_>], expires_at: Timestamp) -> Result<Option<Item>, StoreError> {
    let Some(last) = entries.last() else { return Ok(None) };
    let lines: Vec<&str> = entries.iter().map(|entry| entry.json.as_str()).collect();
    let zstd = bodies::compress(&lines.join("\n"), LEVEL)?;
    if zstd.len() > CHUNK_BYTES {
        return Ok(None);
    }
    let ids: Vec<String> = entries.iter().map(|entry| entry.event.id.to_string()).collect();
    let hash = Sha256::digest(ids.concat());
    let item = to_item(&PackItem {
        pk: partition(&last.event.tenant, hash[0] % SHARDS),
        sk: format!("{}#{}", last.event.id, hex::encode(&hash[..8])),
        v: 1,
        kind: "pack".to_owned(),
        tags: ids.iter().map(|id| tag(id)).collect(),
        zstd,
        expires_at: expires_at.as_second(),
    })?;
    Ok(Some(item))
}

pub(super) fn partition(tenant: &TenantId, shard: u8) -> String {
    format!("PACK#{tenant}#{shard}")
}

fn tag(id: &str) -> &str {
    &id[id.len() - TAG..]
}

/// Returns a text that sorts after the keys of all packs that may contain events until that time.
pub(super) fn end(time: Timestamp) -> String {
    let end = time.checked_add(MAX_SPAN + SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX);
    EventId::from_parts(end, 0).to_string()
}

/// A stored pack.
#[derive(Debug)]
pub(super) struct Pack {
    sk: String,
    /// The last id.
    pub(super) last: EventId,
    zstd: Vec<u8>,
}

impl Pack {
    pub(super) fn read(item: Item) -> Result<Self, StoreError> {
        let PackItem { sk, zstd, .. } = from_item(item)?;
        let last = sk.split('#').next().unwrap_or_default().parse();
        let last = last.map_err(|why| StoreError::inconsistent(&sk, why))?;
        Ok(Self { sk, last, zstd })
    }

    /// Returns an id that no event of the pack is before.
    pub(super) fn start(&self) -> EventId {
        let start = self.last.timestamp().checked_sub(MAX_SPAN).unwrap_or(Timestamp::MIN);
        EventId::from_parts(start, 0)
    }

    /// Returns the lines.
    pub(super) fn text(&self) -> Result<String, StoreError> {
        bodies::unpack(&self.zstd).map_err(|why| self.inconsistent(why))
    }

    /// Returns the id of each line, and where the line is in the text.
    pub(super) fn lines(&self, text: &str) -> Result<Vec<(EventId, Range<usize>)>, StoreError> {
        let mut from = 0;
        let line = |line: &str| {
            let range = from..from + line.len();
            from = range.end + 1;
            let Identified { id } = serde_json::from_str(line).map_err(|_| self.inconsistent("a line has no id"))?;
            Ok((id, range))
        };
        text.split('\n').map(line).collect()
    }

    pub(super) fn parse(&self, line: &str) -> Result<Event, StoreError> {
        parse(line).map_err(|why| self.inconsistent(why))
    }

    pub(super) fn inconsistent(&self, why: impl std::fmt::Display) -> StoreError {
        StoreError::inconsistent(&self.sk, why)
    }

    /// Returns the event with that id, if it is in the pack.
    fn find(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        let (text, name) = (self.text()?, id.to_string());
        let mut lines = text.split('\n').filter(|line| line.contains(&name)).map(|line| self.parse(line));
        lines.find(|event| event.as_ref().map_or(true, |event| event.id == id)).transpose()
    }
}

/// The part of an event's JSON that orders a pack.
#[derive(Deserialize)]
struct Identified {
    id: EventId,
}

impl Events {
    /// Returns an event that is in a pack.
    pub(super) async fn packed(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<Event>, StoreError> {
        let shards = (0..SHARDS).map(|shard| self.packed_in(partition(tenant, shard), id, now));
        Ok(try_join_all(shards).await?.into_iter().flatten().next())
    }

    async fn packed_in(&self, pk: String, id: EventId, now: Timestamp) -> Result<Option<Event>, StoreError> {
        let first = id.to_string();
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", text(pk))
            .expression_attribute_values(":last", text(end(id.timestamp())))
            .filter_expression(format!("{IS_LIVE} AND contains(tags, :tag)"))
            .expression_attribute_values(":live_at", live_at(now))
            .expression_attribute_values(":tag", text(tag(&first)))
            .expression_attribute_values(":first", text(first));
        let mut packs = query.into_paginator().items().send();
        while let Some(item) = packs.next().await {
            let pack = Pack::read(item.map_err(|error| StoreError::unavailable(&error))?)?;
            if let Some(event) = pack.find(id)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use domain::event::published::Draft;
    use domain::value::Value;
    use proptest::prelude::*;

    use super::*;
    use crate::events::to_json;

    /// Returns an event of a tenant: at that many milliseconds, with a text of that length that does not compress.
    fn event((tenant, milliseconds, number, length): (u8, i64, u128, usize)) -> Event {
        let at = Timestamp::from_millisecond(1_795_244_140_000 + milliseconds).unwrap();
        let mut random = number;
        let text = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'#' + u8::try_from((random >> 33) % 90).unwrap())
        });
        let data = [("text".to_owned(), Value::String(text.take(length).collect()))].into();
        let event_type = "order.placed".parse().unwrap();
        let draft = Draft { event_type, entity_id: None, entity_key: None, collection: None, data, old_data: None };
        draft.event(EventId::from_parts(at, number), format!("t{tenant}").parse().unwrap(), None, at)
    }

    fn entries(events: &[Event]) -> Vec<Entry<'_>> {
        events.iter().map(|event| Entry { event, json: to_json(event).unwrap() }).collect()
    }

    fn some_events() -> impl Strategy<Value = Vec<Event>> {
        let number = any::<u128>().prop_map(|number| number >> 48);
        let event =
            (0_u8..3, prop_oneof![Just(0), 0_i64..10_000], number, prop_oneof![15 => 0_usize..50, 1 => Just(200_000)]);
        proptest::collection::vec(event.prop_map(self::event), 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_pack_has_what_was_put_into_it(events in some_events()) {
            let packs = divide(entries(&events));
            let mut read = Vec::new();
            for pack in &packs {
                let (first, last) = (pack[0].event, pack[pack.len() - 1].event);
                prop_assert!(pack.is_sorted_by_key(|entry| entry.event.id));
                prop_assert!(pack.iter().all(|entry| entry.event.tenant == first.tenant));
                prop_assert!(last.id.timestamp().duration_since(first.id.timestamp()) <= MAX_SPAN);
                prop_assert!(pack.len() == 1 || pack.iter().map(|entry| entry.json.len()).sum::<usize>() <= MAX_BYTES);
                let Some(item) = item(pack, Timestamp::UNIX_EPOCH).unwrap() else {
                    read.extend(pack.iter().map(|entry| entry.event.clone()));
                    continue;
                };
                prop_assert!(crate::items::tests::size(&item) < 400 * 1024);
                let stored = Pack::read(item.clone()).unwrap();
                prop_assert!(stored.start() <= first.id && stored.last == last.id);
                prop_assert!(stored.sk < end(first.id.timestamp()) && stored.sk < end(last.id.timestamp()));
                let text = stored.text().unwrap();
                for ((id, range), entry) in stored.lines(&text).unwrap().into_iter().zip(pack) {
                    prop_assert_eq!(id, entry.event.id);
                    prop_assert_eq!(&text[range], &entry.json);
                    prop_assert!(item["tags"].as_s().unwrap().contains(tag(&id.to_string())));
                    read.push(stored.find(id).unwrap().unwrap());
                }
                prop_assert_eq!(stored.find(EventId::from_parts(Timestamp::UNIX_EPOCH, 1)).unwrap(), None);
            }
            let mut events = events;
            events.sort_by(|a, b| (&a.tenant, a.id).cmp(&(&b.tenant, b.id)));
            prop_assert_eq!(read, events);
        }

        /// A batch that comes again overwrites its packs.
        #[test]
        fn the_same_events_make_the_same_items(events in some_events()) {
            let items = |events: &[Event]| {
                let packs = divide(entries(events));
                packs.iter().map(|pack| item(pack, Timestamp::UNIX_EPOCH).unwrap()).collect::<Vec<_>>()
            };
            let mut again = events.clone();
            again.reverse();
            prop_assert_eq!(items(&events), items(&again));
        }
    }

    #[test]
    fn a_pack_that_does_not_compress_may_be_too_large() {
        let events: Vec<_> = (0..5).map(|number| event((0, 0, number, 100_000))).collect();
        let packs = divide(entries(&events));
        assert_eq!(packs.iter().map(Vec::len).collect::<Vec<_>>(), [5]);
        assert!(item(&packs[0], Timestamp::UNIX_EPOCH).unwrap().is_none());
        assert!(item(&packs[0][..2], Timestamp::UNIX_EPOCH).unwrap().is_some());
    }

    #[test]
    fn the_last_time_has_an_end_too() {
        assert_eq!(end(Timestamp::MAX), EventId::from_parts(Timestamp::MAX, 0).to_string());
    }
}
