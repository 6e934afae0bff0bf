//! The health of webhooks: who fails, what waits and until when.

use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Claims, Function, Receiver, Stack, Tenant, eventually, path};

use crate::breaker::{breaker, down, eager, time_passes, wait_for_states};

async fn shown(tenant: &Tenant, webhook: &Value) -> Value {
    tenant.call(Method::GET, &path(webhook, ""), None).await.1["health"].clone()
}

/// Waits until the webhook has that state, and returns its health.
async fn health(tenant: &Tenant, webhook: &Value, state: &str) -> Value {
    eventually(&format!("a webhook that is {state}"), async || {
        let health = shown(tenant, webhook).await;
        (health["state"] == state).then_some(health)
    })
    .await
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_that_waits_says_so_and_until_when() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    let healthy = json!({"state": "ok", "since": null, "next_probe_at": null, "parked": 0, "held": null});
    assert_eq!((&webhook["health"], &shown(&tenant, &webhook).await), (&healthy, &healthy));
    for item in 0..12 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    let open = health(&tenant, &webhook, "open").await;
    assert!(open["since"].is_string() && open["next_probe_at"].is_string(), "{open}");
    assert_eq!(open["parked"], 12);
    let (_, list) = tenant.call(Method::GET, "/webhooks", None).await;
    assert_eq!(
        (&list["data"][0]["health"]["state"], &list["data"][0]["health"]["parked"]),
        (&json!("open"), &json!(12))
    );
    let parked = tenant.deliveries(&webhook).await.remove(0);
    assert_eq!((&parked["state"], &parked["next_at"]), (&json!("parked"), &open["next_probe_at"]));
    let (_, all) = tenant.call(Method::GET, "/deliveries?state=parked", None).await;
    assert_eq!(all["data"][0]["next_at"], open["next_probe_at"]);
    let one = path(&webhook, &format!("/deliveries/{}", parked["id"].as_str().unwrap()));
    assert_eq!(tenant.call(Method::GET, &one, None).await.1["next_at"], open["next_probe_at"]);

    let (_, paused) = tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    let expected = json!({
        "state": "paused", "since": paused["paused_at"], "next_probe_at": null, "parked": 12, "held": null,
    });
    assert_eq!(paused["health"], expected);
    assert_eq!(tenant.deliveries(&webhook).await[0]["next_at"], Value::Null, "until someone resumes it");

    up.store(true, Ordering::Relaxed);
    let (_, resumed) = tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    let draining = &resumed["health"];
    assert_eq!((&draining["state"], &draining["parked"]), (&json!("draining"), &json!(12)), "{draining}");
    assert!(draining["since"].is_string() && tenant.deliveries(&webhook).await[0]["next_at"].is_string());
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    wait_for_states(&tenant, &webhook, 12, "delivered").await;
    assert_eq!(health(&tenant, &webhook, "ok").await, healthy);
    // A breaker without parked deliveries closes, and does not say that it drains until it is forgotten.
    // The scheduled sweep may run at the same time, and then one of the two comes too late.
    eventually("a breaker that is closed", async || {
        time_passes(&stack, &webhook).await;
        (breaker(&stack, &webhook).await? == "closed").then_some(())
    })
    .await;
    // The failures were reported once, and their end too, although twelve deliveries failed and arrived.
    for event_type in ["webhook.failing", "webhook.recovered"] {
        assert_eq!(reported(&tenant, event_type, 1).await.len(), 1, "{event_type}");
    }
}

/// Returns what an operator's list of failing webhooks says about a webhook.
async fn listed(stack: &Stack, webhook: &Value) -> Option<Value> {
    let operator = Claims::new("operations", &["OPERATOR"]).rs256();
    let (status, list) = stack.call(Method::GET, "/failing-webhooks", Some(&operator), None).await;
    assert_eq!(status, 200, "{list}");
    list["data"].as_array().unwrap().iter().find(|one| one["webhook_id"] == webhook["id"]).cloned()
}

/// Waits until the tenant has as many events of a type, and returns them.
async fn reported(tenant: &Tenant, event_type: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} {event_type}"), async || {
        let (_, events) = tenant.call(Method::GET, &format!("/events?event_type={event_type}"), None).await;
        events["data"].as_array().filter(|events| events.len() >= count).cloned()
    })
    .await
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn failures_that_open_no_breaker_are_reported_once_and_so_is_their_end() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let notified = Receiver::accepting().await;
    tenant.webhook(&notified.url, json!({"event_types": ["webhook.failing", "webhook.recovered"]})).await;
    let six = json!({"retry_policy": {"maxAttempts": 6, "baseMs": 100, "capMs": 1000}});
    let webhook = tenant.webhook(&receiver.url, six).await;
    tenant.put("i1", &[]).await;
    tenant.delivery(&webhook, "exhausted").await;
    let failing = health(&tenant, &webhook, "failing").await;
    let seen = eventually("an operator who sees it", async || listed(&stack, &webhook).await).await;
    assert_eq!((&seen["tenant_id"], &seen["name"]), (&json!(tenant.name), &webhook["name"]));
    assert_eq!((&seen["url"], &seen["health"]["state"]), (&webhook["url"], &json!("failing")));
    let (_, statistics) = tenant.call(Method::GET, &path(&webhook, "/statistics"), None).await;
    assert_eq!((&failing["since"], &failing["next_probe_at"]), (&statistics["failing_since"], &Value::Null));

    let report = notified.wait_for(1).await.remove(0).json();
    assert_eq!(report["eventType"], "webhook.failing");
    let said = &report["data"]["value"]["properties"];
    assert_eq!((&said["webhook_id"], &said["name"]), (&webhook["id"], &webhook["name"]));
    assert_eq!((&said["last_verdict"], &said["last_status"]), (&json!("server_failed"), &json!(500)));
    assert_eq!((&said["failures"], &said["since"]), (&json!(5), &statistics["failing_since"]));
    assert!(said["advice"].as_str().unwrap().contains("check the receiver"), "{said}");

    up.store(true, Ordering::Relaxed);
    tenant.put("i2", &[]).await;
    tenant.delivery(&webhook, "delivered").await;
    assert_eq!(health(&tenant, &webhook, "ok").await["since"], Value::Null);
    let end = notified.wait_for(2).await.remove(1).json();
    assert_eq!(
        (&end["eventType"], &end["data"]["value"]["properties"]["since"]),
        (&json!("webhook.recovered"), &said["since"])
    );
    assert_eq!(reported(&tenant, "webhook.failing", 1).await.len(), 1, "once for six failures");
    eventually("a webhook that is listed no more", async || listed(&stack, &webhook).await.is_none().then_some(()))
        .await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_says_how_many_deliveries_are_held() {
    let tenant = Stack::connect().await.tenant();
    let (receiver, up) = down().await;
    // So slow that the breaker does not open meanwhile.
    let settings = json!({"ordering": "entity", "retry_policy": {"backoff": "fixed", "scheduleSeconds": [3]}});
    let webhook = tenant.webhook(&receiver.url, settings).await;
    assert_eq!(webhook["health"]["held"], 0);
    tenant.put("a", &[]).await;
    wait_for_states(&tenant, &webhook, 1, "retrying").await;
    tenant.remove("a").await;
    wait_for_states(&tenant, &webhook, 1, "held").await;
    assert_eq!(shown(&tenant, &webhook).await["held"], 1);
    up.store(true, Ordering::Relaxed);
    wait_for_states(&tenant, &webhook, 2, "delivered").await;
    assert_eq!(shown(&tenant, &webhook).await["held"], 0);
}
