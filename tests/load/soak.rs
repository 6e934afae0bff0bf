//! 100,000 deliveries with 5 % failures through the real deliver and sweep: none is lost, and memory does not grow.
//! `make soak`.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use tests::cloud::{delivery_environment, handed_back, sqs_event};
use tests::{Function, binary};

use crate::fixture::{BATCH, Fixture};
use crate::usage::usage;

/// How many deliver processes there are.
const PROCESSES: usize = 2;

/// Passes everything that is due to the processes, batch by batch, as many at once as there are processes. Retries do
/// not wait for their time. Returns how many messages were done.
async fn work(fixture: &Fixture, functions: &mut [Function]) -> usize {
    let mut done = 0;
    loop {
        let mut batches = Vec::new();
        for queue in ["deliveries", "retries", "slow"] {
            fixture.cloud.queues.hurry(queue);
            while batches.len() < functions.len() {
                let letters = fixture.cloud.queues.receive(queue, BATCH, |letter| letter.id);
                if letters.is_empty() {
                    break;
                }
                batches.push((queue, letters));
            }
        }
        if batches.is_empty() {
            return done;
        }
        let invocations = batches
            .iter()
            .zip(&mut *functions)
            .map(async |((_, letters), function)| handed_back(&function.invoke(sqs_event(letters)).await));
        for ((queue, letters), back) in batches.iter().zip(futures::future::join_all(invocations).await) {
            let ids: Vec<u64> = letters.iter().map(|letter| letter.id).filter(|id| !back.contains(id)).collect();
            done += ids.len();
            fixture.cloud.queues.delete(queue, &ids);
        }
    }
}

pub(crate) async fn soak() {
    let count = std::env::var("SOAK_DELIVERIES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let fixture = Fixture::start().await;
    let environment = delivery_environment(&fixture.cloud_url);
    let mut functions = Vec::new();
    for _ in 0..PROCESSES {
        functions.push(Function::spawn(&binary("DeliverFunction"), environment.clone()).await);
    }
    let mut sweep = Function::spawn(&binary("SweepFunction"), environment).await;
    let mut webhooks = fixture.webhooks(19, json!({}), "fails").await;
    let once = json!({"retry_policy": {"maxAttempts": 1}});
    webhooks.extend(fixture.webhooks(1, once, "fails").await);

    let mut sent = HashSet::new();
    let (mut attempts, mut megabytes) = (0, Vec::new());
    for tenth in 1..=10 {
        for webhook in webhooks.iter().cycle().take(count / 10) {
            let message = fixture.message(webhook.id, 1024).await;
            sent.insert(message.delivery.to_string());
            fixture.cloud.queues.send("deliveries", message.to_json(), std::time::Duration::ZERO, None, None);
            if fixture.cloud.queues.len("deliveries") >= 200 {
                attempts += work(&fixture, &mut functions).await;
            }
        }
        attempts += work(&fixture, &mut functions).await;
        sweep.invoke(json!({})).await;
        megabytes.push((usage(functions[0].pid()).1, usage(sweep.pid()).1));
        println!(
            "{tenth:>2}/10: {} deliveries, {attempts} attempts; deliver {:.0} MB, sweep {:.0} MB",
            sent.len(),
            megabytes.last().unwrap().0,
            megabytes.last().unwrap().1
        );
    }

    let mut states = BTreeMap::<String, usize>::new();
    for row in fixture.cloud.tables.items("deliveries") {
        let text = |value: &Value| value["S"].as_str().unwrap().to_owned();
        sent.remove(&text(&row["delivery"]));
        *states.entry(text(&row["delivery_state"])).or_default() += 1;
    }
    let letters = fixture.cloud.queues.len("exhausted");
    println!("{states:?}, {letters} dead letters, {} lost", sent.len());
    assert!(sent.is_empty(), "lost: {:?}", sent.iter().take(5).collect::<Vec<_>>());
    assert!(states.keys().all(|state| state == "delivered" || state == "exhausted"), "every delivery has ended");
    assert_eq!(
        states.get("exhausted").copied().unwrap_or_default(),
        letters,
        "every exhausted delivery has a dead letter"
    );
    let [first, last] = [1, 9].map(|tenth: usize| megabytes[tenth]);
    for (what, first, last) in [("deliver", first.0, last.0), ("sweep", first.1, last.1)] {
        assert!(last < first * 1.2 + 2.0, "{what}'s memory grew from {first:.0} to {last:.0} MB");
    }
}
