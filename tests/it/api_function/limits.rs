//! The limit of a tenant's webhooks.

use reqwest::Method;
use serde_json::json;
use tests::Stack;

use super::{Api, webhook};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_tenant_has_as_many_webhooks_as_it_may() {
    let stack = Stack::connect().await;
    let mut api = Api::start(&stack, &[("BUDGETS", "webhooks=2")]).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (status, _, webhook) = api.call(Method::POST, "/webhooks", &webhook()).await;
        assert_eq!(status, 201, "{webhook}");
        ids.push(webhook["id"].as_str().unwrap().to_owned());
    }
    let (status, _, problem) = api.call(Method::POST, "/webhooks", &webhook()).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:limit-reached")));
    // A deleted one makes room, and cannot come back to a full house.
    assert_eq!(api.call(Method::DELETE, &format!("/webhooks/{}", ids[0]), &json!({})).await.0, 204);
    assert_eq!(api.call(Method::POST, "/webhooks", &webhook()).await.0, 201);
    let (status, _, problem) = api.call(Method::POST, &format!("/webhooks/{}/restore", ids[0]), &json!({})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dynahook:problem:limit-reached")));
}
