//! Portal links: people without an account see a tenant or an application for a while, and no more than that.

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Claims, Function, Stack, Tenant, unique};

const WEBHOOK: &str = r#"{"name": "n", "url": "https://example.com/", "event_types": ["a.b"]}"#;

async fn link(tenant: &Tenant, body: Value) -> Value {
    let (status, link) = tenant.call(Method::POST, "/portal-links", Some(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{link}");
    link
}

/// Returns the token in the link's address.
fn token(link: &Value) -> &str {
    link["url"].as_str().unwrap().split_once("/console#token=").unwrap().1
}

fn path(link: &Value) -> String {
    format!("/portal-links/{}", link["id"].as_str().unwrap())
}

fn seconds_between(body: &Value, from: &str, to: &str) -> i64 {
    let at = |name: &str| body[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    at(to).duration_since(at(from)).as_secs()
}

/// Changes the end of a link in both of its rows, as if it had been created earlier.
async fn end(stack: &Stack, tenant: &str, link: &Value) {
    let id = link["id"].as_str().unwrap();
    let text = |text: String| AttributeValue::S(text);
    for (pk, sk) in [(format!("K#{id}"), "LINK".to_owned()), (format!("T#{tenant}"), format!("PORTALLINK#{id}"))] {
        let update = stack.dynamodb.update_item().table_name(stack.output("RegistryTable"));
        let update = update.key("pk", text(pk)).key("sk", text(sk)).condition_expression("attribute_exists(pk)");
        let update = update.update_expression("SET expires_at = :now");
        let now = AttributeValue::N(tests::now().as_second().to_string());
        update.expression_attribute_values(":now", now).send().await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_link_is_its_tenant_for_a_while() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let theme = json!({"name": "Acme", "accent_color": "#0a7d5a", "mode": "dark"});
    let created = link(&tenant, json!({"theme": theme})).await;
    assert_eq!((&created["tenant"], &created["app_id"]), (&json!(tenant.name), &Value::Null));
    assert_eq!((&created["read_only"], &created["theme"]), (&json!(false), &theme));
    let lasts = seconds_between(&created, "created_at", "expires_at");
    assert!((3_599..=3_600).contains(&lasts), "{created}");
    let id = created["id"].as_str().unwrap();
    assert!(token(&created).starts_with(&id.replace("lnk_", "key_")), "{created}");

    let call = async |method, path: &str, body| stack.call(method, path, Some(token(&created)), body).await;
    let (status, webhook) = call(Method::POST, "/webhooks", Some(WEBHOOK)).await;
    assert_eq!(status, StatusCode::CREATED, "{webhook}");
    assert_eq!((&webhook["tenant_id"], &webhook["created_by"]), (&json!(tenant.name), &json!(id)));
    tenant.application("crm").webhook("https://example.com/", json!({})).await;
    assert_eq!(call(Method::GET, "/webhooks", None).await.1["data"].as_array().unwrap().len(), 2);
    let (status, current) = call(Method::GET, "/portal-links/current", None).await;
    assert_eq!(status, StatusCode::OK, "{current}");
    let expected = ["tenant", "app_id", "read_only", "theme", "expires_at"].map(|name| (name, created[name].clone()));
    assert_eq!(current, Value::Object(expected.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()));

    // What is shown afterwards has no address, and API keys are another list.
    let (_, read) = tenant.call(Method::GET, &path(&created), None).await;
    assert_eq!((&read["id"], &read["url"]), (&created["id"], &Value::Null));
    assert_eq!(tenant.call(Method::GET, "/portal-links", None).await.1, json!({"data": [read], "next_cursor": null}));
    let (_, keys) = tenant.call(Method::GET, "/api-keys?include_revoked=true", None).await;
    assert_eq!(keys["data"], json!([]));
    assert_eq!(tenant.call(Method::GET, "/portal-links/current", None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_link_of_an_application_shows_only_that() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let foreign = tenant.webhook("https://example.com/", json!({})).await;
    let created = link(&tenant, json!({"app_id": "crm"})).await;
    let call = async |method, path: &str, body| stack.call(method, path, Some(token(&created)), body).await;
    let (status, own) = call(Method::POST, "/webhooks", Some(WEBHOOK)).await;
    assert_eq!((status, &own["app_id"]), (StatusCode::CREATED, &json!("crm")), "{own}");
    assert_eq!(call(Method::GET, "/webhooks", None).await.1["data"].as_array().unwrap().len(), 1);
    let path = format!("/webhooks/{}", foreign["id"].as_str().unwrap());
    assert_eq!(call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(call(Method::PUT, "/event-types/a.b", Some("{}")).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_link_that_reads_only_changes_nothing() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let webhook = tenant.webhook("https://example.com/", json!({})).await;
    let webhook = format!("/webhooks/{}", webhook["id"].as_str().unwrap());
    for body in [json!({"read_only": true}), json!({"read_only": true, "app_id": "crm"})] {
        let created = link(&tenant, body).await;
        let call = async |method, path: &str, body| stack.call(method, path, Some(token(&created)), body).await;
        assert_eq!(call(Method::GET, "/webhooks", None).await.0, StatusCode::OK);
        assert_eq!(call(Method::GET, "/portal-links/current", None).await.1["read_only"], true);
        for (method, path, body) in [
            (Method::POST, "/webhooks", WEBHOOK),
            (Method::POST, "/webhooks/preview", "{}"),
            (Method::POST, "/events", r#"{"event_type": "a.b", "data": {}}"#),
            (Method::PATCH, &webhook, r#"{"name": "m"}"#),
            (Method::DELETE, &webhook, ""),
            (Method::POST, "/dead-letters/redrive", "{}"),
        ] {
            let (status, problem) = call(method, path, Some(body)).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {problem}");
        }
    }
    assert_eq!(tenant.call(Method::GET, &webhook, None).await.1["version"], 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_link_does_not_see_another_tenant() {
    let stack = Stack::connect().await;
    let (ours, theirs) = (stack.tenant(), stack.tenant());
    let created = link(&ours, json!({})).await;
    let foreign = theirs.webhook("https://example.com/", json!({})).await;
    let webhook = format!("/webhooks/{}", foreign["id"].as_str().unwrap());
    for (method, body) in [(Method::GET, None), (Method::PATCH, Some("{}")), (Method::DELETE, None)] {
        let (status, problem) = stack.call(method, &webhook, Some(token(&created)), body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    }
    // Another tenant's admin does not see the link, with or without its tenant's name.
    let named = format!("{}?tenant={}", path(&created), ours.name);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(theirs.call(method.clone(), &path(&created), None).await.0, StatusCode::NOT_FOUND);
        let (status, problem) = theirs.call(method, &named, None).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("?tenant")));
    }
    assert_eq!(ours.call(Method::GET, &named, None).await.0, StatusCode::OK);
}

/// API Gateway keeps what the authorizer said for a minute: reading may go on for as long, and writing may not.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_link_that_is_revoked_or_over_is_refused() {
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
    let not_good = Some("the portal link is invalid, has ended or was revoked".to_owned());
    let (revoked, over) = (link(&tenant, json!({})).await, link(&tenant, json!({})).await);
    for link in [&revoked, &over] {
        assert_eq!(refusal(token(link)).await, None);
        // So that the gateway knows the link.
        assert_eq!(stack.call(Method::GET, "/webhooks", Some(token(link)), None).await.0, StatusCode::OK);
    }
    let (id, random) = token(&over).split_at(36);
    assert_eq!(refusal(&format!("{id}{}", random.to_uppercase())).await, not_good, "the id alone is nothing");

    let (status, answer) = tenant.call(Method::DELETE, &path(&revoked), None).await;
    assert_eq!((status, seconds_between(&answer, "revoked_at", "ends_at")), (StatusCode::OK, 60), "{answer}");
    assert_eq!((&answer["id"], &answer["url"]), (&revoked["id"], &Value::Null));
    end(&stack, &tenant.name, &over).await;
    for link in [&revoked, &over] {
        assert_eq!(refusal(token(link)).await, not_good);
        for (method, path, body) in [
            (Method::POST, "/webhooks", WEBHOOK),
            (Method::POST, "/events", r#"{"event_type": "a.b", "data": {}}"#),
            // What the console asks first. It reads, and says at once that the link has ended.
            (Method::GET, "/portal-links/current", ""),
        ] {
            let (status, problem) = stack.call(method, path, Some(token(link)), Some(body)).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}: {problem}");
        }
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(tenant.call(method, &path(link), None).await.0, StatusCode::NOT_FOUND);
        }
    }
    assert_eq!(tenant.call(Method::GET, "/portal-links", None).await.1["data"], json!([]));
    assert_eq!(tenant.call(Method::GET, "/webhooks", None).await.1["data"], json!([]), "nothing was written");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn neither_api_keys_nor_links_nor_applications_nor_viewers_make_links() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (_, key) = tenant.call(Method::POST, "/api-keys", Some(&json!({"name": "k"}))).await;
    let created = link(&tenant, json!({})).await;
    let viewer = Claims::new(&tenant.name, &["VIEWER"]).rs256();
    let key = key["key"].as_str().unwrap();
    for token in [key, token(&created), &tenant.application("crm").token, &viewer] {
        let (status, problem) = stack.call(Method::POST, "/portal-links", Some(token), Some("{}")).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
        assert_eq!(stack.call(Method::DELETE, &path(&created), Some(token), None).await.0, StatusCode::FORBIDDEN);
        let (status, _) = stack.call(Method::POST, "/api-keys", Some(token), Some(r#"{"name": "k"}"#)).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    for path in ["/api-keys", "/portal-links", "/sources"] {
        assert_eq!(stack.call(Method::GET, path, Some(token(&created)), None).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    // As with API keys, a viewer reads what an admin may read.
    assert_eq!(stack.call(Method::GET, "/portal-links", Some(&viewer), None).await.0, StatusCode::OK);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_operator_makes_links_for_every_tenant() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let operator = Claims::new("", &["OPERATOR"]).with("tenant_id", Value::Null).rs256();
    let call = async |method, path: &str, body: Option<&str>| stack.call(method, path, Some(&operator), body).await;
    let body = json!({"tenant": tenant.name, "read_only": true}).to_string();
    let (status, created) = call(Method::POST, "/portal-links", Some(&body)).await;
    assert_eq!((status, &created["tenant"]), (StatusCode::CREATED, &json!(tenant.name)), "{created}");
    let (status, list) = stack.call(Method::GET, "/webhooks", Some(token(&created)), None).await;
    assert_eq!((status, &list["data"]), (StatusCode::OK, &json!([])));

    for (method, path) in [(Method::POST, "/portal-links"), (Method::GET, "/portal-links")] {
        let (status, problem) = call(method, path, Some("{}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(["#/tenant", "?tenant"].contains(&problem["errors"][0]["pointer"].as_str().unwrap()), "{problem}");
    }
    let named = format!("{}?tenant={}", path(&created), tenant.name);
    assert_eq!(call(Method::GET, &named, None).await.1["id"], created["id"]);
    let other = format!("{}?tenant={}", path(&created), unique("tenant"));
    assert_eq!(call(Method::DELETE, &other, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(call(Method::DELETE, &named, None).await.0, StatusCode::OK);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_list_of_links_has_pages() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let mut ids = Vec::new();
    for number in 0..4 {
        let created = link(&tenant, json!({"expires_in": 60 + number})).await;
        if number == 1 {
            end(&stack, &tenant.name, &created).await;
        } else {
            ids.insert(0, created["id"].clone());
        }
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for _ in 0..2 {
        let (_, page) = tenant.call(Method::GET, &format!("/portal-links?limit=2{cursor}"), None).await;
        found.extend(page["data"].as_array().unwrap().iter().map(|link| link["id"].clone()));
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap_or("none"));
    }
    assert_eq!((&found, cursor.as_str()), (&ids, "&cursor=none"));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_address_is_shown_once() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let send = async || tenant.send(Method::POST, "/portal-links", &[("idempotency-key", "k")], &json!({})).await;
    let first = send().await;
    assert_eq!(
        (first.status(), &first.headers()["cache-control"]),
        (StatusCode::CREATED, &"no-store".parse().unwrap())
    );
    let location = first.headers()["location"].to_str().unwrap().to_owned();
    let first: Value = first.json().await.unwrap();
    assert!(location.ends_with(&path(&first)), "{location}");
    let again = send().await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["id"], &again["url"]), (&first["id"], &Value::Null));
    let rows = stack.dynamodb.scan().table_name(stack.output("RegistryTable")).into_paginator().items().send();
    let rows: Vec<_> = rows.collect::<Result<Vec<_>, _>>().await.unwrap();
    let secret = token(&first).split_at(36).1;
    assert!(rows.len() > 2 && !format!("{rows:?}").contains(secret), "only a hash of the key is stored");
}

#[rstest]
#[case::too_short(json!({"expires_in": 59}), "#/expires_in")]
#[case::too_long(json!({"expires_in": 86_401}), "#/expires_in")]
#[case::no_application(json!({"app_id": "a b"}), "#/app_id")]
#[case::another_tenant(json!({"tenant": "globex"}), "#/tenant")]
#[case::no_name(json!({"theme": {"name": ""}}), "#/theme/name")]
#[case::foreign_logo(json!({"theme": {"logo_url": "https://example.com/logo.svg"}}), "#/theme/logo_url")]
#[case::no_color(json!({"theme": {"accent_color": "green"}}), "#/theme/accent_color")]
#[case::no_mode(json!({"theme": {"mode": "blue"}}), "#/theme/mode")]
#[case::unknown(json!({"scopes": []}), "#/scopes")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_link_that_cannot_be_is_named(#[case] body: Value, #[case] pointer: &str) {
    let tenant = Stack::connect().await.tenant();
    let (status, problem) = tenant.call(Method::POST, "/portal-links", Some(&body)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["pointer"], pointer);
}

/// The stack allows one origin, which tests/console serves.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_page_may_be_framed_by_the_origins_of_the_parameter() {
    let stack = Stack::connect().await;
    let answer = stack.to(Method::GET, "/console").send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("frame-ancestors http://localhost:"), "{policy}");
    assert!(!answer.headers().contains_key("x-frame-options"));
    let origin = policy.split_once("frame-ancestors ").unwrap().1;
    assert!(policy.contains(&format!("img-src 'self' {origin};")), "{policy}");
    let logo = json!({"theme": {"logo_url": format!("{origin}/logo.svg")}});
    assert_eq!(link(&stack.tenant(), logo.clone()).await["theme"]["logo_url"], logo["theme"]["logo_url"]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_tenant_makes_a_limited_number_of_links_in_a_day() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let day = tests::now().as_second().div_euclid(86_400) * 86_400;
    let put = stack.dynamodb.put_item().table_name(stack.output("RegistryTable"));
    let number = |number: i64| AttributeValue::N(number.to_string());
    let put = put.item("pk", AttributeValue::S(format!("RATE#portal-links#{}", tenant.name)));
    let put = put.item("sk", AttributeValue::S(day.to_string())).item("taken", number(999));
    put.item("expires_at", number(day + 86_460)).send().await.unwrap();
    link(&tenant, json!({})).await;
    let response = tenant.send(Method::POST, "/portal-links", &[], &json!({})).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: i64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
}
