//! The api function alone: what its routes cost, and its limits. Requests are those of API Gateway, to the letter.

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Function, Proxy, Stack, unique};

/// The api function with a tenant of its own.
struct Api {
    function: Function,
    tenant: String,
    idempotency_key: Option<String>,
}

impl Api {
    async fn start(stack: &Stack, environment: &[(&str, &str)]) -> Self {
        Self {
            function: Function::start(stack, "ApiFunction", environment).await,
            tenant: unique("tenant"),
            idempotency_key: None,
        }
    }

    /// Returns the key of the caller's claims: of tenant, application and subject, each after its length.
    fn claims(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.tenant.as_str(), "", "anna"] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        format!("I#{}", hex::encode(hash.finalize()))
    }

    /// Sends a request as API Gateway does; returns the status, the headers and the body.
    async fn call(&mut self, method: Method, path: &str, body: &Value) -> (u64, Value, Value) {
        let mut event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/api/v1/integration{path}");
        event["requestContext"]["authorizer"]["lambda"]["tenant"] = json!(self.tenant);
        event["requestContext"]["http"]["method"] = json!(method.as_str());
        event["requestContext"]["http"]["path"] = json!(path);
        event["rawPath"] = json!(path);
        event["rawQueryString"] = json!(query);
        event["body"] = json!(body.to_string());
        if let Some(key) = &self.idempotency_key {
            event["headers"]["idempotency-key"] = json!(key);
        }
        let answer = self.function.invoke(event).await;
        let body = serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
        (answer["statusCode"].as_u64().unwrap(), answer["headers"].clone(), body)
    }
}

fn webhook() -> Value {
    json!({"name": "n", "url": "https://example.com/", "event_types": ["a.b"]})
}

#[tokio::test]
async fn every_route_makes_as_few_calls_as_there_can_be() {
    let stack = Stack::connect().await;
    let proxy = Proxy::start().await;
    let mut api = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    // The fingerprint key is read once in the life of a process.
    let (status, _, first) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!(status, 201, "{first}");
    let _ = proxy.calls();
    let path = |rest: &str| format!("/webhooks/{}{rest}", first["id"].as_str().unwrap());
    let write: &[&str] = &["BatchGetItem", "GetItem", "TransactWriteItems"];
    for (method, path, body, calls) in [
        (Method::POST, "/webhooks".to_owned(), webhook(), &["CreateSecret", "GetItem", "TransactWriteItems"][..]),
        (Method::GET, path(""), json!({}), &["BatchGetItem"]),
        // One for the webhooks, one for what stands beside them.
        (Method::GET, "/webhooks".to_owned(), json!({}), &["Query", "BatchGetItem"]),
        (Method::PATCH, path(""), json!({"name": "m"}), write),
        (Method::POST, path("/pause"), json!({}), write),
        (Method::POST, path("/pause"), json!({}), &["BatchGetItem"]),
        (Method::POST, "/webhooks/preview".to_owned(), json!({"webhook": webhook()}), &[]),
        (
            Method::POST,
            path("/secret/rotate"),
            json!({}),
            &["BatchGetItem", "PutSecretValue", "BatchGetItem", "GetItem", "TransactWriteItems"],
        ),
        (Method::DELETE, path(""), json!({}), &["BatchGetItem", "GetItem", "TransactWriteItems", "DeleteSecret"]),
        (
            Method::POST,
            path("/restore"),
            json!({}),
            &["BatchGetItem", "RestoreSecret", "GetItem", "TransactWriteItems"],
        ),
    ] {
        let (status, _, answer) = api.call(method.clone(), &path, &body).await;
        assert!(status < 300, "{method} {path}: {answer}");
        assert_eq!(proxy.calls(), calls, "{method} {path}");
    }
}

#[tokio::test]
async fn a_create_that_died_before_its_answer_is_finished_by_the_next_try() {
    let stack = Stack::connect().await;
    // It does all but keep its answer, and nobody hears of it.
    let proxy = Proxy::refusing("UpdateItem").await;
    let mut dying = Api::start(&stack, &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    dying.idempotency_key = Some("k".to_owned());
    let (_, _, lost) = dying.call(Method::POST, "/webhooks", &webhook()).await;
    let mut api = Api { function: Function::start(&stack, "ApiFunction", &[]).await, ..dying };
    let (status, _, problem) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:key-in-use")));

    // Half a minute later.
    let table = stack.output("RegistryTable");
    let query = stack.dynamodb.query().table_name(table).key_condition_expression("pk = :pk");
    let claims = query.expression_attribute_values(":pk", AttributeValue::S(api.claims())).send().await.unwrap();
    assert_eq!(claims.items().len(), 1);
    for claim in claims.items() {
        let key = ["pk", "sk"].map(|name| (name.to_owned(), claim[name].clone()));
        let update = stack.dynamodb.update_item().table_name(table).set_key(Some(key.into()));
        let update = update.update_expression("SET claimed_at = claimed_at - :t");
        update.expression_attribute_values(":t", AttributeValue::N("31000".to_owned())).send().await.unwrap();
    }
    let (status, headers, found) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((status, &found["id"], &headers["etag"]), (201, &lost["id"], &json!("\"2\"")), "{found}");
    assert!(found["secret"].is_string() && found["secret"] != lost["secret"], "a secret that somebody knows");
    assert_ne!(found["secret_fingerprint"], lost["secret_fingerprint"]);
    let (_, headers, again) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((&again["id"], &headers["idempotent-replayed"]), (&lost["id"], &json!("true")));
    api.idempotency_key = None;
    let (_, _, all) = api.call(Method::GET, "/webhooks", &json!({})).await;
    assert_eq!(all["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_tenant_has_as_many_webhooks_as_it_may() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[("MAX_WEBHOOKS", "2")]).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (status, _, webhook) = api.call(Method::POST, "/webhooks", &webhook()).await;
        assert_eq!(status, 201, "{webhook}");
        ids.push(webhook["id"].as_str().unwrap().to_owned());
    }
    let (status, _, problem) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:limit-reached")));
    // A deleted one makes room, and cannot come back to a full house.
    assert_eq!(api.call(Method::DELETE, &format!("/webhooks/{}", ids[0]), &json!({})).await.0, 204);
    assert_eq!(api.call(Method::POST, "/webhooks", &webhook()).await.0, 201);
    let (status, _, problem) = api.call(Method::POST, &format!("/webhooks/{}/restore", ids[0]), &json!({})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:limit-reached")));
}

#[tokio::test]
async fn a_tenant_that_asks_too_often_is_told_when_to_come_back() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[("TENANT_RATE_LIMIT", "1")]).await;
    for _ in 0..2 {
        assert_eq!(api.call(Method::GET, "/webhooks", &json!({})).await.0, 200);
    }
    let (status, headers, problem) = api.call(Method::GET, "/webhooks", &json!({})).await;
    assert_eq!((status, &problem["type"]), (429, &json!("urn:dynahook:problem:too-many-requests")));
    assert!(["1", "2"].contains(&headers["retry-after"].as_str().unwrap()), "{headers}");
    // Another tenant is not told anything.
    api.tenant = unique("tenant");
    assert_eq!(api.call(Method::GET, "/webhooks", &json!({})).await.0, 200);
}

#[tokio::test]
async fn the_contract_is_shown_to_everybody() {
    let stack = Stack::connect().await;
    let get = async |path: &str| stack.to(Method::GET, path).send().await.unwrap();
    let contract: Value = get("/openapi.json").await.json().await.unwrap();
    let written: Value = serde_json::from_str(include_str!("../../infra/openapi.json")).unwrap();
    assert_eq!(contract, written);
    let page = get("/docs").await.text().await.unwrap();
    assert!(page.contains(r#"<base href="docs/">"#), "{page}");
    // Nothing that the page loads is somebody else's.
    assert!(!page.contains("//unpkg") && !page.contains("https://"), "{page}");
    for (file, kind) in [
        ("swagger-ui.css", "text/css"),
        ("swagger-ui-bundle.js", "javascript"),
        ("swagger-initializer.js", "javascript"),
    ] {
        let answer = get(&format!("/docs/{file}")).await;
        assert!(answer.headers()["content-type"].to_str().unwrap().contains(kind), "{file}");
        assert!(answer.text().await.unwrap().len() > 100, "{file}");
    }
}
