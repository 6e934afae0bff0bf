//! Events about webhooks and deliveries themselves.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Receiver, Stack, Tenant, path};

async fn list(tenant: &Tenant, query: &str) -> Vec<Value> {
    let (status, list) = tenant.call(Method::GET, &format!("/events?{query}"), None).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    list["data"].as_array().unwrap().clone()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_is_told_what_happens_to_the_others() {
    let tenant = Stack::connect().await.tenant();
    let (own, others, everything) =
        (Receiver::accepting().await, Receiver::accepting().await, Receiver::accepting().await);
    let types = json!({"event_types": ["webhook.*"]});
    let webhook = tenant.webhook(&own.url, types.clone()).await;
    let watcher = tenant.webhook(&others.url, types).await;
    tenant.webhook(&everything.url, json!({"event_types": []})).await;
    for (number, (action, event_type)) in
        [("pause", "paused"), ("resume", "resumed"), ("secret/rotate", "secret_rotated"), ("disable", "disabled")]
            .into_iter()
            .enumerate()
    {
        let (status, now) = tenant.call(Method::POST, &path(&webhook, &format!("/{action}")), None).await;
        assert_eq!(status, StatusCode::OK, "{now}");
        let request = others.wait_for(number + 1).await.remove(number);
        request.verify(watcher["secret"].as_str().unwrap());
        let event = list(&tenant, &format!("event_type=webhook.{event_type}")).await.remove(0);
        assert_eq!(event["id"], request.header("webhook-id"));
        assert_eq!((&event["source"], &event["entity"]["id"]), (&json!("dynahook"), &webhook["id"]));
        assert_eq!(
            (&event["data"]["value"]["webhook_id"], &event["data"]["value"]["by"]),
            (&webhook["id"], &json!("test-user"))
        );
    }
    // Of what changes nothing there is nothing to tell.
    tenant.call(Method::POST, &path(&webhook, "/disable"), None).await;
    tenant.call(Method::PATCH, &path(&webhook, ""), Some(&json!({"name": "other"}))).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!((others.received().len(), own.received().len(), everything.received().len()), (4, 0, 0));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_is_told_what_another_did_not_get() {
    let tenant = Stack::connect().await.tenant();
    let broken = Receiver::start(|_| Answer::Status(500)).await;
    let (told, alias) = (Receiver::accepting().await, Receiver::accepting().await);
    let once = json!({"event_types": ["item.*", "delivery.exhausted"], "retry_policy": {"maxAttempts": 1}});
    let webhook = tenant.webhook(&broken.url, once).await;
    tenant.webhook(&told.url, json!({"event_types": ["delivery.exhausted"], "payload_format": "standard"})).await;
    let errors = format!("webhook{}.errors", webhook["id"].as_str().unwrap());
    tenant.webhook(&alias.url, json!({"event_types": [errors]})).await;
    tenant.put("i1", &[]).await;
    let delivery = tenant.delivery(&webhook, "exhausted").await;

    let event = told.wait_for(1).await.remove(0).json();
    assert_eq!(event["type"], "delivery.exhausted");
    let said = &event["data"]["value"];
    assert_eq!((&said["webhook_id"], &said["delivery_id"]), (&webhook["id"], &delivery["id"]));
    assert_eq!(
        (&said["event_type"], &said["attempts"], &said["last_status"]),
        (&json!("item.created"), &json!(1), &json!(500))
    );
    // SuperOffice knows it by another name.
    assert_eq!(alias.wait_for(1).await[0].json()["eventType"], errors);
    // The broken webhook gets no event about itself, or this would never end.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!((broken.received().len(), told.received().len(), alias.received().len()), (1, 1, 1));
}
