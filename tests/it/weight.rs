//! What a tenant's webhooks take in fan-out's memory is bounded where they are written.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Stack, path};

/// A webhook that is as large as it may be: about a thirtieth of what a tenant may have.
fn heavy() -> Value {
    let paths = |name: &str, count: usize| (0..count).map(|n| format!("{}f{n}", name.repeat(120))).collect::<Vec<_>>();
    json!({
        "name": "heavy", "url": "https://example.com/hook", "event_types": ["item.created"], "changed": paths("a.", 50),
        "include": paths("a.", 100), "exclude": paths("b.", 90),
    })
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_that_is_one_too_many_is_refused_wherever_it_is_written() {
    let tenant = Stack::connect().await.tenant();
    let create = async || tenant.call(Method::POST, "/webhooks", Some(&heavy())).await;
    let mut webhooks = Vec::new();
    let problem = loop {
        match create().await {
            (StatusCode::CREATED, webhook) => webhooks.push(webhook),
            (status, problem) => {
                assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
                break problem;
            }
        }
    };
    assert!((5..100).contains(&webhooks.len()), "{}", webhooks.len());
    assert_eq!(problem["errors"][0]["pointer"], "#/include", "{problem}");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("disable or delete"), "{problem}");

    let post = async |webhook: &Value, what: &str| tenant.call(Method::POST, &path(webhook, what), None).await.0;
    let (first, second) = (&webhooks[0], &webhooks[1]);
    let rename = json!({"name": "renamed"});
    assert_eq!(tenant.call(Method::PATCH, &path(first, ""), Some(&rename)).await.0, StatusCode::OK, "it does not grow");
    assert_eq!(post(first, "/disable").await, StatusCode::OK);
    assert_eq!(create().await.0, StatusCode::CREATED, "there is room again");
    assert_eq!(post(first, "/enable").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(tenant.call(Method::DELETE, &path(second, ""), None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(post(first, "/enable").await, StatusCode::OK);
    assert_eq!(post(second, "/restore").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(post(first, "/pause").await, StatusCode::OK);
}
