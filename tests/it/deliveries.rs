//! The log of attempts, its filters, and the sums of a webhook.

mod details;
mod filters;
mod search;
mod sums;

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Receiver, Tenant, eventually, path};

/// Nothing is attempted twice.
fn once() -> Value {
    json!({"headers": {"X-Team": "erp"}, "retry_policy": {"maxAttempts": 1, "timeoutMs": 1000}})
}

async fn list(tenant: &Tenant, webhook: &Value, query: &str) -> Value {
    let (status, list) = tenant.call(Method::GET, &path(webhook, &format!("/deliveries?{query}")), None).await;
    assert_eq!(status, StatusCode::OK, "{query}: {list}");
    list
}

/// One delivery that arrived, one that got 500, and one that was led elsewhere.
async fn three(tenant: &Tenant) -> (Value, Vec<Value>) {
    let receiver = Receiver::start(|number| match number {
        0 => Answer::Status(204),
        1 => Answer::Status(500),
        _ => Answer::Redirect("https://user:pass@other.example/login?token=sesame"),
    })
    .await;
    let webhook = tenant.webhook(&receiver.url, once()).await;
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await;
    tenant.put("i1", &[("a", AttributeValue::Bool(true))]).await;
    receiver.wait_for(2).await;
    tenant.remove("i1").await;
    receiver.wait_for(3).await;
    let mut deliveries = eventually("three deliveries", async || {
        Some(tenant.deliveries(&webhook).await).filter(|deliveries| deliveries.len() == 3)
    })
    .await;
    // A stream tells times by the second: which of them is the newest is not certain.
    deliveries
        .sort_by_key(|delivery| [204, 500, 302].iter().position(|status| delivery["attempts"][0]["status"] == *status));
    (webhook, deliveries)
}

/// Publishes an event about an order, and returns its id.
async fn publish(tenant: &Tenant, event_type: &str, order: &str) -> String {
    let event = json!({"event_type": event_type, "entity_id": order, "data": {"total": 1}});
    let (status, published) = tenant.call(Method::POST, "/events", Some(&event)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{published}");
    published["id"].as_str().unwrap().to_owned()
}
