//! Changes of a webhook's authorization that died half-way.

use aws::Keyring;
use reqwest::Method;
use rstest::rstest;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tests::{Function, Proxy, Stack};

use super::{Api, webhook};

/// Says that the webhook names an authorization whose secret is that text, and that it is found.
async fn assert_authorized(stack: &Stack, api: &Api, id: &str, token: &str) {
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let record = registry.webhook(&api.tenant.parse().unwrap(), id.parse().unwrap()).await.unwrap().unwrap();
    let keyring = Keyring::new(stack.aws.secrets(), stack.output("FingerprintKeyArn").to_owned());
    let found = keyring.authorizing(&record.webhook.authorization.unwrap()).await.unwrap();
    assert_eq!(found.to_text().expose_secret(), token);
}

#[rstest]
#[case::first_before_it_is_named(false, "TransactWriteItems")]
#[case::first_when_it_is_named(false, "UpdateSecretVersionStage")]
#[case::second_before_it_is_named(true, "TransactWriteItems")]
#[case::second_when_it_is_named(true, "UpdateSecretVersionStage")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_authorization_that_died_half_way_loses_no_secret(#[case] before: bool, #[case] refused: &'static str) {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[]).await;
    let (_, _, created) = api.call(Method::POST, "/webhooks", &webhook()).await;
    let id = created["id"].as_str().unwrap();
    let path = format!("/webhooks/{id}/authorization");
    let bearer = |token: &str| json!({"type": "bearer", "token": token});
    if before {
        assert_eq!(api.call(Method::PUT, &path, &bearer("before")).await.0, 200);
    }
    let proxy = Proxy::refusing(refused).await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: None, context: json!({}) };
    let mut named = before.then_some("before");
    for token in ["one", "other"] {
        let (status, _, answer) = dying.call(Method::PUT, &path, &bearer(token)).await;
        // What was named and not promoted is promoted before another takes its place; that is refused too.
        let fails = refused == "TransactWriteItems" || (before && token == "other");
        assert_eq!(status, if fails { 503 } else { 200 }, "{answer}");
        if !fails {
            named = Some(token);
        }
        let (status, _, _) = api.call(Method::GET, &path, &json!({})).await;
        assert_eq!(status, if named.is_some() { 200 } else { 404 });
        if let Some(token) = named {
            assert_authorized(&stack, &api, id, token).await;
        }
    }
    for token in ["after", "other", "after"] {
        assert_eq!(api.call(Method::PUT, &path, &bearer(token)).await.0, 200);
        assert_authorized(&stack, &api, id, token).await;
    }
    // What was removed, or removed by a request that died before it deleted the secret, can be set again.
    assert_eq!(api.call(Method::DELETE, &path, &json!({})).await.0, 204);
    assert_eq!(api.call(Method::PUT, &path, &bearer("again")).await.0, 200);
    assert_authorized(&stack, &api, id, "again").await;
    let proxy = Proxy::refusing("DeleteSecret").await;
    let function = Function::start(&stack, "ApiFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut dying = Api { function, tenant: api.tenant.clone(), idempotency_key: None, context: json!({}) };
    assert_eq!(dying.call(Method::DELETE, &path, &json!({})).await.0, 503);
    assert_eq!(api.call(Method::DELETE, &path, &json!({})).await.0, 404, "and the secret is deleted now");
    assert_eq!(api.call(Method::PUT, &path, &bearer("again")).await.0, 200);
    assert_authorized(&stack, &api, id, "again").await;
}
