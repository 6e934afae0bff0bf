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

#[rstest]
#[case::may_all(json!([]), [200, 201, 200, 200, 202, 202, 200])]
#[case::may_read(json!(["webhooks:read"]), [200, 403, 403, 403, 403, 403, 403])]
#[case::may_write(json!(["webhooks:write"]), [403, 201, 403, 403, 403, 403, 403])]
#[case::may_read_deliveries(json!(["deliveries:read"]), [403, 403, 200, 403, 403, 403, 403])]
#[case::may_read_events(json!(["events:read"]), [403, 403, 403, 200, 403, 403, 403])]
#[case::may_publish(json!(["events:write"]), [403, 403, 403, 403, 202, 202, 403])]
#[case::may_look(json!(["webhooks:read", "events:read"]), [200, 403, 403, 200, 403, 403, 200])]
#[tokio::test]
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
    let not_good = Some("the API key is not good (any more)".to_owned());
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
    assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(refusal(text(&created)).await, not_good, "it is revoked");
    assert_eq!(tenant.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    let (_, all) = tenant.call(Method::GET, "/api-keys?include_revoked=true", None).await;
    let revoked = all["data"].as_array().unwrap().iter().filter(|key| key["revoked_at"].is_string()).count();
    assert_eq!((all["data"].as_array().unwrap().len(), revoked), (2, 1));
}

#[rstest]
#[case::no_name(json!({"name": " "}), "#/name")]
#[case::no_application(json!({"app_id": "a b"}), "#/app_id")]
#[case::unknown_scope(json!({"scopes": ["all"]}), "#/scopes/0")]
#[case::past(json!({"expires_at": "2020-01-01T00:00:00Z"}), "#/expires_at")]
#[case::unknown(json!({"role": "ADMIN"}), "#/role")]
#[tokio::test]
async fn a_key_that_cannot_be_is_named(#[case] more: Value, #[case] pointer: &str) {
    let tenant = Stack::connect().await.tenant();
    let mut body = json!({"name": "the CRM", "app_id": "crm"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, problem) = tenant.call(Method::POST, "/api-keys", Some(&body)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["pointer"], pointer);
}
