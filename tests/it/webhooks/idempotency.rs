//! Requests with the same `Idempotency-Key`, one after another and at the same time.

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::Stack;

use super::URL;

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_post_with_a_key_is_done_once() {
    let stack = Stack::connect().await;
    let (tenant, other) = (stack.tenant(), stack.tenant());
    let body = json!({"name": "once", "url": URL, "event_types": ["a.b"]});
    let key = &[("idempotency-key", "k 1")][..];
    let first = tenant.send(Method::POST, "/webhooks", key, &body).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let location = first.headers()["location"].clone();
    let first: Value = first.json().await.unwrap();
    let again = tenant.send(Method::POST, "/webhooks", key, &body).await;
    assert_eq!(
        (again.status(), &again.headers()["idempotent-replayed"]),
        (StatusCode::CREATED, &"true".parse().unwrap())
    );
    assert_eq!((&again.headers()["location"], &again.headers()["etag"]), (&location, &"\"1\"".parse().unwrap()));
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["id"], &again["secret"]), (&first["id"], &Value::Null), "the secret is shown once");
    assert_eq!(tenant.call(Method::GET, "/webhooks", None).await.1["data"].as_array().unwrap().len(), 1);

    let another = json!({"name": "another", "url": URL, "event_types": ["a.b"]});
    let refused = tenant.send(Method::POST, "/webhooks", key, &another).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json::<Value>().await.unwrap()["type"], "urn:dynahook:problem:key-reused");
    // Another caller's key is another key.
    let theirs: Value = other.send(Method::POST, "/webhooks", key, &body).await.json().await.unwrap();
    assert_ne!(theirs["id"], first["id"]);
    assert!(theirs["secret"].is_string());
    // What was refused was not done, and may be sent again.
    let key = &[("idempotency-key", "k 2")][..];
    let bad = json!({"name": "x", "url": "ftp://example.com"});
    assert_eq!(tenant.send(Method::POST, "/webhooks", key, &bad).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(tenant.send(Method::POST, "/webhooks", key, &bad).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(tenant.send(Method::POST, "/webhooks", key, &body).await.status(), StatusCode::CREATED);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_same_key_at_the_same_time_is_one_webhook() {
    let tenant = &Stack::connect().await.tenant();
    let body = &json!({"name": "once", "url": URL, "event_types": ["a.b"]});
    let posts = (0..5).map(|_| async move {
        tenant.send(Method::POST, "/webhooks", &[("idempotency-key", "k")], body).await.status()
    });
    let statuses = join_all(posts).await;
    assert!(statuses.contains(&StatusCode::CREATED));
    assert!(statuses.iter().all(|status| [StatusCode::CREATED, StatusCode::CONFLICT].contains(status)), "{statuses:?}");
    assert_eq!(tenant.call(Method::GET, "/webhooks", None).await.1["data"].as_array().unwrap().len(), 1);
}
