//! The API through the gateway and the authorizer.

use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Claims, Stack, unique};

const URL: &str = "https://example.com/hook";

fn new_webhook() -> Value {
    json!({"name": "orders", "url": URL, "event_types": ["order.created", "order.created", "order.paid"]})
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_is_created_read_listed_and_deleted() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (status, created) = tenant.call(Method::POST, "/webhooks", Some(&new_webhook())).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let secret = created["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    let id = created["id"].as_str().unwrap();
    assert_eq!(created["tenant_id"], tenant.name);
    assert_eq!(created["event_types"], json!(["order.created", "order.paid"]));
    assert_eq!(created["retry_policy"], serde_json::to_value(domain::attempt::retry::RetryPolicy::default()).unwrap());
    assert_eq!(created["vault_path"], format!("/local/webhooks/{}/{id}", tenant.name));
    assert_eq!(created["secret_fingerprint"].as_str().unwrap().len(), 64);

    let (status, read) = tenant.call(Method::GET, &format!("/webhooks/{id}"), None).await;
    assert_eq!(status, StatusCode::OK);
    let mut without_secret = created.clone();
    without_secret.as_object_mut().unwrap().retain(|name, _| name != "secret" && name != "warnings");
    assert_eq!(read, without_secret, "the secret is shown once, and all else is as it was");
    let (_, list) = tenant.call(Method::GET, "/webhooks", None).await;
    assert_eq!(list, json!({"data": [read], "next_cursor": null}));

    let path = format!("/webhooks/{id}");
    assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(tenant.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(tenant.call(Method::GET, "/webhooks", None).await.1["data"], json!([]));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_list_has_pages() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let mut created = Vec::new();
    for _ in 0..5 {
        created.push(tenant.webhook(URL, json!({})).await["id"].clone());
    }
    let mut listed = Vec::new();
    let mut path = "/webhooks?limit=2".to_owned();
    loop {
        let (status, page) = tenant.call(Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 2);
        listed.extend(data.iter().map(|webhook| webhook["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/webhooks?limit=2&cursor={cursor}");
    }
    listed.sort_by_key(ToString::to_string);
    created.sort_by_key(ToString::to_string);
    assert_eq!(listed, created);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn another_tenants_webhook_does_not_exist() {
    let stack = Stack::connect().await;
    let owner = stack.tenant();
    let webhook = owner.webhook(URL, json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    let stranger = stack.tenant();
    for (method, path) in [
        (Method::GET, format!("/webhooks/{id}")),
        (Method::DELETE, format!("/webhooks/{id}")),
        (Method::GET, format!("/webhooks/{id}/deliveries")),
    ] {
        let foreign = stranger.call(method.clone(), &path, None).await;
        let none = stranger.call(method, &path.replace(id, "whk_01JD1KXA00SRK4CNHMSET7SYG2"), None).await;
        assert_eq!(foreign.0, StatusCode::NOT_FOUND);
        assert_eq!(foreign, none, "nothing tells a foreign webhook from none");
    }
    assert_eq!(stranger.call(Method::GET, "/webhooks", None).await.1["data"], json!([]));
    assert_eq!(owner.call(Method::GET, &format!("/webhooks/{id}"), None).await.0, StatusCode::OK);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_application_sees_its_own_webhooks_only() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let token = |app: &str| Claims::new(&tenant.name, &["ADMIN"]).with("app_id", json!(app)).rs256();
    let (ours, theirs) = (token("ours"), token("theirs"));
    let body = new_webhook().to_string();
    let (_, webhook) = stack.call(Method::POST, "/webhooks", Some(&ours), Some(&body)).await;
    assert_eq!(webhook["app_id"], "ours");
    let path = format!("/webhooks/{}", webhook["id"].as_str().unwrap());
    assert_eq!(stack.call(Method::GET, &path, Some(&ours), None).await.0, StatusCode::OK);
    assert_eq!(stack.call(Method::GET, &path, Some(&theirs), None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stack.call(Method::DELETE, &path, Some(&theirs), None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stack.call(Method::GET, "/webhooks", Some(&theirs), None).await.1["data"], json!([]));
    assert_eq!(tenant.call(Method::GET, &path, None).await.0, StatusCode::OK, "an admin of the tenant sees all");
}

#[rstest]
#[case::expired(json!({"exp": 1_700_000_000}), "the token has expired")]
#[case::not_yet(json!({"nbf": 4_000_000_000_i64}), "the token is not valid yet")]
#[case::other_issuer(json!({"iss": "https://elsewhere.example"}), "the token is from a different issuer")]
#[case::other_audience(json!({"aud": "elsewhere"}), "the token is for a different audience")]
#[case::no_expiry(json!({"exp": null}), "the token has no usable exp claim")]
#[case::no_subject(json!({"sub": null}), "the token has no usable sub claim")]
#[case::strange_roles(json!({"roles": 7}), "the token has no usable roles claim")]
#[case::a_role_within_a_member(json!({"roles": ["not ADMIN"]}), "each member of the token's roles claim must be one role, without spaces")]
#[case::issuers(json!({"iss": ["https://issuer.dynahook.local"]}), "the token has no usable iss claim")]
#[case::id_token(json!({"token_use": "id"}), "the token is not an access token")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_token_that_is_not_good_is_refused(#[case] claims: Value, #[case] detail: &str) {
    let stack = Stack::connect().await;
    let good = Claims::new(&unique("tenant"), &["ADMIN"]);
    let token = claims.as_object().unwrap().iter().fold(good, |token, (name, value)| token.with(name, value.clone()));
    let response = stack.request(Method::GET, "/webhooks", Some(&token.rs256()), None).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], "urn:dynahook:problem:unauthenticated");
    assert_eq!(problem["detail"], detail);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn only_the_issuers_keys_and_algorithms_count() {
    let stack = Stack::connect().await;
    let claims = Claims::new(&unique("tenant"), &["ADMIN"]);
    let status = async |token: &str| stack.call(Method::GET, "/webhooks", Some(token), None).await.0;
    assert_eq!(status(&claims.rs256()).await, StatusCode::OK);
    assert_eq!(status(&claims.es256()).await, StatusCode::OK);
    assert_eq!(status(&claims.hs256()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status("not.a.token").await, StatusCode::UNAUTHORIZED);
    // Another token's signature under these claims.
    let (head, _) = claims.rs256().rsplit_once('.').map(|(head, tail)| (head.to_owned(), tail.to_owned())).unwrap();
    let other = Claims::new(&unique("tenant"), &["ADMIN"]).rs256();
    let forged = format!("{head}.{}", other.rsplit('.').next().unwrap());
    assert_eq!(status(&forged).await, StatusCode::UNAUTHORIZED);
    assert_eq!(stack.call(Method::GET, "/webhooks", None, None).await.0, StatusCode::UNAUTHORIZED);
}

/// The authorizer and the api differ by no leeway: what one lets in the other does not refuse.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_token_is_good_until_the_leeway_ends() {
    let stack = Stack::connect().await;
    let now = tests::now().as_second();
    for (ended, status) in [(15, StatusCode::OK), (31, StatusCode::UNAUTHORIZED)] {
        let token = Claims::new(&unique("tenant"), &["ADMIN"]).with("exp", json!(now - ended)).rs256();
        assert_eq!(stack.call(Method::GET, "/webhooks", Some(&token), None).await.0, status, "{ended} s");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_role_is_needed() {
    let stack = Stack::connect().await;
    let user = Claims::new(&unique("tenant"), &["USER"]).rs256();
    let (status, problem) = stack.call(Method::GET, "/webhooks", Some(&user), None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(problem["detail"], "this needs the role ADMIN or VIEWER");
    let admin = Claims::new(&unique("tenant"), &["ADMIN"]).rs256();
    assert_eq!(stack.call(Method::GET, "/sources", Some(&admin), None).await.0, StatusCode::FORBIDDEN);
    let joined = Claims::new(&unique("tenant"), &[]).with("roles", json!(["No OPERATOR rights"])).rs256();
    assert_eq!(stack.call(Method::GET, "/sources", Some(&joined), None).await.0, StatusCode::UNAUTHORIZED);
    let nobodys = Claims::new("", &["ADMIN"]).with("tenant_id", Value::Null).rs256();
    assert_eq!(stack.call(Method::GET, "/webhooks", Some(&nobodys), None).await.0, StatusCode::FORBIDDEN);
}

#[rstest]
#[case::not_json("{\"name\"", 400, "malformed", Value::Null)]
#[case::trailing("{} {}", 400, "malformed", Value::Null)]
#[case::no_object("[]", 422, "invalid", json!([{"pointer": "#", "detail": "must be an object, not an array"}]))]
#[case::no_url(r#"{"enabled": true}"#, 422, "invalid", json!([
    {"pointer": "#/url", "detail": "is required to enable an outbound webhook"}]))]
#[case::no_tags(r#"{"tags": "rfp"}"#, 422, "invalid", json!([
    {"pointer": "#/tags", "detail": "must be an array of strings or an object, not a string"}]))]
#[case::empty("", 400, "malformed", Value::Null)]
#[case::unknown_field(r#"{"name": "x", "url": "https://example.com/", "nmae": "x"}"#, 422, "invalid", json!([{"pointer": "#/nmae", "detail": "is not a field of a webhook; did you mean name?"}]))]
#[case::wrong_type(r#"{"name": 7, "url": "https://example.com/"}"#, 422, "invalid", json!([{"pointer": "#/name",
    "detail": "must be a string, not a number"}]))]
#[case::wrong_scheme(r#"{"name": "x", "url": "https://example.com/", "signature_scheme": "md5"}"#, 422, "invalid", json!([{"pointer": "#/signature_scheme",
    "detail": "must be \"standard-webhooks\", \"standard-webhooks-ed25519\", \"hmac-sha256\", \"github\", \"stripe\", \"superoffice\" or \"shopify\""}]))]
#[case::wrong_nested(r#"{"name": "x", "url": "https://example.com/", "retry_policy": {"maxAttempts": "3"}}"#, 422, "invalid", json!([{
    "pointer": "#/retry_policy/maxAttempts", "detail": "must be a whole number from 0 to 4294967295, not a string"}]))]
#[case::no_policy(r#"{"name": "n", "url": "https://example.com/", "event_types": [], "retry_policy": []}"#, 422, "invalid",
    json!([{"pointer": "#/retry_policy", "detail": "must be an object, not an array"}]))]
#[case::everything_at_once(
    r#"{"name": " ", "url": "ftp://example.com", "event_types": ["ok"], "headers": {"Host": "a"}, "retry_policy": {"maxAttempts": 99}}"#,
    422, "invalid", json!([
        {"pointer": "#/name", "detail": "must be 1 to 400 characters"},
        {"pointer": "#/url", "detail": "must start with https:// or http://"},
        {"pointer": "#/retry_policy/maxAttempts", "detail": "must be 1 to 25"},
        {"pointer": "#/headers/Host", "detail": "must not be set here, because Dynahook sets it"}]))]
#[case::event_type(r#"{"name": "x", "url": "https://example.com/", "event_types": ["ok", "a b"]}"#, 422, "invalid", json!([
    {"pointer": "#/event_types/1", "detail": "must be an event type such as packet.created (words of letters, digits, _ and -, joined by dots, at most 128 characters), or packet.*, *.deleted or *: a star may be alone, or replace the first or the last words"}]))]
#[case::private_address(r#"{"name": "x", "url": "https://10.0.0.1/", "event_types": ["a.b"]}"#, 422, "invalid", json!([
    {"pointer": "#/url", "detail": "must not name a private, local or reserved address"}]))]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn bad_input_is_named(#[case] body: &str, #[case] status: u16, #[case] kind: &str, #[case] errors: Value) {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let response = stack.request(Method::POST, "/webhooks", Some(&tenant.token), Some(body)).await;
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], format!("urn:dynahook:problem:{kind}"));
    assert_eq!(problem["errors"], errors);
}

/// Faults of types, of values, of names and of filters, in lists and deep within: one answer has them all.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn every_fault_of_a_body_is_named_at_once() {
    let body = json!({
        "name": "x", "nmae": "y", "url": "http://", "event_types": ["ok", "a b"], "retry_policy": {"maxAttempts": 99}, "secret": "short",
        "filter": {"value": {"status": "paid", "total": [{"numeric": [">", 1]}, {"regex": "a"}]}}, "tags": ["a", 7, ""],
    });
    let (status, problem) = Stack::connect().await.tenant().call(Method::POST, "/webhooks", Some(&body)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    let expected = [
        "#/nmae",
        "#/filter/value/status",
        "#/filter/value/total/1",
        "#/event_types/1",
        "#/tags/1",
        "#/url",
        "#/tags/2",
        "#/retry_policy/maxAttempts",
        "#/secret",
    ];
    assert_eq!(pointers, expected);
}

#[rstest]
#[case::limit("/webhooks?limit=0", json!([{"pointer": "?limit", "detail": "must be 1 to 100"}]))]
#[case::cursor("/webhooks?cursor=x", json!([{"pointer": "?cursor", "detail": "must be the next_cursor of the previous page"}]))]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_bad_parameter_is_named(#[case] path: &str, #[case] errors: Value) {
    let (status, problem) = Stack::connect().await.tenant().call(Method::GET, path, None).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"], errors);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn unknown_paths_and_methods_are_problems_too() {
    let tenant = Stack::connect().await.tenant();
    let (status, problem) = tenant.call(Method::GET, "/nothing", None).await;
    assert_eq!((status, &problem["type"]), (StatusCode::NOT_FOUND, &json!("urn:dynahook:problem:not-found")));
    let (status, problem) = tenant.call(Method::PUT, "/webhooks", None).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(problem["type"], "urn:dynahook:problem:method-not-allowed");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_operator_registers_tables() {
    let stack = Stack::connect().await;
    let operator = Claims::new("", &["OPERATOR"]).with("tenant_id", Value::Null).rs256();
    let table = unique("orders");
    let source = json!({
        "table": table,
        "entities": [{"entity": "order", "tenant": "{tenant}", "id": "{id}", "collection": "orders"}],
    });
    let call = async |method, path: &str, body: Option<&Value>| {
        stack.call(method, path, Some(&operator), body.map(ToString::to_string).as_deref()).await
    };
    assert_eq!(call(Method::POST, "/sources", Some(&source)).await, (StatusCode::CREATED, source.clone()));
    assert_eq!(call(Method::POST, "/sources", Some(&source)).await.0, StatusCode::CONFLICT);
    let (_, list) = call(Method::GET, "/sources", None).await;
    assert!(list["data"].as_array().unwrap().contains(&source));
    let path = format!("/sources/{table}");
    let preview = format!("{path}/preview");
    let items = json!([
        {"item": {"tenant": {"S": "acme"}, "id": {"N": "12345678901234567890"}}, "previous": {"tenant": "acme", "id": "1"}},
        {"item": {"tenant": "acme"}},
    ]);
    let (status, tried) = call(Method::POST, &preview, Some(&json!({"items": items}))).await;
    assert_eq!(status, StatusCode::OK, "{tried}");
    let (first, second) = (&tried["data"][0], &tried["data"][1]);
    assert_eq!(first["created"]["events"][0]["event_type"], "order.created");
    assert_eq!(first["created"]["events"][0]["entity_path"], "orders/12345678901234567890");
    assert_eq!(first["updated"]["events"].as_array().unwrap().len(), 2, "it moved");
    assert_eq!((&second["deleted"]["fails"], &second["updated"]), (&json!(true), &Value::Null));
    let reason = "the item has no attribute \"id\", which the source names for its entity id";
    assert_eq!(second["created"]["reason"], reason);
    let other = json!({"source": {"table": "other", "entities": []}, "items": []});
    let (status, problem) = call(Method::POST, &preview, Some(&other)).await;
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!((status, pointers.len()), (StatusCode::UNPROCESSABLE_ENTITY, 3), "{problem}");
    assert_eq!(call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(call(Method::POST, &preview, Some(&json!({"items": items}))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    let bad =
        json!({"table": "x", "entities": [{"entity": "order", "tenant": "a#b", "id": "{id}", "collection": "c/"}]});
    let (_, problem) = call(Method::POST, "/sources", Some(&bad)).await;
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["#/table", "#/entities/0/collection", "#/entities/0/tenant"]);
}
