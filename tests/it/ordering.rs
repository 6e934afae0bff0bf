//! Webhooks whose deliveries keep an order: what fails holds its entity, and nothing else.

use std::time::Duration;

use aws::ledger::Due;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::delivery::chain::entity;
use domain::delivery::message::{Body, Message};
use domain::id::EventId;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Function, Receiver, Stack, Tenant, eventually, now, path};

/// Settings of a webhook that keeps an order, and tries so often, each five seconds after the last.
fn ordered(attempts: u32, on_exhausted: &str) -> Value {
    let policy = json!({"maxAttempts": attempts, "backoff": "fixed", "scheduleSeconds": [5], "timeoutMs": 1000});
    json!({"ordering": "entity", "on_exhausted": on_exhausted, "retry_policy": policy})
}

/// A receiver that answers the first request with that status, and takes all others.
async fn refuses_once(status: u16) -> Receiver {
    Receiver::start(move |number| Answer::Status(if number == 0 { status } else { 204 })).await
}

async fn change(tenant: &Tenant, item: &str, number: u32) {
    tenant.put(item, &[("n", AttributeValue::N(number.to_string()))]).await;
}

/// What has arrived: the item and its number, in order.
fn arrived(receiver: &Receiver) -> Vec<String> {
    let requests = receiver.received();
    let bodies = requests.iter().map(tests::Received::json);
    bodies
        .map(|body| format!("{} {}", body["entityId"].as_str().unwrap(), body["data"]["value"]["properties"]["n"]))
        .collect()
}

/// Waits until the webhook's deliveries are in those states, so many in each; their ids are of the second, and so in no order.
async fn wait_for(tenant: &Tenant, webhook: &Value, states: &[&str]) -> Vec<Value> {
    let mut expected = states.to_vec();
    expected.sort_unstable();
    eventually(&format!("deliveries that are {states:?}"), async || {
        let deliveries = tenant.deliveries(webhook).await;
        let mut are: Vec<&str> = deliveries.iter().map(|delivery| delivery["state"].as_str().unwrap()).collect();
        are.sort_unstable();
        (are == expected).then(|| deliveries.clone())
    })
    .await
}

/// The id of the first delivery in that state.
fn of(deliveries: &[Value], state: &str) -> String {
    let found = deliveries.iter().find(|delivery| delivery["state"] == state).unwrap();
    found["id"].as_str().unwrap().to_owned()
}

async fn changes(tenant: &Tenant, item: &str, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        change(tenant, item, number).await;
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivery_that_fails_holds_its_entity_and_no_other() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = refuses_once(500).await;
    let webhook = tenant.webhook(&receiver.url, ordered(3, "halt")).await;
    change(&tenant, "i1", 1).await;
    receiver.wait_for(1).await;
    changes(&tenant, "i1", 2..=3).await;
    change(&tenant, "i2", 1).await;
    wait_for(&tenant, &webhook, &["retrying", "held", "held", "delivered"]).await;
    assert_eq!(arrived(&receiver), ["i1 1", "i2 1"]);
    wait_for(&tenant, &webhook, &["delivered"; 4]).await;
    assert_eq!(arrived(&receiver), ["i1 1", "i2 1", "i1 1", "i1 2", "i1 3"]);
    // Nothing is left of the chain.
    changes(&tenant, "i1", 4..=5).await;
    wait_for(&tenant, &webhook, &["delivered"; 6]).await;
    assert_eq!(arrived(&receiver)[5..], ["i1 4", "i1 5"]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_exhausted_delivery_halts_its_entity_until_it_arrives() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = refuses_once(404).await;
    let webhook = tenant.webhook(&receiver.url, ordered(1, "halt")).await;
    change(&tenant, "i1", 1).await;
    receiver.wait_for(1).await;
    changes(&tenant, "i1", 2..=3).await;
    let deliveries = wait_for(&tenant, &webhook, &["exhausted", "held", "held"]).await;
    assert_eq!(receiver.received().len(), 1);
    let letter = crate::delivery::letter(&stack, &webhook, &of(&deliveries, "exhausted")).await;
    let back = stack.sqs.send_message().queue_url(stack.output("DeliveriesQueueUrl"));
    back.message_body(letter).send().await.unwrap();
    wait_for(&tenant, &webhook, &["delivered"; 3]).await;
    assert_eq!(arrived(&receiver), ["i1 1", "i1 1", "i1 2", "i1 3"]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_exhausted_delivery_that_is_skipped_lets_the_next_go() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = refuses_once(404).await;
    let webhook = tenant.webhook(&receiver.url, ordered(1, "halt")).await;
    change(&tenant, "i1", 1).await;
    receiver.wait_for(1).await;
    changes(&tenant, "i1", 2..=3).await;
    let deliveries = wait_for(&tenant, &webhook, &["exhausted", "held", "held"]).await;
    let skip = async |state: &str| {
        let path = path(&webhook, &format!("/deliveries/{}/skip", of(&deliveries, state)));
        tenant.call(Method::POST, &path, None).await
    };
    let (status, problem) = skip("held").await;
    assert_eq!((status, &problem["detail"]), (StatusCode::CONFLICT, &json!("no other delivery waits for this one")));
    let (status, skipped) = skip("exhausted").await;
    assert_eq!((status, &skipped["state"]), (StatusCode::OK, &json!("cancelled")));
    wait_for(&tenant, &webhook, &["cancelled", "delivered", "delivered"]).await;
    assert_eq!(arrived(&receiver), ["i1 1", "i1 2", "i1 3"]);
    assert_eq!(skip("exhausted").await.0, StatusCode::CONFLICT);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_may_go_on_without_what_is_exhausted() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = refuses_once(404).await;
    let webhook = tenant.webhook(&receiver.url, ordered(1, "skip")).await;
    changes(&tenant, "i1", 1..=2).await;
    wait_for(&tenant, &webhook, &["exhausted", "delivered"]).await;

    let refusing = Receiver::start(|_| Answer::Status(404)).await;
    let halting = tenant.webhook(&refusing.url, ordered(1, "halt")).await;
    changes(&tenant, "i2", 1..=2).await;
    wait_for(&tenant, &halting, &["exhausted", "held"]).await;
    let setting = json!({"on_exhausted": "skip"});
    tenant.call(Method::PATCH, &path(&halting, ""), Some(&setting)).await;
    change(&tenant, "i2", 3).await;
    wait_for(&tenant, &halting, &["exhausted"; 3]).await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_is_parked_holds_its_entity_and_goes_first() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, ordered(3, "halt")).await;
    let sweep = async || Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    changes(&tenant, "i1", 1..=3).await;
    wait_for(&tenant, &webhook, &["parked", "held", "held"]).await;
    tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    sweep().await;
    wait_for(&tenant, &webhook, &["delivered"; 3]).await;
    assert_eq!(arrived(&receiver), ["i1 1", "i1 2", "i1 3"]);

    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    changes(&tenant, "i1", 4..=5).await;
    let mut states = vec!["delivered"; 3];
    states.extend(["parked", "held"]);
    wait_for(&tenant, &webhook, &states).await;
    tenant.call(Method::POST, &path(&webhook, "/disable"), None).await;
    sweep().await;
    states.splice(3.., ["cancelled"; 2]);
    wait_for(&tenant, &webhook, &states).await;
    assert_eq!(receiver.received().len(), 3);
}

/// The first message of the delivery of that change of an entity, as fan-out sends it.
fn message(tenant: &Tenant, webhook: &Value, number: i64) -> Message {
    let at = Timestamp::from_second(1_795_244_140 + number).unwrap();
    let event = EventId::derive(at, &[&tenant.name]);
    let webhook = webhook["id"].as_str().unwrap().parse().unwrap();
    let properties = json!({"n": number});
    let body = json!({"entityId": "i1", "data": {"value": {"properties": properties}}}).to_string();
    let name = tenant.name.parse().unwrap();
    let first = Message::first(event, "item.updated".parse().unwrap(), webhook, name, Body::Inline(body));
    Message { entity: Some(entity("items/i1")), ..first }
}

/// A batch as Lambda hands it over; the messages' ids are their places.
fn batch(messages: &[&Message]) -> Value {
    let records = messages.iter().enumerate().map(|(index, message)| {
        json!({
            "messageId": index.to_string(), "receiptHandle": "r", "body": message.to_json(), "attributes": {},
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:ordered.fifo",
        })
    });
    json!({"Records": records.collect::<Vec<_>>()})
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_fault_of_ours_sends_back_what_comes_after_it_too() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, ordered(3, "halt")).await;
    let [one, two] = [1, 2].map(|number| message(&tenant, &webhook, number));
    let mut cut_off = Function::start(&stack, "DeliverFunction", &[("FINGERPRINT_KEY_ARN", "/nowhere")]).await;
    let response = cut_off.invoke(batch(&[&one, &two])).await;
    assert_eq!(response, json!({"batchItemFailures": [{"itemIdentifier": "0"}, {"itemIdentifier": "1"}]}));
    let mut deliver = Function::start(&stack, "DeliverFunction", &[]).await;
    assert_eq!(deliver.invoke(batch(&[&one, &two])).await, json!({"batchItemFailures": []}));
    assert_eq!(arrived(&receiver), ["i1 1", "i1 2"]);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn copies_change_nothing_and_a_death_strands_nothing() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = refuses_once(500).await;
    let webhook = tenant.webhook(&receiver.url, ordered(3, "halt")).await;
    let [one, two, three] = [1, 2, 3].map(|number| message(&tenant, &webhook, number));
    // The next message goes to a queue without readers, as if the process died before it was sent.
    let lost = stack.sqs.create_queue().queue_name(tests::unique("lost")).send().await.unwrap().queue_url.unwrap();
    let environment = [("RETRIES_QUEUE_URL", lost.as_str())];
    let mut deliver = Function::start(&stack, "DeliverFunction", &environment).await;
    for _ in 0..2 {
        let response = deliver.invoke(batch(&[&one, &two, &three])).await;
        assert_eq!(response, json!({"batchItemFailures": []}));
    }
    wait_for(&tenant, &webhook, &["retrying", "held", "held"]).await;
    assert_eq!(arrived(&receiver), ["i1 1"]);

    let again = Message { attempt: 2, body: None, ..one.clone() };
    deliver.invoke(batch(&[&again])).await;
    wait_for(&tenant, &webhook, &["delivered", "pending", "held"]).await;
    let ledger = stack.aws.ledger(stack.output("DeliveriesTable").to_owned());
    let due = ledger.due(now() + Duration::from_mins(3), 1000, now()).await.unwrap().rows;
    let next = due.into_iter().find_map(|due| match due {
        Due::Delivery(due) if due.message.delivery == two.delivery => Some(due.message),
        Due::Delivery(_) | Due::Breaker(_) | Due::Flow(_) => None,
    });
    let next = next.expect("the sweep finds the next one");
    assert_eq!(next, Message { body: None, ..two.clone() });
    deliver.invoke(batch(&[&next, &one, &two])).await;
    wait_for(&tenant, &webhook, &["delivered", "delivered", "pending"]).await;
    assert_eq!(arrived(&receiver), ["i1 1", "i1 1", "i1 2"]);
}
