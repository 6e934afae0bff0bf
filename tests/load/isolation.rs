//! One webhook that hangs until its timeout with half of the traffic: what the others notice of it. `make bench`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::webhook::Webhook;
use serde_json::json;
use tests::cloud::{delivery_environment, handed_back, sqs_event};
use tests::{Function, binary};
use tokio::task::JoinHandle;

use crate::ground::Ground;

/// How many batches of first and of later attempts run at once.
const FIRST: usize = 4;
const LATER: usize = 2;

/// How many deliveries a second are healthy webhooks'.
const RATE: u32 = 40;

/// How long traffic goes on.
const LASTS: Duration = Duration::from_secs(15);

/// A function's mapping of a queue: as often as it is free it takes what is due, up to ten messages.
fn map(ground: &Arc<Ground>, queue: &'static str, mut function: Function, ends: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (ground, ends) = (Arc::clone(ground), Arc::clone(ends));
    tokio::spawn(async move {
        while !ends.load(Ordering::Relaxed) {
            let queues = &ground.cloud.queues;
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

/// Sends traffic to the healthy webhooks, and as much to the one that hangs if there is one; returns how long each delivery to a
/// healthy one took to arrive.
async fn traffic(healthy: usize, hangs: bool) -> Vec<Duration> {
    let ground = Arc::new(Ground::start().await);
    let healthy = ground.webhooks(healthy, json!({}), "").await;
    let policy = json!({"retry_policy": {"timeoutMs": 1000, "maxAttempts": 10}});
    let hanging = ground.webhooks(1, policy, "hang").await.remove(0);
    let ends = Arc::new(AtomicBool::new(false));
    let mut mappings = Vec::new();
    for (queue, count) in [("deliveries", FIRST), ("retries", LATER), ("slow", LATER)] {
        for _ in 0..count {
            let function = Function::spawn(&binary("DeliverFunction"), delivery_environment(&ground.cloud_url)).await;
            mappings.push(map(&ground, queue, function, &ends));
        }
    }
    let mut sent = HashMap::new();
    let hand_over = async |webhook: &Webhook| {
        let message = ground.message(webhook.id, 1024).await;
        ground.cloud.queues.send("deliveries", message.to_json(), Duration::ZERO, None, None);
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
    // All of them arrive, however late.
    let of_sent = || {
        let arrivals = ground.arrivals.lock().unwrap();
        let taken =
            |((_, event), (at, _)): (&(String, String), &(Instant, u32))| Some(at.duration_since(*sent.get(event)?));
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
    let mut taken = of_sent();
    assert_eq!(taken.len(), sent.len(), "every delivery to a healthy webhook arrives");
    // The first second warms the processes up.
    taken.sort();
    taken
}

pub(crate) async fn isolation() {
    println!("\n{FIRST} + {LATER} + {LATER} deliver processes, {RATE} deliveries a second to ten healthy webhooks");
    let at = |taken: &[Duration], percent: usize| {
        taken[(taken.len() * percent / 100).min(taken.len() - 1)].as_secs_f64() * 1e3
    };
    let alone = traffic(10, false).await;
    let beside = traffic(10, true).await;
    for (name, taken) in [("alone", &alone), ("beside one that hangs, with as many", &beside)] {
        println!("{name:44} p50 {:.1} ms, p99 {:.1} ms", at(taken, 50), at(taken, 99));
    }
    println!("{:44} {:.2}× (at most 1.5×)", "p99", at(&beside, 99) / at(&alone, 99));
}
