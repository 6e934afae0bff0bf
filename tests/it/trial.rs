//! Trying a webhook: tests, previews, and pausing.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Function, Receiver, Stack, eventually, path};

const URL: &str = "https://example.com/hook";

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_test_says_what_the_receiver_said() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 204 } else { 418 })).await;
    // Disabled and paused: it can be tried before it is let loose.
    let webhook = tenant.webhook(&receiver.url, json!({"enabled": false, "properties": {"region": "eu"}})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    let delivery = tenant.tested(&webhook, None).await;
    assert_eq!((&delivery["state"], &delivery["attempts"][0]["status"]), (&json!("delivered"), &json!(204)));
    let request = receiver.wait_for(1).await.remove(0);
    request.verify(webhook["secret"].as_str().unwrap());
    assert_eq!((&request.json()["region"], &request.json()["entityKey"]), (&json!("eu"), &json!("item")));

    let sample = json!({"event_type": "packet.updated", "properties": {"a": 2}, "old_properties": {"a": 1}});
    let failed = tenant.tested(&webhook, Some(&sample)).await;
    assert_eq!((&failed["state"], &failed["attempts"][0]["verdict"]), (&json!("failed"), &json!("refused")));
    assert_eq!(
        (&failed["event_type"], &failed["attempts"][0]["response_excerpt"]),
        (&json!("packet.updated"), &json!("noted"))
    );
    assert_eq!(receiver.received()[1].json()["data"]["updateMask"], json!(["a"]));
    let path = path(&webhook, &format!("/deliveries/{}", failed["id"].as_str().unwrap()));
    assert_eq!(tenant.call(Method::GET, &path, None).await, (StatusCode::OK, failed));
}

/// The API does not wait for a slow receiver; two tests of a tenant run at once, and a place is free again when its test has ended.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_test_of_a_slow_receiver_is_answered_before_it_ends() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::start(|_| Answer::After(Duration::from_secs(4), 204)).await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    let to = path(&webhook, "/test");
    let started = Instant::now();
    let nothing = json!({});
    let test = || tenant.send(Method::POST, &to, &[], &nothing);
    let tests: [_; 2] = tokio::join!(test(), test()).into();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let mut locations = Vec::new();
    for test in tests {
        assert_eq!(test.status(), StatusCode::ACCEPTED);
        let location = test.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(test.json::<Value>().await.unwrap()["state"], "pending");
        locations.push(location.split_once("/integration").unwrap().1.to_owned());
    }
    let (status, pending) = tenant.call(Method::GET, &locations[0], None).await;
    assert_eq!(status, StatusCode::OK, "{pending}");
    let third = test().await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(third.headers().contains_key("retry-after"));
    assert!(third.json::<Value>().await.unwrap()["detail"].as_str().unwrap().contains("tests of this tenant"));
    for location in &locations {
        let delivered = eventually("the outcome", async || {
            Some(tenant.call(Method::GET, location, None).await.1).filter(|delivery| delivery["state"] == "delivered")
        });
        delivered.await;
    }
    assert_eq!(tenant.call(Method::POST, &to, None).await.0, StatusCode::ACCEPTED, "the places are free again");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_preview_is_what_would_be_sent() {
    let tenant = Stack::connect().await.tenant();
    let body = json!({
        "webhook": {
            "name": "flows", "url": URL, "event_types": ["packet.updated"], "secret": "12345678",
            "headers": {"X-Team": "erp"}, "integration_provider": "integrationProviders/flowsApiWebhook",
        },
        "sample": {
            "entity_id": "p1", "collection": "packets",
            "properties": {"status": "paid", "softRemoved": true}, "old_properties": {"status": "open"},
        },
    });
    let (status, preview) = tenant.call(Method::POST, "/webhooks/preview", Some(&body)).await;
    assert_eq!(status, StatusCode::OK, "{preview}");
    assert_eq!(
        preview["form"],
        json!({
            "softRemoved": true, "status": "paid",
            "integrationProvider": {
                "path": "integrationProviders/flowsApiWebhook", "segments": ["integrationProviders", "flowsApiWebhook"],
            },
        })
    );
    let request = &preview["request"];
    assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!(URL)));
    assert_eq!(request["headers"]["X-Team"], "erp");
    assert_eq!(request["headers"]["X-Signature-256"].as_str().unwrap().len(), 64);
    let sent: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
    assert_eq!((&sent["entityPath"], &sent["operationType"]), (&json!("packets/p1"), &json!("updated")));
    assert_eq!(sent["data"]["updateMask"], json!(["softRemoved", "status"]));
    assert_eq!(tenant.call(Method::GET, "/webhooks", None).await.1["data"], json!([]), "nothing is kept");

    let bad = json!({"webhook": {"name": "x", "url": "ftp://a", "event_types": ["a.b"]}});
    let (_, problem) = tenant.call(Method::POST, "/webhooks/preview", Some(&bad)).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/webhook/url");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_test_is_marked_and_sends_the_example_of_the_catalog() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let described = json!({"example": {"total": 12.5}});
    tenant.call(Method::PUT, "/event-types/invoice.paid", Some(&described)).await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": ["invoice.paid"]})).await;
    assert_eq!(tenant.tested(&webhook, None).await["test"], true);
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!(request.headers["webhook-test"], "true");
    assert_eq!(request.json()["data"]["value"]["properties"], described["example"]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_registered_webhook_is_previewed_like_a_real_delivery() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"event_types": ["item.created"]})).await;
    let sample = json!({"entity_id": "i1", "properties": {"item_id": "i1", "tenant_id": tenant.name}});
    let (status, preview) = tenant.call(Method::POST, &path(&webhook, "/preview"), Some(&sample)).await;
    assert_eq!((status, &preview["request"]["url"]), (StatusCode::OK, &json!(receiver.url)));
    let shown: Value = serde_json::from_str(preview["request"]["body"].as_str().unwrap()).unwrap();
    tenant.put("i1", &[]).await;
    let sent = receiver.wait_for(1).await[0].json();
    for name in ["entityPath", "entityKey", "collectionPath", "operationType", "eventType", "organizationId"] {
        assert_eq!(shown[name], sent[name], "{name}");
    }
    assert_eq!(shown["data"]["value"]["properties"], sent["data"]["value"]["properties"]);
    let other = Stack::connect().await.tenant();
    assert_eq!(other.call(Method::POST, &path(&webhook, "/preview"), Some(&sample)).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_a_paused_webhook_misses_waits_for_it() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    tenant.put("i1", &[]).await;
    let parked = tenant.delivery(&webhook, "parked").await;
    assert_eq!((&parked["attempts"], receiver.received().len()), (&json!([]), 0));
    tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    receiver.wait_for(1).await[0].verify(webhook["secret"].as_str().unwrap());
    let delivered = tenant.delivery(&webhook, "delivered").await;
    assert_eq!(delivered["id"], parked["id"]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_disabled_webhook_gets_nothing() {
    let tenant = Stack::connect().await.tenant();
    let (receiver, other) = (Receiver::accepting().await, Receiver::accepting().await);
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.webhook(&other.url, json!({})).await;
    tenant.call(Method::POST, &path(&webhook, "/disable"), None).await;
    tenant.put("i1", &[]).await;
    other.wait_for(1).await;
    eventually("no row", async || Some(()).filter(|()| receiver.received().is_empty())).await;
    assert_eq!(tenant.deliveries(&webhook).await, [] as [Value; 0]);
}
