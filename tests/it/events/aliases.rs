//! SuperOffice's way to publish, and its names of event types: `changed` for an update, and soft deletions.

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::json;
use tests::{Receiver, Stack, path};

use super::{URL, list};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn superoffices_form_publishes_too() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    tenant.webhook(&receiver.url, json!({"event_types": ["contact.changed"]})).await;
    let (status, published) =
        tenant.call(Method::POST, "/webhooks/contact.changed/1234", Some(&json!({"Name": "SuperOffice"}))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{published}");
    let request = receiver.wait_for(1).await.remove(0).json();
    assert_eq!((&request["entityPath"], &request["entityId"]), (&json!("contacts/1234"), &json!("1234")));
    assert_eq!((&request["operationType"], &request["eventType"]), (&json!("updated"), &json!("contact.changed")));
    let body = json!({"required": ["Name"]});
    tenant.call(Method::PUT, "/event-types/contact.changed", Some(&json!({"schema": body}))).await;
    let (status, problem) = tenant.call(Method::POST, "/webhooks/contact.changed/1", Some(&json!({}))).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("#")));
    // By its other name it is the same type.
    let (status, _) = tenant.call(Method::POST, "/webhooks/contact.updated/1", Some(&json!({}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // A misspelt action is no event.
    let webhook = tenant.webhook(URL, json!({})).await;
    assert_eq!(tenant.call(Method::POST, &path(&webhook, "/puase"), Some(&json!({}))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(list(&tenant, "").await.len(), 1);
}

#[rstest]
#[case::update_of_a_table("item.changed", "item.changed")]
#[case::group("*.changed", "item.changed")]
#[case::its_own_name("item.updated", "item.updated")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_update_reaches_a_webhook_by_either_name(#[case] asked: &str, #[case] shown: &str) {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": [asked]})).await;
    assert_eq!(webhook["event_types"], json!([asked]));
    tenant.put("i1", &[]).await;
    tenant.put("i1", &[("title", AttributeValue::S("new".to_owned()))]).await;
    let request = receiver.wait_for(1).await.remove(0).json();
    assert_eq!((&request["operationType"], &request["eventType"]), (&json!("updated"), &json!(shown)));
    tenant.delivery(&webhook, "delivered").await;
    let (_, found) = tenant.call(Method::GET, &path(&webhook, "/deliveries?event_type=item.updated"), None).await;
    assert_eq!(found["data"].as_array().unwrap().len(), 1, "{found}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_soft_deletion_can_be_published() {
    let tenant = Stack::connect().await.tenant();
    let (soft, all) = (Receiver::accepting().await, Receiver::accepting().await);
    tenant.webhook(&soft.url, json!({"event_types": ["contact.softdeleted"]})).await;
    tenant.webhook(&all.url, json!({"event_types": ["contact.deleted"]})).await;
    for event in ["deleted", "softdeleted"] {
        let (status, _) = tenant.call(Method::POST, &format!("/webhooks/contact.{event}/1"), Some(&json!({}))).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    assert_eq!(all.wait_for(2).await.len(), 2);
    let request = soft.wait_for(1).await.remove(0).json();
    assert_eq!((&request["operationType"], &request["softRemoved"]), (&json!("deleted"), &json!(true)));
    assert_eq!(soft.received().len(), 1);
}
