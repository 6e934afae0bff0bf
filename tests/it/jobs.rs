//! Jobs: many deliveries sent again, at a pace, by the sweep.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Function, Receiver, Stack, Tenant, eventually, now, path};

fn attempts(count: u32) -> Value {
    json!({"retry_policy": {"maxAttempts": count, "backoff": "exponential", "timeoutMs": 1000}})
}

async fn letters_are(tenant: &Tenant, count: usize) {
    eventually(&format!("{count} dead letters"), async || {
        let (_, list) = tenant.call(Method::GET, "/dead-letters?limit=100", None).await;
        Some(()).filter(|()| list["data"].as_array().unwrap().len() == count)
    })
    .await;
}

async fn start(tenant: &Tenant, path: &str, body: Value) -> Value {
    let (status, job) = tenant.call(Method::POST, path, Some(&body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{job}");
    assert_eq!(job["state"], "running");
    job
}

async fn read(tenant: &Tenant, job: &Value) -> Value {
    let (status, job) = tenant.call(Method::GET, &format!("/jobs/{}", job["id"].as_str().unwrap()), None).await;
    assert_eq!(status, StatusCode::OK, "{job}");
    job
}

async fn act(tenant: &Tenant, job: &Value, action: &str) -> (StatusCode, Value) {
    tenant.call(Method::POST, &format!("/jobs/{}/{action}", job["id"].as_str().unwrap()), None).await
}

/// Runs the sweep now, and waits until the job is in that state: the stack's own sweep may have been at it first.
async fn sweep_until(stack: &Stack, tenant: &Tenant, job: &Value, state: &str) -> Value {
    let mut sweep = Function::start(stack, "SweepFunction", &[]).await;
    sweep.invoke(json!({})).await;
    eventually(&format!("a job that is {state}"), async || {
        Some(read(tenant, job).await).filter(|job| job["state"] == state)
    })
    .await
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn redrives_all_dead_letters_that_were_asked_for() {
    let stack = Stack::connect().await;
    let (tenant, other) = (stack.tenant(), stack.tenant());
    let receiver = Receiver::start(|number| Answer::Status(if number < 5 { 404 } else { 204 })).await;
    let foreign = Receiver::start(|_| Answer::Status(404)).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    other.webhook(&foreign.url, attempts(1)).await;
    other.put("i1", &[]).await;
    for number in 0..4 {
        tenant.put(&format!("i{number}"), &[]).await;
    }
    tenant.remove("i0").await;
    letters_are(&tenant, 5).await;
    letters_are(&other, 1).await;

    let dry = start(&tenant, "/dead-letters/redrive", json!({"event_type": "item.created", "dry_run": true})).await;
    let dry = sweep_until(&stack, &tenant, &dry, "done").await;
    assert_eq!(dry["counts"], json!({"looked_at": 5, "sent": 4, "skipped": 1}));
    assert_eq!(receiver.received().len(), 5, "nothing was sent");

    let body = json!({"webhook_id": webhook["id"], "event_type": "item.created", "rate_per_second": 100});
    let job = start(&tenant, "/dead-letters/redrive", body).await;
    assert_eq!((&job["kind"], &job["filters"]["webhook_id"]), (&json!("redrive"), &webhook["id"]));
    let job = sweep_until(&stack, &tenant, &job, "done").await;
    assert_eq!(job["counts"], json!({"looked_at": 5, "sent": 4, "skipped": 1}));
    let requests = receiver.wait_for(9).await;
    let (before, again) = requests.split_at(5);
    for request in again {
        let same = before.iter().find(|other| other.header("webhook-id") == request.header("webhook-id")).unwrap();
        assert_eq!(same.body, request.body);
    }
    letters_are(&tenant, 1).await;

    let job = start(&tenant, "/dead-letters/redrive", json!({})).await;
    sweep_until(&stack, &tenant, &job, "done").await;
    letters_are(&tenant, 0).await;
    assert_eq!(foreign.received().len(), 1, "another tenant's stays what it is");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_recovers() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number < 2 { 404 } else { 204 })).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    tenant.put("i1", &[]).await;
    letters_are(&tenant, 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let since = now();
    tenant.put("i2", &[]).await;
    letters_are(&tenant, 2).await;
    // A paused webhook makes the job wait, and says so.
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    let job = start(&tenant, &path(&webhook, "/recover"), json!({"since": since.to_string()})).await;
    let waiting = sweep_until(&stack, &tenant, &job, "paused").await;
    assert_eq!(waiting["reason"], "the webhook is paused; resume it first");
    assert_eq!(waiting["counts"]["looked_at"], 0);
    tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    let (status, resumed) = act(&tenant, &job, "resume").await;
    assert_eq!((status, &resumed["state"], &resumed["reason"]), (StatusCode::OK, &json!("running"), &Value::Null));
    let done = sweep_until(&stack, &tenant, &job, "done").await;
    assert_eq!(done["counts"], json!({"looked_at": 1, "sent": 1, "skipped": 0}));
    let requests = receiver.wait_for(3).await;
    assert_eq!(requests[2].json()["entityPath"], "items/i2");
    letters_are(&tenant, 1).await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_happened_is_replayed_to_a_webhook_that_is_new() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (old, new) = (Receiver::accepting().await, Receiver::accepting().await);
    tenant.webhook(&old.url, json!({})).await;
    let from = now() - std::time::Duration::from_mins(1);
    for number in 0..3 {
        tenant.put(&format!("i{number}"), &[]).await;
        old.wait_for(number + 1).await;
    }
    tenant.remove("i0").await;
    let before = old.wait_for(4).await;

    let webhook = tenant.webhook(&new.url, json!({"event_types": ["item.*"]})).await;
    let body = json!({"from": from.to_string(), "event_types": ["item.created"], "rate_per_second": 100});
    let job = start(&tenant, &path(&webhook, "/replay"), body).await;
    let done = sweep_until(&stack, &tenant, &job, "done").await;
    assert_eq!((&done["kind"], &done["counts"]["sent"]), (&json!("replay"), &json!(3)));
    let requests = new.wait_for(3).await;
    for request in &requests {
        request.verify(webhook["secret"].as_str().unwrap());
        assert!(before.iter().any(|other| other.header("webhook-id") == request.header("webhook-id")));
    }
    let ids = |deliveries: &[Value]| deliveries.iter().map(|one| one["id"].to_string()).collect::<Vec<_>>();
    let first = eventually("three rows", async || {
        Some(tenant.deliveries(&webhook).await).filter(|deliveries| deliveries.len() == 3)
    })
    .await;
    // Another job makes other deliveries.
    let job =
        start(&tenant, &path(&webhook, "/replay"), json!({"from": from.to_string(), "rate_per_second": 100})).await;
    sweep_until(&stack, &tenant, &job, "done").await;
    new.wait_for(7).await;
    let all = eventually("seven rows", async || {
        Some(tenant.deliveries(&webhook).await).filter(|deliveries| deliveries.len() == 7)
    })
    .await;
    assert_eq!(ids(&all).iter().filter(|id| ids(&first).contains(id)).count(), 3);
    assert_eq!(old.received().len(), 4, "no other receiver got anything");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn goes_on_at_its_pace_is_paused_and_cancelled() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    let from = now() - std::time::Duration::from_mins(1);
    // More than one run sends at one a second: 75 seconds ahead, in pages of 50.
    for number in 0..90 {
        tenant.put(&format!("i{number}"), &[]).await;
    }
    receiver.wait_for(90).await;
    let body = json!({"from": from.to_string(), "rate_per_second": 1});
    let job = start(&tenant, &path(&webhook, "/replay"), body).await;
    let mut sweep = Function::start(&stack, "SweepFunction", &[]).await;
    sweep.invoke(json!({})).await;
    let under_way = eventually("a share of it", async || {
        Some(read(&tenant, &job).await).filter(|job| job["counts"]["sent"].as_u64().unwrap() >= 50)
    })
    .await;
    assert_eq!(under_way["state"], "running");
    assert!(under_way["counts"]["sent"].as_u64().unwrap() < 90, "{under_way}");
    assert!(receiver.received().len() < 90 + 30, "spread over the time that is to come");

    let (status, paused) = act(&tenant, &job, "pause").await;
    assert_eq!((status, &paused["state"]), (StatusCode::OK, &json!("paused")));
    let paused = read(&tenant, &job).await;
    sweep.invoke(json!({})).await;
    assert_eq!(read(&tenant, &job).await["counts"], paused["counts"]);
    assert_eq!(act(&tenant, &job, "cancel").await.1["state"], "cancelled");
    assert_eq!(act(&tenant, &job, "cancel").await.0, StatusCode::OK, "once more is nothing more");
    let (status, problem) = act(&tenant, &job, "resume").await;
    assert_eq!((status, &problem["detail"]), (StatusCode::CONFLICT, &json!("the job has ended; start another one")));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn two_sweeps_at_once_send_each_delivery_once() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    let from = now() - std::time::Duration::from_mins(1);
    for number in 0..20 {
        tenant.put(&format!("i{number}"), &[]).await;
    }
    receiver.wait_for(20).await;
    let body = json!({"from": from.to_string(), "rate_per_second": 100});
    let job = start(&tenant, &path(&webhook, "/replay"), body).await;
    let (mut one, mut other) =
        tokio::join!(Function::start(&stack, "SweepFunction", &[]), Function::start(&stack, "SweepFunction", &[]),);
    tokio::join!(one.invoke(json!({})), other.invoke(json!({})));
    let done = sweep_until(&stack, &tenant, &job, "done").await;
    assert_eq!(done["counts"]["sent"], 20);
    receiver.wait_for(40).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(receiver.received().len(), 40);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_run_that_dies_is_gone_on_with_by_another() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number < 3 { 404 } else { 204 })).await;
    let webhook = tenant.webhook(&receiver.url, attempts(1)).await;
    for number in 0..3 {
        tenant.put(&format!("i{number}"), &[]).await;
    }
    letters_are(&tenant, 3).await;
    let job = start(&tenant, &path(&webhook, "/recover"), json!({"since": "2026-01-01T00:00:00Z"})).await;
    // A run that took the job and died: it is claimed, and nothing is written. Its claim ends.
    let ledger = stack.aws.ledger(stack.output("DeliveriesTable").to_owned());
    let due = ledger.due_jobs(now() + std::time::Duration::from_mins(1), 1000).await.unwrap();
    let mut claims = 0;
    for due in due {
        let ours = format!("{due:?}").contains(job["id"].as_str().unwrap());
        if ours && ledger.claim_job(&due, now() + std::time::Duration::from_secs(1)).await.unwrap().is_some() {
            claims += 1;
        }
    }
    assert!(claims <= 1, "the stack's own sweep may have been first");
    sweep_until(&stack, &tenant, &job, "done").await;
    receiver.wait_for(6).await;
    letters_are(&tenant, 0).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(receiver.received().len(), 6);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn are_listed_limited_and_checked() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let webhook = tenant.webhook("https://example.com/", json!({})).await;
    for (rest, body, pointer) in [
        ("/recover", json!({"since": "2999-01-01T00:00:00Z"}), "#/since"),
        ("/recover", json!({}), "#/since"),
        ("/replay", json!({"from": "2999-01-01T00:00:00Z"}), "#/from"),
        ("/replay", json!({"from": "2026-01-01T00:00:00Z", "rate_per_second": 101}), "#/rate_per_second"),
    ] {
        let (status, problem) = tenant.call(Method::POST, &path(&webhook, rest), Some(&body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{rest} {body}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    // Paused, so that they do not end meanwhile.
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    let body = json!({"from": "2026-01-01T00:00:00Z"});
    let mut jobs = Vec::new();
    for _ in 0..10 {
        let job = start(&tenant, &path(&webhook, "/replay"), body.clone()).await;
        jobs.push(job["id"].clone());
    }
    let (status, problem) = tenant.call(Method::POST, &path(&webhook, "/replay"), Some(&body)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().contains("cancel one"), "{problem}");
    let (_, list) = tenant.call(Method::GET, "/jobs?limit=4", None).await;
    let shown: Vec<_> = list["data"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect();
    jobs.sort_by_key(|id| std::cmp::Reverse(id.to_string()));
    assert_eq!(shown, jobs[..4]);
    let next = format!("/jobs?limit=4&cursor={}", list["next_cursor"].as_str().unwrap());
    let (_, list) = tenant.call(Method::GET, &next, None).await;
    assert_eq!(list["data"][0]["id"], jobs[4]);
    for id in &jobs {
        act(&tenant, &json!({"id": id}), "cancel").await;
    }
    let (_, list) = tenant.call(Method::GET, "/jobs?state=cancelled&limit=100", None).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 10);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_request_that_comes_again_starts_one_job() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let key = [("idempotency-key", "redrive-1")];
    let mut ids = Vec::new();
    for _ in 0..2 {
        let response = tenant.send(Method::POST, "/dead-letters/redrive", &key, &json!({})).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let job: Value = response.json().await.unwrap();
        ids.push(job["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    let (_, list) = tenant.call(Method::GET, "/jobs", None).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}
