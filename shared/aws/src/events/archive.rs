//! The archive: events of tables, kept so that clients can look at them and send them again. No delivery waits for it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use domain::delivery::KEPT;
use domain::delivery::message::Body;
use domain::event::Event;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::{Events, item, pack};
use crate::StoreError;
use crate::batch::MAX_WRITES;
use crate::bodies::CHUNK_BYTES;
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
    fault: Option<StoreError>,
}

#[derive(Debug)]
struct Pending<'a> {
    event: &'a Event,
    /// The item, once it has been created.
    item: Option<Item>,
}

impl<'a> Archiving<'a> {
    /// Takes the events to archive. A duplicate is archived once.
    pub fn new(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut seen = HashSet::new();
        let events = events.into_iter().filter(|event| seen.insert((&event.tenant, event.id)));
        Self { left: events.map(|event| Pending { event, item: None }).collect(), fault: None }
    }

    /// Returns how many events are not archived yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// Returns the error of the last write that failed.
    #[must_use]
    pub fn fault(&self) -> Option<&StoreError> {
        self.fault.as_ref()
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

    /// Creates the items that do not exist yet.
    async fn make_items(&self, archiving: &mut Archiving<'_>, now: Timestamp, expires_at: Timestamp) {
        for pending in archiving.left.iter_mut().filter(|pending| pending.item.is_none()) {
            match self.archived(pending.event, now, expires_at).await {
                Ok(item) => pending.item = Some(item),
                Err(error) => archiving.fault = Some(error),
            }
        }
    }

    /// Creates an item. An event that is too large for one is stored as a body, to which the item refers.
    async fn archived(&self, event: &Event, now: Timestamp, expires_at: Timestamp) -> Result<Item, StoreError> {
        let (json, packed) = pack(event)?;
        if packed.len() <= CHUNK_BYTES {
            return item(event, ARCHIVED, packed, None, expires_at);
        }
        // A body must not expire before the item that refers to it.
        let kept = now.max(expires_at - KEPT);
        match self.bodies.carry(&event.id.to_string(), &json, 0, kept).await? {
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
