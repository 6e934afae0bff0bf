//! Imitates Lambda for the built functions: a stream's shard, the mappings of queues, and each process's share of a
//! core.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, setpriority_process};
use serde_json::{Value, json};
use tests::cloud::{handed_back, sqs_event};
use tests::{Function, binary, now};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::fixture::Fixture;

/// The period in which Lambda gives a function its share of a core.
const PERIOD: Duration = Duration::from_millis(20);

/// The memory with which a function gets one whole core, in megabytes.
const MEGABYTES_A_CORE: f64 = 1769.0;

/// How often Lambda polls a shard, and how many records a batch has at most.
const POLLS: Duration = Duration::from_millis(250);
const RECORDS: usize = 100;

/// How long a message must wait before a process is added, and how often one is added at most: Lambda adds 300 a
/// minute.
const SHORT: Duration = Duration::from_millis(50);
const MORE: Duration = Duration::from_millis(200);

/// The niceness of processes whose functions Lambda would run on other machines.
const NICE: i32 = 15;

/// A function as the template configures it.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) logical_id: &'static str,
    pub(crate) environment: HashMap<String, String>,
    /// In megabytes; `None` does not limit the CPU of the process.
    pub(crate) memory: Option<f64>,
    /// Whether the process runs with low priority.
    pub(crate) stands_back: bool,
}

/// Limits processes to their shares of a core. A process that has used its share is stopped until the next period.
#[derive(Default)]
pub(crate) struct Shares(Mutex<Vec<Share>>);

struct Share {
    pid: Pid,
    part: f64,
    used: Duration,
    /// The CPU time that is left in this period, in nanoseconds.
    left: f64,
    is_stopped: bool,
}

impl Shares {
    /// Starts to enforce the shares, until the last other reference is dropped.
    pub(crate) fn start() -> Arc<Self> {
        let shares = Arc::new(Self::default());
        let looked_after = Arc::downgrade(&shares);
        std::thread::spawn(move || {
            let mut period = Instant::now();
            while let Some(shares) = looked_after.upgrade() {
                let periods = period.elapsed().div_duration_f64(PERIOD).floor();
                period += PERIOD.mul_f64(periods);
                shares.look(periods);
                drop(shares);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        shares
    }

    fn look(&self, periods: f64) {
        for share in self.0.lock().unwrap().iter_mut() {
            let Some(used) = used(share.pid) else { continue };
            let period = share.part * PERIOD.as_secs_f64() * 1e9;
            share.left =
                (share.left + periods * period).min(period) - used.saturating_sub(share.used).as_secs_f64() * 1e9;
            share.used = used;
            let stops = share.left <= 0.0;
            if stops != share.is_stopped {
                let signal = if stops { Signal::STOP } else { Signal::CONT };
                share.is_stopped = kill_process(share.pid, signal).is_ok() && stops;
            }
        }
    }

    fn hold(&self, pid: u32, megabytes: f64) {
        let Some(pid) = process(pid) else { return };
        let (part, used) = (megabytes / MEGABYTES_A_CORE, used(pid).unwrap_or_default());
        self.0.lock().unwrap().push(Share { pid, part, used, left: 0.0, is_stopped: false });
    }
}

/// Returns the CPU time of a process with a single thread.
fn used(pid: Pid) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", pid.as_raw_nonzero())).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

fn process(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// The processes of the functions, and the tasks that feed them.
pub(crate) struct Lambda {
    fixture: Arc<Fixture>,
    shares: Arc<Shares>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Lambda {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap() {
            task.abort();
        }
    }
}

impl Lambda {
    pub(crate) fn new(fixture: &Arc<Fixture>) -> Arc<Self> {
        Arc::new(Self { fixture: Arc::clone(fixture), shares: Shares::start(), tasks: Mutex::default() })
    }

    async fn spawn(&self, settings: &Settings) -> Function {
        let function = Function::spawn(&binary(settings.logical_id), settings.environment.clone()).await;
        if settings.stands_back {
            setpriority_process(process(function.pid()), NICE).unwrap();
        }
        if let Some(megabytes) = settings.memory {
            self.shares.hold(function.pid(), megabytes);
        }
        function
    }

    fn keep(&self, task: JoinHandle<()>) {
        self.tasks.lock().unwrap().push(task);
    }

    /// Maps a queue to a function: up to `batch` messages at once, with `first` processes and, while messages wait, up
    /// to `most`.
    pub(crate) async fn map_queue(
        self: &Arc<Self>,
        queue: &'static str,
        batch: usize,
        settings: Settings,
        [first, most]: [usize; 2],
    ) {
        let (free, mut idle) = mpsc::unbounded_channel();
        for _ in 0..first {
            free.send(self.spawn(&settings).await).unwrap();
        }
        let fixture = Arc::clone(&self.fixture);
        let back = free.clone();
        self.keep(tokio::spawn(async move {
            while let Some(mut function) = idle.recv().await {
                let letters = loop {
                    let letters = fixture.cloud.queues.receive_fairly(queue, batch);
                    if !letters.is_empty() {
                        break letters;
                    }
                    tokio::time::sleep(Duration::from_millis(3)).await;
                };
                let (fixture, back) = (Arc::clone(&fixture), back.clone());
                tokio::spawn(async move {
                    let returned = handed_back(&function.invoke(sqs_event(&letters)).await);
                    let done = letters.iter().map(|letter| letter.id).filter(|id| !returned.contains(id));
                    fixture.cloud.queues.delete(queue, &done.collect::<Vec<_>>());
                    let _ = back.send(function);
                });
            }
        }));
        let lambda = Arc::downgrade(self);
        self.keep(tokio::spawn(async move {
            let mut tick = tokio::time::interval(MORE);
            for _ in first..most {
                loop {
                    tick.tick().await;
                    let Some(lambda) = lambda.upgrade() else { return };
                    if lambda.fixture.cloud.queues.next_due(queue).is_some_and(|due| due + SHORT < now()) {
                        let _ = free.send(lambda.spawn(&settings).await);
                        break;
                    }
                }
            }
        }));
    }

    /// Maps a shard to a function, one batch at a time. Returns the process.
    pub(crate) async fn map_shard(&self, shard: &Arc<Shard>, settings: &Settings) -> u32 {
        let mut function = self.spawn(settings).await;
        let pid = function.pid();
        let shard = Arc::clone(shard);
        self.keep(tokio::spawn(async move {
            let mut polls = tokio::time::interval(POLLS);
            polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                polls.tick().await;
                let records: Vec<Value> = shard.first();
                if records.is_empty() {
                    continue;
                }
                let started = Instant::now();
                let response = function.invoke(json!({"Records": records})).await;
                shard.took.lock().unwrap().push(started.elapsed());
                let failed = &response["batchItemFailures"][0]["itemIdentifier"];
                let done = records.iter().position(|record| record["dynamodb"]["SequenceNumber"] == *failed);
                shard.checkpoint(done.unwrap_or(records.len()));
            }
        }));
        pid
    }
}

/// A shard of a table's stream.
#[derive(Default)]
pub(crate) struct Shard {
    records: Mutex<VecDeque<Value>>,
    number: AtomicU64,
    /// How long each batch took.
    pub(crate) took: Mutex<Vec<Duration>>,
}

impl Shard {
    /// Adds a change of a tenant's item, and returns its record.
    pub(crate) fn change(&self, tenant: &str, kind: &str, more: &[(&str, &str)]) -> Value {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let image = |version: &str| {
            let mut image =
                json!({"tenant": {"S": tenant}, "id": {"S": format!("o{number}")}, "status": {"S": version}});
            for (name, text) in more {
                image[*name] = json!({"S": text});
            }
            image
        };
        let mut record = json!({
            "eventID": format!("c4ca4238a0b923820dcc{number:012}"), "eventName": kind, "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1", "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-11-21T10:00:00.000",
            "dynamodb": {"ApproximateCreationDateTime": now().as_second(), "Keys": {"id": {"S": format!("o{number}")}}, "NewImage": image("new"),
                "SequenceNumber": number.to_string(), "SizeBytes": 2048, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        });
        if kind == "MODIFY" {
            record["dynamodb"]["OldImage"] = image("old");
        }
        self.records.lock().unwrap().push_back(record.clone());
        record
    }

    /// Returns how many records wait.
    pub(crate) fn len(&self) -> usize {
        self.records.lock().unwrap().len()
    }

    fn first(&self) -> Vec<Value> {
        self.records.lock().unwrap().iter().take(RECORDS).cloned().collect()
    }

    fn checkpoint(&self, done: usize) {
        self.records.lock().unwrap().drain(..done);
    }
}
