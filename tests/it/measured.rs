//! What functions write into their logs: metrics, and lines that name tenants.

use std::path::PathBuf;

use domain::delivery::State;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Function, Stack, eventually, unique};

use crate::breaker::{down, eager, time_passes_until, wait_for_states};
use crate::sweep::strand;

/// The log of a function that a test starts.
struct Log(PathBuf);

impl Log {
    fn new() -> Self {
        Self(std::env::temp_dir().join(unique("dynahook-log")))
    }

    async fn start(&self, stack: &Stack, function: &str, environment: &[(&str, &str)]) -> Function {
        let environment: Vec<_> =
            environment.iter().copied().chain([("METRICS_NAMESPACE", "Dynahook/test"), ("RUST_LOG", "info")]).collect();
        Function::start_logging(stack, function, &environment, &self.0).await
    }

    /// Returns the lines so far.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
    }

    /// Returns the sum of a metric.
    fn sum(&self, metric: &str) -> f64 {
        let lines = self.lines();
        let values = lines.iter().filter(|line| line["_aws"].is_object()).map(|line| {
            let value = &line[metric];
            // A metric with a distribution has an array.
            let each = value.as_array().into_iter().flatten().chain(std::iter::once(value));
            each.filter_map(Value::as_f64).sum::<f64>()
        });
        values.sum()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Each refused request counts, and the tenant has one line in a minute.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn refused_requests_are_counted_and_their_tenant_is_named_once() {
    let (stack, log, tenant) = (Stack::connect().await, Log::new(), unique("tenant"));
    let mut api = log.start(&stack, "ApiFunction", &[("TENANT_RATE_LIMIT", "1")]).await;
    let mut refused = 0;
    for _ in 0..10 {
        let mut event: Value = serde_json::from_str(include_str!("../fixtures/api-v2.json")).unwrap();
        event["requestContext"]["authorizer"]["lambda"]["tenant"] = json!(tenant);
        event["requestContext"]["http"]["method"] = json!(Method::GET.as_str());
        event["requestContext"]["http"]["path"] = json!("/api/v1/integration/webhooks");
        event["rawPath"] = json!("/api/v1/integration/webhooks");
        let status = api.invoke(event).await["statusCode"].as_u64().unwrap();
        assert!(status == 200 || status == 429, "{status}");
        refused += u32::from(status == 429);
    }
    assert!(refused > 1, "{refused}");
    assert!((log.sum("ThrottledRequests") - f64::from(refused)).abs() < f64::EPSILON, "{refused} of {:?}", log.lines());
    let lines = log.lines();
    let named: Vec<_> = lines.iter().filter(|line| line["tenant"] == tenant.as_str()).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!(named[0]["throttled_requests"], 1, "the first one at once, the others a minute later");
    let metrics = lines.iter().filter(|line| line["_aws"].is_object());
    assert!(metrics.into_iter().all(|line| !line.to_string().contains(&tenant)), "{lines:?}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn the_sweep_says_how_late_a_delivery_is_and_how_much_is_parked() {
    let (stack, log) = (Stack::connect().await, Log::new());
    let tenant = stack.tenant();
    let mut sweep = log.start(&stack, "SweepFunction", &[]).await;
    let (receiver, _) = down().await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    for item in 0..12 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    // The scheduled sweep may come first, and then this one sees nothing.
    eventually("a sweep that comes first", async || {
        strand(&stack, &tenant, &webhook, State::Exhausted).await;
        time_passes_until(&stack, &webhook).await;
        sweep.invoke(json!({})).await;
        (log.sum("OldestOverdue") >= 600.0 && log.sum("ParkedRows") >= 1.0).then_some(())
    })
    .await;
}
