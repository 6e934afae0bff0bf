//! Rotations of a webhook's secret: one that died half-way, a secret that is used again, and one that was deleted.

use aws::Keyring;
use domain::signing::secret::WebhookSecret;
use domain::signing::signature::SignatureScheme;
use jiff::Timestamp;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Function, Proxy, Stack};

use super::{Api, half_a_minute_later, webhook};

/// Says that the webhook signs with these secrets, the newest last, and that each of them is found.
async fn assert_signs(stack: &Stack, api: &Api, id: &str, secrets: &[String]) {
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let record = registry.webhook(&api.tenant.parse().unwrap(), id.parse().unwrap()).await.unwrap().unwrap();
    let keyring = Keyring::new(stack.aws.secrets(), stack.output("FingerprintKeyArn").to_owned());
    let found = keyring.secrets(&record.webhook, tests::now()).await.unwrap();
    let expected: Vec<_> = secrets.iter().rev().take(2).map(|text| WebhookSecret::parse(text).unwrap()).collect();
    // Secrets cannot be compared, and what they sign can.
    let signed = |secrets: &[&WebhookSecret]| {
        tests::signed(SignatureScheme::StandardWebhooks, secrets, "msg_1", Timestamp::UNIX_EPOCH, b"{}")
    };
    let found: Vec<_> = found.iter().map(AsRef::as_ref).collect();
    assert_eq!(signed(&found), signed(&expected.iter().collect::<Vec<_>>()));
}

#[rstest]
// What the first try left must harm neither the second nor the third.
#[case::first_before_the_webhook_names_it(0, "TransactWriteItems", 2)]
#[case::first_when_the_webhook_names_it(0, "UpdateSecretVersionStage", 1)]
#[case::second_before_the_webhook_names_it(1, "TransactWriteItems", 2)]
#[case::second_when_the_webhook_names_it(1, "UpdateSecretVersionStage", 1)]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_rotation_that_died_half_way_loses_no_secret(
    #[case] before: usize,
    #[case] refused: &'static str,
    #[case] deaths: usize,
) {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    let rotate = format!("/webhooks/{id}/secret/rotate");
    let secret = |answer: &Value| answer["secret"].as_str().unwrap().to_owned();
    let mut secrets = vec![secret(&created)];
    for _ in 0..before {
        secrets.push(secret(&api.call(Method::POST, &rotate, &json!({})).await.2));
    }
    let proxy = Proxy::refusing(refused).await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: None, context: json!({}) };
    for _ in 0..deaths {
        let (status, _, answer) = dying.call(Method::POST, &rotate, &json!({})).await;
        // Once the webhook names it, it is the secret, and must be shown.
        assert_eq!(status, if refused == "TransactWriteItems" { 503 } else { 200 }, "{answer}");
        secrets.extend((status == 200).then(|| secret(&answer)));
        assert_signs(&stack, &api, id, &secrets).await;
    }
    for _ in 0..2 {
        secrets.push(secret(&api.call(Method::POST, &rotate, &json!({})).await.2));
        assert_signs(&stack, &api, id, &secrets).await;
    }
}

/// The answer was lost. The receiver has the secret before it, which must not be lost with the one that was never
/// shown.
#[rstest]
#[case::generated(json!({}))]
#[case::given(json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}))]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_rotation_that_died_before_its_answer_is_finished_by_the_next_try(#[case] body: Value) {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    let rotate = format!("/webhooks/{id}/secret/rotate");
    let proxy = Proxy::refusing("UpdateItem").await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let key = Some("k".to_owned());
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: key.clone(), context: json!({}) };
    assert_eq!(dying.call(Method::POST, &rotate, &body).await.0, 200);
    half_a_minute_later(&stack, &api).await;
    api.idempotency_key = key;
    let (status, _, shown) = api.call(Method::POST, &rotate, &body).await;
    assert_eq!(status, 200, "{shown}");
    let secrets = [&created, &shown].map(|answer| answer["secret"].as_str().unwrap().to_owned());
    assert_signs(&stack, &api, id, &secrets).await;
    // The next rotation finds everything in order.
    api.idempotency_key = None;
    let (_, _, next) = api.call(Method::POST, &rotate, &json!({})).await;
    let secrets = [&shown, &next].map(|answer| answer["secret"].as_str().unwrap().to_owned());
    assert_signs(&stack, &api, id, &secrets).await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_secret_may_come_back() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    let mut secrets = vec![created["secret"].as_str().unwrap().to_owned()];
    let [one, other] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
    for secret in [one, other, one, one, other] {
        let body = json!({"secret": secret});
        let (status, _, answer) = api.call(Method::POST, &format!("/webhooks/{id}/secret/rotate"), &body).await;
        assert_eq!(status, 200, "{answer}");
        // The current secret again changes nothing.
        if secrets.last().is_none_or(|current| current != secret) {
            secrets.push(secret.to_owned());
        }
        assert_signs(&stack, &api, id, &secrets).await;
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_whose_secret_is_gone_for_good_comes_back_with_a_new_one() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(api.call(Method::DELETE, &format!("/webhooks/{id}"), &json!({})).await.0, 204);
    let secrets = aws_sdk_secretsmanager::Client::new(&aws_config::load_from_env().await);
    let vault_path = created["vault_path"].as_str().unwrap();
    secrets.delete_secret().secret_id(vault_path).force_delete_without_recovery(true).send().await.unwrap();
    // The emulator knows seconds: what is made from the next one on is newer than the deletion.
    let deleted_at = tests::now().as_second();
    tests::eventually("the next second", async || (tests::now().as_second() > deleted_at).then_some(())).await;

    let restore = format!("/webhooks/{id}/restore");
    let proxy = Proxy::refusing("TransactWriteItems").await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: None, context: json!({}) };
    assert_eq!(dying.call(Method::POST, &restore, &json!({})).await.0, 503, "after it made a secret");
    let (status, _, restored) = api.call(Method::POST, &restore, &json!({})).await;
    assert_eq!((status, &restored["is_deleted"]), (201, &json!(false)), "{restored}");
    assert_signs(&stack, &api, id, &[restored["secret"].as_str().unwrap().to_owned()]).await;
    let (status, _, again) = api.call(Method::POST, &restore, &json!({})).await;
    assert_eq!((status, &again["secret"]), (200, &Value::Null));
}
