//! Copies of a message in one batch: queues deliver at least once, and senders repeat calls whose answers were lost.

use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, KeysAndAttributes, PutRequest, TransactWriteItem, WriteRequest};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use domain::delivery::message::Message;
use domain::id::EventId;
use serde_json::{Value, json};
use tests::{Answer, Cut, unique};

use super::{DONE, Queue, Scene, batch};

/// Where the copy of the first message and the second message may stand.
const ORDERS: [[usize; 3]; 3] = [[0, 0, 1], [0, 1, 0], [1, 0, 0]];

/// Two deliveries of a scene: the texts of their messages.
fn two(scene: &Scene) -> [Message; 2] {
    let event = EventId::derive(jiff::Timestamp::UNIX_EPOCH, &[&scene.tenant.name, "another"]);
    let Message { event_type, webhook, tenant, body, .. } = scene.message.clone();
    [scene.message.clone(), Message::first(event, event_type, webhook, tenant, body.unwrap())]
}

fn hand_over(messages: &[Message; 2], order: [usize; 3]) -> Value {
    batch(&order.map(|place| messages[place].to_json()))
}

fn ids(response: &Value) -> Vec<&str> {
    let failures = response["batchItemFailures"].as_array().unwrap().iter();
    let mut ids: Vec<_> = failures.map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// A first message with its copy and another one: one request and one row for each of the two, and nothing comes back.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_08_copies_in_one_batch_are_one_delivery() {
    for order in ORDERS {
        let scene = Scene::start(|_| Answer::Status(204)).await;
        let messages = two(&scene);
        assert_eq!(scene.deliver().await.invoke(hand_over(&messages, order)).await, DONE(), "{order:?}");
        let mut received: Vec<_> =
            scene.receiver.received().iter().map(|request| request.header("webhook-id").to_owned()).collect();
        let mut sent = messages.each_ref().map(|message| message.event.to_string());
        received.sort_unstable();
        sent.sort_unstable();
        assert_eq!(received, sent, "{order:?}");
        let states: Vec<_> = scene.deliveries().await.iter().map(|delivery| delivery["state"].clone()).collect();
        assert_eq!(states, ["delivered", "delivered"], "{order:?}");
    }
}

/// A retry with its copy and a late first message: one request.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_08_copies_of_a_retry_in_one_batch_are_one_attempt() {
    let scene = Scene::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let mut deliver = scene.deliver().await;
    assert_eq!(deliver.invoke(scene.first()).await, DONE());
    let retry = Message { attempt: 2, body: None, ..scene.message.clone() }.to_json();
    let late = scene.message.to_json();
    assert_eq!(deliver.invoke(batch(&[late.clone(), retry.clone(), retry, late])).await, DONE());
    scene.assert_received(2);
    assert_eq!(scene.state().await, "delivered");
}

/// A fault of ours hands all copies back: none is acknowledged for an attempt that was not made. All others stay done.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_08_a_copy_shares_the_fate_of_its_attempt() {
    for order in ORDERS {
        let scene = Scene::start(|_| Answer::Status(500)).await;
        let [first, _] = two(&scene);
        // Another webhook that takes it: its row is written by another call, which is not cut.
        let accepting = tests::Receiver::accepting().await;
        let other = scene.tenant.webhook(&accepting.url, json!({})).await;
        let messages = [first, super::first_message(&scene.tenant.name, &other)];
        let mut deliver = scene.deliver().await;
        scene.proxy.cut("PutItem", Cut::Throttle);
        let response = deliver.invoke(hand_over(&messages, order)).await;
        let copies: Vec<_> = (0..3).filter(|place| order[*place] == 0).map(|place| format!("m{place}")).collect();
        assert_eq!(ids(&response), copies, "{order:?}");
        scene.assert_received(1);
        assert_eq!(accepting.received().len(), 1);
        scene.proxy.mend();
        assert_eq!(deliver.invoke(hand_over(&messages, order)).await, DONE(), "{order:?}");
        scene.assert_received(2);
        assert_eq!((scene.state().await.as_str(), accepting.received().len()), ("retrying", 1));
    }
}

/// The emulator refuses what AWS refuses, or these tests could not tell.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_call_with_two_parts_about_the_same_is_refused_whole() {
    let stack = tests::Stack::connect().await;
    let table = stack.output("DeliveriesTable");
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let key = std::collections::HashMap::from([("pk".to_owned(), text(&unique("copy"))), ("sk".to_owned(), text("a"))]);
    let duplicates = "Provided list of item keys contains duplicates";

    let put = WriteRequest::builder().put_request(PutRequest::builder().set_item(Some(key.clone())).build().unwrap());
    let write = stack.dynamodb.batch_write_item().request_items(table, vec![put.clone().build(), put.build()]);
    assert_eq!(write.send().await.unwrap_err().message(), Some(duplicates));

    let keys = KeysAndAttributes::builder().keys(key.clone()).keys(key.clone()).build().unwrap();
    let read = stack.dynamodb.batch_get_item().request_items(table, keys);
    assert_eq!(read.send().await.unwrap_err().message(), Some(duplicates));

    let delete = Delete::builder().table_name(table).set_key(Some(key)).build().unwrap();
    let delete = TransactWriteItem::builder().delete(delete).build();
    let transaction = stack.dynamodb.transact_write_items().transact_items(delete.clone()).transact_items(delete);
    let repeated = "Transaction request cannot include multiple operations on one item";
    assert_eq!(transaction.send().await.unwrap_err().message(), Some(repeated));

    let queue = Queue::create(&stack).await;
    let entry = SendMessageBatchRequestEntry::builder().id("a").message_body("text").build().unwrap();
    let send = stack.sqs.send_message_batch().queue_url(&queue.url).entries(entry.clone()).entries(entry);
    let code = send.send().await.unwrap_err().code().map(str::to_owned);
    assert!(code.is_some_and(|code| code.contains("BatchEntryIdsNotDistinct")));
}
