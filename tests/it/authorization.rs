//! Authorization in addition to the signature: basic, bearer, and tokens for client credentials.

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
#[ignore = "needs the stack of `make test`"]
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
#[ignore = "needs the stack of `make test`"]
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
#[ignore = "needs the stack of `make test`"]
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
#[ignore = "needs the stack of `make test`"]
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
#[ignore = "needs the stack of `make test`"]
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
#[ignore = "needs the stack of `make test`"]
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
#[ignore = "needs the stack of `make test`"]
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
    let whole = path.trim_end_matches("/authorization");
    let (_, shown) = tenant.call(Method::GET, whole, None).await;
    // What was read can be sent back; null removes it.
    let (status, same) =
        tenant.call(Method::PATCH, whole, Some(&json!({"authorization": shown["authorization"]}))).await;
    assert_eq!((status, &same["authorization"]["for_origin"]), (StatusCode::OK, &json!("https://example.com")));
    let (status, without) = tenant.call(Method::PATCH, whole, Some(&json!({"authorization": null}))).await;
    assert_eq!((status, &without["authorization"]), (StatusCode::OK, &Value::Null));
    assert_eq!(tenant.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    let inbound = json!({"name": "n", "direction": "inbound", "authorization": body});
    let (_, problem) = tenant.call(Method::POST, "/webhooks", Some(&inbound)).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/authorization");
}

/// The attack: an application points its webhook, for which an admin has set a password, at itself and has a test sent there.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_application_does_not_get_an_admins_password_by_moving_the_url() {
    let tenant = Stack::connect().await.tenant();
    let application = tenant.application("crm");
    let (receiver, thief) = (Receiver::accepting().await, Receiver::accepting().await);
    let password = unique("canary");
    let webhook = application.webhook(&receiver.url, json!({})).await;
    let basic = json!({"type": "basic", "username": "anna", "password": password});
    let shown = set(&tenant, &webhook, basic.clone()).await;
    assert_eq!((&shown["for_origin"], &shown["set_by"]), (&json!(receiver.url), &json!("tenant")));

    let (_, current) = application.call(Method::GET, &path(&webhook, ""), None).await;
    let mut whole = current.clone();
    whole["url"] = json!(thief.url);
    let tag = format!("\"{}\"", current["version"]);
    for (by, field) in [(&application, "#/url"), (&tenant, "#/url")] {
        let moved = json!({"url": thief.url});
        let (status, problem) = by.call(Method::PATCH, &path(&webhook, ""), Some(&moved)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)));
        let (_, problem) = by.call(Method::PATCH, &path(&webhook, ""), Some(&json!({"target_url": thief.url}))).await;
        assert_eq!(problem["errors"][0]["pointer"], field);
        let put = by.send(Method::PUT, &path(&webhook, ""), &[("if-match", &tag)], &whole).await;
        assert_eq!(put.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
    // Nor does a request of its own making go out under it.
    for more in [
        json!({"url": format!("{}/admin/delete", receiver.url)}),
        json!({"headers": {"X-Action": "delete"}}),
        json!({"payload_format": "template", "template": "{\"grant\": \"all\"}"}),
        json!({"properties": {"grant": "all"}}),
    ] {
        let (status, _) = application.call(Method::PATCH, &path(&webhook, ""), Some(&more)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{more}");
    }
    // What a deletion and a restoration bring back is bound as before.
    assert_eq!(application.call(Method::DELETE, &path(&webhook, ""), None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(application.call(Method::POST, &path(&webhook, "/restore"), None).await.0, StatusCode::OK);
    let (status, _) = application.call(Method::PATCH, &path(&webhook, ""), Some(&json!({"url": thief.url}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // With one of its own it may go where it likes, and the admin's is gone.
    let own = json!({"url": thief.url, "authorization": {"type": "bearer", "token": "own"}});
    let (status, moved) = application.call(Method::PATCH, &path(&webhook, ""), Some(&own)).await;
    assert_eq!((status, &moved["authorization"]["set_by"]), (StatusCode::OK, &json!("application")), "{moved}");
    assert_eq!(application.tested(&webhook, None).await["state"], "delivered");
    assert_eq!(headers(&thief), ["Bearer own"]);
    assert_eq!(receiver.received().len(), 0);

    // An admin moves the URL and the credential in one request, or removes it.
    let both = json!({"url": receiver.url, "authorization": basic});
    let (status, moved) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&both)).await;
    assert_eq!((status, &moved["authorization"]["for_origin"]), (StatusCode::OK, &json!(receiver.url)), "{moved}");
    assert_eq!(tenant.tested(&webhook, None).await["state"], "delivered");
    assert_eq!(headers(&receiver), [format!("Basic {}", base64(&format!("anna:{password}")))]);
    let gone = json!({"url": thief.url, "authorization": null});
    let (status, moved) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&gone)).await;
    assert_eq!((status, &moved["authorization"]), (StatusCode::OK, &Value::Null));
    assert_eq!(tenant.tested(&webhook, None).await["state"], "delivered");
    assert_eq!(headers(&thief), ["Bearer own", ""]);
}

/// A row that no write of ours leaves behind: `deliver` sends the credential nowhere, and says why.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn deliver_sends_no_credential_to_another_origin() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let token = unique("canary");
    let bearer = json!({"authorization": {"type": "bearer", "token": token}});
    let webhook = tenant.webhook(&receiver.url, bearer).await;
    let key = [
        ("pk", AttributeValue::S(format!("T#{}", tenant.name))),
        ("sk", AttributeValue::S(format!("WEBHOOK#{}", webhook["id"].as_str().unwrap()))),
    ];
    let write = async |update: &str, values: &[(&str, &str)]| {
        let mut request = stack.dynamodb.update_item().table_name(stack.output("RegistryTable"));
        request = key.iter().fold(request, |request, (name, value)| request.key(*name, value.clone()));
        request = request.update_expression(update).expression_attribute_names("#a", "authorization");
        for (name, value) in values {
            request = request.expression_attribute_values(*name, AttributeValue::S((*value).to_owned()));
        }
        request.send().await.unwrap();
    };
    write("SET #a.for_origin = :origin", &[(":origin", "https://elsewhere.example")]).await;
    let test = tenant.tested(&webhook, None).await;
    let attempt = &test["attempts"][0];
    assert_eq!((&test["state"], &attempt["verdict"]), (&json!("failed"), &json!("unauthorized")), "{test}");
    assert!(attempt["error"].as_str().unwrap().contains("was given for https://elsewhere.example"), "{test}");
    assert_eq!(receiver.received().len(), 0);

    // As the version before wrote it: it goes to the URL that the webhook has, and the next write binds it to that.
    write("REMOVE #a.for_origin, #a.set_by", &[]).await;
    assert_eq!(tenant.tested(&webhook, None).await["state"], "delivered");
    assert_eq!(headers(&receiver), [format!("Bearer {token}")]);
    let moved = json!({"url": "https://elsewhere.example/"});
    let (status, _) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&moved)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, renamed) = tenant.call(Method::PATCH, &path(&webhook, ""), Some(&json!({"name": "other"}))).await;
    assert_eq!(renamed["authorization"]["for_origin"], receiver.url);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
