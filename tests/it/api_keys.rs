//! API keys: an application proves who it is, and can do no more than it should.

use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Claims, Function, Stack, Tenant};

const WEBHOOK: &str = r#"{"name": "n", "url": "https://example.com/", "event_types": ["a.b"]}"#;

async fn key(tenant: &Tenant, more: Value) -> Value {
    let mut body = json!({"name": "the CRM", "app_id": "crm"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, key) = tenant.call(Method::POST, "/api-keys", Some(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{key}");
    key
}

fn text(key: &Value) -> &str {
    key["key"].as_str().unwrap()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_key_is_its_application() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let created = key(&tenant, json!({})).await;
    assert!(text(&created).starts_with(created["id"].as_str().unwrap()));
    let call = async |method, path: &str, body| stack.call(method, path, Some(text(&created)), body).await;
    let (status, webhook) = call(Method::POST, "/webhooks", Some(WEBHOOK)).await;
    assert_eq!(status, StatusCode::CREATED, "{webhook}");
    assert_eq!((&webhook["tenant_id"], &webhook["app_id"]), (&json!(tenant.name), &json!("crm")));
    assert_eq!(webhook["created_by"], created["id"]);
    tenant.webhook("https://example.com/", json!({})).await;
    let (_, list) = call(Method::GET, "/webhooks", None).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "the tenant's own webhook is not the application's");
    assert_eq!(call(Method::GET, "/api-keys", None).await.0, StatusCode::FORBIDDEN, "applications make no keys");

    // What is shown afterwards has no text.
    let path = format!("/api-keys/{}", created["id"].as_str().unwrap());
    let (_, read) = tenant.call(Method::GET, &path, None).await;
    assert_eq!(read["key"], Value::Null);
    assert_eq!(tenant.call(Method::GET, "/api-keys", None).await.1["data"], json!([read]));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_key_without_an_application_is_its_tenant() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let app = Claims::new(&tenant.name, &["ADMIN"]).with("app_id", json!("crm")).rs256();
    let (_, theirs) = stack.call(Method::POST, "/webhooks", Some(&app), Some(WEBHOOK)).await;
    let (status, created) = tenant.call(Method::POST, "/api-keys", Some(&json!({"name": "the portal"}))).await;
    assert_eq!((status, &created["app_id"]), (StatusCode::CREATED, &Value::Null), "{created}");
    let call = async |method, path: &str, body| stack.call(method, path, Some(text(&created)), body).await;
    let (status, own) = call(Method::POST, "/webhooks", Some(WEBHOOK)).await;
    assert_eq!((status, &own["app_id"]), (StatusCode::CREATED, &Value::Null), "{own}");
    let path = format!("/webhooks/{}", theirs["id"].as_str().unwrap());
    let (status, webhook) = call(Method::PATCH, &path, Some(r#"{"name": "renamed"}"#)).await;
    assert_eq!((status, &webhook["app_id"]), (StatusCode::OK, &json!("crm")), "{webhook}");
    assert_eq!(call(Method::GET, "/webhooks", None).await.1["data"].as_array().unwrap().len(), 2);
    let described = json!({"description": "d"}).to_string();
    assert!(call(Method::PUT, "/event-types/a.b", Some(&described)).await.0.is_success());
    // Not even an unlimited key makes keys.
    for (method, body) in [(Method::GET, None), (Method::POST, Some(r#"{"name": "n"}"#))] {
        assert_eq!(call(method, "/api-keys", body).await.0, StatusCode::FORBIDDEN);
    }

    let limited = key(&tenant, json!({"app_id": null, "scopes": ["webhooks:read"]})).await;
    let call = async |method, path: &str, body| stack.call(method, path, Some(text(&limited)), body).await;
    assert_eq!(call(Method::GET, &path, None).await.0, StatusCode::OK);
    assert_eq!(call(Method::POST, "/webhooks", Some(WEBHOOK)).await.0, StatusCode::FORBIDDEN);
    let other = stack.tenant();
    let foreign = other.webhook("https://example.com/", json!({})).await;
    let path = format!("/webhooks/{}", foreign["id"].as_str().unwrap());
    assert_eq!(call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
}

#[rstest]
#[case::may_all(json!([]), [200, 201, 200, 200, 202, 202, 200])]
#[case::may_read(json!(["webhooks:read"]), [200, 403, 403, 403, 403, 403, 403])]
#[case::may_write(json!(["webhooks:write"]), [403, 201, 403, 403, 403, 403, 403])]
#[case::may_read_deliveries(json!(["deliveries:read"]), [403, 403, 200, 403, 403, 403, 403])]
#[case::may_read_events(json!(["events:read"]), [403, 403, 403, 200, 403, 403, 403])]
#[case::may_publish(json!(["events:write"]), [403, 403, 403, 403, 202, 202, 403])]
#[case::may_look(json!(["webhooks:read", "events:read"]), [200, 403, 403, 200, 403, 403, 200])]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn scopes_narrow_a_key(#[case] scopes: Value, #[case] statuses: [u16; 7]) {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let app = Claims::new(&tenant.name, &["ADMIN"]).with("app_id", json!("crm")).rs256();
    let (_, webhook) = stack.call(Method::POST, "/webhooks", Some(&app), Some(WEBHOOK)).await;
    let deliveries = format!("/webhooks/{}/deliveries", webhook["id"].as_str().unwrap());
    let explain = format!("/webhooks/{}/explain", webhook["id"].as_str().unwrap());
    let created = key(&tenant, json!({"scopes": scopes})).await;
    let requests = [
        (Method::GET, "/webhooks", None),
        (Method::POST, "/webhooks", Some(WEBHOOK)),
        (Method::GET, &deliveries, None),
        (Method::GET, "/events", None),
        (Method::POST, "/events", Some(r#"{"event_type": "a.b", "data": {}}"#)),
        (Method::POST, "/webhooks/contact.changed/7", Some("{}")),
        (Method::POST, &explain, Some(r#"{"sample": {}}"#)),
    ];
    for ((method, path, body), expected) in requests.into_iter().zip(statuses) {
        let (status, answer) = stack.call(method, path, Some(text(&created)), body).await;
        assert_eq!(status.as_u16(), expected, "{path}: {answer}");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_key_that_is_not_good_is_refused() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    // Asked directly: the gateway keeps answers for a minute.
    let mut authorizer = Function::start(&stack, "AuthorizerFunction", &[]).await;
    let mut refusal = async |text: &str| {
        let mut request: Value = serde_json::from_str(include_str!("../fixtures/authorizer-v2.json")).unwrap();
        request["headers"] = json!({"authorization": format!("Bearer {text}")});
        let answer = authorizer.invoke(request).await;
        answer["context"]["refusal"].as_str().map(str::to_owned)
    };
    let not_good = Some("the API key is invalid, expired or revoked".to_owned());
    let created = key(&tenant, json!({"expires_at": tests::now() + std::time::Duration::from_secs(2)})).await;
    assert_eq!(refusal(text(&created)).await, None);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(refusal(text(&created)).await, not_good, "it has ended");

    let created = key(&tenant, json!({})).await;
    assert_eq!(refusal(text(&created)).await, None);
    let (id, rest) = text(&created).split_at(30);
    assert_eq!(refusal(&format!("{id}{}", rest.to_uppercase())).await, not_good, "the id alone is nothing");
    assert_eq!(refusal("key_").await, not_good);
    let path = format!("/api-keys/{}", created["id"].as_str().unwrap());
    let (status, revoked) = tenant.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::OK, "{revoked}");
    let at = |name: &str| revoked[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(at("ends_at").duration_since(at("revoked_at")).as_secs(), 60);
    assert_eq!((&revoked["id"], &revoked["key"]), (&created["id"], &Value::Null));
    assert_eq!(refusal(text(&created)).await, not_good, "it is revoked");
    assert_eq!(tenant.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    let (_, all) = tenant.call(Method::GET, "/api-keys?include_revoked=true", None).await;
    let revoked = all["data"].as_array().unwrap().iter().filter(|key| key["revoked_at"].is_string()).count();
    assert_eq!((all["data"].as_array().unwrap().len(), revoked), (2, 1));
}

/// API Gateway keeps what the authorizer said for a minute: reading may go on for as long, and writing may not.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_revoked_key_writes_nothing_more() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let soon = tests::now() + std::time::Duration::from_secs(3);
    let (revoked, ended) = (key(&tenant, json!({})).await, key(&tenant, json!({"expires_at": soon})).await);
    for key in [&revoked, &ended] {
        // So that the gateway knows the key.
        assert_eq!(stack.call(Method::GET, "/webhooks", Some(text(key)), None).await.0, StatusCode::OK);
        let (status, webhook) = stack.call(Method::POST, "/webhooks", Some(text(key)), Some(WEBHOOK)).await;
        assert_eq!(status, StatusCode::CREATED, "{webhook}");
    }
    let path = format!("/api-keys/{}", revoked["id"].as_str().unwrap());
    assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    tests::eventually("the end of the other", async || (tests::now() > soon).then_some(())).await;
    let (_, list) = tenant.call(Method::GET, "/webhooks", None).await;
    let webhook = format!("/webhooks/{}", list["data"][0]["id"].as_str().unwrap());
    for key in [&revoked, &ended] {
        for (method, path, body) in [
            (Method::POST, "/webhooks", WEBHOOK),
            (Method::POST, "/events", r#"{"event_type": "a.b", "data": {}}"#),
            (Method::PATCH, &webhook, r#"{"name": "m"}"#),
            (Method::DELETE, &webhook, ""),
        ] {
            let (status, problem) = stack.call(method, path, Some(text(key)), Some(body)).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}: {problem}");
        }
    }
    assert_eq!(tenant.call(Method::GET, "/webhooks", None).await.1, list, "nothing was written");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_has_a_secret_is_kept_by_no_cache() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook("https://example.com/", json!({})).await;
    let rotate = format!("/webhooks/{}/secret/rotate", webhook["id"].as_str().unwrap());
    let (whole, app) = (serde_json::from_str(WEBHOOK).unwrap(), json!({"name": "k", "app_id": "crm"}));
    for (path, body) in [("/webhooks", &whole), (rotate.as_str(), &json!({})), ("/api-keys", &app)] {
        let response = tenant.send(Method::POST, path, &[], body).await;
        assert!(response.status().is_success(), "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{path}");
    }
}

#[rstest]
#[case::no_name(json!({"name": " "}), "#/name")]
#[case::no_application(json!({"app_id": "a b"}), "#/app_id")]
#[case::unknown_scope(json!({"scopes": ["all"]}), "#/scopes/0")]
#[case::past(json!({"expires_at": "2020-01-01T00:00:00Z"}), "#/expires_at")]
#[case::unknown(json!({"role": "ADMIN"}), "#/role")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_key_that_cannot_be_is_named(#[case] more: Value, #[case] pointer: &str) {
    let tenant = Stack::connect().await.tenant();
    let mut body = json!({"name": "the CRM", "app_id": "crm"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, problem) = tenant.call(Method::POST, "/api-keys", Some(&body)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["pointer"], pointer);
}
