//! The real binaries under load: `make bench` runs fanout (here), [`delivery`], [`isolation`] and [`neighbours`];
//! `make soak` runs [`soak`].
//!
//! Without arguments everything but the soak runs; otherwise the named parts.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]
#![expect(clippy::cast_precision_loss, reason = "counts here are small")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "the tests read the clock and the environment themselves")]

mod delivery;
mod fixture;
mod isolation;
mod lambda;
mod neighbours;
mod soak;
mod usage;

use std::sync::atomic::Ordering;

use domain::id::WebhookId;
use domain::matching::subscription::Subscription;
use domain::source::Source;
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::{FakeAws, Function, binary, fanout_environment};
use usage::usage;

const BATCH: usize = 100;

/// Returns a batch of changes of one tenant, with images of about a kilobyte.
fn batch(first: usize) -> Value {
    let image = |number: usize, status: &str| {
        let mut image = json!({"tenant": {"S": "acme"}, "id": {"S": format!("o{}", number % 1000)}, "status": {"S": status}, "n": {"N": number.to_string()}});
        for field in 0..18 {
            image[format!("field_{field}")] = json!({"S": "forty characters of text, more or less.."});
        }
        image
    };
    let record = |number: usize| {
        json!({
            "eventID": format!("c4ca4238a0b923820dcc{number:012}"), "eventName": "MODIFY", "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": {"ApproximateCreationDateTime": 1_795_244_140.0, "Keys": {"id": {"S": "o1"}}, "OldImage": image(number, "open"),
                "NewImage": image(number + 1, "paid"), "SequenceNumber": number.to_string(), "SizeBytes": 2048, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-11-21T10:00:00.000",
        })
    };
    json!({"Records": (first..first + BATCH).map(record).collect::<Vec<_>>()})
}

async fn subscribe(fake: &FakeAws, number: u128, more: Value) {
    let id = WebhookId::from_parts(Timestamp::UNIX_EPOCH, number).to_string();
    let mut subscription = more;
    subscription["webhook"] = json!(id);
    let subscription: Subscription = serde_json::from_value(subscription).unwrap();
    fake.write("acme", &id, Some(subscription)).await;
}

/// Feeds batches; returns the CPU time for each record, in microseconds.
async fn feed(function: &mut Function, batches: usize, from: usize) -> f64 {
    let (before, _) = usage(function.pid());
    for number in 0..batches {
        let response = function.invoke(batch(from + number * BATCH)).await;
        assert_eq!(response, json!({"batchItemFailures": []}));
    }
    let (after, _) = usage(function.pid());
    (after - before) * 1e6 / (batches * BATCH) as f64
}

#[tokio::main]
async fn main() {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_asked = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    if is_asked("fanout") {
        fanout().await;
    }
    if is_asked("delivery") {
        delivery::delivery().await;
    }
    if is_asked("isolation") {
        isolation::isolation().await;
    }
    if is_asked("neighbours") {
        neighbours::neighbours().await;
    }
    if named.iter().any(|name| name == "soak") {
        soak::soak().await;
    }
}

/// Measures the CPU time for each record, the calls for each batch, and the memory over a million records.
async fn fanout() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let records = number("LOAD_RECORDS").unwrap_or(1_000_000);
    let (fake, url) = FakeAws::start().await;
    fake.forgets.store(true, Ordering::Relaxed);
    let mapping = json!({"entity": "order", "tenant": "{tenant}", "id": "{id}", "collection": "orders"});
    let source: Source = serde_json::from_value(json!({"table": "orders", "entities": [mapping]})).unwrap();
    fake.register(source).await;
    let mut function = Function::spawn(&binary("FanoutFunction"), fanout_environment(&url)).await;

    println!("the fanout binary, batches of {BATCH} records of one tenant, images of 1 KB");
    subscribe(&fake, 0, json!({"event_types": ["order.created"]})).await;
    feed(&mut function, 20, 0).await;
    let unwanted = feed(&mut function, 300, 0).await;
    println!("{:44} {unwanted:>6.1} µs CPU a record", "no webhook wants them");

    subscribe(&fake, 1, json!({"event_types": ["order.updated"]})).await;
    feed(&mut function, 20, 0).await;
    fake.calls.lock().await.clear();
    fake.taken.store(0, Ordering::Relaxed);
    let one = feed(&mut function, 300, 0).await;
    println!("{:44} {one:>6.1} µs CPU a record and delivery", "one webhook of one wants them");
    let calls = std::mem::take(&mut *fake.calls.lock().await);
    let a_batch = |name: &str| calls.get(name).copied().unwrap_or(0) as f64 / 300.0;
    let all: usize = calls.values().sum();
    println!(
        "{:44} {:.2} reads, {:.2} sends, {:.2} calls in all; {} deliveries",
        "calls a batch",
        a_batch("BatchGetItem"),
        a_batch("SendMessageBatch"),
        all as f64 / 300.0,
        fake.taken.load(Ordering::Relaxed) / 300
    );

    for others in [2..1_000_u128, 1_000..10_000] {
        let count = others.end;
        for number in others {
            subscribe(&fake, number, json!({"event_types": [format!("other{number}.updated")]})).await;
        }
        feed(&mut function, 20, 0).await;
        let many = feed(&mut function, 300, 0).await;
        println!("{:44} {many:>6.1} µs, {:.2}× of one", format!("one webhook of {count} wants them"), many / one);
    }

    let (mut from, mut peak) = (0, Vec::new());
    while from < records {
        feed(&mut function, (records / 10 / BATCH).max(1), from).await;
        from += (records / 10).max(BATCH);
        peak.push(usage(function.pid()).1);
    }
    let shown: Vec<String> = peak.iter().map(|megabytes| format!("{megabytes:.0}")).collect();
    println!("{:44} {} MB, tenth by tenth", format!("resident over {records} records"), shown.join(" "));
}
