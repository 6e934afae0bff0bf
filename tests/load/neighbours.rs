//! Two hostile tenants next to a healthy one: how long its changes take to arrive, and whether all do. `make bench`.
//!
//! All three share the shard and the queues.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::source::Source;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tests::cloud::{Faults, delivery_environment};
use tests::fanout_environment;
use tokio::task::JoinHandle;

use crate::delivery::peak;
use crate::fixture::Fixture;
use crate::lambda::{Lambda, Settings, Shard};

/// How many changes a second the healthy tenant makes, and for how long they are timed after an onset.
const RATE: u32 = 7;
const LASTS: Duration = Duration::from_mins(1);
const ONSET: Duration = Duration::from_secs(15);

/// The duration of a call to AWS, in milliseconds.
const TABLE: u64 = 4;
const QUEUE: u64 = 8;

const HEALTHY: &str = "healthy";
const BURNER: &str = "burner";
const BLOCKER: &str = "blocker";

/// How many webhooks the hostile tenants have of each kind.
const FILTERS: usize = 300;
const TEMPLATES: usize = 220;
const HANGING: usize = 100;
const TOKENS: usize = 30;
const FAST: usize = 20;

/// Returns one of three filters that take much work: with wildcards, or with lists of excluded texts.
fn filter(number: usize) -> Value {
    let wanted = match number % 3 {
        0 => json!([{"wildcard": format!("*{}{number}", "ab*".repeat(1_150))}]),
        1 => {
            json!([{"anything-but": (0..300).map(|other| format!("{number}-{other}")).collect::<Vec<_>>()}, {"prefix": "z"}])
        }
        _ => (0..150).map(|other| json!({"wildcard": format!("*b{other}*{number}")})).collect(),
    };
    json!({"event_types": ["order.created"], "filter": {"value": {"text": wanted}}})
}

/// Returns a template of 16 KB that takes nearly all the steps that are allowed.
fn template(number: usize) -> Value {
    let text = "x".repeat(125);
    let loops = format!("{{% for a in '{text}' %}}{{% for b in '{text}' %}}{{% endfor %}}{{% endfor %}}");
    let template = format!("{loops}[{number}, \"{}\"]", "y".repeat(15_900));
    json!({"event_types": ["order.updated"], "payload_format": "template", "template": template})
}

struct World {
    fixture: Arc<Fixture>,
    _lambda: Arc<Lambda>,
    shard: Arc<Shard>,
    source: Source,

    fanout: u32,
    ends: Arc<AtomicBool>,
    attacks: Mutex<Vec<JoinHandle<()>>>,
}

impl World {
    async fn start() -> Self {
        let fault_script = |operation: &str, _: usize| {
            let millis = if operation == "SendMessageBatch" { QUEUE } else { TABLE };
            Faults { delay: Duration::from_millis(millis), fault: None }
        };
        let fixture = Arc::new(Fixture::start_with(Arc::new(fault_script)).await);
        let mapping = json!({"entity": "order", "tenant": "{tenant}", "id": "{id}", "collection": "orders"});
        let source: Source = serde_json::from_value(json!({"table": "orders", "entities": [mapping]})).unwrap();
        fixture.register(&source).await;
        fixture.webhooks_of(HEALTHY, 1, |_| json!({}), "").await;
        let lambda = Lambda::new(&fixture);
        let shard = Arc::new(Shard::default());
        let in_shard = Settings {
            logical_id: "FanoutFunction",
            environment: fanout_environment(&fixture.cloud_url),
            memory: Some(256.0),
            stands_back: false,
        };
        let mut render = Settings { memory: Some(512.0), stands_back: true, ..in_shard.clone() };
        render.environment.insert("FANOUT_INPUT".to_owned(), "renderings".to_owned());
        let deliver = Settings {
            logical_id: "DeliverFunction",
            environment: delivery_environment(&fixture.cloud_url),
            memory: None,
            stands_back: false,
        };
        let later = Settings { stands_back: true, ..deliver.clone() };
        lambda.map_queue("deliveries", 10, deliver, [5, 50]).await;
        lambda.map_queue("retries", 10, later.clone(), [2, 10]).await;
        lambda.map_queue("slow", 10, later, [2, 10]).await;
        lambda.map_queue("renderings", 5, render, [1, 5]).await;
        let fanout = lambda.map_shard(&shard, &in_shard).await;
        let (ends, attacks) = (Arc::default(), Mutex::default());
        Self { fixture, _lambda: lambda, shard, source, fanout, ends, attacks }
    }

    /// Registers the hostile tenants' webhooks, and starts their changes.
    async fn attack(&self) {
        let fixture = &self.fixture;
        fixture.webhooks_of(BURNER, FILTERS, filter, "").await;
        fixture.webhooks_of(BURNER, TEMPLATES, template, "").await;
        let created = |_| json!({"event_types": ["order.created"]});
        fixture.webhooks_of(BLOCKER, HANGING, created, "hang").await;
        for webhook in fixture.webhooks_of(BLOCKER, TOKENS, created, "").await {
            let token_url = webhook.settings.url.replace("/fast/", "/token/");
            fixture.hooks.authorize(&webhook.tenant, webhook.id, &token_url).await;
        }
        fixture.webhooks_of(BLOCKER, FAST, created, "").await;
        let text = "ab".repeat(5_000);
        self.every(Duration::from_millis(500), move |shard| _ = shard.change(BURNER, "INSERT", &[("text", &text)]));
        self.every(Duration::from_secs(2), |shard| _ = shard.change(BURNER, "MODIFY", &[]));
        self.every(Duration::from_secs(10), |shard| {
            for _ in 0..10 {
                shard.change(BLOCKER, "INSERT", &[]);
            }
        });
    }

    fn every(&self, period: Duration, strike: impl Fn(&Shard) + Send + 'static) {
        let (shard, ends) = (Arc::clone(&self.shard), Arc::clone(&self.ends));
        self.attacks.lock().unwrap().push(tokio::spawn(async move {
            let mut tick = tokio::time::interval(period);
            while !ends.load(Ordering::Relaxed) {
                tick.tick().await;
                strike(&shard);
            }
        }));
    }

    /// Makes changes of the healthy tenant at a steady rate. Returns their times to arrival, during the onset and after
    /// it, shortest first.
    async fn time(&self) -> [Vec<Duration>; 2] {
        let mut sent = HashMap::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
        let started = Instant::now();
        while started.elapsed() < ONSET + LASTS {
            tick.tick().await;
            let record = self.shard.change(HEALTHY, "INSERT", &[]);
            sent.insert(self.event_of(&record), Instant::now());
        }
        let arrived = || {
            let arrivals = self.fixture.arrivals.lock().unwrap();
            let taken = arrivals.iter().filter_map(|((_, event), (at, _))| {
                let sent: Instant = *sent.get(event)?;
                Some((sent.duration_since(started), at.duration_since(sent)))
            });
            taken.collect::<Vec<_>>()
        };
        let end = Instant::now() + Duration::from_mins(2);
        while arrived().len() < sent.len() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.ends.store(true, Ordering::Relaxed);
        let arrived = arrived();
        println!("{:52} {} (at most 0)", format!("  lost of {} deliveries", sent.len()), sent.len() - arrived.len());
        [true, false].map(|onset| {
            let part = arrived.iter().filter(|(at, _)| (*at < ONSET) == onset);
            let mut part: Vec<Duration> = part.map(|(_, taken)| *taken).collect();
            part.sort();
            part
        })
    }

    fn event_of(&self, record: &Value) -> String {
        let change = domain::source::record::read(&to_raw_value(record).unwrap()).unwrap().change;
        self.source.events(change).unwrap()[0].id.to_string()
    }
}

fn at(taken: &[Duration], percent: usize) -> f64 {
    taken[(taken.len() * percent / 100).min(taken.len() - 1)].as_secs_f64() * 1e3
}

pub(crate) async fn neighbours() {
    println!(
        "\na healthy tenant with {RATE} changes a second, alone and next to two hostile tenants in the same shard and queues\n\
         fan-out has a seventh of a core, as on Lambda; a shard is read every 250 ms; calls of tables take {TABLE} ms, of queues {QUEUE} ms\n\
         render and deliver's retries and slow attempts give way, as Lambda runs them on other cores"
    );
    let (alone, _) = measure(false).await;
    let (hostile, onset) = measure(true).await;
    println!("{:52} {onset:.1} ms", format!("p99 in the first {} s next to hostile tenants", ONSET.as_secs()));
    for (name, percent, most) in [("p50", 50, ""), ("p99", 99, " (at most 1.5×)")] {
        let ratio = at(&hostile, percent) / at(&alone, percent);
        println!("{:52} {ratio:.2}× of alone{most}", format!("{name} after that"));
    }
}

/// Returns the times to arrival after the onset, shortest first, and the 99th percentile of the onset.
async fn measure(attacks: bool) -> (Vec<Duration>, f64) {
    let world = World::start().await;
    if attacks {
        world.attack().await;
    }
    let [onset, taken] = world.time().await;
    let name = if attacks { "next to two hostile tenants" } else { "alone" };
    println!("{name:52} p50 {:.1} ms, p99 {:.1} ms of {}", at(&taken, 50), at(&taken, 99), taken.len());
    let mut took = world.shard.took.lock().unwrap().clone();
    took.sort();
    println!("{:52} p50 {:.1} ms, p99 {:.1} ms", "  a batch of the shard", at(&took, 50), at(&took, 99));
    println!("{:52} {:.0} MB (at most 200)", "  peak memory of fan-out", peak(world.fanout));
    let waiting = ["deliveries", "retries", "slow", "renderings"]
        .map(|queue| format!("{queue} {}", world.fixture.cloud.queues.len(queue)));
    println!("{:52} records {}, {}", "  left of the attacks in the end", world.shard.len(), waiting.join(", "));
    (taken, at(&onset, 99))
}
