//! The list of webhooks and its filters.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Stack, path};

use super::{URL, create, everything};

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_list_shows_what_is_asked_for() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let all = create(&tenant, &everything()).await;
    let plain = tenant.webhook(URL, json!({"event_types": ["item.created"]})).await;
    let paused = tenant.webhook(URL, json!({})).await;
    tenant.call(Method::POST, &path(&paused, "/pause"), None).await;
    let inbound = create(&tenant, &json!({"name": "in", "direction": "inbound"})).await;
    let deleted = tenant.webhook(URL, json!({})).await;
    tenant.call(Method::DELETE, &path(&deleted, ""), None).await;
    let ids = async |query: &str| -> Vec<String> {
        let (status, list) = tenant.call(Method::GET, &format!("/webhooks?{query}"), None).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list["data"].as_array().unwrap().iter().map(|webhook| webhook["id"].as_str().unwrap().to_owned()).collect()
    };
    let expect = |webhooks: &[&Value]| {
        let mut ids: Vec<_> = webhooks.iter().map(|webhook| webhook["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("").await, expect(&[&all, &plain, &paused, &inbound]));
    assert_eq!(ids("include_deleted=true").await, expect(&[&all, &plain, &paused, &inbound, &deleted]));
    assert_eq!(ids("tag=a").await, expect(&[&all]));
    assert_eq!(ids("connector_id=con_1").await, expect(&[&all]));
    assert_eq!(ids("event_type=item.created").await, expect(&[&plain, &paused]));
    assert_eq!(ids("enabled=false").await, expect(&[&all]));
    assert_eq!(ids("state=2").await, expect(&[&all, &paused]));
    assert_eq!(ids("state=1&direction=outbound").await, expect(&[&plain]));
    assert_eq!(ids("direction=inbound").await, expect(&[&inbound]));
    assert_eq!(ids("source=import").await, expect(&[&all]));
    assert_eq!(ids("app_id=nobody").await, [] as [&str; 0]);
    assert_eq!(ids("target_url=https://example.com/all").await, expect(&[&all]));
    assert_eq!(ids("trigger_type=Order%20Created").await, expect(&[&all]));
    assert_eq!(
        ids(&format!("webhook_id={}&company_id={}", plain["id"].as_str().unwrap(), tenant.name)).await,
        expect(&[&plain])
    );
    assert_eq!(ids("company_id=globex").await, [] as [&str; 0]);
}
