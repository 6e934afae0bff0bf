//! Webhooks as a resource: every field, concurrent writers, idempotency, pausing and deleting.

mod delivering;
mod idempotency;
mod lifecycle;
mod list;
mod settings;
mod versions;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Tenant, path};

const URL: &str = "https://example.com/hook";

/// Everything that can be set, and not as it is by default.
fn everything() -> Value {
    json!({
        "name": "all of it", "type": "webhook", "direction": "outbound", "url": "https://example.com/all",
        "event_types": ["order.created"], "trigger_type": "Order Created", "sources": ["orders"], "collections": ["orders"], "operations": ["created"],
        "signature_scheme": "hmac-sha256", "signature_header": "X-Acme-Signature", "signature_encoding": "base64",
        "further_signatures": [{"scheme": "stripe", "header": null, "encoding": "hex"}], "content_encoding": "gzip",
        "headers": {"X-Team": "erp"}, "properties": {"region": "eu", "nested": {"n": 1}},
        "enabled": false, "retry_policy": {"maxAttempts": 3, "backoff": "fixed", "timeoutMs": 2000, "baseMs": 200, "factor": 2,
            "capMs": 5000, "scheduleSeconds": [1, 60]},
        "auto_pause": {"failures": 7, "after_seconds": 60}, "rate_limit": 5, "max_concurrency": 3,
        "success_statuses": ["2xx", "409"], "ordering": "entity", "on_exhausted": "skip",
        "connector_id": "con_1", "integration_provider": "integrationProviders/flows", "error_email": "erp@example.com", "tags": ["a", "b"],
        "source": "import", "source_type": "backend",
    })
}

async fn create(tenant: &Tenant, body: &Value) -> Value {
    let (status, webhook) = tenant.call(Method::POST, "/webhooks", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{webhook}");
    webhook
}

async fn read(tenant: &Tenant, webhook: &Value) -> Value {
    let (status, webhook) = tenant.call(Method::GET, &path(webhook, ""), None).await;
    assert_eq!(status, StatusCode::OK, "{webhook}");
    webhook
}
