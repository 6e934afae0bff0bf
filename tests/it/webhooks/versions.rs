//! Versions: stale writes are refused, and concurrent writers lose no update.

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Stack, path};

use super::{URL, read};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_stale_write_is_told_the_current_version() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    let body = json!({"name": "second", "url": URL, "event_types": ["a.b"]});
    tenant.call(Method::PATCH, &path(&webhook, ""), Some(&body)).await;
    // What was read before, sent back whole.
    let whole = webhook.as_object().unwrap().iter().filter(|(name, _)| *name != "secret" && *name != "warnings");
    let whole = whole.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into();
    for (method, rest, body) in [
        (Method::PATCH, "", &body),
        (Method::PUT, "", &body),
        (Method::PUT, "", &whole),
        (Method::DELETE, "", &body),
        (Method::POST, "/pause", &body),
    ] {
        let answer = tenant.send(method.clone(), &path(&webhook, rest), &[("if-match", "\"1\"")], body).await;
        assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED, "{method} {rest}");
        assert_eq!(answer.headers()["etag"], "\"2\"");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().starts_with("the current version is 2;"), "{problem}");
    }
    for (tags, status) in [
        (r#"W/"2""#, StatusCode::PRECONDITION_FAILED),
        (r#""1", "x""#, StatusCode::PRECONDITION_FAILED),
        (r#""1", "2""#, StatusCode::OK),
    ] {
        let answer = tenant.send(Method::POST, &path(&webhook, "/enable"), &[("if-match", tags)], &json!({})).await;
        assert_eq!(answer.status(), status, "{tags}");
    }
    let answer = tenant.send(Method::PUT, &path(&webhook, ""), &[], &body).await;
    assert_eq!(answer.status(), StatusCode::PRECONDITION_REQUIRED);
    let answer = tenant.send(Method::PATCH, &path(&webhook, ""), &[("if-match", "second")], &body).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(read(&tenant, &webhook).await["name"], "second");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn writers_at_the_same_time_lose_no_update() {
    let tenant = &Stack::connect().await.tenant();
    let webhook = &tenant.webhook(URL, json!({})).await;
    // Without a version: each is made to whatever is there.
    let patches = (0..20).map(|number| async move {
        let body = json!({"properties": {format!("p{number}"): number}});
        tenant.call(Method::PATCH, &path(webhook, ""), Some(&body)).await.0
    });
    let statuses = join_all(patches).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    let now = read(tenant, webhook).await;
    let all: serde_json::Map<_, _> = (0..20).map(|number| (format!("p{number}"), json!(number))).collect();
    assert_eq!(now["properties"], Value::Object(all));
    assert_eq!(now["version"], 21);
    // With one: exactly one of them is the first.
    let version = &[("if-match", "\"21\"")][..];
    let writes = (0..4).map(|number| async move {
        tenant.send(Method::PATCH, &path(webhook, ""), version, &json!({"name": format!("n{number}")})).await.status()
    });
    let statuses = join_all(writes).await;
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::OK).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| *status == StatusCode::OK || *status == StatusCode::PRECONDITION_FAILED));
    assert_eq!(read(tenant, webhook).await["version"], 22);
}
