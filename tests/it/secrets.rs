//! Secrets: brought or made, rotated with an overlap, shown once.

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use sha2::Sha256;
use tests::{Receiver, Stack, Tenant};

const URL: &str = "https://example.com/hook";

async fn rotate(tenant: &Tenant, webhook: &Value, body: Value) -> Value {
    let path = format!("/webhooks/{}/secret/rotate", webhook["id"].as_str().unwrap());
    let (status, rotated) = tenant.call(Method::POST, &path, Some(&body)).await;
    assert_eq!(status, StatusCode::OK, "{rotated}");
    rotated
}

fn secret(webhook: &Value) -> &str {
    webhook["secret"].as_str().unwrap()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn both_secrets_sign_during_the_overlap() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await[0].verify(secret(&webhook));

    let rotated = rotate(&tenant, &webhook, Value::Null).await;
    assert_ne!(secret(&rotated), secret(&webhook));
    assert_ne!(rotated["secret_fingerprint"], webhook["secret_fingerprint"]);
    assert!(rotated["previous_secret_until"].is_string());
    tenant.put("i2", &[]).await;
    let request = receiver.wait_for(2).await.remove(1);
    request.verify(secret(&webhook));
    request.verify(secret(&rotated));

    let alone = rotate(&tenant, &webhook, json!({"overlap_seconds": 0})).await;
    assert_eq!(alone["previous_secret_until"], Value::Null);
    tenant.put("i3", &[]).await;
    let request = receiver.wait_for(3).await.remove(2);
    request.verify(secret(&alone));
    assert_eq!(request.header("webhook-signature").split(' ').count(), 1, "only the new one signs");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_plain_secret_signs_with_plain_hmac() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    // The example of the Flows guide.
    let webhook = tenant.webhook(&receiver.url, json!({"secret": "12345678"})).await;
    assert_eq!((&webhook["signature_scheme"], secret(&webhook)), (&json!("hmac-sha256"), "12345678"));
    assert_eq!(webhook["warnings"][0]["code"], "weak_secret");
    tenant.put("i1", &[]).await;
    let request = receiver.wait_for(1).await.remove(0);
    let mut mac = Hmac::<Sha256>::new_from_slice(b"12345678").unwrap();
    mac.update(&request.body);
    mac.verify_slice(&hex::decode(request.header("x-signature-256")).unwrap()).expect("a valid signature");
    // It cannot sign as Standard Webhooks asks, and so that scheme cannot be chosen.
    let path = format!("/webhooks/{}", webhook["id"].as_str().unwrap());
    let (_, problem) = tenant.call(Method::PATCH, &path, Some(&json!({"signature_scheme": "standard-webhooks"}))).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/signature_scheme");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_key_of_ones_own_signs_as_standard_webhooks_asks() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::accepting().await;
    let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let webhook = tenant.webhook(&receiver.url, json!({"secret": own})).await;
    assert_eq!((&webhook["signature_scheme"], &webhook["warnings"]), (&json!("standard-webhooks"), &json!([])));
    tenant.put("i1", &[]).await;
    receiver.wait_for(1).await[0].verify(own);
}

#[rstest]
#[case::too_short(json!({"secret": "1234567"}), "/secret")]
#[case::no_text(json!({"secret": 12_345_678}), "/secret")]
#[case::plain_for_standard_webhooks(json!({"secret": "12345678"}), "/secret")]
#[case::too_long_an_overlap(json!({"overlap_seconds": 604_801}), "/overlap_seconds")]
#[case::negative(json!({"overlap_seconds": -1}), "/overlap_seconds")]
#[case::unknown(json!({"overlap": 1}), "/overlap")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_rotation_that_cannot_be_is_named(#[case] body: Value, #[case] pointer: &str) {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    let path = format!("/webhooks/{}/secret/rotate", webhook["id"].as_str().unwrap());
    let (status, problem) = tenant.call(Method::POST, &path, Some(&body)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["pointer"], format!("#{pointer}"));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn nothing_shows_a_secret_again() {
    let tenant = Stack::connect().await.tenant();
    let webhook = tenant.webhook(URL, json!({})).await;
    let path = format!("/webhooks/{}", webhook["id"].as_str().unwrap());
    // The path takes a POST, which publishes an event about an entity called `secret`; nothing is there to be read.
    let (status, _) = tenant.call(Method::GET, &format!("{path}/secret"), None).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::GET, "/webhooks".to_owned()),
        (Method::PATCH, path.clone()),
        (Method::POST, format!("{path}/pause")),
    ] {
        let body = json!({});
        let (status, answer) = tenant.call(method, &path, Some(&body)).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!answer.to_string().contains("whsec_"), "{answer}");
    }
}
