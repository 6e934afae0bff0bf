//! Authorization beside the signature: basic, bearer, and tokens that client credentials buy.

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Answer, Receiver, Stack, Tenant, path, unique};

const URL: &str = "https://example.com/hook";

fn headers(receiver: &Receiver) -> Vec<String> {
    let header = |request: tests::Received| match request.headers.get("authorization") {
        Some(value) => value.to_str().unwrap().to_owned(),
        None => String::new(),
    };
    receiver.received().into_iter().map(header).collect()
}

async fn set(tenant: &Tenant, webhook: &Value, body: Value) -> Value {
    let (status, shown) = tenant.call(Method::PUT, &path(webhook, "/authorization"), Some(&body)).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    shown
}

#[tokio::test]
async fn a_bearer_and_then_a_name_and_a_password_and_then_nothing() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let (token, password) = (unique("canary"), unique("canary"));
    let webhook = tenant.webhook(&receiver.url, json!({"authorization": {"type": "bearer", "token": token}})).await;
    assert_eq!(webhook["authorization"]["type"], "bearer");
    let vault_path = format!("{}/authorization", webhook["vault_path"].as_str().unwrap());
    assert_eq!(webhook["authorization"]["vault_path"], vault_path);
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await[0].verify(webhook["secret"].as_str().unwrap());

    let basic = json!({"type": "basic", "username": "anna", "password": password});
    let shown = set(&tenant, &webhook, basic.clone()).await;
    assert_eq!(
        (&shown["type"], &shown["username"], &shown["vault_path"]),
        (&json!("basic"), &json!("anna"), &json!(vault_path))
    );
    assert_ne!(shown["fingerprint"], webhook["authorization"]["fingerprint"]);
    assert_eq!(set(&tenant, &webhook, basic).await, shown, "the same again is nothing new");
    let (_, read) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&read["authorization"], &read["version"]), (&shown, &json!(2)));
    assert_eq!(tenant.call(Method::GET, &path(&webhook, "/authorization"), None).await, (StatusCode::OK, shown));
    tenant.put("i2", &[]).await;
    receiver.wait_for(2).await;

    let gone = async || tenant.call(Method::DELETE, &path(&webhook, "/authorization"), None).await.0;
    assert_eq!((gone().await, gone().await), (StatusCode::NO_CONTENT, StatusCode::NOT_FOUND));
    tenant.put("i3", &[]).await;
    receiver.wait_for(3).await;
    // It was removed, and its path can be used again.
    set(&tenant, &webhook, json!({"type": "bearer", "token": token})).await;
    tenant.put("i4", &[]).await;
    receiver.wait_for(4).await;
    let basic = format!("Basic {}", base64(&format!("anna:{password}")));
    assert_eq!(headers(&receiver), [format!("Bearer {token}"), basic, String::new(), format!("Bearer {token}")]);
}

fn oauth2(server: &Receiver, secret: &str) -> Value {
    json!({"authorization": {
        "type": "oauth2", "token_url": server.url, "client_id": "c", "client_secret": secret,
        "scope": "events", "client_authentication": "body",
    }})
}

/// Each token is another one, and in no log, table or answer: `make test` looks for how they begin.
const TOKENS: [&str; 3] = [
    r#"{"access_token":"oauth-canary-0","token_type":"Bearer","expires_in":3600}"#,
    r#"{"access_token":"oauth-canary-1","token_type":"Bearer","expires_in":3600}"#,
    r#"{"access_token":"oauth-canary-2","token_type":"Bearer","expires_in":3600}"#,
];

fn token(number: usize) -> Answer {
    Answer::Json(TOKENS[number])
}

#[tokio::test]
async fn a_token_that_is_refused_is_fetched_anew() {
    let tenant = Stack::connect().await.tenant();
    let server = Receiver::start(token).await;
    let receiver = Receiver::start(|number| Answer::Status(if number == 1 { 401 } else { 204 })).await;
    let secret = unique("canary");
    let webhook = tenant.webhook(&receiver.url, oauth2(&server, &secret)).await;
    // Tests, one after the other, so that the second finds the token of the first.
    let test = async || tenant.tested(&webhook, None).await["state"].clone();
    assert_eq!((test().await, test().await, test().await), (json!("delivered"), json!("failed"), json!("delivered")));
    let sent = headers(&receiver);
    // Each process that delivers has tokens of its own.
    assert!(sent[1] != sent[2] && sent.iter().all(|header| header.starts_with("Bearer oauth-canary-")), "{sent:?}");
    let form = format!("grant_type=client_credentials&scope=events&client_id=c&client_secret={secret}");
    assert!(server.received().iter().all(|request| request.body == form.as_bytes()));
}

#[tokio::test]
async fn a_token_server_that_fails_fails_the_attempt_and_not_the_delivery() {
    let tenant = Stack::connect().await.tenant();
    let server = Receiver::start(|number| if number == 0 { Answer::Status(500) } else { token(number) }).await;
    let receiver = Receiver::accepting().await;
    let secret = unique("canary");
    let webhook = tenant.webhook(&receiver.url, oauth2(&server, &secret)).await;
    tenant.put("i1", &[]).await;
    let delivery = tenant.delivery(&webhook, "delivered").await;
    let verdicts: Vec<_> = delivery["attempts"].as_array().unwrap().iter().map(|a| a["verdict"].clone()).collect();
    assert_eq!(verdicts, ["unauthorized", "accepted"]);
    assert_eq!(delivery["attempts"][0]["error"], "the authorization server answered 500");
    assert_eq!(headers(&receiver), ["Bearer oauth-canary-1"]);
    assert!(!delivery.to_string().contains(&secret));
}

#[tokio::test]
async fn no_table_and_no_answer_shows_the_secret() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::Status(401)).await;
    let canary = unique("canary");
    let authorization = json!({"type": "basic", "username": "anna", "password": canary});
    let policy = json!({"maxAttempts": 1, "backoff": "exponential", "timeoutMs": 1000});
    let new = json!({
        "name": "n", "url": receiver.url, "event_types": [], "sources": ["items"],
        "authorization": authorization, "retry_policy": policy,
    });
    let mut answers = Vec::new();
    for _ in 0..2 {
        let response = tenant.send(Method::POST, "/webhooks", &[("idempotency-key", "k")], &new).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        answers.push(response.text().await.unwrap());
    }
    let webhook: Value = serde_json::from_str(&answers[0]).unwrap();
    tenant.put("i1", &[]).await;
    answers.push(tenant.delivery(&webhook, "exhausted").await.to_string());
    for (method, rest, body) in [
        (Method::GET, "", json!({})),
        (Method::GET, "/authorization", json!({})),
        (Method::PUT, "/authorization", authorization.clone()),
        (Method::PUT, "/authorization", json!({"type": "bearer", "token": format!("{canary} {canary}")})),
        (Method::PATCH, "", json!({"authorization": authorization})),
        (Method::PATCH, "", json!({"authorization": canary})),
    ] {
        answers.push(tenant.call(method, &path(&webhook, rest), Some(&body)).await.1.to_string());
    }
    let preview = json!({"webhook": new});
    let (status, preview) = tenant.call(Method::POST, "/webhooks/preview", Some(&preview)).await;
    assert_eq!((status, &preview["request"]["headers"]["authorization"]), (StatusCode::OK, &json!("Basic ***")));
    let encoded = base64(&format!("anna:{canary}"));
    let shows = |text: &str| text.contains(&canary) || text.contains(&encoded);
    assert!(!answers.iter().any(|answer| shows(answer)), "{answers:#?}");
    for table in ["RegistryTable", "DeliveriesTable", "EventsTable"] {
        let mut items = stack.dynamodb.scan().table_name(stack.output(table)).into_paginator().items().send();
        while let Some(item) = items.next().await {
            let item = item.unwrap();
            assert!(!item.values().any(|value| shows(&printed(value))), "{table}: {:?}", item["pk"]);
        }
    }
}

fn printed(value: &AttributeValue) -> String {
    match value.as_b() {
        Ok(bytes) => String::from_utf8_lossy(bytes.as_ref()).into_owned(),
        Err(value) => format!("{value:?}"),
    }
}

#[tokio::test]
async fn deleting_and_restoring_a_webhook_takes_it_along() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let token = unique("canary");
    let webhook = tenant.webhook(&receiver.url, json!({"authorization": {"type": "bearer", "token": token}})).await;
    assert_eq!(tenant.call(Method::DELETE, &path(&webhook, ""), None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(tenant.call(Method::GET, &path(&webhook, "/authorization"), None).await.0, StatusCode::NOT_FOUND);
    let (status, restored) = tenant.call(Method::POST, &path(&webhook, "/restore"), None).await;
    assert_eq!((status, &restored["authorization"]), (StatusCode::OK, &webhook["authorization"]));
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await;
    assert_eq!(headers(&receiver), [format!("Bearer {token}")]);
}

#[rstest]
#[case::private_token_url(
    json!({"type": "oauth2", "token_url": "http://10.0.0.1/", "client_id": "c", "client_secret": "s"}), "/token_url")]
#[case::instance_metadata(
    json!({"type": "oauth2", "token_url": "http://169.254.169.254/", "client_id": "c", "client_secret": "s"}), "/token_url")]
#[case::no_password(json!({"type": "basic", "username": "a"}), "/password")]
#[case::unknown(json!({"type": "digest"}), "/type")]
#[case::with_what_is_shown(json!({"type": "bearer", "token": "t", "vault_path": "/x"}), "/vault_path")]
#[tokio::test]
async fn what_cannot_be_is_named(#[case] body: Value, #[case] pointer: &str) {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    let (status, problem) = tenant.call(Method::PUT, &path(&webhook, "/authorization"), Some(&body)).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!(format!("#{pointer}")))
    );
    let new = json!({"name": "n", "url": URL, "authorization": body});
    let (status, problem) = tenant.call(Method::POST, "/webhooks", Some(&new)).await;
    let pointer = json!(format!("#/authorization{pointer}"));
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &pointer));
}

#[tokio::test]
async fn it_has_the_webhooks_version_and_is_nobody_elses() {
    let stack = Stack::connect().await;
    let (tenant, stranger) = (stack.tenant(), stack.tenant());
    let webhook = tenant.webhook(URL, json!({})).await;
    let (path, body) = (path(&webhook, "/authorization"), json!({"type": "bearer", "token": "t"}));
    let put = async |tag: &str| tenant.send(Method::PUT, &path, &[("if-match", tag)], &body).await;
    assert_eq!(put("\"7\"").await.status(), StatusCode::PRECONDITION_FAILED);
    let answer = put("\"1\"").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["etag"], "\"2\"");
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(stranger.call(method, &path, Some(&body)).await.0, StatusCode::NOT_FOUND);
    }
    let (_, problem) = tenant
        .call(Method::PATCH, path.trim_end_matches("/authorization"), Some(&json!({"authorization": null})))
        .await;
    let detail = "cannot be set here; use PUT or DELETE /webhooks/{id}/authorization";
    assert_eq!(problem["errors"], json!([{"pointer": "#/authorization", "detail": detail}]));
    let inbound = json!({"name": "n", "direction": "inbound", "authorization": body});
    let (_, problem) = tenant.call(Method::POST, "/webhooks", Some(&inbound)).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/authorization");
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
