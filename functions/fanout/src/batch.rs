//! Fans out a batch of stream records: maps them, makes their deliveries and sends these.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use aws::StoreError;
use aws::queue::{InOrder, Outgoing};
use domain::access::tenant::TenantId;
use domain::event::operational::OPERATIONAL;
use domain::event::types::EventType;
use domain::id::EventId;
use domain::source::Change;
use domain::source::record::read;
use jiff::Timestamp;
use runtime::metrics::{self, Metric};
use serde_json::value::RawValue;

use crate::App;
use crate::archive::{self, Patience};
use crate::budget;
use crate::cache::Cache;
use crate::copies::once;
use crate::deliveries::{Left, Routed, deliveries};
use crate::failure::{failed, send_failures};
use crate::groups::groups;
use crate::lookups::Lookups;
use crate::related::{self, Cut};
use crate::route::{Mapped, map};
use crate::trace::Spans;

/// Fans out a batch, and returns the first record that is not done, if any. `done` is set to the number of records at
/// the start of the batch for which everything was sent.
///
/// A batch whose records take much memory is processed in [`groups`], one after another. A group whose related items
/// take much is cut in two.
pub(crate) async fn fan_out(
    app: &App,
    records: &[Box<RawValue>],
    deadline: Timestamp,
    done: &mut usize,
    patience: &mut Patience,
) -> Result<Option<usize>, StoreError> {
    let (mut from, mut left) = (0, Left::new());
    let mut waiting = VecDeque::from(groups(records));
    while let Some(group) = waiting.pop_front() {
        // At least one, or a slow batch would make no progress.
        if from > 0 && app.clock.now() + RESERVE > deadline {
            tracing::warn!(records = from, "the time is up; the rest of the batch is returned to the stream");
            return Ok(Some(from));
        }
        let mut within = Within { progress: BatchProgress { done, from }, left: &mut left, patience };
        match fan_out_group(app, group, deadline, &mut within).await {
            Ok(End::Done(done)) => {
                from += done;
                if done < group.len() {
                    waiting.push_front(&group[done..]);
                }
            }
            Ok(End::At(first)) => return Ok(Some(from + first)),
            Err(error) if from > 0 => {
                tracing::error!(%error, records = from, "the rest of the batch is returned to the stream");
                return Ok(Some(from));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What the groups of a batch share.
struct Within<'a> {
    progress: BatchProgress<'a>,
    /// What each tenant has left in the batch.
    left: &'a mut Left,
    patience: &'a mut Patience,
}

/// How far a group was processed.
enum End {
    /// So many records from its start are done, and the rest is another group.
    Done(usize),
    /// This is the first record that is not done; it is returned to the stream.
    At(usize),
}

/// Adds the done records of a group to those of the batch.
struct BatchProgress<'a> {
    done: &'a mut usize,
    from: usize,
}

impl BatchProgress<'_> {
    fn set(&mut self, done: usize) {
        *self.done = self.from + done;
    }
}

/// Fans out a group. If time runs short while its records are mapped, all of them are returned to the stream. What was
/// read from the Registry is cached by then, so the next invocation gets further.
async fn fan_out_group(
    app: &App,
    records: &[Box<RawValue>],
    deadline: Timestamp,
    within: &mut Within<'_>,
) -> Result<End, StoreError> {
    let is_late = || app.clock.now() + 2 * RESERVE > deadline;
    let cache = &mut *app.cache.lock().await;
    cache.generations.clear();
    let Some((mut mapped, lookups)) = map_all(app, cache, records, &is_late).await? else {
        tracing::warn!("too little time is left to send deliveries; the rest of the batch is returned to the stream");
        return Ok(End::At(0));
    };
    let cut = related::add(app, cache, &mut mapped, &lookups, &is_late).await;
    let (records, end) = match cut {
        None => (records, End::Done(records.len())),
        Some(Cut::Return(0)) => return Ok(End::At(0)),
        Some(Cut::Full(at)) => (&records[..at], End::Done(at)),
        Some(Cut::Return(at)) => (&records[..at], End::At(at)),
    };
    drop(mapped.split_off(&records.len()));
    let types = new_types(cache, &mapped);
    budget::begin(app, mapped.values().flatten().flatten(), app.clock.now()).await;
    let kept = archive::wanted(app, cache, &mapped);
    let sizes = kept.sizes();
    let Within { progress, left, patience } = within;
    let work = send_all(app, cache, records, (&mapped, &sizes), deadline, (progress, left));
    let first = Box::pin(archive::alongside(app, kept, patience, work)).await;
    app.usage.flush(app.clock.now()).await;
    if first.as_ref().is_ok_and(Option::is_none) {
        record_types(app, cache, types).await;
    }
    Ok(first?.map_or(end, End::At))
}

/// Makes and sends the deliveries of all records, those of [light](order) tenants first. Returns the first record that
/// is not done, if any. Records after it may be done nevertheless; they are received again, and make deliveries with
/// the same ids. `archived` has the bytes of each event that is archived.
async fn send_all(
    app: &App,
    cache: &mut Cache,
    records: &[Box<RawValue>],
    (mapped, archived): (&BTreeMap<usize, Mapped>, &HashMap<EventId, u64>),
    deadline: Timestamp,
    (progress, left): (&mut BatchProgress<'_>, &mut Left),
) -> Result<Option<usize>, StoreError> {
    let is_up = || app.clock.now() + RESERVE > deadline;
    let is_late = || app.clock.now() + 2 * RESERVE > deadline;
    let mut chunk = Chunk::default();
    let mut spans = Spans::start(app, records.len());
    let mut sent = 0;
    let (order, light) = order(cache, mapped, records.len());
    for (place, &index) in order.iter().enumerate() {
        let first_left = |from: usize| order.get(from..).into_iter().flatten().min().copied();
        // At least one, or a slow batch would make no progress.
        if place > 0 && is_up() {
            tracing::warn!(records = place, "the time is up; the rest of the batch is returned to the stream");
            return Ok(chunk.send(app, records).await.into_iter().chain(first_left(place)).min());
        }
        match mapped.get(&index) {
            None => {}
            Some(Ok(events)) => {
                for event in events {
                    budget::count(app, event, archived.get(&event.id).copied().unwrap_or_default());
                    match deliveries(app, cache, event, left, &is_late).await {
                        Ok(routed) => {
                            spans.add(event, routed.messages.len(), routed.slices.len());
                            chunk.add(index, routed);
                        }
                        Err(StoreError::Refused(why)) => chunk.failures.push((index, failed(&why))),
                        Err(error) => return Err(error),
                    }
                }
            }
            Some(Err(reason)) => chunk.failures.push((index, reason.clone())),
        }
        let is_last = [order.len(), light].contains(&(place + 1));
        if is_last || chunk.is_full() {
            sent += chunk.len();
            let left = first_left(place + 1);
            if let Some(first) = std::mem::take(&mut chunk).send(app, records).await {
                return Ok(left.into_iter().chain([first]).min());
            }
            progress.set(left.unwrap_or(records.len()));
        }
    }
    measure(app, mapped);
    spans.end(app.clock.now());
    tracing::debug!(messages = sent, "a batch of changes was turned into deliveries");
    Ok(None)
}

/// Measures the events of a group whose deliveries were sent.
fn measure(app: &App, mapped: &BTreeMap<usize, Mapped>) {
    let events = || mapped.values().flatten().flatten();
    metrics::count(Metric::Events, events().count());
    if let Some(oldest) = events().map(|event| event.at).min() {
        let lag = app.clock.now().duration_since(oldest).as_millis();
        metrics::record(Metric::FanoutLag, u64::try_from(lag).unwrap_or(0));
    }
}

/// How many evaluations of webhooks a tenant's events in a batch may need for the tenant to count as light.
const LIGHT: usize = 200;

/// Returns the order in which the records of a batch are processed, and how many of them belong to light tenants. These
/// come first, so that their deliveries do not wait for those of a tenant with many webhooks. The records of one tenant
/// keep their order: a tenant that shares a record with a heavy one, because an item moved between them, is heavy too.
fn order(cache: &mut Cache, mapped: &BTreeMap<usize, Mapped>, records: usize) -> (Vec<usize>, usize) {
    let mut questions: HashMap<&TenantId, usize> = HashMap::new();
    for event in mapped.values().flatten().flatten() {
        let generation = cache.generations.get(&event.tenant).copied().unwrap_or_default();
        let webhooks = cache.matchers.of(&event.tenant, generation).map_or(LIGHT, |known| known.matcher.len());
        *questions.entry(&event.tenant).or_default() += webhooks;
    }
    let mut heavy_tenants: HashSet<&TenantId> =
        questions.into_iter().filter(|(_, questions)| *questions > LIGHT).map(|(tenant, _)| tenant).collect();
    let events_of = |index: &usize| mapped.get(index).into_iter().flatten().flatten();
    let mut known = 0;
    while heavy_tenants.len() > known {
        known = heavy_tenants.len();
        for index in mapped.keys() {
            if events_of(index).any(|event| heavy_tenants.contains(&event.tenant)) {
                heavy_tenants.extend(events_of(index).map(|event| &event.tenant));
            }
        }
    }
    let is_heavy = |index: &usize| events_of(index).any(|event| heavy_tenants.contains(&event.tenant));
    let (heavy, mut order): (Vec<usize>, Vec<usize>) = (0..records).partition(is_heavy);
    let light = order.len();
    order.extend(heavy);
    (order, light)
}

/// Maps all records, by their positions in the batch, and keeps each event once. Returns the queries for related items
/// too, and `None` if time runs short before that is done.
async fn map_all(
    app: &App,
    cache: &mut Cache,
    records: &[Box<RawValue>],
    is_late: &impl Fn() -> bool,
) -> Result<Option<(BTreeMap<usize, Mapped>, Lookups)>, StoreError> {
    let (mut mapped, mut lookups) = (BTreeMap::new(), Lookups::new());
    let mut by_table: BTreeMap<String, (Vec<usize>, Vec<Change>)> = BTreeMap::new();
    for (index, raw) in records.iter().enumerate() {
        match read(raw) {
            Ok(record) => {
                let (indexes, changes) = by_table.entry(record.table).or_default();
                indexes.push(index);
                changes.push(record.change);
            }
            Err(error) => {
                mapped.insert(index, Err(error.to_string()));
            }
        }
    }
    for (table, (indexes, changes)) in by_table {
        let Some((events, queries)) = map(app, cache, &table, &changes, is_late).await? else { return Ok(None) };
        mapped.extend(indexes.into_iter().zip(events));
        lookups.extend(queries);
    }
    once(records, &mut mapped);
    Ok(Some((mapped, lookups)))
}

/// Returns the event types that this process sees for the first time.
fn new_types(cache: &Cache, mapped: &BTreeMap<usize, Mapped>) -> Vec<(TenantId, EventType)> {
    let mut new = Vec::new();
    for event in mapped.values().flatten().flatten().filter(|event| event.source != OPERATIONAL) {
        let seen = (event.tenant.clone(), event.event_type.clone());
        if !cache.seen.contains(&seen) && !new.contains(&seen) {
            new.push(seen);
        }
    }
    new
}

/// Records event types in the catalog, which stores when a type was first seen. No delivery waits for this. After a
/// failure, a type is recorded when it is seen again.
async fn record_types(app: &App, cache: &mut Cache, types: Vec<(TenantId, EventType)>) {
    if let Err(error) = app.registry.record_types(&types, app.clock.now()).await {
        tracing::warn!(%error, "new event types are missing in the catalog until they occur again");
        return;
    }
    for seen in types {
        cache.seen.put(seen, ());
    }
}

/// How many messages, and how many bytes of them, are collected before they are sent. Until then they are in memory.
const CHUNK: usize = 1_000;
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// The time that an invocation reserves for sending a chunk. Making the deliveries needs as much again.
pub(crate) const RESERVE: Duration = Duration::from_secs(15);

/// Messages to send, each with the position of its record in the batch.
#[derive(Default)]
struct Chunk {
    deliveries: Vec<(usize, Outgoing)>,
    ordered: Vec<(usize, InOrder)>,
    /// Renderings that do not fit into the shard.
    slices: Vec<(usize, Outgoing)>,
    /// Records that go to stream-failures, with the reasons.
    failures: Vec<(usize, String)>,
    /// The size of the messages, in bytes.
    bytes: usize,
}

impl Chunk {
    /// Adds the messages of a record.
    fn add(&mut self, record: usize, Routed { messages, slices, missing }: Routed) {
        self.failures.extend(missing.map(|why| (record, why)));
        self.bytes += slices.iter().map(|slice| slice.body.len()).sum::<usize>();
        self.slices.extend(slices.into_iter().map(|slice| (record, slice)));
        for message in messages {
            if let Some(group) = message.group() {
                let id = message.delivery.to_string();
                let body = message.into_json();
                self.bytes += body.len();
                self.ordered.push((record, InOrder { body, group, id }));
            } else {
                let message = Outgoing::first(message);
                self.bytes += message.body.len();
                self.deliveries.push((record, message));
            }
        }
    }

    /// Returns whether the chunk must be sent before more is added.
    fn is_full(&self) -> bool {
        self.len() >= CHUNK || self.bytes >= CHUNK_BYTES
    }

    /// Returns the number of messages.
    fn len(&self) -> usize {
        self.deliveries.len() + self.ordered.len() + self.slices.len()
    }

    /// Sends the messages, and returns the first record of which something was not sent. A record of which AWS refuses
    /// a message for good goes to stream-failures: if it were returned, it would stop the shard until it expires.
    async fn send(self, app: &App, records: &[Box<RawValue>]) -> Option<usize> {
        let (ordered, in_order): (Vec<_>, Vec<_>) = self.ordered.into_iter().unzip();
        let (indexes, messages): (Vec<_>, Vec<_>) = self.deliveries.into_iter().unzip();
        let (rest, renderings): (Vec<_>, Vec<_>) = self.slices.into_iter().unzip();
        let (deliveries, in_order, renderings, mut unsent) = tokio::join!(
            app.deliveries.send(messages),
            app.ordered.send_in_order(in_order),
            app.renderings.send(renderings),
            send_failures(app, records, self.failures)
        );
        metrics::count(Metric::DeliveriesMade, deliveries.iter().chain(&in_order).filter(|sent| sent.is_ok()).count());
        let mut refused = BTreeMap::new();
        let results = indexes.into_iter().zip(deliveries).chain(ordered.into_iter().zip(in_order));
        for (index, result) in results.chain(rest.into_iter().zip(renderings)) {
            match result {
                Ok(()) => {}
                Err(StoreError::Refused(why)) => {
                    tracing::error!(error = why, "AWS refused a message; its record goes to stream-failures");
                    refused.insert(index, failed(&why));
                }
                Err(error) => {
                    tracing::error!(%error, "a delivery was not sent; its record is returned to the stream");
                    unsent.push(index);
                }
            }
        }
        unsent.extend(send_failures(app, records, refused.into_iter().collect()).await);
        if unsent.is_empty() {
            app.usage.sent();
        }
        unsent.into_iter().min()
    }
}
