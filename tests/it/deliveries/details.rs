//! What a delivery shows: bodies, its entity and lateness, and the headers, URL and answer of each attempt.

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Receiver, Stack, path};

use super::{once, three};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_attempt_shows_what_was_sent_and_no_secret() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, once()).await;
    tenant.put("i1", &[]).await;
    let request = receiver.wait_for(1).await.remove(0);
    let delivery = tenant.delivery(&webhook, "delivered").await;
    let attempt = &delivery["attempts"][0];
    let headers = &attempt["request_headers"];
    for name in ["webhook-id", "webhook-timestamp"] {
        assert_eq!(headers[name], request.header(name));
    }
    assert_eq!((&headers["X-Team"], &headers["webhook-signature"]), (&json!("erp"), &json!("v1,***")));
    assert_eq!(headers["webhook-id"], delivery["event_id"]);
    assert!(attempt["timing"].is_object() && attempt["retry_after_s"].is_null());
    let signature = request.header("webhook-signature").strip_prefix("v1,").unwrap();
    let secret = webhook["secret"].as_str().unwrap();
    assert!(![signature, secret].iter().any(|hidden| delivery.to_string().contains(hidden)));
}

/// A delivery that arrived at once has no body in its row.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivery_shows_the_body_that_was_sent_and_the_whole_of_a_bad_answer() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let long: &'static str = "no column total ".repeat(900).leak();
    let receiver =
        Receiver::start(move |number| if number == 0 { Answer::Status(204) } else { Answer::Text(500, long) }).await;
    let settings = json!({"event_types": ["invoice.paid"], "retry_policy": {"maxAttempts": 1}});
    let webhook = tenant.webhook(&receiver.url, settings).await;
    let event = json!({"event_type": "invoice.paid", "data": {"amount": 12_345_678_901_234_567_890_u64}});
    tenant.call(Method::POST, "/events", Some(&event)).await;
    let delivered = tenant.delivery(&webhook, "delivered").await;
    let one = |delivery: &Value| path(&webhook, &format!("/deliveries/{}", delivery["id"].as_str().unwrap()));
    let sent = receiver.wait_for(1).await.remove(0);
    let shown = tenant.call(Method::GET, &one(&delivered), None).await.1;
    assert_eq!(shown["request_body"], String::from_utf8(sent.body.to_vec()).unwrap());
    assert_eq!(delivered.get("request_body"), None, "a list has no bodies");

    tenant.call(Method::POST, "/events", Some(&event)).await;
    let exhausted = tenant.delivery(&webhook, "exhausted").await;
    let failed = receiver.wait_for(2).await.remove(1);
    // What arrived is rendered again, with its state.
    tenant.call(Method::POST, &format!("{}/redeliver", one(&delivered)), None).await;
    assert_eq!(receiver.wait_for(3).await.remove(2).body, sent.body);
    let change = json!({"properties": {"region": "eu"}});
    tenant.call(Method::PATCH, &path(&webhook, ""), Some(&change)).await;
    let shown = tenant.call(Method::GET, &one(&exhausted), None).await.1;
    assert_eq!(shown["request_body"], String::from_utf8(failed.body.to_vec()).unwrap(), "what failed is kept");
    assert_eq!(shown["attempts"][0]["response_excerpt"], long);
    // With other settings an event gives another body, which was not sent.
    let other =
        tenant.webhook(&receiver.url, json!({"event_types": ["invoice.sent"], "success_statuses": ["500"]})).await;
    let event = json!({"event_type": "invoice.sent", "data": {}});
    tenant.call(Method::POST, "/events", Some(&event)).await;
    let arrived = tenant.delivery(&other, "delivered").await;
    let arrived = path(&other, &format!("/deliveries/{}", arrived["id"].as_str().unwrap()));
    assert!(tenant.call(Method::GET, &arrived, None).await.1["request_body"].is_string());
    tenant.call(Method::PATCH, &path(&other, ""), Some(&change)).await;
    assert_eq!(tenant.call(Method::GET, &arrived, None).await.1["request_body"], Value::Null);

    let key = json!({"name": "log", "scopes": ["deliveries:read"]});
    let key = tenant.call(Method::POST, "/api-keys", Some(&key)).await.1["key"].as_str().unwrap().to_owned();
    let (status, shown) = stack.call(Method::GET, &one(&exhausted), Some(&key), None).await;
    assert_eq!((status, shown.get("request_body")), (StatusCode::OK, None));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivery_shows_its_entity_its_lateness_and_the_url_of_each_attempt() {
    let tenant = Stack::connect().await.tenant();
    let (failing, accepting) = (Receiver::start(|_| Answer::Status(500)).await, Receiver::accepting().await);
    let webhook = tenant.webhook(&failing.url, once()).await;
    tenant.put("i1", &[]).await;
    let exhausted = tenant.delivery(&webhook, "exhausted").await;
    assert_eq!((&exhausted["entity"], &exhausted["lateness_ms"]), (&json!("items/i1"), &Value::Null));
    assert_eq!((&exhausted["attempts"][0]["url"], &exhausted["test"]), (&json!(failing.url), &json!(false)));
    // The receiver moves, and the delivery is sent again.
    let moved = json!({"url": accepting.url});
    let (status, _) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&moved)).await;
    assert_eq!(status, StatusCode::OK);
    let redeliver = path(&webhook, &format!("/deliveries/{}/redeliver", exhausted["id"].as_str().unwrap()));
    tenant.call(Method::POST, &redeliver, None).await;
    let delivered = tenant.delivery(&webhook, "delivered").await;
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond();
    let attempt = &delivered["attempts"][1];
    let end = time(&attempt["at"]) + attempt["duration_ms"].as_i64().unwrap();
    assert_eq!(delivered["lateness_ms"], json!((end - time(&delivered["event_time"])).max(0)));
    let urls: Vec<_> = delivered["attempts"].as_array().unwrap().iter().map(|attempt| attempt["url"].clone()).collect();
    assert_eq!(urls, [json!(failing.url), json!(accepting.url)]);
    let (_, event) =
        tenant.call(Method::GET, &format!("/events/{}", delivered["event_id"].as_str().unwrap()), None).await;
    assert_eq!((&delivered["entity"], time(&delivered["event_time"])), (&event["entity"]["path"], time(&event["at"])));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_redirect_shows_where_it_leads_without_what_may_be_secret() {
    let tenant = Stack::connect().await.tenant();
    let (_, deliveries) = three(&tenant).await;
    let attempt = &deliveries[2]["attempts"][0];
    assert_eq!(attempt["verdict"], "redirected");
    assert_eq!(attempt["error"], "redirects are not followed; this one leads to https://other.example/login?***");
}
