//! A webhook and its deliveries: which changes it receives, its headers and properties, and its statistics.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Receiver, Stack};

use super::read;

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn statistics_stand_beside_the_webhook() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::start(|number| tests::Answer::Status(if number == 0 { 204 } else { 500 })).await;
    let policy = json!({"retry_policy": {"maxAttempts": 1, "timeoutMs": 1000}});
    let webhook = tenant.webhook(&receiver.url, policy).await;
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await;
    tenant.put("i2", &[]).await;
    receiver.wait_for(2).await;
    let counted = tests::eventually("two counted attempts", async || {
        Some(read(&tenant, &webhook).await).filter(|webhook| webhook["total_calls"] == 2)
    })
    .await;
    assert_eq!((&counted["total_errors"], &counted["consecutive_failures"]), (&json!(1), &json!(1)));
    assert_eq!(counted["last_error"], "the receiver answered 500");
    assert_eq!(counted["last_delivery_status"], "server_failed");
    assert!(counted["last_delivery_at"].is_string());
    assert_eq!(counted["version"], 1, "counting is no write");
    let (_, list) = tenant.call(Method::GET, "/webhooks", None).await;
    assert_eq!(list["data"], json!([counted]));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn headers_and_properties_arrive() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let more = json!({"headers": {"X-Team": "erp"}, "properties": {"region": "eu"}});
    tenant.webhook(&receiver.url, more).await;
    tenant.put("i1", &[]).await;
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!(request.header("x-team"), "erp");
    assert_eq!(request.json()["region"], "eu");
    assert_eq!(request.json()["entityId"], "i1");
}

#[rstest]
#[case::of_the_table(json!({"event_types": [], "sources": ["items"]}), 3)]
#[case::in_the_collection(json!({"event_types": [], "collections": ["items"], "operations": ["deleted"]}), 1)]
#[case::of_another_table(json!({"event_types": [], "sources": ["others"]}), 0)]
#[case::operations(json!({"event_types": [], "operations": ["created", "deleted"]}), 2)]
#[case::all_conditions(json!({"event_types": ["item.created"], "sources": ["items"], "operations": ["deleted"]}), 0)]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_listens_to_what_it_names(#[case] more: Value, #[case] count: usize) {
    let tenant = Stack::connect().await.tenant();
    let (receiver, everything) = (Receiver::accepting().await, Receiver::accepting().await);
    tenant.webhook(&receiver.url, more).await;
    tenant.webhook(&everything.url, json!({})).await;
    tenant.put("i1", &[]).await;
    everything.wait_for(1).await;
    tenant.put("i1", &[("a", aws_sdk_dynamodb::types::AttributeValue::Bool(true))]).await;
    everything.wait_for(2).await;
    tenant.remove("i1").await;
    everything.wait_for(3).await;
    // Both are sent in one batch.
    receiver.wait_for(count).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(receiver.received().len(), count);
}
