//! Signatures: several on one request, the key pairs of webhooks and of tenants, and bodies that are compressed.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use domain::id::EventId;
use domain::signing::keys::{KeyOwner, SigningKey};
use ed25519_dalek::{Signature, VerifyingKey};
use flate2::read::GzDecoder;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use sha2::Sha256;
use tests::{Answer, Received, Receiver, Stack, Tenant, ask};

const ED25519: &str = "standard-webhooks-ed25519";

fn mac(secret: impl AsRef<[u8]>, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_ref()).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The public keys of a tenant, as anybody reads them.
async fn keys(stack: &Stack, tenant: &Tenant) -> Vec<Value> {
    keys_at(stack, &tenant.name).await
}

/// The public keys of a webhook.
async fn own_keys(stack: &Stack, webhook: &Value) -> Vec<Value> {
    keys_at(stack, &owner(webhook)).await
}

fn owner(webhook: &Value) -> String {
    format!("{}/{}", webhook["tenant_id"].as_str().unwrap(), webhook["id"].as_str().unwrap())
}

async fn keys_at(stack: &Stack, owner: &str) -> Vec<Value> {
    let path = format!("/.well-known/webhooks/{owner}/keys.json");
    let answer = ask(stack.to(Method::GET, &path)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
    let set: Value = answer.json().await.unwrap();
    set["keys"].as_array().unwrap().clone()
}

/// Says for each `v1a` signature of a request which of the keys verifies it.
fn verified(request: &Received, keys: &[Value]) -> Vec<Option<usize>> {
    let head = format!("{}.{}.", request.header("webhook-id"), request.header("webhook-timestamp"));
    let message = [head.as_bytes(), &request.body].concat();
    let signatures = request.header("webhook-signature").split(' ').filter_map(|text| text.strip_prefix("v1a,"));
    let by = |signature: &str| {
        let signature = Signature::from_slice(&BASE64.decode(signature).unwrap()).unwrap();
        keys.iter().position(|key| {
            let x = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
            let key = VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
            key.verify_strict(&message, &signature).is_ok()
        })
    };
    signatures.map(by).collect()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn several_signatures_stand_on_one_request() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let secret = "a secret of 24 characters";
    let settings = json!({
        "secret": secret, "signature_scheme": "superoffice", "headers": {"X-Team": "erp"},
        "further_signatures": [
            {"scheme": "github"}, {"scheme": "stripe"},
            {"scheme": "hmac-sha256", "header": "X-Acme-Signature", "encoding": "base64"},
        ],
    });
    tenant.webhook(&receiver.url, settings).await;
    tenant.put("i1", &[]).await;
    for (number, request) in receiver.wait_for(2).await.iter().enumerate() {
        let of_body = mac(secret, &[&request.body]);
        assert_eq!(request.header("x-superoffice-signature"), BASE64.encode(&of_body));
        assert_eq!(request.header("x-superoffice-event"), "item.created");
        let id: EventId = request.header("webhook-id").parse().unwrap();
        assert_eq!(request.header("x-superoffice-eventid"), id.guid());
        assert_eq!(request.header("x-superoffice-retry"), number.to_string());
        assert_eq!(request.header("x-hub-signature-256"), format!("sha256={}", hex::encode(&of_body)));
        assert_eq!(request.header("x-acme-signature"), BASE64.encode(&of_body));
        let at = request.header("webhook-timestamp");
        let signed = hex::encode(mac(secret, &[at.as_bytes(), b".", &request.body]));
        assert_eq!(request.header("stripe-signature"), format!("t={at},v1={signed}"));
        assert_eq!(request.header("webhook-attempt"), (number + 1).to_string());
        assert!(!request.header("webhook-sequence").is_empty());
        assert!(request.header("user-agent").starts_with("Dynahook/"));
        assert_eq!(request.header("x-team"), "erp");
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_tenants_key_signs_and_is_shown_to_everybody() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let settings = json!({"further_signatures": [{"scheme": ED25519}], "signing_key": "tenant"});
    let shared = json!({"signature_scheme": ED25519, "signing_key": "tenant", "enabled": false});
    // At once, and they are one tenant's.
    let (webhook, other, _) = tokio::join!(
        tenant.webhook(&receiver.url, settings),
        tenant.webhook("https://example.com/", shared.clone()),
        tenant.webhook("https://example.com/", shared),
    );
    let first = keys(&stack, &tenant).await;
    assert_eq!(first.len(), 1);
    assert_eq!((&first[0]["kty"], &first[0]["crv"]), (&json!("OKP"), &json!("Ed25519")));
    assert!(first[0]["whpk"].as_str().unwrap().starts_with("whpk_"));

    let (status, rotated) = tenant.call(Method::POST, "/signing-keys/rotate", None).await;
    assert_eq!((status, &rotated["keys"][1]["kid"]), (StatusCode::OK, &first[0]["kid"]), "{rotated}");
    let shown = keys(&stack, &tenant).await;
    assert_eq!(rotated["keys"], json!(shown));
    tenant.put("i1", &[]).await;
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!(verified(&request, &shown), [Some(0), Some(1)], "both sign during the overlap");
    // Next to the secret's signature, which libraries find in the same header.
    request.verify(webhook["secret"].as_str().unwrap());

    let body = json!({"overlap_seconds": 0});
    let (_, alone) = tenant.call(Method::POST, "/signing-keys/rotate", Some(&body)).await;
    assert_eq!(alone["keys"].as_array().unwrap().len(), 1);
    assert_ne!(alone["keys"][0]["kid"], shown[0]["kid"]);
    for answer in [rotated, alone, other] {
        assert!(!answer.to_string().contains("whsk_"));
    }
}

/// The attack: what one receiver gets it shows to another one, which would take it for its own.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_one_webhook_signs_verifies_at_no_other() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (one, other) = (Receiver::accepting().await, Receiver::accepting().await);
    let settings = json!({"signature_scheme": ED25519});
    let first = tenant.webhook(&one.url, settings.clone()).await;
    let second = tenant.webhook(&other.url, settings).await;
    assert_eq!(first["signing_key"], "webhook");
    assert!(first["signing_keys_url"].as_str().unwrap().ends_with(&format!("{}/keys.json", owner(&first))));
    let (firsts, seconds) = (own_keys(&stack, &first).await, own_keys(&stack, &second).await);
    tenant.put("i1", &[]).await;
    let (at_one, at_other) = (one.wait_for(1).await.remove(0), other.wait_for(1).await.remove(0));
    assert_eq!((verified(&at_one, &firsts), verified(&at_other, &seconds)), (vec![Some(0)], vec![Some(0)]));
    assert_eq!((verified(&at_one, &seconds), verified(&at_other, &firsts)), (vec![None], vec![None]));
    // The tenant has no key of its own for that.
    let path = format!("/.well-known/webhooks/{}/keys.json", tenant.name);
    assert_eq!(ask(stack.to(Method::GET, &path)).await.status(), StatusCode::NOT_FOUND);

    // Rotated for this webhook alone, with an overlap.
    let (status, rotated) = tenant.call(Method::POST, &tests::path(&first, "/signing-key/rotate"), None).await;
    assert_eq!((status, &rotated["keys"][1]["kid"]), (StatusCode::OK, &firsts[0]["kid"]), "{rotated}");
    assert_eq!(rotated["keys"], json!(own_keys(&stack, &first).await));
    assert_eq!(own_keys(&stack, &second).await, seconds);
    let stranger = stack.tenant();
    for path in [tests::path(&first, "/signing-key/rotate"), tests::path(&first, "")] {
        let method = if path.ends_with("rotate") { Method::POST } else { Method::GET };
        assert_eq!(stranger.call(method, &path, None).await.0, StatusCode::NOT_FOUND);
    }

    // A deleted webhook has no page; restored it has the same keys.
    assert_eq!(tenant.call(Method::DELETE, &tests::path(&first, ""), None).await.0, StatusCode::NO_CONTENT);
    let path = format!("/.well-known/webhooks/{}/keys.json", owner(&first));
    assert_eq!(ask(stack.to(Method::GET, &path)).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(tenant.call(Method::POST, &tests::path(&first, "/restore"), None).await.0, StatusCode::OK);
    let shown = own_keys(&stack, &first).await;
    assert_eq!(rotated["keys"], json!(shown));
    tenant.put("i2", &[]).await;
    let last = one.wait_for(2).await.remove(1);
    assert!(verified(&last, &shown).iter().all(Option::is_some), "{:?}", last.headers);
}

/// The attack: an application registers a webhook of its own, publishes a body, and gets it signed with the tenant's key.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_application_has_nothing_signed_with_the_tenants_key() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let application = tenant.application("crm");
    let receiver = Receiver::accepting().await;
    let shared = json!({"name": "n", "url": receiver.url, "event_types": ["a.b"], "signature_scheme": ED25519, "signing_key": "tenant"});
    let (status, problem) = application.call(Method::POST, "/webhooks", Some(&shared)).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("#/signing_key")));
    let (status, _) = tenant.call(Method::POST, "/webhooks", Some(&shared)).await;
    assert_eq!(status, StatusCode::CREATED);
    let own = application.webhook(&receiver.url, json!({"signature_scheme": ED25519})).await;
    let path = tests::path(&own, "");
    let (status, _) = application.call(Method::PATCH, &path, Some(&json!({"signing_key": "tenant"}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);

    // An admin may choose it. Then the application changes nothing of it but what moves it to a key of its own.
    let (status, _) = tenant.call(Method::PATCH, &path, Some(&json!({"signing_key": "tenant"}))).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = application.call(Method::PATCH, &path, Some(&json!({"url": "https://example.com/other"}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(application.call(Method::POST, &tests::path(&own, "/disable"), None).await.0, StatusCode::OK);
    let (status, moved) = application.call(Method::PATCH, &path, Some(&json!({"signing_key": "webhook"}))).await;
    assert_eq!((status, &moved["signing_key"]), (StatusCode::OK, &json!("webhook")), "{moved}");
}

/// What is at the path is not the tenant's key: it was left by a process that died, or by a deployment whose secrets were deleted.
#[rstest]
#[case::left_there(false)]
#[case::in_its_recovery_window(true)]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_key_that_the_registry_does_not_name_is_replaced(#[case] deleted: bool) {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let name: domain::access::tenant::TenantId = tenant.name.parse().unwrap();
    let path = KeyOwner { tenant: name.clone(), webhook: None }.path(stack.output("SecretsPrefix"));
    let left = SigningKey::from_random([7; 32]);
    stack.aws.secrets().create_signing_key(&path, &left, &name).await.unwrap();
    if deleted {
        stack.aws.secrets().delete(&path).await.unwrap();
    }

    let receiver = Receiver::accepting().await;
    tenant.webhook(&receiver.url, json!({"signature_scheme": ED25519, "signing_key": "tenant"})).await;
    let shown = keys(&stack, &tenant).await;
    assert_ne!(shown[0]["whpk"], left.public().to_string());
    tenant.put("i1", &[]).await;
    assert_eq!(verified(&receiver.wait_for(1).await[0], &shown), [Some(0)]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn whoever_asked_for_no_key_has_none() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let webhook = tenant.webhook("https://example.com/", json!({})).await;
    for name in [tenant.name.as_str(), "no%20tenant", &owner(&webhook), &format!("{}/whk_1", tenant.name)] {
        let answer = ask(stack.to(Method::GET, &format!("/.well-known/webhooks/{name}/keys.json"))).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(tenant.call(Method::POST, "/signing-keys/rotate", None).await.0, StatusCode::NOT_FOUND);
    // A change that asks for it makes it.
    let path = tests::path(&webhook, "");
    let (status, _) = tenant.call(Method::PATCH, &path, Some(&json!({"signature_scheme": ED25519}))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(own_keys(&stack, &webhook).await.len(), 1);
    let rotate = tests::path(&webhook, "/signing-key/rotate");
    let (status, problem) = tenant.call(Method::POST, &rotate, Some(&json!({"overlap_seconds": 604_801}))).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("#/overlap_seconds"))
    );
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_is_compressed_is_signed_as_it_is_sent() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let webhook = tenant.webhook(&receiver.url, json!({"content_encoding": "gzip"})).await;
    tenant.put("i1", &[]).await;
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[0].body, requests[1].body, "a retry has the same bytes");
    for request in requests {
        // The official library takes texts only.
        let key = BASE64.decode(webhook["secret"].as_str().unwrap().trim_start_matches("whsec_")).unwrap();
        let signed = [request.header("webhook-id"), ".", request.header("webhook-timestamp"), "."].concat();
        let signature = BASE64.encode(mac(&key, &[signed.as_bytes(), &request.body]));
        assert_eq!(request.header("webhook-signature"), format!("v1,{signature}"));
        assert_eq!((request.header("content-encoding"), request.header("content-type")), ("gzip", "application/json"));
        let mut text = String::new();
        GzDecoder::new(request.body.as_ref()).read_to_string(&mut text).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["entityPath"], "items/i1");
    }
}

#[rstest]
#[case::no_header_of_its_own(
    json!({"signature_scheme": "hmac-sha256", "further_signatures": [{"scheme": "hmac-sha256"}]}),
    "/further_signatures/0/header"
)]
#[case::header_of_a_vendor_s(json!({"signature_header": "X-Acme"}), "/signature_header")]
#[case::unknown_field(json!({"further_signatures": [{"scheme": "github", "key": "x"}]}), "/further_signatures/0/key")]
#[case::plain_secret(
    json!({"secret": "12345678", "further_signatures": [{"scheme": "standard-webhooks"}]}),
    "/further_signatures/0/scheme"
)]
#[case::owners_header(
    json!({"signature_scheme": "shopify", "headers": {"X-Shopify-Topic": "orders/create"}}),
    "/headers/X-Shopify-Topic"
)]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn signatures_that_cannot_be_are_named(#[case] more: Value, #[case] pointer: &str) {
    let tenant = Stack::connect().await.tenant();
    let mut body = json!({"name": "n", "url": "https://example.com/", "event_types": ["a.b"]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, problem) = tenant.call(Method::POST, "/webhooks", Some(&body)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], format!("#{pointer}"));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_preview_shows_the_headers_that_are_sent() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let settings = json!({
        "name": "n", "url": receiver.url, "event_types": ["item.created"], "content_encoding": "gzip",
        "secret": "a secret of 24 characters", "signature_scheme": "shopify", "headers": {"X-Team": "erp"},
        "further_signatures": [{"scheme": ED25519}],
    });
    let (status, preview) = tenant.call(Method::POST, "/webhooks/preview", Some(&json!({"webhook": settings}))).await;
    assert_eq!(status, StatusCode::OK, "{preview}");
    tenant.webhook(&receiver.url, settings).await;
    tenant.put("i1", &[]).await;
    let request = receiver.wait_for(1).await.remove(0);
    let of_the_connection = ["host", "content-length", "accept", "accept-encoding"];
    let mut sent: Vec<_> = request.headers.keys().map(ToString::to_string).collect();
    sent.retain(|name| !of_the_connection.contains(&name.as_str()));
    sent.sort();
    let shown = preview["request"]["headers"].as_object().unwrap().keys().map(|name| name.to_ascii_lowercase());
    let mut shown: Vec<_> = shown.collect();
    shown.sort();
    assert_eq!(sent, shown);
}
