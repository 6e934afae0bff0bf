//! The functions in this process, over tables and queues in memory. Each invocation is metered.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use domain::attempt::outcome::{Outcome, Timing, Verdict};
use domain::source::Source;
use domain::time::Clock;
use jiff::{SignedDuration, Timestamp};
use outbound::{Request, Script};
use serde_json::{Value, json};
use tests::Hooks;
use tests::cloud::environment::variable;
use tests::cloud::{Cloud, Faults, Letter, Line, Usage, handed_back, queue_requests, sqs_event};
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::model;

/// The tenant of all webhooks.
const TENANT: &str = "acme";

/// When everything starts.
const START: i64 = 1_795_244_140_000;

/// The timeout of an invocation, as in the template.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The time of the current invocation. It passes while calls and receivers take their time.
pub(crate) struct Time {
    started: Mutex<Instant>,
    base: AtomicI64,
}

impl Time {
    /// Sets the time, in milliseconds since the start.
    fn set(&self, at: i64) {
        *self.started.lock().unwrap() = Instant::now();
        self.base.store(START + at, Ordering::Relaxed);
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        let base = Timestamp::from_millisecond(self.base.load(Ordering::Relaxed)).unwrap();
        base + SignedDuration::try_from(self.started.lock().unwrap().elapsed()).unwrap()
    }
}

struct Shared(Arc<Time>);

impl Clock for Shared {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// The log of all functions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Returns what was logged since the last call.
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'writer> MakeWriter<'writer> for Log {
    type Writer = Self;

    fn make_writer(&'writer self) -> Self {
        self.clone()
    }
}

/// What the invocations of a function took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bill {
    pub(crate) invocations: usize,
    pub(crate) milliseconds: u128,
    pub(crate) log_bytes: usize,
    pub(crate) usage: Usage,
}

impl Bill {
    /// Adds another function's.
    pub(crate) fn add(&mut self, more: &Self) {
        self.invocations += more.invocations;
        self.milliseconds += more.milliseconds;
        self.log_bytes += more.log_bytes;
        self.usage.add(&more.usage);
    }
}

/// The functions that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Fanout,
    Render,
    Deliver,
    Tally,
    Sweep,
}

/// All functions, each in one execution environment that stays warm.
pub(crate) struct Functions {
    pub(crate) cloud: Arc<Cloud>,
    time: Arc<Time>,
    fanout: fanout::App,
    render: fanout::Renderer,
    deliver: deliver::App,
    tally: tally::App,
    sweep: sweep::App,
    log: Log,
    /// The bytes that requests to receivers took, of them those of bodies, and how many requests there were.
    sent: Arc<[AtomicUsize; 3]>,
    /// What was used since the counting started.
    pub(crate) bills: BTreeMap<Name, Bill>,
    /// The requests to queues by Lambda: receiving and deleting.
    pub(crate) polled: usize,
}

fn line(cloud: &Arc<Cloud>) -> Line {
    cloud.line(Arc::new(|_, _| Faults { delay: model::CALL, fault: None }))
}

impl Functions {
    /// Starts the functions, with a table that is a source and webhooks that want all of its changes.
    pub(crate) async fn start(log: &Log, webhooks: u128, archive_days: u8) -> Self {
        let time = Arc::new(Time { started: Mutex::new(Instant::now()), base: AtomicI64::new(START) });
        let cloud = Cloud::new(Arc::clone(&time) as Arc<_>);
        let aws = line(&cloud).aws().await;
        let mapping = json!({"entity": "order", "tenant": "{tenant}", "id": "{id}", "collection": "orders"});
        let source: Source = serde_json::from_value(json!({"table": "orders", "entities": [mapping]})).unwrap();
        aws.registry("registry".to_owned()).create_source(&source).await.unwrap();
        let hooks = Hooks::new(&cloud).await;
        for number in 1..=webhooks {
            hooks
                .create(TENANT, number, json!({"url": format!("https://hooks.receiver.example/orders/{number}")}))
                .await;
        }
        cloud.tables.keep_journal();
        let sent = Arc::<[AtomicUsize; 3]>::default();
        Self {
            fanout: start_fanout(&aws, &time, archive_days),
            render: start_render(&aws, &time, archive_days),
            deliver: start_deliver(&aws, &time, &sent),
            tally: tally::App::new(tally::Config { registry_table: "registry".to_owned() }, &aws),
            sweep: start_sweep(&aws, &time),
            cloud,
            time,
            log: log.clone(),
            sent,
            bills: BTreeMap::new(),
            polled: 0,
        }
    }

    /// Forgets what was used so far.
    pub(crate) fn start_counting(&mut self) {
        self.cloud.take_usage();
        self.cloud.tables.take_journal();
        self.sent.iter().for_each(|sum| sum.store(0, Ordering::Relaxed));
        self.bills.clear();
        self.polled = 0;
    }

    /// Returns the bytes of requests to receivers, of them those of bodies, and the number of requests.
    pub(crate) fn sent(&self) -> [usize; 3] {
        [0, 1, 2].map(|sum| self.sent[sum].load(Ordering::Relaxed))
    }

    /// Starts an invocation, at a time in milliseconds since the start.
    fn begin(&self, at: i64) -> Instant {
        self.time.set(at);
        self.cloud.take_usage();
        self.log.take();
        Instant::now()
    }

    /// Ends an invocation that used `cpu` on top of the time that passed. Returns when it ended.
    fn end(&mut self, name: Name, (at, started): (i64, Instant), cpu: Duration) -> i64 {
        let took = started.elapsed() + cpu;
        let usage = self.cloud.take_usage();
        let log = self.log.take();
        let bill = self.bills.entry(name).or_default();
        bill.invocations += 1;
        bill.milliseconds += took.as_micros().div_ceil(1000);
        bill.log_bytes += log.len() + model::platform_lines();
        bill.usage.add(&usage);
        at + i64::try_from(took.as_millis()).unwrap()
    }

    fn deadline(&self) -> SystemTime {
        (self.time.now() + TIMEOUT).into()
    }

    /// Passes records of the table to fan-out. Returns when it is done.
    pub(crate) async fn fan_out(&mut self, at: i64, records: &[Value]) -> i64 {
        let started = self.begin(at);
        let event = serde_json::from_value(json!({"Records": records})).unwrap();
        let response = fanout::handle(&self.fanout, event, self.deadline()).await;
        assert_eq!(response.batch_item_failures.len(), 0, "fan-out returned records");
        self.end(Name::Fanout, (at, started), model::fanout_cpu(records.len()))
    }

    /// Passes slices to render, oldest first. Returns when it is done.
    pub(crate) async fn render(&mut self, at: i64) -> i64 {
        let started = self.begin(at);
        let letters = self.receive("renderings", model::RENDER_BATCH);
        let event = serde_json::from_value(sqs_event(&letters)).unwrap();
        let response = fanout::render(&self.render, event, self.deadline()).await;
        assert_eq!(response.batch_item_failures.len(), 0, "render returned slices");
        self.delete("renderings", &letters);
        self.end(Name::Render, (at, started), model::render_cpu(letters.len()))
    }

    fn receive(&mut self, queue: &str, limit: usize) -> Vec<Letter> {
        let letters = self.cloud.queues.receive(queue, limit, |letter| letter.id);
        self.polled += queue_requests(letters.iter().map(|letter| letter.body.len()));
        letters
    }

    fn delete(&mut self, queue: &str, letters: &[Letter]) {
        self.cloud.queues.delete(queue, &letters.iter().map(|letter| letter.id).collect::<Vec<_>>());
        self.polled += 1;
    }

    /// Passes up to `limit` messages to deliver, oldest first. Returns how many there were.
    pub(crate) async fn deliver(&mut self, at: i64, limit: usize) -> usize {
        let started = self.begin(at);
        let letters = self.receive("deliveries", limit);
        let event = serde_json::from_value(sqs_event(&letters)).unwrap();
        let response = deliver::handle(&self.deliver, event, self.deadline()).await;
        assert!(handed_back(&serde_json::to_value(response).unwrap()).is_empty(), "deliver returned messages");
        self.end(Name::Deliver, (at, started), model::deliver_cpu(letters.len()));
        self.delete("deliveries", &letters);
        letters.len()
    }

    /// Passes rows of the ledger to tally, as their stream shows them.
    pub(crate) async fn tally(&mut self, at: i64, records: &[Value]) {
        let started = self.begin(at);
        let event = serde_json::from_value(json!({"Records": records})).unwrap();
        let response = tally::handle(&self.tally, event).await;
        assert_eq!(response.batch_item_failures.len(), 0, "tally returned records");
        self.end(Name::Tally, (at, started), model::tally_cpu(records.len()));
    }

    /// Runs the sweep.
    pub(crate) async fn sweep(&mut self, at: i64) {
        let started = self.begin(at);
        sweep::run(&self.sweep, self.deadline()).await.unwrap();
        self.end(Name::Sweep, (at, started), model::SWEEP_CPU);
    }
}

fn start_fanout(aws: &aws::Aws, time: &Arc<Time>, archive_days: u8) -> fanout::App {
    let config =
        fanout::Config { payload_retention_days: archive_days, ..fanout::Config::from_lookup(variable).unwrap() };
    fanout::App::new(config, aws, Box::new(Shared(Arc::clone(time))))
}

fn start_render(aws: &aws::Aws, time: &Arc<Time>, archive_days: u8) -> fanout::Renderer {
    let config = fanout::RenderConfig {
        payload_retention_days: archive_days,
        ..fanout::RenderConfig::from_lookup(variable).unwrap()
    };
    fanout::Renderer::new(config, aws, Box::new(Shared(Arc::clone(time))))
}

fn start_deliver(aws: &aws::Aws, time: &Arc<Time>, sent: &Arc<[AtomicUsize; 3]>) -> deliver::App {
    let config = deliver::Config {
        delivered_retention_days: model::row_days(),
        ..deliver::Config::from_lookup(variable).unwrap()
    };
    let client = outbound::Client::new(domain::attempt::target::TargetPolicy::default()).unwrap();
    let sent = Arc::clone(sent);
    let receivers = client.scripted(Script::new(move |request| receive(Arc::clone(&sent), request)));
    deliver::App::new(config, aws, receivers, Box::new(Shared(Arc::clone(time))), Box::new(|| 0.5))
}

fn start_sweep(aws: &aws::Aws, time: &Arc<Time>) -> sweep::App {
    let config = sweep::Config::from_lookup(variable).unwrap();
    sweep::App::new(config, aws, Box::new(Shared(Arc::clone(time))))
}

/// Acts as a receiver that accepts everything, with an empty body.
async fn receive(sent: Arc<[AtomicUsize; 3]>, request: Request) -> Outcome {
    let head: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + ": \r\n".len()).sum();
    let request_line = "POST  HTTP/1.1\r\n\r\n".len() + request.url.len() - "https://".len();
    let all = request_line + head + request.body.len() + model::CONNECTION_BYTES;
    for (sum, more) in sent.iter().zip([all, request.body.len(), 1]) {
        sum.fetch_add(more, Ordering::Relaxed);
    }
    tokio::time::sleep(model::RECEIVER).await;
    let duration_ms = u32::try_from(model::RECEIVER.as_millis()).unwrap();
    Outcome {
        verdict: Verdict::Accepted,
        status: Some(204),
        error: None,
        response_excerpt: None,
        response_body: None,
        duration_ms,
        timing: Timing { first_byte_ms: Some(duration_ms), ..Timing::default() },
        retry_after_s: None,
    }
}
