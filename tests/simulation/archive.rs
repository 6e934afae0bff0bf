//! The archive of events, on tables with DynamoDB's limits: whatever happens while batches are archived, each event is
//! read and listed once. Also what an event costs, and which partition takes how much.

mod cost;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws::Events;
use aws::events::{Archiving, EventPage, Range as Listed};
use domain::access::tenant::TenantId;
use domain::event::Event;
use domain::id::EventId;
use domain::source::{Change, Images};
use domain::time::Clock;
use domain::value::Map;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tests::cloud::{Cloud, Fault, Faults};

use super::faults::source;
use super::{number, seed};

const TENANTS: [&str; 2] = ["acme", "globex"];

const RETENTION: SignedDuration = SignedDuration::from_hours(24 * 7);

/// An hour before midnight, so that some events are of the next day.
fn start() -> Timestamp {
    "2026-11-21T23:00:00Z".parse().unwrap()
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        start()
    }
}

/// The archive, and what must be in it.
struct World {
    cloud: Arc<Cloud>,
    events: Events,
    model: BTreeMap<(TenantId, EventId), Event>,
    random: StdRng,
    /// How many events were made.
    made: u64,
}

impl World {
    async fn new(seed: u64, disturbed: bool) -> Self {
        let cloud = Cloud::new(Arc::new(Fixed));
        let random = std::sync::Mutex::new(StdRng::seed_from_u64(seed));
        let faults = [Fault::Throttle, Fault::LoseAnswer, Fault::RefuseSome];
        let script = move |operation: &str, _| {
            let mut random = random.lock().unwrap();
            let is_faulty = disturbed && operation == "BatchWriteItem" && random.random_bool(0.3);
            let fault = is_faulty.then(|| *faults.choose(&mut *random).unwrap());
            Faults { delay: Duration::from_millis(random.random_range(0..30)), fault }
        };
        let events = cloud.line(Arc::new(script)).aws().await.events("events".to_owned());
        Self { cloud, events, model: BTreeMap::new(), random: StdRng::seed_from_u64(seed), made: 0 }
    }

    /// Makes the event of a new item at that time.
    fn event(&mut self, tenant: &str, at: Timestamp, more: &Value) -> Event {
        self.made += 1;
        let image = self.image(tenant, more);
        self.change(at, Images::Insert(image))
    }

    fn image(&self, tenant: &str, more: &Value) -> Map {
        let mut image = json!({"tenant": tenant, "id": format!("o{}", self.made)});
        image.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(image).unwrap()
    }

    fn change(&mut self, at: Timestamp, images: Images) -> Event {
        let (stream_event_id, sequence) = (format!("e{}-{}", self.made, self.random.random::<u64>()), self.made);
        let change = Change { stream_event_id, sequence: format!("{sequence:0>40}"), at, expired: false, images };
        source(&json!({})).events(change).unwrap().remove(0)
    }

    fn some_event(&mut self, seconds: i64) -> Event {
        let tenant = *TENANTS.choose(&mut self.random).unwrap();
        let milliseconds = if self.random.random_bool(0.1) { self.random.random_range(0..1000) } else { 0 };
        let at = start() + SignedDuration::from_millis(self.random.random_range(0..=seconds) * 1000 + milliseconds);
        let bytes = if self.random.random_bool(0.02) { 150_000 } else { self.random.random_range(0..2_000) };
        let random = &mut self.random;
        let text: String = (0..bytes).map(|_| char::from(random.random_range(b' '..=b'~'))).collect();
        self.event(tenant, at, &json!({"text": text}))
    }

    async fn archive(&self, batch: &[Event]) {
        let now = start();
        self.events.archive(&mut Archiving::new(batch), now, now + RETENTION).await;
    }

    /// Archives a batch as fan-out does: some batches come again, split elsewhere, or while they are archived.
    async fn archive_somehow(&mut self, batch: &[Event]) {
        for event in batch {
            self.model.insert((event.tenant.clone(), event.id), event.clone());
        }
        let split = self.random.random_range(0..=batch.len());
        match self.random.random_range(0..5) {
            0 => {
                let mut interrupted = Archiving::new(batch);
                let first = self.events.archive(&mut interrupted, start(), start() + RETENTION);
                tokio::time::timeout(Duration::from_millis(self.random.random_range(0..100)), first).await.ok();
                self.archive(&batch[..split]).await;
                self.archive(&batch[split..]).await;
            }
            1 => drop(tokio::join!(self.archive(batch), self.archive(&batch[..split]))),
            2 => {
                self.archive(batch).await;
                self.archive(batch).await;
            }
            _ => self.archive(batch).await,
        }
    }

    /// Reads all pages of a list.
    async fn list(
        &self,
        tenant: &TenantId,
        span: (Timestamp, Timestamp),
        limit: usize,
        newest_first: bool,
    ) -> Vec<Event> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let EventPage { events, looked_at, next } = if newest_first {
                let range = Listed { from: span.0, to: span.1, below: cursor, now: start() };
                self.events.list(tenant, range, limit, wanted).await.unwrap()
            } else {
                self.events.list_oldest_first(tenant, span, cursor, limit, start(), wanted).await.unwrap()
            };
            assert!(events.len() <= limit && looked_at <= 1_000 && events.len() <= looked_at);
            all.extend(events);
            let Some(next) = next else { return all };
            assert!(cursor.is_none_or(|before| (next < before) == newest_first), "a page starts after the last one");
            cursor = Some(next);
        }
    }

    async fn check(&mut self) {
        for name in TENANTS {
            let tenant: TenantId = name.parse().unwrap();
            let all: Vec<&Event> =
                self.model.iter().filter(|((of, _), _)| *of == tenant).map(|(_, event)| event).collect();
            let times: Vec<Timestamp> = all.iter().map(|event| event.id.timestamp()).collect();
            let everything = (start() - RETENTION, start() + RETENTION);
            let a_part = match (times.choose(&mut self.random), times.choose(&mut self.random)) {
                (Some(one), Some(other)) => (*one.min(other), *one.max(other)),
                _ => everything,
            };
            for (from, to) in [everything, a_part] {
                let is_in = |event: &&&Event| (from..to).contains(&event.id.timestamp()) && wanted(event);
                let mut expected: Vec<Event> = all.iter().filter(is_in).map(|event| (*event).clone()).collect();
                let limit = self.random.random_range(1..60);
                assert_eq!(self.list(&tenant, (from, to), limit, false).await, expected, "oldest first");
                expected.reverse();
                assert_eq!(self.list(&tenant, (from, to), limit, true).await, expected, "newest first");
            }
            for event in all.choose_multiple(&mut self.random, 20) {
                assert_eq!(self.events.event(&tenant, event.id, start()).await.unwrap().as_ref(), Some(*event));
                // The published ones are kept longer.
                let expired = start() + SignedDuration::from_hours(24 * 30);
                assert_eq!(self.events.event(&tenant, event.id, expired).await.unwrap(), None);
                let other = EventId::derive(event.id.timestamp(), &["another"]);
                assert_eq!(self.events.event(&tenant, other, start()).await.unwrap(), None);
            }
        }
    }
}

/// The events that lists ask for: all but one in four.
fn wanted(event: &Event) -> bool {
    !event.entity.id.ends_with(['3', '7'])
}

/// Batches come twice, split in different ways, side by side and in any order, while writes are throttled or their
/// answers are lost. Rows of earlier versions and published events are between them.
#[tokio::test(start_paused = true)]
async fn every_archived_event_is_read_and_listed_once() {
    let (first, worlds) = (seed(), number("SIMULATION_WORLDS").unwrap_or(10));
    for seed in first..first + worlds {
        println!("SIMULATION_SEED={seed} SIMULATION_WORLDS=1 repeats this world");
        let mut world = World::new(seed, true).await;
        let seconds = *[0, 3, 60, 90_000].choose(&mut world.random).unwrap();
        let count = world.random.random_range(1..200);
        let mut events: Vec<Event> = (0..count).map(|_| world.some_event(seconds)).collect();
        if world.random.random_bool(0.5) {
            events.sort_by_key(|event| event.at);
        } else {
            events.shuffle(&mut world.random);
        }
        while !events.is_empty() {
            let size = world.random.random_range(1..=100).min(events.len());
            let batch: Vec<Event> = events.drain(..size).collect();
            if world.random.random_bool(0.2) {
                world.events.publish(&batch[..1], start()).await.unwrap();
            }
            world.archive_somehow(&batch).await;
            if world.random.random_bool(0.2) {
                // As an earlier version did.
                world.archive(&batch[..1]).await;
            }
        }
        world.check().await;
    }
}

/// A page has a limit of events that are looked at, also if all of them are in packs of one second.
#[tokio::test(start_paused = true)]
async fn a_list_of_a_busy_second_goes_on_page_by_page() {
    let mut world = World::new(1, false).await;
    for _ in 0..25 {
        let batch: Vec<_> = (0..100).map(|_| world.event("acme", start(), &json!({}))).collect();
        world.archive_somehow(&batch).await;
    }
    let tenant: TenantId = "acme".parse().unwrap();
    let range = Listed { from: start(), to: start() + RETENTION, below: None, now: start() };
    let page = world.events.list(&tenant, range, 50, |_| false).await.unwrap();
    assert_eq!((page.events.len(), page.looked_at), (0, 1_000));
    // The page ends within the second at which the range starts.
    let rest = world.events.list(&tenant, Listed { below: page.next, ..range }, 50, |_| false).await.unwrap();
    assert_eq!((rest.looked_at, rest.next.is_some()), (1_000, true));
    let rest = world.events.list(&tenant, Listed { below: rest.next, ..range }, 50, |_| false).await.unwrap();
    assert_eq!((rest.looked_at, rest.next), (500, None));
}

#[tokio::test(start_paused = true)]
async fn a_read_makes_few_calls() {
    let mut world = World::new(1, false).await;
    let tenant: TenantId = "acme".parse().unwrap();
    let batch: Vec<_> = (0..100).map(|_| world.event("acme", start(), &json!({}))).collect();
    world.archive(&batch).await;
    assert_eq!(world.cloud.take_calls(), BTreeMap::from([("BatchWriteItem".to_owned(), 1)]));
    world.events.event(&tenant, batch[7].id, start()).await.unwrap().unwrap();
    let one = BTreeMap::from([("GetItem".to_owned(), 1), ("Query".to_owned(), 8)]);
    assert_eq!(world.cloud.take_calls(), one);
    let range = Listed { from: start() - RETENTION, to: start() + Duration::from_mins(1), below: None, now: start() };
    // The packs of all days, and the rows of the newest day.
    world.events.list(&tenant, range, 50, |_| true).await.unwrap();
    assert_eq!(world.cloud.take_calls()["Query"], 8 + 4);
    // A tenant without events: the packs of all days, and the rows of eight days.
    world.events.list(&"globex".parse().unwrap(), range, 50, |_| true).await.unwrap();
    assert_eq!(world.cloud.take_calls()["Query"], 8 + 8 * 4);
}
