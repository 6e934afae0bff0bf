//! The states of a webhook: drafts, enabled, paused and deleted webhooks, and the actions between these states.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Receiver, Stack, path};

use super::{URL, create, read};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_without_a_url_is_a_draft() {
    let tenant = Stack::connect().await.tenant();
    let draft = create(&tenant, &json!({"tags": {"team": "sales", "tier": 1}})).await;
    assert_eq!((&draft["name"], &draft["enabled"], &draft["url"]), (&json!("webhook"), &json!(false), &json!("")));
    for action in ["/enable", "/test"] {
        let (status, problem) = tenant.call(Method::POST, &path(&draft, action), Some(&json!({}))).await;
        assert_eq!(status, StatusCode::CONFLICT, "{action}: {problem}");
    }
    let (_, list) = tenant.call(Method::GET, "/webhooks?tag=team:sales", None).await;
    assert_eq!(list["data"][0]["tags"], json!({"team": "sales", "tier": 1}));
    let (status, ready) =
        tenant.call(Method::PATCH, &path(&draft, ""), Some(&json!({"target_url": URL, "enabled": true}))).await;
    assert_eq!((status, &ready["is_active"], &ready["url"]), (StatusCode::OK, &json!(true), &json!(URL)));
    tenant.call(Method::POST, &path(&draft, "/pause"), None).await;
    assert_eq!(read(&tenant, &draft).await["pause_reason"], "manual");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_deleted_webhook_comes_back_with_its_secret() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.call(Method::DELETE, &path(&webhook, ""), None).await;
    assert_eq!(tenant.call(Method::GET, &path(&webhook, ""), None).await.0, StatusCode::NOT_FOUND);
    let (status, restored) = tenant.call(Method::POST, &path(&webhook, "/restore"), None).await;
    assert_eq!(status, StatusCode::OK, "{restored}");
    assert_eq!((&restored["is_deleted"], &restored["deleted_at"]), (&json!(false), &Value::Null));
    assert_eq!(restored["secret_fingerprint"], webhook["secret_fingerprint"]);
    assert_eq!(restored["version"], 3);
    let (status, again) = tenant.call(Method::POST, &path(&webhook, "/restore"), None).await;
    assert_eq!((status, &again["version"]), (StatusCode::OK, &json!(3)), "what is not deleted stays as it is");
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await[0].verify(webhook["secret"].as_str().unwrap());
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn actions_are_done_once() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    for (action, version, state) in [
        ("pause", 2, 2),
        ("pause", 2, 2),
        ("resume", 3, 1),
        ("resume", 3, 1),
        ("disable", 4, 2),
        ("disable", 4, 2),
        ("enable", 5, 1),
        ("enable", 5, 1),
    ] {
        let (status, now) = tenant.call(Method::POST, &path(&webhook, &format!("/{action}")), None).await;
        assert_eq!(
            (status, &now["version"], &now["state"]),
            (StatusCode::OK, &json!(version), &json!(state)),
            "{action}"
        );
        assert_eq!(now["paused_at"].is_string(), action == "pause");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn state_1_is_enabled_and_resumed() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    tenant.call(Method::POST, &path(&webhook, "/disable"), None).await;
    let (_, active) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&json!({"state": 1}))).await;
    assert_eq!((&active["state"], &active["is_active"], &active["paused_at"]), (&json!(1), &json!(true), &Value::Null));
}
