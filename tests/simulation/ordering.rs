//! Ordered deliveries under faults, crashes, duplicates and redrives. None is requested before all earlier ones of its
//! entity have arrived, or before the time until which its tenant's budget defers it, unless an operator has released
//! it. In the end all have arrived.
//!
//! The real code of deliver and sweep runs in this process; the FIFO queue is simulated here. `SIMULATION_SEED` repeats
//! a run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws::ledger::{Range, Written};
use domain::attempt::outcome::{Outcome, Verdict};
use domain::budget::Deferral;
use domain::delivery::State;
use domain::delivery::chain::entity;
use domain::delivery::message::{Body, Message};
use domain::delivery::patience::{FIRST_PATIENCE, GRACE};
use domain::id::{DeliveryId, EventId};
use domain::time::Clock;
use domain::webhook::Webhook;
use jiff::{SignedDuration, Timestamp};
use outbound::{Client, Request, Script};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tests::Hooks;
use tests::cloud::environment::variable;
use tests::cloud::recursion::{DELIVER, invoked};
use tests::cloud::{Cloud, Fault, Faults, Letter, Line, handed_back, sqs_event};

const ENTITIES: usize = 4;
const STEPS: usize = 1_000;
const TIMEOUT: Duration = Duration::from_mins(1);

/// Tokio's clock, plus the time by which it was advanced.
#[derive(Clone)]
struct Time(tokio::time::Instant, Arc<AtomicI64>);

impl Clock for Time {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.1.load(Ordering::Relaxed)).unwrap() + self.0.elapsed()
    }
}

struct World {
    random: Arc<Mutex<StdRng>>,
    time: Time,
    cloud: Arc<Cloud>,
    line: Line,
    deliver: deliver::App,
    sweep: sweep::App,
    webhook: Webhook,
    /// Whether calls and requests fail now and then.
    flaky: Arc<AtomicBool>,
    /// The FIFO queue: the messages of each entity.
    queue: Vec<VecDeque<Message>>,
    /// The deliveries of each entity, in order.
    sent: Arc<Mutex<Vec<Vec<Message>>>>,
    /// The deliveries that an operator has released from their deferral.
    released: Arc<Mutex<BTreeSet<DeliveryId>>>,
    next_id: u64,
}

/// Returns the states of all deliveries, by their ids.
fn states(cloud: &Cloud) -> BTreeMap<String, String> {
    let text = |value: &Value| value["S"].as_str().map(str::to_owned);
    let items = cloud.tables.items("deliveries");
    items.iter().filter_map(|item| Some((text(&item["delivery"])?, text(&item["delivery_state"])?))).collect()
}

impl World {
    async fn new(seed: u64, max_concurrency: Option<u32>) -> Self {
        let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        let time = Time(tokio::time::Instant::now(), Arc::new(AtomicI64::new(1_795_244_140_000)));
        let cloud = Cloud::new(Arc::new(time.clone()));
        let settings = json!({
            "url": "https://receiver.example/", "ordering": "entity", "max_concurrency": max_concurrency,
            "retry_policy": {"maxAttempts": 2, "backoff": "fixed", "scheduleSeconds": [5], "timeoutMs": 1000},
        });
        let webhook = Hooks::new(&cloud).await.create("acme", 1, settings).await;
        let flaky = Arc::new(AtomicBool::new(true));
        let (dice, is_flaky) = (Arc::clone(&random), Arc::clone(&flaky));
        let line = cloud.line(Arc::new(move |_, _| {
            let mut random = dice.lock().unwrap();
            let faults = [Fault::Throttle, Fault::LoseAnswer, Fault::HangAfter, Fault::DieBefore, Fault::DieAfter];
            let fails = is_flaky.load(Ordering::Relaxed) && random.random_ratio(1, 15);
            let fault = if fails { faults.choose(&mut *random).copied() } else { None };
            Faults { delay: Duration::from_millis(random.random_range(0..15)), fault }
        }));
        let sent = Arc::new(Mutex::new(vec![Vec::new(); ENTITIES]));
        let released = Arc::new(Mutex::new(BTreeSet::new()));
        let aws = line.aws().await;
        let (dice, is_flaky) = (Arc::clone(&random), Arc::clone(&flaky));
        let (known, tables, clock) = (Arc::clone(&sent), Arc::clone(&cloud), time.clone());
        let free = Arc::clone(&released);
        let others = cloud.line(Arc::new(|_, _| Faults::default())).aws().await.ledger("deliveries".to_owned());
        let id = webhook.id;
        let script = Script::new(move |request| {
            check(&known.lock().unwrap(), &free.lock().unwrap(), &tables, &request, clock.now());
            let mut random = dice.lock().unwrap();
            let fails = is_flaky.load(Ordering::Relaxed) && random.random_ratio(1, 3);
            let wait = Duration::from_millis(random.random_range(1..200));
            // Another process marks the receiver as slow meanwhile, so that this one leaves the request.
            let hangs = is_flaky.load(Ordering::Relaxed) && random.random_ratio(1, 20);
            let (others, now) = (others.clone(), clock.now());
            async move {
                if hangs {
                    others.mark_slow(id, now).await.unwrap();
                    tokio::time::sleep(FIRST_PATIENCE + 2 * GRACE).await;
                }
                tokio::time::sleep(wait).await;
                let verdict = if fails { Verdict::ServerFailed } else { Verdict::Accepted };
                Outcome::unanswered(verdict, "as the test demands")
            }
        });
        let config = deliver::Config::from_lookup(variable).unwrap();
        let client = Client::new(domain::attempt::target::TargetPolicy::default()).unwrap().scripted(script);
        let dice = Arc::clone(&random);
        let draw = Box::new(move || dice.lock().unwrap().random());
        let deliver = deliver::App::new(config, &aws, client, Box::new(time.clone()), draw);
        let config = sweep::Config::from_lookup(variable).unwrap();
        let sweep = sweep::App::new(config, &aws, Box::new(time.clone()));
        let queue = vec![VecDeque::new(); ENTITIES];
        Self { random, time, cloud, line, deliver, sweep, webhook, flaky, queue, sent, released, next_id: 0 }
    }

    fn draw(&self, of: usize) -> usize {
        self.random.lock().unwrap().random_range(0..of)
    }

    fn pass(&self, seconds: usize) {
        self.time.1.fetch_add(1000 * i64::try_from(seconds).unwrap(), Ordering::Relaxed);
    }

    fn deadline(&self) -> SystemTime {
        (self.time.now() + TIMEOUT).into()
    }

    /// Runs an invocation; `None` if it died.
    async fn run<T>(&self, invocation: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = invocation => Some(done),
            () = self.line.dies.notified() => None,
            () = tokio::time::sleep(TIMEOUT) => None,
        }
    }

    /// Passes messages to deliver; returns the ids of those that are done.
    async fn hand_over(&self, letters: &[Letter]) -> Vec<u64> {
        self.line.invoked_with(Some(invoked(DELIVER, letters)));
        let event = serde_json::from_value(sqs_event(letters)).unwrap();
        let Some(response) = self.run(deliver::handle(&self.deliver, event, self.deadline())).await else {
            return Vec::new();
        };
        let back = handed_back(&serde_json::to_value(response).unwrap());
        letters.iter().map(|letter| letter.id).filter(|id| !back.contains(id)).collect()
    }

    fn change(&mut self, entity_number: usize) {
        let mut sent = self.sent.lock().unwrap();
        let number = sent[entity_number].len();
        let event = EventId::from_parts(self.time.now(), u128::try_from(entity_number * 100_000 + number).unwrap());
        let body = json!({"entity": entity_number, "number": number}).to_string();
        let (webhook, tenant) = (self.webhook.id, self.webhook.tenant.clone());
        let message = Message::first(event, "item.updated".parse().unwrap(), webhook, tenant, Body::Inline(body));
        let message =
            Message { entity: Some(entity(&format!("items/{entity_number}"))), deferral: self.deferral(), ..message };
        sent[entity_number].push(message.clone());
        self.queue[entity_number].push_back(message);
    }

    /// Draws how the tenant's budget defers a delivery; most deliveries are not deferred.
    fn deferral(&self) -> Option<Deferral> {
        match self.draw(40) {
            0 => Some(Deferral::Never),
            1..10 => {
                let minutes = i64::try_from(self.draw(60)).unwrap();
                Some(Deferral::Until(self.time.now() + SignedDuration::from_mins(minutes)))
            }
            _ => None,
        }
    }

    /// Runs a batch of the FIFO queue. Messages that are done leave the queue, and the rest of their entity is received
    /// again.
    async fn first_attempts(&mut self) {
        let mut letters: Vec<(usize, Letter)> = Vec::new();
        for number in 0..ENTITIES {
            let count = self.draw(4);
            for message in self.queue[number].iter().take(count) {
                self.next_id += 1;
                let (id, due, group) = (self.next_id, self.time.now(), message.group());
                let (body, message) = (message.to_json(), Some(message.clone()));
                letters.push((number, Letter { id, body, message, due, receives: 1, group, cause: None, trace: None }));
            }
        }
        let batch: Vec<Letter> = letters.iter().map(|(_, letter)| letter.clone()).collect();
        if batch.is_empty() {
            return;
        }
        let done = self.hand_over(&batch).await;
        for number in 0..ENTITIES {
            let ids: Vec<u64> = letters.iter().filter(|(of, _)| *of == number).map(|(_, letter)| letter.id).collect();
            let ended = ids.iter().take_while(|id| done.contains(id)).count();
            assert!(ids[ended..].iter().all(|id| !done.contains(id)), "what comes after a fault is returned with it");
            self.queue[number].drain(..ended);
        }
    }

    async fn later_attempts(&self, queue: &str) {
        let letters = self.cloud.queues.receive(queue, 10, |letter| letter.id);
        if !letters.is_empty() {
            let done = self.hand_over(&letters).await;
            self.cloud.queues.delete(queue, &done);
        }
    }

    /// Releases all deferred deliveries, as the API does. Some of its calls fail.
    async fn release(&self) {
        let ledger = self.line.aws().await.ledger("deliveries".to_owned());
        let now = self.time.now();
        let released = async {
            let range = Range::all(now);
            let page = ledger.deliveries(&[self.webhook.id], range, 100, |row| row.is_deferred(now)).await;
            for row in page.map(|page| page.deliveries).unwrap_or_default() {
                // The write may succeed although its answer is lost.
                self.released.lock().unwrap().insert(row.id);
                match ledger.release(&row, now).await {
                    Ok(Written::Yes) if row.progress.state == State::Pending => {
                        let message = row.next_message();
                        self.cloud.queues.send("retries", message.to_json(), Duration::ZERO, None, None);
                    }
                    Ok(Written::TooLate) => {
                        self.released.lock().unwrap().remove(&row.id);
                    }
                    Ok(Written::Yes) | Err(_) => {}
                }
            }
        };
        self.line.invoked_with(None);
        self.run(released).await;
    }

    async fn step(&mut self) {
        match self.draw(21) {
            0..3 => {
                let number = self.draw(ENTITIES);
                self.change(number);
            }
            3..7 => self.first_attempts().await,
            7..12 => self.later_attempts("retries").await,
            12 => self.later_attempts("slow").await,
            13 => {
                let number = self.draw(ENTITIES);
                let copies = self.sent.lock().unwrap()[number].clone();
                if !copies.is_empty() {
                    // Half of the copies are of the last message, which often still waits.
                    let place = if self.draw(2) == 0 { copies.len() - 1 } else { self.draw(copies.len()) };
                    self.queue[number].push_back(copies[place].clone());
                }
            }
            14 => {
                let length = self.cloud.queues.len("retries");
                if length > 0 {
                    self.cloud.queues.duplicate("retries", self.draw(length));
                }
            }
            15 => {
                self.cloud.queues.redrive("exhausted", "retries", 5);
            }
            16..18 => {
                self.line.invoked_with(None);
                let deadline = self.deadline();
                self.run(sweep::run(&self.sweep, deadline)).await;
            }
            18 if self.draw(3) == 0 => self.release().await,
            _ => self.pass(self.draw(200)),
        }
    }
}

/// Checks a request: all earlier deliveries of the entity have arrived, and the budget allows this one, or an operator
/// does. A delivery that the budget never allows first becomes a dead letter, and may be requested when that is sent
/// again.
fn check(sent: &[Vec<Message>], released: &BTreeSet<DeliveryId>, cloud: &Cloud, request: &Request, now: Timestamp) {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let number = |name: &str| usize::try_from(body[name].as_u64().unwrap()).unwrap();
    let states = states(cloud);
    for earlier in &sent[number("entity")][..number("number")] {
        let state = states.get(&earlier.delivery.to_string());
        assert_eq!(state.map(String::as_str), Some("delivered"), "{body} overtakes {}", earlier.delivery);
    }
    let message = &sent[number("entity")][number("number")];
    match message.deferral.filter(|_| !released.contains(&message.delivery)) {
        Some(Deferral::Until(until)) => assert!(until <= now, "{body} goes at {now}, and is deferred until {until}"),
        Some(Deferral::Never) => {
            let rows = cloud.tables.items("deliveries");
            let id = message.delivery.to_string();
            let row = rows.iter().find(|row| row["sk"]["S"] == id.as_str());
            assert!(row.is_some_and(|row| row["delivery_cycle"]["N"] != "0"), "{body} goes over the budget: {row:?}");
        }
        None => {}
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_overtakes_and_everything_arrives() {
    Box::pin(run(None)).await;
}

/// Entities wait for the receiver's only slot, and keep their orders meanwhile.
#[tokio::test(start_paused = true)]
async fn nothing_overtakes_and_everything_arrives_one_request_at_a_time() {
    Box::pin(run(Some(1))).await;
}

async fn run(max_concurrency: Option<u32>) {
    let seed = crate::seed();
    println!("ordering: SIMULATION_SEED={seed}");
    let mut world = World::new(seed, max_concurrency).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    world.flaky.store(false, Ordering::Relaxed);
    let count: usize = world.sent.lock().unwrap().iter().map(Vec::len).sum();
    for _ in 0..10 * count {
        let states = states(&world.cloud);
        if states.len() == count && states.values().all(|state| state == "delivered") {
            break;
        }
        world.pass(600);
        world.line.invoked_with(None);
        let deadline = world.deadline();
        world.run(sweep::run(&world.sweep, deadline)).await;
        world.cloud.queues.redrive("exhausted", "retries", 10);
        world.first_attempts().await;
        world.later_attempts("retries").await;
        world.later_attempts("slow").await;
    }
    let states = states(&world.cloud);
    println!("ordering: {count} deliveries");
    assert_eq!((states.len(), states.values().find(|state| *state != "delivered")), (count, None));
    let left = world.cloud.tables.items("deliveries");
    let chains = left.iter().filter(|item| item["pk"]["S"].as_str().unwrap().contains("#E#"));
    assert_eq!(chains.count(), 0, "nothing is left of the chains");
}
