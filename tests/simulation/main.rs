//! Fan-out under random changes, webhook edits and faults, against a model of what must and may be sent.
//!
//! The real binary runs, and is killed now and then; only AWS is in memory. `SIMULATION_SEED` repeats a run,
//! `SIMULATION_STEPS` sets its length.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue panics")]
#![expect(clippy::disallowed_methods, reason = "the tests read the clock and the environment themselves")]
#![expect(clippy::print_stdout, reason = "a run that fails must be repeatable")]

mod api;
mod archive;
mod budgets;
mod delivery;
mod drain;
mod faults;
mod jobs;
mod line;
mod ordering;
mod release;
mod secrets;
mod shard;
mod slices;
mod sweep;
mod traces;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::delivery::message::Message;
use domain::event::Event;
use domain::matching::subscription::Subscription;
use domain::source::{Change, Images, Source};
use domain::value::{Map, Value as Property};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tests::{FakeAws, Fault, Function, binary, fanout_environment};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
const WEBHOOKS: u128 = 12;
const ENTITIES: u32 = 8;
const BATCH: usize = 15;

/// A record of the stream, and the webhooks that want it.
struct Record {
    wire: Value,
    /// Its events; empty for an unreadable record.
    events: Vec<Event>,
    /// For each event, the webhooks that wanted it at any time since its commit (`may`), and those that wanted it all
    /// the time (`must`).
    may: Vec<BTreeSet<String>>,
    must: Vec<BTreeSet<String>>,
}

struct Simulation {
    random: StdRng,
    source: Source,
    fake: Arc<FakeAws>,
    environment: HashMap<String, String>,
    function: Function,
    /// The items of the table, by tenant and number.
    items: BTreeMap<(usize, u32), Map>,
    /// The active subscriptions of each tenant, by webhook.
    active: BTreeMap<&'static str, BTreeMap<String, Subscription>>,
    /// The records that fan-out has not acknowledged yet.
    stream: Vec<Record>,
    sequence: u64,
    counts: BTreeMap<&'static str, usize>,
    /// How many messages were checked.
    seen: usize,
    /// The sent messages by their deliveries' ids. A delivery's message must be the same every time.
    sent: HashMap<String, String>,
    /// The pairs of event and webhook that were sent.
    pairs: BTreeSet<(String, String)>,
    /// For each ordered webhook and each entity, the last sequence that was sent since the webhook was changed.
    order: HashMap<(String, String), String>,
    poison: usize,
}

/// Returns the number in an environment variable, if there is one.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Returns the seed of a run: `SIMULATION_SEED`, or a new one.
fn seed() -> u64 {
    number("SIMULATION_SEED").unwrap_or_else(|| Timestamp::now().as_microsecond().unsigned_abs())
}

#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn what_is_wanted_is_sent_whatever_happens() {
    let seed = seed();
    let steps = number("SIMULATION_STEPS").unwrap_or(10_000);
    println!("SIMULATION_SEED={seed} SIMULATION_STEPS={steps}");
    let mut simulation = Simulation::start(seed).await;
    for _ in 0..steps {
        simulation.step().await;
    }
    while !simulation.stream.is_empty() {
        simulation.fan_out(None).await;
    }
    println!("{:?}, {} messages, {} deliveries", simulation.counts, simulation.seen, simulation.sent.len());
    let failures = simulation.fake.failures.lock().await.len();
    assert!(failures >= simulation.poison, "every unreadable record is kept: {failures} of {}", simulation.poison);
}

impl Simulation {
    async fn start(seed: u64) -> Self {
        let (fake, url) = FakeAws::start().await;
        let mapping = json!({"entity": "order", "tenant": "{tenant}", "id": "{id}", "collection": "orders",
            "soft_delete_attribute": "gone", "ignore": ["seen"], "redact": ["hash"]});
        let source: Source = serde_json::from_value(json!({"table": "orders", "entities": [mapping]})).unwrap();
        fake.register(source.clone()).await;
        let environment = fanout_environment(&url);
        let function = Function::spawn(&binary("FanoutFunction"), environment.clone()).await;
        Self {
            random: StdRng::seed_from_u64(seed),
            source,
            fake,
            environment,
            function,
            items: BTreeMap::new(),
            active: TENANTS.map(|tenant| (tenant, BTreeMap::new())).into(),
            stream: Vec::new(),
            sequence: 0,
            counts: BTreeMap::new(),
            seen: 0,
            sent: HashMap::new(),
            pairs: BTreeSet::new(),
            order: HashMap::new(),
            poison: 0,
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..60 => self.change(),
            60..61 => self.poison(),
            61..82 => self.edit().await,
            _ => {
                let faults = [
                    (Fault::Throttle, "throttled"),
                    (Fault::RefuseSome, "refused some"),
                    (Fault::LoseAnswer, "lost an answer"),
                    (Fault::HangBefore, "killed before a send"),
                    (Fault::HangAfter, "killed after a send"),
                ];
                let fault =
                    if self.random.random_ratio(1, 20) { faults.choose(&mut self.random).copied() } else { None };
                self.fan_out(fault).await;
            }
        }
        // The stream is read while it is written, so no more than a few batches wait.
        while self.stream.len() > 10 * BATCH {
            self.fan_out(None).await;
        }
    }

    /// Writes or removes an item.
    fn change(&mut self) {
        let key = (self.random.random_range(0..TENANTS.len()), self.random.random_range(0..ENTITIES));
        let text = |text: &str| Property::String(text.to_owned());
        let mut new =
            Map::from([("tenant".to_owned(), text(TENANTS[key.0])), ("id".to_owned(), text(&format!("o{}", key.1)))]);
        for (name, values) in [
            ("status", ["open", "paid", "void"]),
            ("city", ["Rome", "Oslo", "Lima"]),
            ("seen", ["1", "2", "3"]),
            ("hash", ["a", "b", "c"]),
        ] {
            if self.random.random_ratio(3, 4) {
                new.insert(name.to_owned(), text(values.choose(&mut self.random).unwrap()));
            }
        }
        if self.random.random_ratio(1, 6) {
            new.insert("gone".to_owned(), Property::Bool(true));
        }
        let old = self.items.get(&key).cloned();
        let images = match old {
            Some(old) if self.random.random_ratio(1, 5) => {
                self.items.remove(&key);
                Images::Remove(old)
            }
            old => {
                self.items.insert(key, new.clone());
                old.map_or_else(|| Images::Insert(new.clone()), |old| Images::Modify(old, new.clone()))
            }
        };
        self.count("changes");
        self.commit(&images);
    }

    fn commit(&mut self, images: &Images) {
        self.sequence += 1;
        let (name, old, new) = match images {
            Images::Insert(new) => ("INSERT", None, Some(new)),
            Images::Modify(old, new) => ("MODIFY", Some(old), Some(new)),
            Images::Remove(old) => ("REMOVE", Some(old), None),
        };
        let image = |map: Option<&Map>| {
            let map = map.into_iter().flatten();
            map.map(|(name, value)| {
                let value = if let Property::Bool(value) = value {
                    json!({"BOOL": value})
                } else {
                    json!({"S": value.as_text()})
                };
                (name.clone(), value)
            })
            .collect::<serde_json::Map<_, _>>()
        };
        let id = format!("change{}", self.sequence);
        let wire = json!({
            "eventID": id, "eventName": name, "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
            "dynamodb": {"ApproximateCreationDateTime": 1_795_244_140.0, "Keys": {"id": {"S": "x"}}, "OldImage": image(old),
                "NewImage": image(new), "SequenceNumber": self.sequence.to_string(), "SizeBytes": 100, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-11-21T10:00:00.000",
        });
        let at = Timestamp::from_second(1_795_244_140).unwrap();
        let sequence = format!("{:0>40}", self.sequence);
        let change = Change { stream_event_id: id, sequence, at, expired: false, images: images.clone() };
        let events = self.source.events(change).unwrap();
        let wants: Vec<BTreeSet<String>> = events.iter().map(|event| self.wanting(event)).collect();
        self.stream.push(Record { wire, events, may: wants.clone(), must: wants });
    }

    /// Adds a record that cannot be mapped.
    fn poison(&mut self) {
        self.count("poison");
        self.poison += 1;
        self.sequence += 1;
        let wire = json!({"eventID": self.sequence, "dynamodb": {"SequenceNumber": self.sequence.to_string(), "NewImage": []}});
        self.stream.push(Record { wire, events: Vec::new(), may: Vec::new(), must: Vec::new() });
    }

    fn wanting(&self, event: &Event) -> BTreeSet<String> {
        let active = &self.active[event.tenant.as_str()];
        active
            .iter()
            .filter(|(_, subscription)| subscription.wants(event))
            .map(|(webhook, _)| webhook.clone())
            .collect()
    }

    /// Creates, changes or deletes a webhook.
    async fn edit(&mut self) {
        self.count("edits");
        let tenant = *TENANTS.choose(&mut self.random).unwrap();
        let id =
            domain::id::WebhookId::from_parts(Timestamp::UNIX_EPOCH, self.random.random_range(0..WEBHOOKS)).to_string();
        let subscription = self.random.random_ratio(3, 4).then(|| {
            let shapes = [
                json!({}),
                json!({"event_types": ["order.created"]}),
                json!({"event_types": ["order.*"], "changed": ["status"]}),
                json!({"event_types": ["*.deleted"]}),
                json!({"event_types": ["order.status_changed"]}),
                json!({"transitions": [{"field": "status", "from": "open", "to": "paid"}]}),
                json!({"filter": {"value": {"city": ["Oslo", "Rome"]}}}),
                json!({"event_types": ["order.updated"], "filter": {"value": {"status": [{"prefix": "p"}]}}}),
                json!({"operations": ["deleted"], "rendering": {"detail": "thin"}}),
            ];
            let mut shape = shapes.choose(&mut self.random).unwrap().clone();
            shape["webhook"] = json!(id);
            shape["ordered"] = json!(self.random.random_ratio(1, 3));
            serde_json::from_value::<Subscription>(shape).unwrap()
        });
        match &subscription {
            Some(subscription) => self.active.get_mut(tenant).unwrap().insert(id.clone(), subscription.clone()),
            None => self.active.get_mut(tenant).unwrap().remove(&id),
        };
        let place = format!("{tenant}/{id}");
        self.order.retain(|(webhook, _), _| *webhook != place);
        self.fake.write(tenant, &id, subscription).await;
        for index in 0..self.stream.len() {
            for number in 0..self.stream[index].events.len() {
                let wanting = self.wanting(&self.stream[index].events[number]);
                let record = &mut self.stream[index];
                record.must[number] = record.must[number].intersection(&wanting).cloned().collect();
                record.may[number].extend(wanting);
            }
        }
    }

    /// Passes the oldest records to fan-out, perhaps with a fault.
    async fn fan_out(&mut self, fault: Option<(Fault, &'static str)>) {
        let size = self.stream.len().min(BATCH);
        if size == 0 {
            return;
        }
        let mut batch: Vec<Value> = self.stream[..size].iter().map(|record| record.wire.clone()).collect();
        let copies = if self.random.random_ratio(1, 3) { self.random.random_range(1..5) } else { 0 };
        for _ in 0..copies {
            // At any position behind the record itself.
            let of = self.random.random_range(0..batch.len());
            let at = self.random.random_range(of..batch.len()) + 1;
            batch.insert(at, batch[of].clone());
            self.count("copies of a record");
        }
        *self.fake.fault.lock().await = fault.map(|(fault, _)| fault);
        self.function.send(json!({"Records": batch})).await;
        let done = if matches!(fault, Some((Fault::HangBefore | Fault::HangAfter, _))) {
            let fake = Arc::clone(&self.fake);
            tokio::select! {
                response = self.function.response() => Some(response),
                () = fake.hangs.notified() => None,
            }
        } else {
            Some(self.function.response().await)
        };
        let met = self.fake.fault.lock().await.take().is_none();
        if let Some((_, name)) = fault.filter(|_| met) {
            self.count(name);
        }
        self.count("batches");
        let acknowledged = match done {
            None => {
                let next = Function::spawn(&binary("FanoutFunction"), self.environment.clone()).await;
                std::mem::replace(&mut self.function, next).kill().await;
                0
            }
            Some(response) => match response["batchItemFailures"][0]["itemIdentifier"].as_str() {
                None => size,
                Some(first) => {
                    let is_first = |record: &Record| record.wire["dynamodb"]["SequenceNumber"] == first;
                    self.stream.iter().position(is_first).unwrap()
                }
            },
        };
        self.look_at_messages(fault.is_none()).await;
        let acknowledged: Vec<Record> = self.stream.drain(..acknowledged).collect();
        for record in acknowledged {
            for ((event, may), must) in record.events.iter().zip(&record.may).zip(&record.must) {
                let id = event.id.to_string();
                let sent: BTreeSet<String> =
                    self.pairs.iter().filter(|(event, _)| *event == id).map(|(_, webhook)| webhook.clone()).collect();
                assert!(must.is_subset(&sent), "lost: {id} for {:?}", must.difference(&sent));
                assert!(sent.is_subset(may), "no webhook asked for {id}: {:?}", sent.difference(may));
            }
            // Nothing more may be sent for it from now on.
            for event in &record.events {
                let id = event.id.to_string();
                self.pairs.retain(|(event, _)| *event != id);
            }
        }
    }

    /// Checks the messages of a batch. Each delivery is sent once, unless a fault made the sender repeat it.
    async fn look_at_messages(&mut self, undisturbed: bool) {
        let mut once = BTreeSet::new();
        for text in std::mem::take(&mut *self.fake.deliveries.lock().await) {
            self.seen += 1;
            let message = Message::from_json(&text).unwrap();
            assert!(once.insert(message.delivery) || !undisturbed, "{} leaves twice", message.delivery);
            let pair = (message.event.to_string(), message.webhook.to_string());
            let acknowledged =
                !self.stream.iter().any(|record| record.events.iter().any(|event| event.id == message.event));
            assert!(!acknowledged, "{pair:?} is sent after its record was acknowledged");
            self.pairs.insert(pair);
            let is_first = self.sent.insert(message.delivery.to_string(), text).is_none();
            if let (Some(entity), Some(sequence)) = (message.entity.filter(|_| is_first), message.sequence) {
                let before =
                    self.order.insert((format!("{}/{}", message.tenant, message.webhook), entity), sequence.clone());
                assert!(before.is_none_or(|before| before <= sequence), "{} overtakes", message.delivery);
            }
        }
    }
}
