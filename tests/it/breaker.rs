//! Receivers that are down: their deliveries wait, one tries, and then all go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws::ledger::Range;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::delivery::message::Message;
use domain::id::EventId;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tests::{Answer, Function, Receiver, Stack, Tenant, eventually, now, path};

/// A receiver that answers 500 until the flag is set.
pub(crate) async fn down() -> (Receiver, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let answer = move |_| Answer::Status(if is_up.load(Ordering::Relaxed) { 204 } else { 500 });
    (Receiver::start(answer).await, up)
}

/// Attempts that follow one another at once, and as many as there can be.
pub(crate) fn eager() -> Value {
    json!({"retry_policy": {"maxAttempts": 25, "baseMs": 100, "capMs": 1000, "timeoutMs": 1000}})
}

fn key(webhook: &Value) -> [(&'static str, AttributeValue); 2] {
    let pk = format!("W#{}", webhook["id"].as_str().unwrap());
    [("pk", AttributeValue::S(pk)), ("sk", AttributeValue::S("BREAKER".to_owned()))]
}

async fn breaker_row(stack: &Stack, webhook: &Value) -> Option<HashMap<String, AttributeValue>> {
    let [pk, sk] = key(webhook);
    let get = stack.dynamodb.get_item().table_name(stack.output("DeliveriesTable")).key(pk.0, pk.1).key(sk.0, sk.1);
    get.consistent_read(true).send().await.unwrap().item
}

pub(crate) async fn breaker(stack: &Stack, webhook: &Value) -> Option<String> {
    Some(breaker_row(stack, webhook).await?["breaker_state"].as_s().unwrap().clone())
}

/// Lets the time come at which a breaker is probed, or looked at; then lets the sweep look.
pub(crate) async fn time_passes(stack: &Stack, webhook: &Value) {
    time_passes_until(stack, webhook).await;
    Function::start(stack, "SweepFunction", &[]).await.invoke(json!({})).await;
}

/// Lets the time come at which a breaker is probed, or looked at.
pub(crate) async fn time_passes_until(stack: &Stack, webhook: &Value) {
    let [pk, sk] = key(webhook);
    let update =
        stack.dynamodb.update_item().table_name(stack.output("DeliveriesTable")).key(pk.0, pk.1).key(sk.0, sk.1);
    let update = update.update_expression("SET lane_at = :past, probe_at = :past");
    let past = AttributeValue::N("1000".to_owned());
    update.expression_attribute_values(":past", past).send().await.unwrap();
}

async fn states(tenant: &Tenant, webhook: &Value) -> Vec<String> {
    let deliveries = tenant.deliveries(webhook).await;
    deliveries.iter().map(|delivery| delivery["state"].as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn wait_for_states(tenant: &Tenant, webhook: &Value, count: usize, state: &str) {
    eventually(&format!("{count} that are {state}"), async || {
        let states = states(tenant, webhook).await;
        (states.iter().filter(|one| *one == state).count() == count).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn deliveries_wait_while_a_receiver_is_down_and_go_when_a_probe_arrives() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    for item in 0..12 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    assert_eq!(breaker(&stack, &webhook).await.unwrap(), "open");
    let tried = receiver.received().len();
    tenant.put("late", &[]).await;
    wait_for_states(&tenant, &webhook, 13, "parked").await;
    assert_eq!(receiver.received().len(), tried, "it gets no request");

    // A probe that fails: one request, and all wait on.
    time_passes(&stack, &webhook).await;
    receiver.wait_for(tried + 1).await;
    wait_for_states(&tenant, &webhook, 13, "parked").await;
    assert_eq!((receiver.received().len(), breaker(&stack, &webhook).await.unwrap()), (tried + 1, "open".to_owned()));

    up.store(true, Ordering::Relaxed);
    time_passes(&stack, &webhook).await;
    eventually("a breaker that is closed", async || (breaker(&stack, &webhook).await? != "open").then_some(())).await;
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    wait_for_states(&tenant, &webhook, 13, "delivered").await;
    let arrived: Vec<_> = receiver.received().split_off(tried + 1);
    assert_eq!(arrived.len(), 13, "each once");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn failures_for_too_long_pause_a_webhook_and_a_probe_resumes_it() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let told = Receiver::accepting().await;
    tenant.webhook(&told.url, json!({"event_types": ["webhook.paused", "webhook.resumed"]})).await;
    let mut settings = eager();
    settings["auto_pause"] = json!({"failures": 3, "after_seconds": 0});
    let webhook = tenant.webhook(&receiver.url, settings).await;
    tenant.put("i1", &[]).await;
    let event = told.wait_for(1).await.remove(0).json();
    let data = &event["data"]["value"]["properties"];
    assert_eq!((&data["webhook_id"], &data["by_failures"]), (&webhook["id"], &json!(true)));
    let (_, paused) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&paused["state"], &paused["is_active"]), (&json!(3), &json!(false)));
    assert!(paused["paused_at"].is_string() && paused["consecutive_failures"].as_u64().unwrap() >= 3, "{paused}");
    wait_for_states(&tenant, &webhook, 1, "parked").await;

    up.store(true, Ordering::Relaxed);
    time_passes(&stack, &webhook).await;
    assert_eq!(told.wait_for(2).await.remove(1).json()["data"]["value"]["properties"]["by"], "dynahook");
    wait_for_states(&tenant, &webhook, 1, "delivered").await;
    let (_, resumed) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&resumed["state"], &resumed["paused_at"]), (&json!(1), &Value::Null));
}

/// Otherwise they would be sent to the queue and parked again, minute after minute.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn nothing_is_released_while_a_webhook_is_paused_by_hand() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    for item in 0..12 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    up.store(true, Ordering::Relaxed);
    // A successful test closes the breaker, although the webhook is paused.
    tenant.call(Method::POST, &path(&webhook, "/test"), None).await;
    eventually("a breaker that is closed", async || (breaker(&stack, &webhook).await? != "open").then_some(())).await;
    let tried = receiver.received().len();
    // The scheduled sweep may run at the same time, and then one of the two comes too late.
    eventually("a breaker that the sweep looks at no more", async || {
        time_passes(&stack, &webhook).await;
        (!breaker_row(&stack, &webhook).await?.contains_key("lane")).then_some(())
    })
    .await;
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    assert_eq!(receiver.received().len(), tried);

    tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    time_passes(&stack, &webhook).await;
    // With the test.
    wait_for_states(&tenant, &webhook, 13, "delivered").await;
}

/// Or its first failure would pause it again.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_webhook_that_is_resumed_starts_anew() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, _) = down().await;
    let mut settings = eager();
    settings["auto_pause"] = json!({"failures": 3, "after_seconds": 0});
    let webhook = tenant.webhook(&receiver.url, settings).await;
    tenant.put("i1", &[]).await;
    eventually("a pause", async || {
        let (_, webhook) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
        (webhook["state"] == 3).then_some(())
    })
    .await;
    let (_, resumed) = tenant.call(Method::POST, &path(&webhook, "/resume"), None).await;
    assert_eq!((&resumed["state"], &resumed["consecutive_failures"]), (&json!(1), &json!(0)));
}

/// A caller who knows that the receiver is up again need not wait for the next probe.
#[rstest]
#[case::resume("/resume")]
#[case::test("/test")]
#[case::redeliver("/deliveries/{}/redeliver")]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_open_breaker_closes_on_request(#[case] action: &str) {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, up) = down().await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    for item in 0..12 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 12, "parked").await;
    up.store(true, Ordering::Relaxed);
    let parked = tenant.deliveries(&webhook).await.remove(0);
    let action = action.replace("{}", parked["id"].as_str().unwrap());
    let (status, answer) = tenant.call(Method::POST, &path(&webhook, &action), None).await;
    assert!(status.is_success(), "{answer}");
    eventually("a breaker that is closed", async || (breaker(&stack, &webhook).await? != "open").then_some(())).await;
    let (_, shown) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!(shown["consecutive_failures"], 0, "the next failure must not open it again");
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    eventually("deliveries that arrive", async || {
        let states = states(&tenant, &webhook).await;
        (states.len() >= 12 && states.iter().all(|state| state == "delivered")).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_waits_for_a_paused_webhook_goes_when_it_is_resumed() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    tenant.put("i1", &[]).await;
    tenant.put("i2", &[]).await;
    wait_for_states(&tenant, &webhook, 2, "parked").await;
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    assert_eq!((receiver.received().len(), states(&tenant, &webhook).await.len()), (0, 2), "no delivery wakes");
    assert_eq!(tenant.call(Method::POST, &path(&webhook, "/resume"), None).await.0, StatusCode::OK);
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    wait_for_states(&tenant, &webhook, 2, "delivered").await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn what_waits_for_a_webhook_that_is_deleted_is_cancelled() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.call(Method::POST, &path(&webhook, "/pause"), None).await;
    tenant.put("i1", &[]).await;
    wait_for_states(&tenant, &webhook, 1, "parked").await;
    assert_eq!(tenant.call(Method::DELETE, &path(&webhook, ""), None).await.0, StatusCode::NO_CONTENT);
    Function::start(&stack, "SweepFunction", &[]).await.invoke(json!({})).await;
    let ledger = stack.aws.ledger(stack.output("DeliveriesTable").to_owned());
    let id = webhook["id"].as_str().unwrap().parse().unwrap();
    eventually("a delivery that is cancelled", async || {
        let row = ledger.deliveries(&[id], Range::all(now()), 1, |_| true).await.unwrap().deliveries.remove(0);
        (row.progress.state == domain::delivery::State::Cancelled).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_receiver_that_is_gone_disables_its_webhook() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let (receiver, told) = (Receiver::start(|_| Answer::Status(410)).await, Receiver::accepting().await);
    tenant.webhook(&told.url, json!({"event_types": ["webhook.disabled"]})).await;
    let webhook = tenant.webhook(&receiver.url, eager()).await;
    tenant.put("i1", &[]).await;
    let delivery = tenant.delivery(&webhook, "exhausted").await;
    assert_eq!(
        (&delivery["attempts"][0]["verdict"], &delivery["attempts"][0]["status"]),
        (&json!("gone"), &json!(410))
    );
    let event = told.wait_for(1).await.remove(0).json();
    let data = &event["data"]["value"]["properties"];
    assert_eq!((&data["webhook_id"], &data["by_failures"]), (&webhook["id"], &json!(true)));
    let (_, disabled) = tenant.call(Method::GET, &path(&webhook, ""), None).await;
    assert_eq!((&disabled["enabled"], &disabled["updated_by"]), (&json!(false), &json!("dynahook")));
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn no_more_arrive_in_a_second_than_a_webhook_takes() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({"rate_limit": 2})).await;
    for item in 0..9 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 9, "delivered").await;
    let times: Vec<_> = receiver.received().iter().map(|request| request.at).collect();
    assert_eq!(times.len(), 9, "each once");
    let first_to_last = times[8].duration_since(times[0]);
    assert!(first_to_last >= Duration::from_millis(2_900), "nine in {first_to_last:?}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn no_more_are_under_way_than_a_webhook_takes() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let most = Arc::new(AtomicUsize::new(0));
    let receiver = Receiver::start(|_| Answer::After(Duration::from_millis(300), 204)).await;
    let under_way = receiver.under_way();
    let watch = Arc::clone(&most);
    tokio::spawn(async move {
        loop {
            watch.fetch_max(under_way.load(Ordering::Relaxed), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let webhook = tenant.webhook(&receiver.url, json!({"max_concurrency": 2})).await;
    for item in 0..7 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    wait_for_states(&tenant, &webhook, 7, "delivered").await;
    assert_eq!(most.load(Ordering::Relaxed), 2);
}

/// No delivery polls for a free place: six requests of half a second take three, and not ten.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivery_that_has_ended_wakes_the_next_one() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|_| Answer::After(Duration::from_millis(500), 204)).await;
    let webhook = tenant.webhook(&receiver.url, json!({"max_concurrency": 1})).await;
    for item in 0..6 {
        tenant.put(&format!("i{item}"), &[]).await;
    }
    let waiting = eventually("deliveries that wait for a place", async || {
        let deliveries = tenant.deliveries(&webhook).await;
        deliveries.into_iter().find(|delivery| delivery["state"] == "pending")
    })
    .await;
    assert_eq!((&waiting["next_at"], &waiting["attempts"]), (&Value::Null, &json!([])));
    wait_for_states(&tenant, &webhook, 6, "delivered").await;
    let times: Vec<_> = receiver.received().iter().map(|request| request.at).collect();
    assert_eq!(times.len(), 6, "each once");
    let first_to_last = times[5].duration_since(times[0]);
    assert!(first_to_last >= Duration::from_millis(2_400), "one at a time: {first_to_last:?}");
    // Sweeps alone would take minutes: each wakes one.
    assert!(first_to_last < Duration::from_secs(45), "{first_to_last:?}");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_receiver_that_is_slow_has_a_queue_of_its_own() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver =
        Receiver::start(|number| Answer::After(Duration::from_millis(if number == 0 { 5_200 } else { 0 }), 204)).await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    tenant.put("i1", &[]).await;
    wait_for_states(&tenant, &webhook, 1, "delivered").await;
    assert_eq!(breaker(&stack, &webhook).await.unwrap(), "closed", "and noted as slow");
    // By a process with another queue: it shows what the process hands over.
    let nowhere = stack.sqs.create_queue().queue_name(tests::unique("slow")).send().await.unwrap().queue_url.unwrap();
    let mut deliver = Function::start(&stack, "DeliverFunction", &[("SLOW_QUEUE_URL", &nowhere)]).await;
    let message = crate::crash::first_message(&tenant.name, &webhook);
    let event = json!({"Records": [{"messageId": "m1", "body": message.to_json(), "attributes": {}, "messageAttributes": {},
        "eventSource": "aws:sqs", "awsRegion": "us-east-1", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q"}]});
    assert_eq!(deliver.invoke(event).await, json!({"batchItemFailures": []}));
    let detoured = stack.sqs.receive_message().queue_url(&nowhere).send().await.unwrap().messages.unwrap().remove(0);
    let detoured = Message::from_json(detoured.body().unwrap()).unwrap();
    assert_eq!((detoured.delivery, detoured.slow, detoured.body), (message.delivery, true, message.body));
    assert_eq!(receiver.received().len(), 1);
}

/// Two processes wait for the same receiver: the one that marks it waits for the answer, and the other one leaves.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn one_process_waits_for_a_receiver_that_does_not_answer() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let late = |number| Answer::After(Duration::from_millis(if number < 2 { 4500 } else { 0 }), 204);
    let receiver = Receiver::start(late).await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    // A patience that is long enough for both requests to be made before the mark.
    let (text, number) = (|text: &str| AttributeValue::S(text.to_owned()), |n: i64| AttributeValue::N(n.to_string()));
    let [pk, sk] = key(&webhook);
    let put = stack.dynamodb.put_item().table_name(stack.output("DeliveriesTable")).item(pk.0, pk.1).item(sk.0, sk.1);
    let put = put.item("kind", text("breaker")).item("webhook", text(webhook["id"].as_str().unwrap()));
    let put = put.item("breaker_state", text("closed")).item("since", number(0)).item("patience_ms", number(1500));
    put.item("patience_until", number(now().as_millisecond() + 600_000)).send().await.unwrap();
    let nowhere = stack.sqs.create_queue().queue_name(tests::unique("slow")).send().await.unwrap().queue_url.unwrap();
    let deliver = async |name: &str| {
        let mut deliver = Function::start(&stack, "DeliverFunction", &[("SLOW_QUEUE_URL", &nowhere)]).await;
        let Message { event_type, webhook, tenant, body, .. } = crate::crash::first_message(&tenant.name, &webhook);
        let event = EventId::derive(now(), &[name]);
        let message = Message::first(event, event_type, webhook, tenant, body.unwrap());
        let event = json!({"Records": [{"messageId": "m1", "body": message.to_json(), "attributes": {}, "messageAttributes": {},
            "eventSource": "aws:sqs", "awsRegion": "us-east-1", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q"}]});
        assert_eq!(deliver.invoke(event).await, json!({"batchItemFailures": []}));
        message
    };
    tokio::join!(deliver("first"), deliver("second"));
    assert_eq!(receiver.received().len(), 2, "both made their requests");
    let states = async || tenant.deliveries(&webhook).await.iter().map(|row| row["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states().await, [json!("delivered")], "one waited for the answer");
    let left = stack.sqs.receive_message().queue_url(&nowhere).send().await.unwrap().messages.unwrap().remove(0);
    let left = Message::from_json(left.body().unwrap()).unwrap();
    assert_eq!((left.slow, left.attempt), (true, 1), "and the other one moved its delivery");
    // The answer has removed the mark.
    let next = deliver("third").await;
    assert_eq!(states().await, [json!("delivered"), json!("delivered")]);
    assert!(next.delivery != left.delivery && receiver.received().len() == 3);
}
