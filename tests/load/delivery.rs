//! The real deliver binary under load: CPU time for each delivery compared to a bare loop, overlap, memory, calls.
//! `make bench`.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::cloud::delivery_environment;
use tests::{Function, binary};

use crate::fixture::{BATCH, Fixture, TENANT};
use crate::usage::usage;

/// A process that only signs and sends, and perhaps makes the calls of a batch: `functions/deliver/examples/bare.rs`.
struct Bare {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Bare {
    fn start(arguments: &[&str], environment: HashMap<String, String>) -> Self {
        let path = std::env::var("DYNAHOOK_BARE").expect("DYNAHOOK_BARE names the built example");
        let mut command = Command::new(path);
        command.args(arguments).envs(environment).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Sends batches, and returns when they have arrived.
    fn send(&mut self, batches: usize) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{batches}").unwrap();
        self.said.read_line(&mut String::new()).unwrap();
    }

    /// Returns the CPU time for each delivery, in microseconds.
    fn measure(mut self, batches: usize) -> f64 {
        self.send(50);
        let (before, _) = usage(self.child.id());
        self.send(batches);
        let (after, _) = usage(self.child.id());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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
async fn feed(
    fixture: &Fixture,
    function: &mut Function,
    webhooks: &[domain::webhook::Webhook],
    batches: usize,
    bytes: usize,
) {
    for _ in 0..batches {
        let batch = fixture.batch(webhooks, BATCH, bytes).await;
        assert_eq!(function.invoke(batch).await, json!({"batchItemFailures": []}));
    }
}

async fn cpu(fixture: &Fixture) {
    let batches = 1000;
    let webhook = fixture.webhooks(1, json!({}), "").await.remove(0);
    let bare = async |more: &[String]| {
        let arguments = [&[fixture.url(1, ""), "1024".to_owned()], more].concat();
        let environment = delivery_environment(&fixture.cloud_url);
        let measure = move || {
            Bare::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), environment).measure(batches)
        };
        tokio::task::spawn_blocking(measure).await.unwrap()
    };
    let alone = bare(&[]).await;
    println!("{:44} {alone:>6.1} µs CPU a delivery", "a loop that signs and sends");
    let bare = bare(&[TENANT.to_owned(), webhook.id.to_string()]).await;
    println!("{:44} {bare:>6.1} µs CPU a delivery", "and calls the tables as a batch must");
    let mut function = deliver(fixture).await;
    for webhooks in [1, 10] {
        let webhooks = fixture.webhooks(webhooks, json!({}), "").await;
        feed(fixture, &mut function, &webhooks, 50, 1024).await;
        let (before, _) = usage(function.pid());
        fixture.cloud.take_calls();
        feed(fixture, &mut function, &webhooks, batches, 1024).await;
        let (after, _) = usage(function.pid());
        let each = (after - before) * 1e6 / (batches * BATCH) as f64;
        let name = format!("deliver, to {} webhooks", webhooks.len());
        println!("{name:44} {each:>6.1} µs CPU a delivery, {:.2}× and {:.2}× of these", each / alone, each / bare);
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
