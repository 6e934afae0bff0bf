//! Where deliveries come from.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Claims, Function, Stack};

const PATH: &str = "/egress-addresses";

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_addresses_are_those_of_the_deployment() {
    let stack = Stack::connect().await;
    let environment = [("EGRESS_ADDRESSES", "203.0.113.7,198.51.100.0/28")];
    let mut api = Function::start(&stack, "ApiFunction", &environment).await;
    let mut event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
    let path = json!(format!("/api/v1/integration{PATH}"));
    event["requestContext"]["http"]["method"] = json!("GET");
    event["requestContext"]["http"]["path"] = path.clone();
    event["rawPath"] = path;
    let answer = api.invoke(event).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({"addresses": ["203.0.113.7/32", "198.51.100.0/28"]}));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn every_caller_may_know_them() {
    let stack = Stack::connect().await;
    let without_tenant = |roles: &[&str]| Claims::new("", roles).with("tenant_id", Value::Null).rs256();
    for token in [without_tenant(&["OPERATOR"]), without_tenant(&[]), stack.tenant().token] {
        let answer = stack.call(Method::GET, PATH, Some(&token), None).await;
        assert_eq!(answer, (StatusCode::OK, json!({"addresses": []})), "they are not fixed here");
    }
    let key = json!({"name": "reader", "app_id": "crm", "scopes": ["events:read"]});
    let (status, key) = stack.tenant().call(Method::POST, "/api-keys", Some(&key)).await;
    assert_eq!(status, StatusCode::CREATED, "{key}");
    let narrowed = key["key"].as_str().unwrap();
    assert_eq!(stack.call(Method::GET, PATH, Some(narrowed), None).await.0, StatusCode::OK);
    for token in [None, Some("key_x"), Some("not.a.token")] {
        assert_eq!(stack.call(Method::GET, PATH, token, None).await.0, StatusCode::UNAUTHORIZED);
    }
}
