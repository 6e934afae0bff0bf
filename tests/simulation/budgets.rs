//! What fan-out counts of budgets while a fault of AWS makes Lambda repeat a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use domain::time::Clock as _;
use fanout::StreamEvent;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::Hooks;
use tests::cloud::environment::variable;
use tests::cloud::{Cloud, Fault, Faults};

use crate::faults::{DONE, batch, source};
use crate::sweep::NOW;

const RECORDS: u64 = 10;

/// Returns how many events and deliveries of the tenant are counted.
fn counted(cloud: &Cloud) -> (Value, Value) {
    let rows = cloud.tables.items("registry");
    let day = rows.iter().find(|row| row["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("DAY#")));
    day.map_or((Value::Null, Value::Null), |day| (day["events"]["N"].clone(), day["deliveries"]["N"].clone()))
}

/// Lambda repeats a batch for up to 23 hours. What is not sent must not use up the budgets of the day.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_repeated_is_counted_once() {
    let cloud = Cloud::new(Arc::new(NOW));
    let is_down = Arc::new(AtomicBool::new(true));
    let script = {
        let is_down = Arc::clone(&is_down);
        move |operation: &str, _| Faults {
            fault: (operation == "SendMessageBatch" && is_down.load(Ordering::Relaxed)).then_some(Fault::Throttle),
            ..Faults::default()
        }
    };
    let aws = cloud.line(Arc::new(script)).aws().await;
    aws.registry("registry".to_owned()).create_source(&source(&json!({}))).await.unwrap();
    let hooks = Hooks::new(&cloud).await;
    for number in [1, 2] {
        hooks.create("acme", number, json!({"url": "https://receiver.example/"})).await;
    }
    let app = fanout::App::new(fanout::Config::from_lookup(variable).unwrap(), &aws, Box::new(NOW));
    let fan_out = async || {
        let event: StreamEvent = serde_json::from_str(&batch(RECORDS).to_string()).unwrap();
        let deadline = SystemTime::from(NOW.now() + SignedDuration::from_mins(1));
        serde_json::to_value(fanout::handle(&app, event, deadline).await).unwrap()
    };
    for _ in 0..5 {
        assert_ne!(fan_out().await, DONE());
    }
    assert_eq!(cloud.queues.len("deliveries"), 0);
    assert_eq!(counted(&cloud), (Value::Null, Value::Null));
    is_down.store(false, Ordering::Relaxed);
    assert_eq!(fan_out().await, DONE());
    assert_eq!(cloud.queues.len("deliveries"), 20);
    assert_eq!(counted(&cloud), (json!("10"), json!("20")));
}
