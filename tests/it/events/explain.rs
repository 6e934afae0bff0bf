//! Explanations: whether a webhook wants an event, which of its conditions hold, and what it would send.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Stack, path};

use super::{URL, publish};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_explains_itself() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let more = json!({"event_types": ["order.*"], "changed": ["status"]});
    let webhook = tenant.webhook(URL, more).await;
    let explain = async |body: &Value| tenant.call(Method::POST, &path(&webhook, "/explain"), Some(body)).await;
    let event = json!({"event_type": "order.updated", "data": {"status": "paid"}, "old_data": {"status": "open"}});
    let event = publish(&tenant, &event).await;
    let (status, answer) = explain(&json!({"event_id": event["id"]})).await;
    assert_eq!(
        (status, &answer["wants"], &answer["event_type"]),
        (StatusCode::OK, &json!(true), &json!("order.updated")),
        "{answer}"
    );
    let payload: Value = serde_json::from_str(answer["payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload["data"]["updateMask"], json!(["status"]));

    let sample = json!({"sample": {"event_type": "order.updated", "properties": {"n": 2}, "old_properties": {"n": 1}}});
    let (_, answer) = explain(&sample).await;
    assert_eq!(
        (&answer["wants"], &answer["payload"], &answer["event_type"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    let failed: Vec<_> =
        answer["conditions"].as_array().unwrap().iter().filter(|verdict| verdict["holds"] == false).collect();
    assert_eq!((failed.len(), &failed[0]["condition"]), (1, &json!("changed")), "{answer}");

    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    let (_, answer) = explain(&json!({"event_id": event["id"]})).await;
    assert_eq!((&answer["wants"], &answer["conditions"][0]["condition"]), (&json!(true), &json!("paused_at")));
    tenant.call(Method::POST, &path(&webhook, "/disable"), None).await;
    let (_, answer) = explain(&json!({"event_id": event["id"]})).await;
    assert_eq!((&answer["wants"], &answer["conditions"][0]["condition"]), (&json!(false), &json!("enabled")));

    let theirs = publish(&stack.tenant(), &json!({"event_type": "order.updated", "data": {}})).await;
    for (body, pointer) in [
        (json!({"event_id": theirs["id"]}), "#/event_id"),
        (json!({"event_id": "evt_1"}), "#/event_id"),
        (json!({}), "#"),
        (json!({"event_id": event["id"], "sample": {}}), "#"),
    ] {
        let (status, problem) = explain(&body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    }
}
