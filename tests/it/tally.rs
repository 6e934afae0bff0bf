//! The tally function: deliveries that arrived at once are counted from the ledger's stream.

use std::time::Duration;

use domain::id::{DeliveryId, EventId, WebhookId};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Cut, Function, Proxy, Receiver, Stack, eventually, path};

use crate::crash::first_message;

const DONE: fn() -> Value = || json!({"batchItemFailures": []});

/// Returns the record of a delivery that arrived, as the stream shows the row that deliver writes.
fn arrived(tenant: &tests::Tenant, webhook: WebhookId, number: u64, stream: &str) -> Value {
    let at = tests::now() - Duration::from_mins(1) + Duration::from_millis(number);
    let event = EventId::derive(at - Duration::from_secs(1), &[&number.to_string()]);
    let delivery = DeliveryId::first(event, webhook);
    json!({
        "eventID": number.to_string(), "eventName": "INSERT", "eventSource": "aws:dynamodb",
        "eventSourceARN": format!("arn:aws:dynamodb:us-east-1:000000000000:table/deliveries/stream/{stream}"),
        "dynamodb": {"SequenceNumber": format!("1117{number:017}"), "StreamViewType": "NEW_IMAGE", "NewImage": {
            "delivery": {"S": delivery.to_string()}, "event": {"S": event.to_string()}, "tally": {"S": "later"},
            "webhook": {"S": webhook.to_string()}, "tenant": {"S": tenant.name}, "delivery_state": {"S": "delivered"},
            "attempts": {"L": [{"M": {"at": {"S": at.to_string()}, "outcome": {"M": {
                "verdict": {"S": "accepted"}, "status": {"N": "204"}, "duration_ms": {"N": "10"}}}}}]},
        }},
    })
}

async fn read(tenant: &tests::Tenant, webhook: &Value) -> Value {
    let (status, statistics) = tenant.call(Method::GET, &path(webhook, "/statistics"), None).await;
    assert_eq!(status, StatusCode::OK, "{statistics}");
    statistics
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_arrives_is_counted_by_the_stream() {
    let tenant = Stack::connect().await.tenant();
    let receiver = Receiver::start(|_| Answer::Status(204)).await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    for item in 0..20 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    receiver.wait_for(20).await;
    let statistics = eventually("twenty counted deliveries", async || {
        Some(read(&tenant, &webhook).await).filter(|statistics| statistics["total_calls"] == 20)
    })
    .await;
    assert_eq!((&statistics["total_errors"], &statistics["last_delivery_status"]), (&json!(0), &json!("accepted")));
    let calls =
        |hours: &Value| hours.as_array().unwrap().iter().map(|hour| hour["calls"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(calls(&statistics["hours"]), 20);
    let deliveries = tenant.deliveries(&webhook).await;
    let last = deliveries.iter().filter_map(|delivery| delivery["attempts"][0]["at"].as_str()).max().unwrap();
    let [last, shown] = [last, statistics["last_delivery_at"].as_str().unwrap()].map(str::parse::<Timestamp>);
    assert_eq!(shown.unwrap().as_millisecond(), last.unwrap().as_millisecond());
}

/// Batches come again after faults, cut differently, from two shards side by side, and after a lost answer.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn each_arrival_is_counted_once_however_often_it_comes() {
    let (stack, proxy) = (Stack::connect().await, Proxy::start().await);
    let tenant = stack.tenant();
    let webhook = tenant.webhook("https://receiver.example/", json!({})).await;
    let id: WebhookId = webhook["id"].as_str().unwrap().parse().unwrap();
    let mut tally = Function::start(&stack, "TallyFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let records: Vec<Value> = (1..=40).map(|number| arrived(&tenant, id, number, "2026")).collect();
    let batch = |range: std::ops::Range<usize>| json!({"Records": records[range]});

    // The answer of the first count is lost: the SDK or Lambda sends it again.
    proxy.cut("UpdateItem", Cut::After);
    let _ = tally.invoke(batch(0..10)).await;
    proxy.mend();
    for range in [0..10, 5..20, 0..20, 18..40, 0..40] {
        assert_eq!(tally.invoke(batch(range)).await, DONE());
    }
    assert_eq!(read(&tenant, &webhook).await["total_calls"], 40);

    // What is usual takes one call for the webhook and one for its tenant, and what is known is not written again.
    let _ = proxy.calls();
    let usual = json!({"Records": [arrived(&tenant, id, 41, "2026")]});
    assert_eq!(tally.invoke(usual.clone()).await, DONE());
    assert_eq!(proxy.calls(), ["UpdateItem", "UpdateItem"]);
    assert_eq!(tally.invoke(usual).await, DONE());
    assert_eq!(proxy.calls(), ["UpdateItem"], "its answer shows that it is known");

    // The table was restored: its new stream starts below.
    let restored = json!({"Records": [arrived(&tenant, id, 3, "2027"), arrived(&tenant, id, 4, "2027")]});
    for _ in 0..2 {
        assert_eq!(tally.invoke(restored.clone()).await, DONE());
    }
    let statistics = read(&tenant, &webhook).await;
    assert_eq!((&statistics["total_calls"], &statistics["total_errors"]), (&json!(43), &json!(0)));
}

/// Without its table, the batch comes again as a whole; a record that cannot be read stops none of the others.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_batch_that_was_not_counted_comes_again() {
    let (stack, proxy) = (Stack::connect().await, Proxy::start().await);
    let tenant = stack.tenant();
    let webhook = tenant.webhook("https://receiver.example/", json!({})).await;
    let id: WebhookId = webhook["id"].as_str().unwrap().parse().unwrap();
    let mut tally = Function::start(&stack, "TallyFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut unreadable = arrived(&tenant, id, 2, "2026");
    unreadable["dynamodb"]["NewImage"]["webhook"] = json!({"S": "?"});
    let records = json!({"Records": [arrived(&tenant, id, 1, "2026"), unreadable, arrived(&tenant, id, 3, "2026")]});
    proxy.cut("UpdateItem", Cut::Throttle);
    let failed = tally.invoke(records.clone()).await;
    assert_eq!(failed, json!({"batchItemFailures": [{"itemIdentifier": "111700000000000000001"}]}));
    assert_eq!(read(&tenant, &webhook).await["total_calls"], 0);
    proxy.mend();
    assert_eq!(tally.invoke(records).await, DONE());
    assert_eq!(read(&tenant, &webhook).await["total_calls"], 2);
}

/// Only what no decision depends on is left to the stream: the first success after failures ends them at once.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_success_is_written_at_once_if_it_ends_failures() {
    let (stack, proxy) = (Stack::connect().await, Proxy::start().await);
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| Answer::Status(if number == 1 { 500 } else { 204 })).await;
    let webhook = tenant.webhook(&receiver.url, json!({"retry_policy": {"maxAttempts": 1}})).await;
    let mut deliver = Function::start(&stack, "DeliverFunction", &[("AWS_ENDPOINT_URL", &proxy.url)]).await;
    let mut failures = Vec::new();
    for number in 0..4 {
        let message = first_message(&format!("{}-{number}", tenant.name), &webhook);
        let message = domain::delivery::message::Message { tenant: tenant.name.parse().unwrap(), ..message };
        let event = json!({"Records": [{"messageId": "m1", "body": message.to_json(), "attributes": {},
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q"}]});
        let _ = proxy.calls();
        assert_eq!(deliver.invoke(event).await, DONE());
        let is_counted = proxy.calls().iter().any(|call| call == "UpdateItem");
        failures.push((is_counted, read(&tenant, &webhook).await["consecutive_failures"].as_u64().unwrap()));
    }
    // It arrives, fails, arrives and arrives.
    assert_eq!(failures, [(false, 0), (true, 1), (true, 0), (false, 0)]);
    let counted = eventually("four counted attempts", async || {
        Some(read(&tenant, &webhook).await).filter(|statistics| statistics["total_calls"] == 4)
    })
    .await;
    assert_eq!(counted["total_errors"], 1);
}
