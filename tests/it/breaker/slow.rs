//! Receivers that are slow: the queue of their own, and how many processes wait for one.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::delivery::message::Message;
use domain::id::EventId;
use serde_json::json;
use tests::{Answer, Function, Receiver, Stack, now};

use super::{breaker, key, wait_for_states};

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
    let start = async || {
        let mut deliver = Function::start(&stack, "DeliverFunction", &[("SLOW_QUEUE_URL", &nowhere)]).await;
        assert_eq!(deliver.invoke(json!({"Records": []})).await, json!({"batchItemFailures": []}));
        deliver
    };
    let deliver = async |mut deliver: Function, name: &str| {
        let Message { event_type, webhook, tenant, body, .. } = crate::crash::first_message(&tenant.name, &webhook);
        let event = EventId::derive(now(), &[name]);
        let message = Message::first(event, event_type, webhook, tenant, body.unwrap());
        let event = json!({"Records": [{"messageId": "m1", "body": message.to_json(), "attributes": {}, "messageAttributes": {},
            "eventSource": "aws:sqs", "awsRegion": "us-east-1", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q"}]});
        assert_eq!(deliver.invoke(event).await, json!({"batchItemFailures": []}));
        message
    };
    // Both are ready before the first request, or its answer might come before the second one is made. Marks that end
    // in the same millisecond count as one, so the second one is a moment later.
    let (first, second) = tokio::join!(start(), start());
    let second = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        deliver(second, "second").await;
    };
    tokio::join!(deliver(first, "first"), second);
    assert_eq!(receiver.received().len(), 2, "both made their requests");
    let states = async || tenant.deliveries(&webhook).await.iter().map(|row| row["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states().await, [json!("delivered")], "one waited for the answer");
    let left = stack.sqs.receive_message().queue_url(&nowhere).send().await.unwrap().messages.unwrap().remove(0);
    let left = Message::from_json(left.body().unwrap()).unwrap();
    assert_eq!((left.slow, left.attempt), (true, 1), "and the other one moved its delivery");
    // The answer has removed the mark.
    let next = deliver(start().await, "third").await;
    assert_eq!(states().await, [json!("delivered"), json!("delivered")]);
    assert!(next.delivery != left.delivery && receiver.received().len() == 3);
}
