//! Requests with an `Idempotency-Key` whose process died before it answered: the next try finishes the work.

use domain::delivery::job::MAX_ACTIVE;
use reqwest::Method;
use serde_json::json;
use tests::{Function, Proxy, Stack, path};

use super::{Api, half_a_minute_later, webhook};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_publication_that_died_before_its_answer_publishes_the_same_events() {
    let stack = Stack::connect().await;
    let proxy = Proxy::refusing("UpdateItem").await;
    let mut dying = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    dying.idempotency_key = Some("k".to_owned());
    let body = json!([{"event_type": "a.b", "data": {}}, {"event_type": "a.b", "data": {}, "id": "1"}]);
    let (status, _, lost) = dying.call(Method::POST, "/events", &body).await;
    assert_eq!(status, 207, "{lost}");
    let mut api = Api { function: Function::start(&stack, "ApiFunction", &[]).await, ..dying };
    half_a_minute_later(&stack, &api).await;
    let (status, _, found) = api.call(Method::POST, "/events", &body).await;
    assert_eq!((status, &found), (207, &lost), "the same, and no duplicates");
    api.idempotency_key = None;
    let (_, _, all) = api.call(Method::GET, "/events", &json!({})).await;
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_job_that_died_before_its_answer_is_found_again_though_no_other_had_room() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, webhook) = api.call(Method::POST, "/webhooks", &webhook()).await;
    // Paused, so that they do not end meanwhile.
    api.call(Method::POST, &path(&webhook, "/pause"), &json!({})).await;
    let (replay, body) = (path(&webhook, "/replay"), json!({"from": "2026-01-01T00:00:00Z"}));
    for _ in 1..MAX_ACTIVE {
        assert_eq!(api.call(Method::POST, &replay, &body).await.0, 202);
    }
    let proxy = Proxy::refusing("UpdateItem").await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, idempotency_key: Some("k".to_owned()), ..api };
    let (status, _, lost) = dying.call(Method::POST, &replay, &body).await;
    assert_eq!(status, 202, "{lost}");
    let mut api = Api { function: Function::start(&stack, "ApiFunction", &[]).await, ..dying };
    half_a_minute_later(&stack, &api).await;
    let (status, _, found) = api.call(Method::POST, &replay, &body).await;
    assert_eq!((status, &found["id"]), (202, &lost["id"]), "{found}");
    api.idempotency_key = None;
    assert_eq!(api.call(Method::POST, &replay, &body).await.0, 409);
    let (_, _, jobs) = api.call(Method::GET, "/jobs?state=running", &json!({})).await;
    for job in jobs["data"].as_array().unwrap() {
        let cancel = format!("/jobs/{}/cancel", job["id"].as_str().unwrap());
        assert_eq!(api.call(Method::POST, &cancel, &json!({})).await.0, 200);
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_create_that_died_before_its_answer_is_finished_by_the_next_try() {
    let stack = Stack::connect().await;
    // It does everything except keeping its answer, which is lost.
    let proxy = Proxy::refusing("UpdateItem").await;
    let mut dying = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    dying.idempotency_key = Some("k".to_owned());
    let (_, _, lost) = dying.call(Method::POST, "/webhooks", &webhook()).await;
    let mut api = Api { function: Function::start(&stack, "ApiFunction", &[]).await, ..dying };
    let (status, _, problem) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:key-in-use")));

    half_a_minute_later(&stack, &api).await;
    let (status, headers, found) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((status, &found["id"], &headers["etag"]), (201, &lost["id"], &json!("\"2\"")), "{found}");
    assert!(found["secret"].is_string() && found["secret"] != lost["secret"], "a secret that was shown");
    assert_ne!(found["secret_fingerprint"], lost["secret_fingerprint"]);
    let (_, headers, again) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((&again["id"], &headers["idempotent-replayed"]), (&lost["id"], &json!("true")));
    api.idempotency_key = None;
    let (_, _, all) = api.call(Method::GET, "/webhooks", &json!({})).await;
    assert_eq!(all["data"].as_array().unwrap().len(), 1);
}
