//! The sums of a webhook's attempts, by the hour, and the number of its deliveries in each state.

use domain::attempt::outcome::Verdict;
use domain::id::WebhookId;
use domain::webhook::hours::Hour;
use domain::webhook::statistics::Tally;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::{Answer, Receiver, Stack, eventually, path, unique};

use super::{once, publish, three};
use crate::breaker::time_passes;

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn statistics_add_up_hour_by_hour() {
    let tenant = Stack::connect().await.tenant();
    let (webhook, deliveries) = three(&tenant).await;
    let sums = eventually("three counted attempts", async || {
        let (status, sums) = tenant.call(Method::GET, &path(&webhook, "/statistics"), None).await;
        assert_eq!(status, StatusCode::OK, "{sums}");
        Some(sums).filter(|sums| sums["total_calls"] == 3)
    })
    .await;
    assert_eq!((&sums["total_errors"], &sums["consecutive_failures"]), (&json!(2), &json!(2)));
    assert_eq!((&sums["webhook_id"], &sums["consecutive_timeouts"]), (&webhook["id"], &json!(0)));
    let failed_at: Timestamp = deliveries[1]["attempts"][0]["at"].as_str().unwrap().parse().unwrap();
    let failing_since: Timestamp = sums["failing_since"].as_str().unwrap().parse().unwrap();
    assert_eq!(failing_since.as_millisecond(), failed_at.as_millisecond());
    let hours = sums["hours"].as_array().unwrap();
    assert_eq!(hours.len(), 48);
    // The test may see an hour end.
    let sum = |name: &str| hours[..2].iter().map(|hour| hour[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("calls"), sum("errors"), sum("delivered")), (3, 2, 1));
    assert!(hours.iter().any(|hour| hour["mean_duration_ms"].is_u64()));
    assert_eq!(
        hours[2],
        json!({"hour": hours[2]["hour"], "calls": 0, "errors": 0, "delivered": 0, "mean_duration_ms": null})
    );
}

fn tally(hour: i64, calls: u64, last_status: Verdict) -> Tally {
    let last_at = Hour::from_number(hour).start();
    let failed = last_status != Verdict::Accepted;
    let failures = if failed { calls } else { 0 };
    let timeouts = if last_status == Verdict::TimedOut { calls } else { 0 };
    Tally {
        calls,
        errors: failures,
        ignored: 0,
        duration_ms: 10 * calls,
        failures,
        succeeded: !failed,
        failing_since: failed.then_some(last_at),
        timeouts,
        ended_otherwise: timeouts == 0,
        last_error: failed.then(|| "it failed".to_owned()),
        last_at,
        last_status,
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn counts_of_any_order_stand_in_their_hours() {
    let stack = Stack::connect().await;
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let tenant = stack.tenant();
    let webhook = tenant.webhook("https://receiver.example/", once()).await;
    let id: WebhookId = webhook["id"].as_str().unwrap().parse().unwrap();
    let start = 490_000;
    let mut statistics = Vec::new();
    for (hour, calls) in [(0, 1), (0, 2), (3, 4), (1, 8), (47, 16), (2, 32), (50, 64), (2, 128)] {
        let sums = registry.count(id, &tally(start + hour, calls, Verdict::Accepted)).await.unwrap();
        let read = registry.webhook(&tenant.name.parse().unwrap(), id).await.unwrap().unwrap().statistics;
        assert_eq!(sums.total_calls, read.total_calls);
        statistics.push(read);
    }
    let shown = |number: usize, now: i64| -> Vec<(i64, u64)> {
        let hours = statistics[number].hours.until(Hour::from_number(start + now).start());
        hours.filter(|(_, sums)| sums.calls > 0).map(|(hour, sums)| (hour.number() - start, sums.calls)).collect()
    };
    assert_eq!(shown(1, 0), [(0, 3)]);
    assert_eq!(shown(3, 3), [(3, 4), (1, 8), (0, 3)]);
    assert_eq!(shown(5, 47), [(47, 16), (3, 4), (2, 32), (1, 8), (0, 3)]);
    // The first hours are over, and what comes too late for them is in none.
    assert_eq!(shown(7, 50), [(50, 64), (47, 16), (3, 4)]);
    assert_eq!(statistics[7].total_calls, 255);
    assert_eq!(shown(7, 150), []);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn failures_in_a_row_end_with_a_success() {
    let stack = Stack::connect().await;
    let registry = stack.aws.registry(stack.output("RegistryTable").to_owned());
    let webhook = WebhookId::derive(Timestamp::UNIX_EPOCH, &[&unique("statistics")]);
    let mut found = Vec::new();
    for (hour, verdict) in [
        (490_000, Verdict::TimedOut),
        (490_001, Verdict::TimedOut),
        (490_002, Verdict::Refused),
        (490_003, Verdict::Accepted),
        (490_004, Verdict::TimedOut),
    ] {
        let sums = registry.count(webhook, &tally(hour, 2, verdict)).await.unwrap();
        let since = sums.failing_since.map(|since| Hour::of(since).number());
        found.push((sums.consecutive_failures, sums.consecutive_timeouts, since));
    }
    let since = |hour: i64| Some(490_000 + hour);
    assert_eq!(found, [(2, 2, since(0)), (4, 4, since(0)), (6, 0, since(0)), (0, 0, None), (2, 2, since(4))]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn statistics_count_the_deliveries_that_have_not_arrived() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let failing = Receiver::start(|_| Answer::Status(500)).await;
    let twice = json!({"maxAttempts": 2, "backoff": "fixed", "scheduleSeconds": [8]});
    let webhook = tenant.webhook(&failing.url, json!({"retry_policy": twice, "event_types": ["order.*"]})).await;
    publish(&tenant, "order.paid", "1").await;
    tenant.delivery(&webhook, "retrying").await;
    let states = async || {
        let (_, statistics) = tenant.call(Method::GET, &path(&webhook, "/statistics"), None).await;
        statistics["states"].clone()
    };
    let none = json!({"parked": 0, "waiting": 0, "exhausted": 0, "retrying": 0, "held": 0, "is_complete": true});
    let with = |name: &str| {
        let mut states = none.clone();
        states[name] = json!(1);
        states
    };
    assert_eq!(states().await, with("retrying"));
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    // The retry is parked when it is due.
    tenant.delivery(&webhook, "parked").await;
    assert_eq!(states().await, with("parked"));
    tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    time_passes(&stack, &webhook).await;
    tenant.delivery(&webhook, "exhausted").await;
    let exhausted = with("exhausted");
    eventually("a dead letter", async || (states().await == exhausted).then_some(())).await;
}
