//! A webhook's limits: its rate and the number of its concurrent requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Receiver, Stack, eventually};

use super::wait_for_states;

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn no_more_arrive_in_a_second_than_a_webhook_takes() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"rate_limit": 2})).await;
    for item in 0..13 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 13, "delivered").await;
    let times: Vec<_> = receiver.received().iter().map(|request| request.at).collect();
    assert_eq!(times.len(), 13, "each once");
    let first_to_last = times[12].duration_since(times[0]);
    // Five and a half seconds, less what the first ones are late on a busy machine. Without a limit it is an instant.
    assert!(first_to_last >= Duration::from_secs(3), "thirteen in {first_to_last:?}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn no_more_are_under_way_than_a_webhook_takes() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let most = Arc::new(AtomicUsize::new(0));
    let receiver = Receiver::start(|_| Answer::After(Duration::from_millis(300), 204)).await;
    let under_way = receiver.under_way();
    let watch = Arc::clone(&most);
    tokio::spawn(async move {
        loop {
            watch.fetch_max(under_way.load(Ordering::Relaxed), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let webhook = tenant.webhook(&receiver.url, json!({"max_concurrency": 2})).await;
    for item in 0..7 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 7, "delivered").await;
    assert_eq!(most.load(Ordering::Relaxed), 2);
}

/// No delivery polls for a free place: six requests of half a second take three, and not ten.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivery_that_has_ended_wakes_the_next_one() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::After(Duration::from_millis(500), 204)).await;
    let webhook = tenant.webhook(&receiver.url, json!({"max_concurrency": 1})).await;
    for item in 0..6 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    let waiting = eventually("deliveries that wait for a place", async || {
        let deliveries = tenant.deliveries(&webhook).await;
        deliveries.into_iter().find(|delivery| delivery["state"] == "pending")
    })
    .await;
    assert_eq!((&waiting["next_at"], &waiting["attempts"]), (&Value::Null, &json!([])));
    wait_for_states(&tenant, &webhook, 6, "delivered").await;
    let times: Vec<_> = receiver.received().iter().map(|request| request.at).collect();
    assert_eq!(times.len(), 6, "each once");
    let first_to_last = times[5].duration_since(times[0]);
    assert!(first_to_last >= Duration::from_millis(2_400), "one at a time: {first_to_last:?}");
    // Sweeps alone would take minutes: each wakes one.
    assert!(first_to_last < Duration::from_secs(45), "{first_to_last:?}");
}
