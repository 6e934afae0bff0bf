//! Published events, the archive, the catalog of types, and what a webhook does with events.

mod aliases;
mod archive;
mod catalog;
mod dry_run;
mod explain;
mod publishing;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tests::Tenant;

const URL: &str = "https://example.com/hook";

async fn publish(tenant: &Tenant, event: &Value) -> Value {
    let (status, published) = tenant.call(Method::POST, "/events", Some(event)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{published}");
    published
}

async fn list(tenant: &Tenant, query: &str) -> Vec<Value> {
    let (status, list) = tenant.call(Method::GET, &format!("/events?{query}"), None).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    list["data"].as_array().unwrap().clone()
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}
