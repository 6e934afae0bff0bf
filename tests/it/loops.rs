//! Webhooks that lead back to the deployment: refused where it can be seen, and ended after five hops where it cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use domain::signing::secret::WebhookSecret;
use domain::signing::signature::SignatureScheme;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Stack, Tenant, ask, eventually, signed};

/// How a relay passes on what it gets.
#[derive(Clone)]
enum To {
    /// By publishing, twice each time.
    Events,
    /// By calling an inbound webhook, which is signed with this secret.
    Inbound(String, Arc<WebhookSecret>),
}

/// A receiver that publishes what it gets, with the header that it got. Returns its URL and the count of what it got.
async fn relay(stack: &Stack, tenant: &Tenant, to: To) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, stack, token) = (Arc::clone(&count), stack.clone(), tenant.token.clone());
    let app = Router::new().fallback(async move |headers: HeaderMap, _: Bytes| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        let body = json!({"type": "ring.turned", "n": number}).to_string();
        let request = match &to {
            To::Events => {
                let event = json!({"event_type": "ring.turned", "data": {"n": number}});
                stack
                    .to(Method::POST, "/api/v1/integration/events")
                    .bearer_auth(&token)
                    .body(json!([event, event]).to_string())
            }
            To::Inbound(path, secret) => {
                let id = format!("msg_{number}");
                let headers = signed(SignatureScheme::StandardWebhooks, &[secret], &id, tests::now(), body.as_bytes());
                let request = stack.to(Method::POST, path).body(body.clone());
                headers.iter().fold(request, |request, (name, value)| request.header(name, value))
            }
        };
        let answer = ask(request.header("webhook-hops", headers.get("webhook-hops").expect("a count").clone())).await;
        assert!(answer.status().is_success(), "{answer:?}");
        StatusCode::NO_CONTENT
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, count)
}

async fn deliveries(tenant: &Tenant, webhook: &Value) -> Vec<Value> {
    let path = format!("/webhooks/{}/deliveries?limit=100", webhook["id"].as_str().unwrap());
    tenant.call(Method::GET, &path, None).await.1["data"].as_array().unwrap().clone()
}

fn looped(delivery: &Value) -> bool {
    delivery["state"] == "exhausted" && delivery["attempts"][0]["verdict"] == "looped"
}

async fn inbound(tenant: &Tenant) -> Value {
    let body = json!({"name": "in", "direction": "inbound", "signature_scheme": "standard-webhooks"});
    let (status, webhook) = tenant.call(Method::POST, "/webhooks", Some(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{webhook}");
    webhook
}

/// Two webhooks onto two own inbound webhooks made 167 requests of one publish in two seconds.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_url_that_leads_back_is_refused_when_it_is_written() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let url = inbound(&tenant).await["url"].as_str().unwrap().to_owned();
    let (_, rest) = url.split_once("://").unwrap();
    let host = rest.split('/').next().unwrap();
    let dotted = url.replace(".localhost", ".LOCALHOST.");
    for url in [url.as_str(), dotted.as_str(), &format!("http://{host}/api/v1/integration/events")] {
        let body = json!({"name": "ring", "url": url});
        let (status, problem) = tenant.call(Method::POST, "/webhooks", Some(&body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{url}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], "#/url");
        assert!(problem["errors"][0]["detail"].as_str().unwrap().starts_with("must not lead back to this deployment"));
    }
    let webhook = tenant.webhook("https://example.com/", json!({})).await;
    let path = format!("/webhooks/{}/authorization", webhook["id"].as_str().unwrap());
    let body = json!({"type": "oauth2", "token_url": url, "client_id": "me", "client_secret": "a secret"});
    let (status, problem) = tenant.call(Method::PUT, &path, Some(&body)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "#/token_url");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_circle_of_relays_onto_inbound_webhooks_ends_after_five_hops() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let own = inbound(&tenant).await;
    let path = format!("/api/v1/inbound/{}/{}", tenant.name, own["id"].as_str().unwrap());
    let secret = Arc::new(WebhookSecret::parse(own["secret"].as_str().unwrap()).unwrap());
    let (url, count) = relay(&stack, &tenant, To::Inbound(path, secret)).await;
    let webhook = tenant.webhook(&url, json!({"event_types": ["ring.turned"]})).await;
    tenant.call(Method::POST, "/events", Some(&json!({"event_type": "ring.turned", "data": {}}))).await;
    let ended = eventually("the circle's end", async || {
        let made = deliveries(&tenant, &webhook).await;
        made.iter().any(looped).then_some(made)
    })
    .await;
    assert_eq!(count.load(Ordering::SeqCst), 5);
    assert_eq!(ended.len(), 6);
    let delivered = ended.iter().filter(|delivery| delivery["state"] == "delivered");
    let mut sent: Vec<_> = delivered
        .map(|delivery| delivery["attempts"][0]["request_headers"]["webhook-hops"].as_str().unwrap().to_owned())
        .collect();
    sent.sort();
    assert_eq!(sent, ["1", "2", "3", "4", "5"]);
    let last = ended.iter().find(|delivery| looped(delivery)).unwrap();
    let event = tenant.call(Method::GET, &format!("/events/{}", last["event_id"].as_str().unwrap()), None).await.1;
    assert_eq!(event["hops"], 5);
    let statistics =
        tenant.call(Method::GET, &format!("/webhooks/{}/statistics", webhook["id"].as_str().unwrap()), None).await.1;
    assert_eq!(statistics["consecutive_failures"], 0, "it is none of the receiver's failures: {statistics}");

    let path = format!("/webhooks/{}/deliveries/{}", webhook["id"].as_str().unwrap(), last["id"].as_str().unwrap());
    let (status, _) = tenant.call(Method::POST, &format!("{path}/redeliver"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    eventually("the same end", async || {
        let delivery = tenant.call(Method::GET, &path, None).await.1;
        (delivery["cycle"] == 2 || delivery["cycle"] == 1)
            .then_some(())
            .filter(|()| delivery["attempts"].as_array().unwrap().len() == 2)
    })
    .await;
    assert_eq!(count.load(Ordering::SeqCst), 5, "what is sent again keeps its count");
}

/// One webhook onto `POST /events` multiplies; after five hops nothing more follows.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_relay_that_publishes_two_for_one_ends_after_five_hops() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (url, count) = relay(&stack, &tenant, To::Events).await;
    let webhook = tenant.webhook(&url, json!({"event_types": ["ring.turned"]})).await;
    tenant.call(Method::POST, "/events", Some(&json!({"event_type": "ring.turned", "data": {}}))).await;
    let all = 1 + 2 + 4 + 8 + 16;
    eventually("all that follows", async || {
        let ended = deliveries(&tenant, &webhook).await.into_iter().filter(looped).count();
        (ended == 32).then_some(())
    })
    .await;
    assert_eq!(count.load(Ordering::SeqCst), all);
}

#[rstest]
#[case::too_many("6")]
#[case::a_word("many")]
#[case::joined("1, 2")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_request_that_is_part_of_a_circle_is_refused(#[case] hops: &str) {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let own = inbound(&tenant).await;
    let inbound = format!("/api/v1/inbound/{}/{}", tenant.name, own["id"].as_str().unwrap());
    let event = json!({"event_type": "ring.turned", "data": {}}).to_string();
    for (path, body) in [
        (inbound.as_str(), "{}"),
        ("/api/v1/integration/events", event.as_str()),
        ("/api/v1/integration/webhooks/ring.turned/7", "{}"),
    ] {
        let request = stack.to(Method::POST, path).bearer_auth(&tenant.token).header("webhook-hops", hops);
        let answer = ask(request.body(body.to_owned())).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "urn:dynahook:problem:loop");
    }
    let (_, events) = tenant.call(Method::GET, "/events", None).await;
    assert_eq!(events["data"], json!([]), "nothing is stored");
}
