//! The archive: events of tables, kept so that clients can look at them and send them again. No delivery waits for it.
//!
//! Events that a batch archives together are stored in packs ([`packs`]). An event that is alone, or too large for a
//! pack, has a row of its own.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use domain::delivery::KEPT;
use domain::delivery::message::Body;
use domain::event::Event;
use domain::id::EventId;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::packs::{self, Entry};
use super::{Events, item, to_json};
use crate::StoreError;
use crate::batch::MAX_WRITES;
use crate::bodies::{self, CHUNK_BYTES};
use crate::items::Item;

/// The kind of an archived event. The filter of fan-out's event source mapping only lets published events through.
const ARCHIVED: &str = "archived";

/// How many calls run in parallel.
const CONCURRENCY: usize = 8;

/// The shortest and the longest wait before throttled items are written again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(800);

/// Events that are being archived. Written events are removed, so the rest is known even if archiving is interrupted.
#[derive(Debug)]
pub struct Archiving<'a> {
    left: Vec<Pending<'a>>,
    /// How many events have no JSON.
    unreadable: usize,
    fault: Option<StoreError>,
}

/// The events of an item.
#[derive(Debug)]
struct Pending<'a> {
    entries: Vec<Entry<'a>>,
    /// The item, once it has been created.
    item: Option<Item>,
}

impl<'a> Archiving<'a> {
    /// Takes the events to archive. A duplicate is archived once.
    pub fn new(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut seen = HashSet::new();
        let (mut entries, mut unreadable, mut fault) = (Vec::new(), 0, None);
        for event in events.into_iter().filter(|event| seen.insert((&event.tenant, event.id))) {
            match to_json(event) {
                Ok(json) => entries.push(Entry { event, json }),
                Err(error) => (unreadable, fault) = (unreadable + 1, Some(error)),
            }
        }
        let left = packs::divide(entries).into_iter().map(|entries| Pending { entries, item: None });
        Self { left: left.collect(), unreadable, fault }
    }

    /// Returns how many events are not archived yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.unreadable + self.entries().count()
    }

    /// Returns the size of each event as JSON, in bytes.
    #[must_use]
    pub fn sizes(&self) -> HashMap<EventId, u64> {
        self.entries().map(|entry| (entry.event.id, entry.json.len() as u64)).collect()
    }

    /// Returns the error of the last write that failed.
    #[must_use]
    pub fn fault(&self) -> Option<&StoreError> {
        self.fault.as_ref()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.left.iter().flat_map(|pending| &pending.entries)
    }

    fn written(&mut self, part: &[Item], answer: Result<HashSet<Key>, StoreError>) {
        match answer {
            Ok(unprocessed) => {
                let written: HashSet<Key> =
                    part.iter().filter_map(key_of).filter(|key| !unprocessed.contains(key)).collect();
                self.left
                    .retain(|pending| pending.item.as_ref().and_then(key_of).is_none_or(|key| !written.contains(&key)));
                if !unprocessed.is_empty() {
                    self.fault = Some(StoreError::Unavailable("items of a batch were throttled".to_owned()));
                }
            }
            Err(error) => self.fault = Some(error),
        }
    }
}

impl Events {
    /// Archives events until all are written, however long that takes. They expire at `expires_at`. The future can be
    /// dropped at any time, and archiving an event again changes nothing.
    ///
    /// A throttled partition does not block other events: each round writes all events that are left.
    pub async fn archive(&self, archiving: &mut Archiving<'_>, now: Timestamp, expires_at: Timestamp) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.make_items(archiving, now, expires_at).await;
            let items: Vec<Item> = archiving.left.iter().filter_map(|pending| pending.item.clone()).collect();
            let mut parts = stream::iter(items.chunks(MAX_WRITES))
                .map(|part| async move { (part, self.put_once(part).await) })
                .buffer_unordered(CONCURRENCY);
            while let Some((part, answer)) = parts.next().await {
                archiving.written(part, answer);
            }
            if archiving.left.is_empty() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Creates the items that do not exist yet. A pack that is too large for an item is halved.
    async fn make_items(&self, archiving: &mut Archiving<'_>, now: Timestamp, expires_at: Timestamp) {
        let mut index = 0;
        while let Some(pending) = archiving.left.get_mut(index) {
            if pending.item.is_none() {
                let made = match &pending.entries[..] {
                    [entry] => self.row(entry, now, expires_at).await.map(Some),
                    entries => packs::item(entries, expires_at),
                };
                match made {
                    Ok(Some(item)) => pending.item = Some(item),
                    Ok(None) => {
                        let entries = pending.entries.split_off(pending.entries.len() / 2);
                        archiving.left.push(Pending { entries, item: None });
                        continue;
                    }
                    Err(error) => archiving.fault = Some(error),
                }
            }
            index += 1;
        }
    }

    /// Creates a row. An event that is too large for one is stored as a body, to which the row refers.
    async fn row(&self, entry: &Entry<'_>, now: Timestamp, expires_at: Timestamp) -> Result<Item, StoreError> {
        let Entry { event, json } = entry;
        let packed = bodies::pack(json)?;
        if packed.len() <= CHUNK_BYTES {
            return item(event, ARCHIVED, packed, None, expires_at);
        }
        // A body must not expire before the item that refers to it.
        let kept = now.max(expires_at - KEPT);
        match self.bodies.carry(&event.id.to_string(), json, 0, kept).await? {
            Body::Stored(body) => item(event, ARCHIVED, Vec::new(), Some(body), expires_at),
            Body::Inline(_) | Body::Failed(_) => item(event, ARCHIVED, packed, None, expires_at),
        }
    }

    /// Puts items with one call, and returns the keys of those that DynamoDB did not process.
    async fn put_once(&self, items: &[Item]) -> Result<HashSet<Key>, StoreError> {
        let put = |item: &Item| Ok(WriteRequest::builder().put_request(put_request(item)?).build());
        let writes = items.iter().map(put).collect::<Result<Vec<_>, StoreError>>()?;
        let request = HashMap::from([(self.table.clone(), writes)]);
        let call = self.client.batch_write_item().set_request_items(Some(request));
        let answer = call.send().await.map_err(|error| StoreError::of_write(&error))?;
        let left = answer.unprocessed_items.unwrap_or_default().into_values().flatten();
        Ok(left.filter_map(|write| key_of(write.put_request?.item())).collect())
    }
}

fn put_request(item: &Item) -> Result<PutRequest, StoreError> {
    let put = PutRequest::builder().set_item(Some(item.clone())).build();
    put.map_err(|error| StoreError::inconsistent("a batch of items", error))
}

/// The primary key of an item.
type Key = (String, String);

fn key_of(item: &Item) -> Option<Key> {
    let text = |name: &str| item.get(name)?.as_s().ok().cloned();
    Some((text("pk")?, text("sk")?))
}
