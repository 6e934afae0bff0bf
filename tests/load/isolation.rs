//! The effect of a webhook that hangs until its timeout, with half of the traffic, on the others. `make bench`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::webhook::Webhook;
use serde_json::json;
use tests::cloud::{delivery_environment, handed_back, sqs_event};
use tests::{Function, binary, now};
use tokio::task::JoinHandle;

use crate::fixture::Fixture;

/// How many batches of first and of later attempts run at once. While first ones wait, one is added every 200 ms, as
/// Lambda does for a queue: it starts with five and adds 300 a minute.
const FIRST: usize = 5;
const MOST: usize = 40;
const LATER: usize = 2;

/// A message that has waited this long waits for a process.
const SHORT: Duration = Duration::from_millis(50);

/// How many deliveries a second go to healthy webhooks.
const RATE: u32 = 40;

/// The duration of the traffic, and of its onset, in which the hanging webhook is detected.
const LASTS: Duration = Duration::from_secs(40);
const ONSET: Duration = Duration::from_secs(10);

/// Maps a queue to a process: whenever it is free, it gets up to ten due messages.
fn map(fixture: &Arc<Fixture>, queue: &'static str, mut function: Function, ends: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (fixture, ends) = (Arc::clone(fixture), Arc::clone(ends));
    tokio::spawn(async move {
        while !ends.load(Ordering::Relaxed) {
            let queues = &fixture.cloud.queues;
            let letters = queues.receive(queue, 10, |letter| letter.due);
            if letters.is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            let back = handed_back(&function.invoke(sqs_event(&letters)).await);
            let done: Vec<u64> = letters.iter().map(|letter| letter.id).filter(|id| !back.contains(id)).collect();
            queues.delete(queue, &done);
        }
    })
}

async fn spawn(fixture: &Fixture) -> Function {
    Function::spawn(&binary("DeliverFunction"), delivery_environment(&fixture.cloud_url)).await
}

/// Adds processes for first attempts while messages wait.
fn scale(fixture: &Arc<Fixture>, ends: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (fixture, ends) = (Arc::clone(fixture), Arc::clone(ends));
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        let mut mappings = Vec::new();
        while !ends.load(Ordering::Relaxed) {
            tick.tick().await;
            let waits = fixture.cloud.queues.next_due("deliveries").is_some_and(|due| due + SHORT < now());
            if waits && FIRST + mappings.len() < MOST {
                mappings.push(map(&fixture, "deliveries", spawn(&fixture).await, &ends));
            }
        }
    })
}

/// Sends traffic to the healthy webhooks and, if `hangs`, as much to one that hangs. Returns how long each delivery to
/// a healthy one took to arrive: those of the onset, and those after it.
async fn traffic(healthy: usize, hangs: bool) -> [Vec<Duration>; 2] {
    let fixture = Arc::new(Fixture::start().await);
    let healthy = fixture.webhooks(healthy, json!({}), "").await;
    let hanging = fixture.webhooks(1, json!({}), "hang").await.remove(0);
    let ends = Arc::new(AtomicBool::new(false));
    let mut mappings = Vec::new();
    for (queue, count) in [("deliveries", FIRST), ("retries", LATER), ("slow", LATER)] {
        for _ in 0..count {
            mappings.push(map(&fixture, queue, spawn(&fixture).await, &ends));
        }
    }
    mappings.push(scale(&fixture, &ends));
    let mut sent = HashMap::new();
    let hand_over = async |webhook: &Webhook| {
        let message = fixture.message(webhook.id, 1024).await;
        fixture.cloud.queues.send("deliveries", message.to_json(), Duration::ZERO, None, None);
        message.event.to_string()
    };
    let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
    let started = Instant::now();
    for webhook in healthy.iter().cycle() {
        tick.tick().await;
        if started.elapsed() > LASTS {
            break;
        }
        sent.insert(hand_over(webhook).await, Instant::now());
        if hangs {
            hand_over(&hanging).await;
        }
    }
    // Wait until all of them have arrived.
    let of_sent = || {
        let arrivals = fixture.arrivals.lock().unwrap();
        let taken = |((_, event), (at, _)): (&(String, String), &(Instant, u32))| {
            let sent: Instant = *sent.get(event)?;
            Some((sent.duration_since(started), at.duration_since(sent)))
        };
        arrivals.iter().filter_map(taken).collect::<Vec<_>>()
    };
    let end = Instant::now() + Duration::from_mins(2);
    while of_sent().len() < sent.len() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ends.store(true, Ordering::Relaxed);
    for mapping in mappings {
        mapping.abort();
    }
    let taken = of_sent();
    assert_eq!(taken.len(), sent.len(), "every delivery to a healthy webhook arrives");
    [true, false].map(|onset| {
        let part = taken.iter().filter(|(at, _)| (*at < ONSET) == onset);
        let mut part: Vec<Duration> = part.map(|(_, taken)| *taken).collect();
        part.sort();
        part
    })
}

pub(crate) async fn isolation() {
    println!(
        "\n{FIRST} to {MOST} + {LATER} + {LATER} deliver processes, {RATE} deliveries a second to ten healthy webhooks"
    );
    let at = |taken: &[Duration], percent: usize| {
        taken[(taken.len() * percent / 100).min(taken.len() - 1)].as_secs_f64() * 1e3
    };
    let [_, alone] = traffic(10, false).await;
    let [onset, beside] = traffic(10, true).await;
    let hanging = format!("the first {} s next to one that hangs, with as many", ONSET.as_secs());
    for (name, taken) in [("alone", &alone), (&hanging, &onset), ("after that", &beside)] {
        println!("{name:52} p50 {:.1} ms, p99 {:.1} ms", at(taken, 50), at(taken, 99));
    }
    println!("{:52} {:.2}× of alone (at most 1.5×)", "p99 after that", at(&beside, 99) / at(&alone, 99));
}
