//! Statistics over all webhooks of a tenant: counts, and percentiles of how long deliveries took.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Receiver, Stack, Tenant, eventually};

async fn statistics(tenant: &Tenant, query: &str) -> Value {
    let (status, statistics) = tenant.call(Method::GET, &format!("/statistics{query}"), None).await;
    assert_eq!(status, StatusCode::OK, "{statistics}");
    statistics
}

/// Waits until that many deliveries have arrived, and their times are counted.
async fn counted(tenant: &Tenant, delivered: u64) -> Value {
    eventually("counted deliveries", async || {
        let found = statistics(tenant, "").await;
        let total = &found["total"];
        (total["delivered"] == delivered && total["lateness_ms"].is_object()).then_some(found)
    })
    .await
}

fn nothing() -> Value {
    json!({"calls": 0, "errors": 0, "delivered": 0, "mean_duration_ms": null, "lateness_ms": null, "duration_ms": null})
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn they_show_how_slow_a_receiver_is_to_whose_it_is() {
    let stack = Stack::connect().await;
    let (tenant, stranger) = (stack.tenant(), stack.tenant());
    let (one, two) = (tenant.application("one"), tenant.application("two"));
    let receiver = Receiver::start(|_| Answer::After(Duration::from_millis(300), 204)).await;
    let webhook = one.webhook(&receiver.url, json!({"name": "slow"})).await;
    for item in 0..3 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    let seen = counted(&tenant, 3).await;
    let total = &seen["total"];
    assert_eq!((&total["calls"], &total["errors"]), (&json!(3), &json!(0)));
    let p50 = total["duration_ms"]["p50"].as_u64().unwrap();
    // 300 ms are in the bucket of 288 to 319.
    assert!(p50 >= 288, "{total}");
    assert!(total["lateness_ms"]["p50"].as_u64().unwrap() >= p50, "{total}");
    assert!(total["lateness_ms"]["p99"].as_u64() >= total["lateness_ms"]["p50"].as_u64(), "{total}");
    let hours = seen["groups"].as_array().unwrap();
    assert_eq!(hours.len(), 48);
    // The test may see an hour end.
    assert_eq!(hours[..2].iter().map(|hour| hour["calls"].as_u64().unwrap()).sum::<u64>(), 3);
    assert!(hours[..2].iter().any(|hour| hour["lateness_ms"]["p50"].is_u64()), "{seen}");

    // What an application sees is the same, because the webhook is its own.
    assert_eq!(counted(&one, 3).await["total"], *total);
    let of_webhooks = statistics(&one, "?group_by=webhook").await;
    let group = &of_webhooks["groups"][0];
    assert_eq!((&group["webhook_id"], &group["name"], &group["calls"]), (&webhook["id"], &json!("slow"), &json!(3)));
    // Nothing of it is shown to another application, or to another tenant.
    for other in [&two, &stranger, &stranger.application("one")] {
        let seen = statistics(other, "").await;
        assert_eq!(seen["total"], nothing(), "{seen}");
        assert_eq!(statistics(other, "?group_by=webhook").await["groups"], json!([]));
    }
    // A webhook that is deleted did what it did.
    let path = format!("/webhooks/{}", webhook["id"].as_str().unwrap());
    assert_eq!(one.call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(statistics(&tenant, "").await["total"], *total);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_retry_makes_a_delivery_late() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 0 { 503 } else { 204 })).await;
    let policy = json!({"maxAttempts": 3, "backoff": "fixed", "scheduleSeconds": [3]});
    tenant.webhook(&receiver.url, json!({"retry_policy": policy})).await;
    tenant.put("i1", &[]).await;
    let seen = counted(&tenant, 1).await;
    let total = &seen["total"];
    assert_eq!((&total["calls"], &total["errors"]), (&json!(2), &json!(1)), "{total}");
    assert!(total["lateness_ms"]["p50"].as_u64().unwrap() >= 2_800, "{total}");
    assert!(total["duration_ms"]["p50"].as_u64().unwrap() < 2_800, "{total}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_range_has_whole_hours_and_may_be_grouped_by_day() {
    let tenant = Stack::connect().await.tenant();
    let now = tests::now();
    let ago = |hours: i64| now - jiff::SignedDuration::from_hours(hours);
    let three = statistics(&tenant, &format!("?from={}", ago(2))).await;
    assert_eq!((three["groups"].as_array().unwrap().len(), &three["total"]), (3, &nothing()));
    let days = statistics(&tenant, "?group_by=day").await;
    assert!((2..=3).contains(&days["groups"].as_array().unwrap().len()), "{days}");
    // Nothing was counted before, and nothing will have been.
    for range in [format!("?to={}", ago(49)), format!("?from={}", ago(-2)), format!("?from={}&to={}", ago(1), ago(3))] {
        let empty = statistics(&tenant, &range).await;
        assert_eq!((&empty["groups"], &empty["total"], &empty["from"]), (&json!([]), &nothing(), &empty["to"]));
    }
    let (status, problem) = tenant.call(Method::GET, "/statistics?group_by=month", None).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert!(problem["errors"][0]["pointer"].as_str().unwrap().ends_with("group_by"), "{problem}");
}
