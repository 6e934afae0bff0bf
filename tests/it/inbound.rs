//! Inbound webhooks: callers who know the secret may call, each call counts once, and what comes in goes out.

use domain::signing::secret::WebhookSecret;
use domain::signing::signature::SignatureScheme;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Receiver, Stack, Tenant, ask, signed};

/// A sender of calls to a webhook.
struct Sender {
    stack: Stack,
    path: String,
    scheme: SignatureScheme,
    secret: WebhookSecret,
}

impl Sender {
    async fn new(stack: &Stack, tenant: &Tenant, scheme: Value, more: Value) -> Self {
        let mut body = json!({"name": "in", "direction": "inbound", "signature_scheme": scheme});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, webhook) = tenant.call(Method::POST, "/webhooks", Some(&body)).await;
        assert_eq!(status, StatusCode::CREATED, "{webhook}");
        let vault_path = format!("{}/{}/", stack.output("InboundSecretsPrefix"), tenant.name);
        assert!(webhook["vault_path"].as_str().unwrap().starts_with(&vault_path), "{}", webhook["vault_path"]);
        let url = webhook["url"].as_str().unwrap();
        let path = format!("/api/v1/inbound/{}/{}", tenant.name, webhook["id"].as_str().unwrap());
        assert!(url.starts_with("http") && url.ends_with(&path), "{url}");
        Self {
            stack: stack.clone(),
            path,
            scheme: serde_json::from_value(scheme).unwrap(),
            secret: WebhookSecret::parse(webhook["secret"].as_str().unwrap()).unwrap(),
        }
    }

    async fn call(&self, id: &str, body: &str, more: &[(&str, &str)]) -> (StatusCode, Value) {
        let signed = signed(self.scheme, &[&self.secret], id, tests::now(), body.as_bytes());
        let signed = signed.iter().filter(|(name, _)| more.iter().all(|(other, _)| !other.eq_ignore_ascii_case(name)));
        let request = signed.fold(self.request(body), |request, (name, value)| request.header(name, value));
        answer(more.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    fn request(&self, body: &str) -> reqwest::RequestBuilder {
        self.stack.to(Method::POST, &self.path).body(body.to_owned())
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = ask(request).await;
    (response.status(), response.json().await.unwrap())
}

#[rstest]
#[case::standard_webhooks("standard-webhooks", r#"{"type":"invoice.paid","amount":1.50}"#, &[], "invoice.paid", "msg_1")]
#[case::stripe("stripe", r#"{"id":"evt_9","type":"invoice.paid"}"#, &[], "invoice.paid", "evt_9")]
#[case::github("github", r#"{"action":"opened","issue":{}}"#,
    &[("x-github-event", "issues"), ("x-github-delivery", "72d3162e")], "issues.opened", "72d3162e")]
#[case::superoffice("superoffice", r#"{"EventId":"88f91933","Event":"contact.changed"}"#, &[], "contact.changed",
    "d1ad16c74569b16c262e60a50e1a95e4c86b89725b937468b3f37866a8ff4106")]
#[case::shopify("shopify", r#"{"id":820982911946154508}"#,
    &[("x-shopify-topic", "orders/create"), ("x-shopify-webhook-id", "b54557e4")], "orders.create", "b54557e4")]
#[case::hmac("hmac-sha256", r#"{"id":7,"type":"lead.created"}"#, &[], "lead.created", "7")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_call_becomes_an_event_once(
    #[case] scheme: &str,
    #[case] body: &str,
    #[case] headers: &[(&str, &str)],
    #[case] event_type: &str,
    #[case] entity_id: &str,
) {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let outbound = tenant.webhook(&receiver.url, json!({"event_types": [event_type]})).await;
    let sender = Sender::new(&stack, &tenant, json!(scheme), json!({})).await;
    let (status, first) = sender.call("msg_1", body, headers).await;
    assert_eq!((status, &first["stored"]), (StatusCode::ACCEPTED, &json!(true)), "{first}");
    let (status, again) = sender.call("msg_1", body, headers).await;
    assert_eq!((status, &again), (StatusCode::ACCEPTED, &first), "the same call is the same event");

    let request = receiver.wait_for(1).await.remove(0);
    request.verify(outbound["secret"].as_str().unwrap());
    assert_eq!(request.header("webhook-id"), first["event_id"].as_str().unwrap());
    assert_eq!(request.json()["entityId"], entity_id);
    assert_eq!(request.json()["organizationId"], tenant.name);
    // The bytes of the numbers too.
    assert!(String::from_utf8(request.body.to_vec()).unwrap().contains(&body.replace("\"id\":\"evt_9\",", "")[1..15]));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn nobody_is_believed_who_does_not_know_the_secret() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let sender = Sender::new(&stack, &tenant, json!("standard-webhooks"), json!({})).await;
    let unsigned = answer(sender.request("{}")).await;
    assert_eq!(unsigned.0, StatusCode::UNAUTHORIZED);
    assert_eq!(unsigned.1["detail"], "the header webhook-id is missing or malformed");
    let thief = Sender {
        secret: WebhookSecret::from_random([1; 32]),
        stack: stack.clone(),
        path: sender.path.clone(),
        ..sender
    };
    let (status, problem) = thief.call("msg_1", "{}", &[]).await;
    assert_eq!((status, &problem["type"]), (StatusCode::UNAUTHORIZED, &json!("urn:dynahook:problem:unverified")));
    assert_eq!(problem["detail"], "the signature does not match");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_old_call_is_not_played_again() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let sender = Sender::new(&stack, &tenant, json!("standard-webhooks"), json!({})).await;
    let old = tests::now() - std::time::Duration::from_secs(301);
    let signed = signed(sender.scheme, &[&sender.secret], "msg_1", old, b"{}");
    let request = signed.iter().fold(sender.request("{}"), |request, (name, value)| request.header(name, value));
    let (status, problem) = answer(request).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(problem["detail"], "the timestamp is more than five minutes away from now");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn only_what_is_there_can_be_called() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let outbound = tenant.webhook("https://example.com/", json!({})).await;
    let sender = Sender::new(&stack, &tenant, json!("hmac-sha256"), json!({"event_types": ["lead.created"]})).await;
    assert_eq!(sender.call("m", r#"{"type":"lead.lost"}"#, &[]).await.1, json!({"event_id": null, "stored": false}));
    assert_eq!(sender.call("m", "no json at all", &[]).await.1["stored"], true);

    let id = sender.path.rsplit('/').next().unwrap();
    tenant.call(Method::POST, &format!("/webhooks/{id}/disable"), None).await;
    assert_eq!(sender.call("m", "{}", &[]).await.0, StatusCode::FORBIDDEN);
    tenant.call(Method::DELETE, &format!("/webhooks/{id}"), None).await;
    let gone = sender.call("m", "{}", &[]).await;
    assert_eq!(gone.0, StatusCode::NOT_FOUND);
    let foreign = sender.path.replace(&tenant.name, &stack.tenant().name);
    let outbound = format!("/api/v1/inbound/{}/{}", tenant.name, outbound["id"].as_str().unwrap());
    for path in [foreign, outbound, format!("/api/v1/inbound/{}/whk_x", tenant.name)] {
        assert_eq!(answer(stack.to(Method::POST, &path).body("{}")).await, gone, "{path}");
    }
}

/// Only the body is signed: anyone who has seen a call has its signature, and could send it under another header.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_call_that_was_refused_is_not_stored_under_another_header() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let named = json!({"event_types": ["issues.opened", "milestone.opened", "issue_types.opened"]});
    let sender = Sender::new(&stack, &tenant, json!("github"), named).await;
    let call = async |event: &str, body: &str| sender.call("m", body, &[("x-github-event", event)]).await;
    let unsaid = json!({"event_id": null, "stored": false});

    // The body is an issue's, so another header contradicts it; and then the right one comes too late.
    let body = r#"{"action":"opened","issue":{"number":1}}"#;
    let (status, problem) = call("milestone", body).await;
    assert_eq!((status, &problem["type"]), (StatusCode::UNAUTHORIZED, &json!("urn:dynahook:problem:unverified")));
    assert_eq!(problem["detail"], "the unsigned header x-github-event contradicts the signed body");
    assert_eq!(call("issues", body).await.0, StatusCode::UNAUTHORIZED);

    // The body tells nothing of this one's type, which the webhook does not name; under one that it names it is not stored either.
    let body = r#"{"action":"opened","number":2}"#;
    assert_eq!(call("watch", body).await, (StatusCode::ACCEPTED, unsaid.clone()));
    let (status, problem) = call("issue_types", body).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{problem}");
    assert_eq!(call("watch", body).await, (StatusCode::ACCEPTED, unsaid));
    // Nor is one that came while the webhook was disabled.
    let id = sender.path.rsplit('/').next().unwrap();
    let post = async |what: &str| tenant.call(Method::POST, &format!("/webhooks/{id}/{what}"), None).await.0;
    let disabled = r#"{"action":"opened","number":3}"#;
    assert_eq!(post("disable").await, StatusCode::OK);
    assert_eq!(call("watch", disabled).await.0, StatusCode::FORBIDDEN);
    assert_eq!(post("enable").await, StatusCode::OK);
    assert_eq!(call("issue_types", disabled).await.0, StatusCode::UNAUTHORIZED);
    // Once the webhook names what it said at first it is stored, when its sender sends it again.
    let named = json!({"event_types": ["watch.opened", "issues.opened", "milestone.opened", "issue_types.opened"]});
    assert_eq!(tenant.call(Method::PATCH, &format!("/webhooks/{id}"), Some(&named)).await.0, StatusCode::OK);
    let (_, stored) = call("watch", body).await;
    assert_eq!(stored["stored"], true, "{stored}");
    // What is stored is the same event under any header.
    assert_eq!(call("issue_types", body).await.1, stored);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_id_has_no_dots() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let sender = Sender::new(&stack, &tenant, json!("standard-webhooks"), json!({})).await;
    let (status, problem) = sender.call("msg_1.1700000000", "{}", &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(problem["detail"], "the header webhook-id is missing or malformed");
}

/// A control character takes six bytes as JSON, and only what was sent counts.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_limit_counts_the_bytes_that_were_sent() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let sender = Sender::new(&stack, &tenant, json!("hmac-sha256"), json!({})).await;
    let (status, stored) = sender.call("m", &"\u{1}".repeat(256 * 1024), &[]).await;
    assert_eq!((status, &stored["stored"]), (StatusCode::ACCEPTED, &json!(true)), "{stored}");
    let (status, problem) = sender.call("m", &"a".repeat(256 * 1024 + 1), &[]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(problem["detail"], "the body has 262145 bytes; send at most 262144");
}

/// The list of calls says why each of them became an event or did not, and shows nothing of what was sent.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn calls_are_listed_and_counted() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let sender = Sender::new(&stack, &tenant, json!("hmac-sha256"), json!({"event_types": ["lead.created"]})).await;
    let id = sender.path.rsplit('/').next().unwrap();
    let list = async |query: &str| tenant.call(Method::GET, &format!("/webhooks/{id}/calls{query}"), None).await.1;
    assert_eq!(list("").await, json!({"data": [], "next_cursor": null}));

    let body = r#"{"type":"lead.created","secret":"hidden"}"#;
    let event = sender.call("m", body, &[]).await.1["event_id"].clone();
    assert_eq!(sender.call("m", body, &[]).await.1["event_id"], event);
    assert_eq!(sender.call("m", r#"{"type":"lead.lost"}"#, &[]).await.1["stored"], false);
    assert_eq!(answer(sender.request(body)).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(sender.call("m", body, &[("webhook-hops", "6")]).await.0, StatusCode::UNPROCESSABLE_ENTITY);

    let calls = list("").await["data"].as_array().unwrap().clone();
    assert!(!json!(calls).to_string().contains("hidden"));
    let short: Vec<Value> = calls
        .iter()
        .rev()
        .map(|call| json!([call["outcome"], call["status"], call["event_id"], call["duplicate"], call["event_type"]]))
        .collect();
    let expected = [
        json!(["accepted", 202, event, false, "lead.created"]),
        json!(["accepted", 202, event, true, "lead.created"]),
        json!(["ignored", 202, null, false, "lead.lost"]),
        json!(["refused", 401, null, false, null]),
        json!(["refused", 422, null, false, null]),
    ];
    assert_eq!(short, expected);
    assert_eq!(calls[2]["reason"], "the webhook's `event_types` do not name the type");
    assert_eq!(calls[1]["reason"], "the header x-signature-256 is missing or malformed");
    assert_eq!(calls[4]["bytes"], body.len());

    let first = list("?limit=2").await;
    let rest = list(&format!("?limit=3&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!((first["data"].clone(), &rest["data"]), (json!(calls[..2]), &json!(calls[2..])));
    assert_eq!(rest["next_cursor"], Value::Null);
    assert_eq!(list("?outcome=refused").await["data"], json!(calls[..2]));

    let (_, statistics) = tenant.call(Method::GET, &format!("/webhooks/{id}/statistics"), None).await;
    let counts = ["total_calls", "total_errors", "ignored_calls"].map(|name| statistics[name].as_u64().unwrap());
    assert_eq!(counts, [5, 2, 1], "{statistics}");
    assert_eq!(statistics["hours"][0]["calls"], 5);
    let foreign = stack.tenant().call(Method::GET, &format!("/webhooks/{id}/calls"), None).await;
    assert_eq!(foreign.0, StatusCode::NOT_FOUND);
    let app = tenant.application("crm").call(Method::GET, &format!("/webhooks/{id}/calls"), None).await;
    assert_eq!(app.0, StatusCode::NOT_FOUND);
}
