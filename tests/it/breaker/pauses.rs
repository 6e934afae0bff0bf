//! Webhooks that failures or users pause, resume, disable or delete, and the deliveries that wait for them.

use std::sync::atomic::Ordering;

use aws::ledger::Range;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Function, Receiver, Stack, eventually, now, path};

use super::{breaker, breaker_row, down, eager, states, time_passes, wait_for_states};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn failures_for_too_long_pause_a_webhook_and_a_probe_resumes_it() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let told = Receiver::accepting().await;
    tenant.webhook(&told.url, json!({"event_types": ["webhook.paused", "webhook.resumed"]})).await;
    let mut settings = eager();
    settings["auto_pause"] = json!({"failures": 3, "after_seconds": 0});
    let webhook = tenant.webhook(&receiver.url, settings).await;
    tenant.put("i1", &[]).await;
    let event = told.wait_for(1).await.remove(0).json();
    let data = &event["data"]["value"]["properties"];
    assert_eq!((&data["webhook_id"], &data["by_failures"]), (&webhook["id"], &json!(true)));
    let (_, paused) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&paused["state"], &paused["is_active"]), (&json!(3), &json!(false)));
    assert!(paused["paused_at"].is_string() && paused["consecutive_failures"].as_u64().unwrap() >= 3, "{paused}");
    wait_for_states(&tenant, &webhook, 1, "parked").await;

    up.store(true, Ordering::Relaxed);
    time_passes(&stack, &webhook).await;
    assert_eq!(told.wait_for(2).await.remove(1).json()["data"]["value"]["properties"]["by"], "dynahook");
    wait_for_states(&tenant, &webhook, 1, "delivered").await;
    let (_, resumed) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&resumed["state"], &resumed["paused_at"]), (&json!(1), &Value::Null));
}

/// Otherwise they would be sent to the queue and parked again, minute after minute.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn nothing_is_released_while_a_webhook_is_paused_by_hand() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    for item in 0..12 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    up.store(true, Ordering::Relaxed);
    // A successful test closes the breaker, although the webhook is paused.
    tenant.call(Method::POST, &path(&webhook, "/test"), None).await;
    eventually("a breaker that is closed", async || (breaker(&stack, &webhook).await? != "open").then_some(())).await;
    let tried = receiver.received().len();
    // The scheduled sweep may run at the same time, and then one of the two comes too late.
    eventually("a breaker that the sweep looks at no more", async || {
        time_passes(&stack, &webhook).await;
        (!breaker_row(&stack, &webhook).await?.contains_key("lane")).then_some(())
    })
    .await;
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    assert_eq!(receiver.received().len(), tried);

    tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    time_passes(&stack, &webhook).await;
    // With the test.
    wait_for_states(&tenant, &webhook, 13, "delivered").await;
}

/// Or its first failure would pause it again.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_that_is_resumed_starts_anew() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, _) = down().await;
    let mut settings = eager();
    settings["auto_pause"] = json!({"failures": 3, "after_seconds": 0});
    let webhook = tenant.webhook(&receiver.url, settings).await;
    tenant.put("i1", &[]).await;
    eventually("a pause", async || {
        let (_, webhook) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
        (webhook["state"] == 3).then_some(())
    })
    .await;
    let (_, resumed) = tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    assert_eq!((&resumed["state"], &resumed["consecutive_failures"]), (&json!(1), &json!(0)));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_waits_for_a_paused_webhook_goes_when_it_is_resumed() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    tenant.put("i1", &[]).await;
    tenant.put("i2", &[]).await;
    wait_for_states(&tenant, &webhook, 2, "parked").await;
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    assert_eq!((receiver.received().len(), states(&tenant, &webhook).await.len()), (0, 2), "no delivery wakes");
    assert_eq!(tenant.call(Method::POST, &path(&webhook, "/resume"), None).await.0, StatusCode::OK);
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    wait_for_states(&tenant, &webhook, 2, "delivered").await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_waits_for_a_webhook_that_is_deleted_is_cancelled() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    tenant.put("i1", &[]).await;
    wait_for_states(&tenant, &webhook, 1, "parked").await;
    assert_eq!(tenant.call(Method::DELETE, &path(&webhook, ""), None).await.0, StatusCode::NO_CONTENT);
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    let ledger = stack.aws.ledger(stack.output("DeliveriesTable").to_owned());
    let id = webhook["id"].as_str().unwrap().parse().unwrap();
    eventually("a delivery that is cancelled", async || {
        let row = ledger.deliveries(&[id], Range::all(now()), 1, |_| true).await.unwrap().deliveries.remove(0);
        (row.progress.state == domain::delivery::State::Cancelled).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_receiver_that_is_gone_disables_its_webhook() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, told) = (Receiver::start(|_| Answer::Status(410)).await, Receiver::accepting().await);
    tenant.webhook(&told.url, json!({"event_types": ["webhook.disabled"]})).await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    tenant.put("i1", &[]).await;
    let delivery = tenant.delivery(&webhook, "exhausted").await;
    assert_eq!(
        (&delivery["attempts"][0]["verdict"], &delivery["attempts"][0]["status"]),
        (&json!("gone"), &json!(410))
    );
    let event = told.wait_for(1).await.remove(0).json();
    let data = &event["data"]["value"]["properties"];
    assert_eq!((&data["webhook_id"], &data["by_failures"]), (&webhook["id"], &json!(true)));
    let (_, disabled) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&disabled["enabled"], &disabled["updated_by"]), (&json!(false), &json!("dynahook")));
}
