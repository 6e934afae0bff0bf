//! The real deliver binary under load: CPU time for each delivery compared to a bare loop, overlap, memory, calls.
//! `make bench`.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use domain::webhook::Webhook;
use serde_json::{Value, json};
use tests::cloud::delivery_environment;
use tests::{Function, binary};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::fixture::{BATCH, Fixture, TENANT};
use crate::usage::usage;

/// The size of a body, in bytes.
const BYTES: usize = 1024;

/// A process that only signs and sends, and perhaps makes the calls of a batch: `functions/deliver/examples/bare.rs`.
struct Bare {
    child: Child,
    batches: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Bare {
    fn start(arguments: &[String], environment: HashMap<String, String>) -> Self {
        let path = std::env::var("DYNAHOOK_BARE").expect("DYNAHOOK_BARE names the built example");
        let mut command = Command::new(path);
        command.args(arguments).envs(environment).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (batches, said) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, batches, said: BufReader::new(said).lines() }
    }

    /// Sends batches, one after another. Before each, this process makes a batch as it does for deliver, so that both
    /// wait as long for the next one and find the processor's caches as cold.
    async fn send(&mut self, fixture: &Fixture, webhooks: &[Webhook], batches: usize) {
        for _ in 0..batches {
            fixture.batch(webhooks, BATCH, BYTES).await;
            self.batches.write_all(b"1\n").await.unwrap();
            self.said.next_line().await.unwrap().expect("the batch has arrived");
        }
    }

    /// Returns the CPU time for each delivery, in microseconds.
    async fn measure(mut self, fixture: &Fixture, webhooks: &[Webhook], batches: usize) -> f64 {
        let pid = self.child.id().unwrap();
        self.send(fixture, webhooks, 50).await;
        let (before, _) = usage(pid);
        self.send(fixture, webhooks, batches).await;
        let (after, _) = usage(pid);
        (after - before) * 1e6 / (batches * BATCH) as f64
    }
}

/// Returns the peak memory of a process, in megabytes.
pub(crate) fn peak(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}

pub(crate) async fn delivery() {
    let fixture = Fixture::start().await;
    println!("\nthe deliver binary, batches of {BATCH} deliveries of 1 KB, a receiver that answers at once");
    cpu(&fixture).await;
    overlap(&fixture).await;
    memory(&fixture).await;
}

async fn deliver(fixture: &Fixture) -> Function {
    Function::spawn(&binary("DeliverFunction"), delivery_environment(&fixture.cloud_url)).await
}

/// Feeds batches of first attempts, spread evenly over the webhooks.
async fn feed(fixture: &Fixture, function: &mut Function, webhooks: &[Webhook], batches: usize, bytes: usize) {
    for _ in 0..batches {
        let batch = fixture.batch(webhooks, BATCH, bytes).await;
        assert_eq!(function.invoke(batch).await, json!({"batchItemFailures": []}));
    }
}

async fn cpu(fixture: &Fixture) {
    let batches = 1000;
    for count in [1, BATCH] {
        let webhooks = fixture.webhooks(count, json!({}), "").await;
        let (ids, urls): (Vec<_>, Vec<_>) =
            webhooks.iter().map(|webhook| (webhook.id.to_string(), webhook.settings.url.clone())).unzip();
        let bare = async |receivers: &[&[String]]| {
            let arguments = [&[BYTES.to_string()], receivers.concat().as_slice()].concat();
            let bare = Bare::start(&arguments, delivery_environment(&fixture.cloud_url));
            bare.measure(fixture, &webhooks, batches).await
        };
        let alone = bare(&[&["alone".to_owned()], &urls]).await;
        println!("{:44} {alone:>6.1} µs CPU a delivery", format!("a loop that signs and sends, to {count}"));
        let with_tables = bare(&[&["tables".to_owned(), TENANT.to_owned()], &ids]).await;
        println!("{:44} {with_tables:>6.1} µs CPU a delivery", "and calls the tables as a batch must");
        let mut function = deliver(fixture).await;
        feed(fixture, &mut function, &webhooks, 50, BYTES).await;
        let (before, _) = usage(function.pid());
        fixture.cloud.take_calls();
        feed(fixture, &mut function, &webhooks, batches, BYTES).await;
        let (after, _) = usage(function.pid());
        let each = (after - before) * 1e6 / (batches * BATCH) as f64;
        let (name, ratios) = (format!("deliver, to {count} webhooks"), (each / alone, each / with_tables));
        println!("{name:44} {each:>6.1} µs CPU a delivery, {:.2}× and {:.2}× of these", ratios.0, ratios.1);
        let calls = fixture.cloud.take_calls();
        let a_delivery = |names: &[&str]| {
            let sum: usize = names.iter().filter_map(|name| calls.get(*name)).sum();
            sum as f64 / (batches * BATCH) as f64
        };
        let reads = a_delivery(&["BatchGetItem", "GetItem", "Query", "GetSecretValue"]);
        let writes = a_delivery(&["BatchWriteItem", "PutItem", "UpdateItem", "TransactWriteItems", "SendMessageBatch"]);
        println!("{:44} {reads:.2} reads, {writes:.2} writes (at most 0.2 and 0.2)", "calls a delivery");
    }
}

async fn overlap(fixture: &Fixture) {
    let webhooks = fixture.webhooks(100, json!({}), "slow").await;
    let mut function = deliver(fixture).await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let batch = fixture.batch(&webhooks, 100, 1024).await;
        let started = Instant::now();
        assert_eq!(function.invoke(batch).await, json!({"batchItemFailures": []}));
        fastest = fastest.min(started.elapsed());
    }
    println!("{:44} {} ms (below 300)", "a batch to 100 receivers of 200 ms", fastest.as_millis());
}

async fn memory(fixture: &Fixture) {
    for (name, kilobytes) in [("by reference", 64), ("in the message", 40)] {
        let webhooks = fixture.webhooks(100, json!({}), "").await;
        let mut function = deliver(fixture).await;
        for _ in 0..10 {
            let batch: Value = fixture.batch(&webhooks, 100, kilobytes * 1024).await;
            assert_eq!(function.invoke(batch).await, json!({"batchItemFailures": []}));
        }
        let name = format!("peak memory, batches of 100 × {kilobytes} KB {name}");
        println!("{name:44} {:.0} MB (at most 64)", peak(function.pid()));
    }
}
