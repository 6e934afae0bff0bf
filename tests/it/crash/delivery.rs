//! What may happen to a process that delivers.

use std::time::Duration;

use aws::ledger::Due;
use domain::delivery::message::Message;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Cut, eventually, now, path};

use super::{DONE, Queue, Scene, batch, event};

/// A webhook that is deleted between the send and the attempt: nothing is sent any more.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_07_a_webhook_is_deleted_in_between() {
    let scene = Scene::start(|_| Answer::Status(204)).await;
    let path = path(&scene.webhook, "");
    assert_eq!(scene.tenant.call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(scene.deliver().await.invoke(scene.first()).await, DONE());
    scene.assert_received(0);
}

/// SQS hands over twice, and out of order: one request an attempt.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_08_messages_come_twice_and_out_of_order() {
    let scene = Scene::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let mut deliver = scene.deliver().await;
    for message in [scene.second(), scene.first(), scene.first(), scene.second(), scene.first(), scene.second()] {
        assert_eq!(deliver.invoke(message).await, DONE());
    }
    scene.assert_received(2);
    assert_eq!(scene.state().await, "delivered");
}

/// Killed while it reads: no attempt is recorded.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_09_received_and_not_claimed() {
    let scene = Scene::start(|_| Answer::Status(204)).await;
    let deliver = scene.deliver().await;
    scene.proxy.cut("BatchGetItem", Cut::Before);
    deliver.send(scene.first()).await;
    scene.proxy.was_cut().await;
    deliver.kill().await;
    assert_eq!(scene.deliveries().await, [] as [Value; 0]);
    assert_eq!(scene.deliver().await.invoke(scene.first()).await, DONE());
    assert_eq!(scene.deliveries().await[0]["attempts"][0]["number"], 1);
    scene.assert_received(1);
}

/// Killed between the lease and the request: no process makes it meanwhile, and the sweep sends it when the lease ends.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_10_claimed_and_not_sent() {
    let scene = Scene::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let mut deliver = scene.deliver().await;
    deliver.invoke(scene.first()).await;
    scene.proxy.cut("UpdateItem", Cut::After);
    deliver.send(scene.second()).await;
    scene.proxy.was_cut().await;
    deliver.kill().await;
    assert_eq!(scene.deliver().await.invoke(scene.second()).await, DONE());
    scene.assert_received(1);
    let ledger = scene.stack.aws.ledger(scene.stack.output("DeliveriesTable").to_owned());
    let due = ledger.due(now() + Duration::from_mins(2), 1000, now()).await.unwrap().rows;
    let is_ours = |due: &Due| matches!(due, Due::Delivery(due) if due.message.delivery == scene.message.delivery);
    assert!(due.iter().any(is_ours), "the sweep finds it once the lease ends");
}

/// Secrets Manager does not answer: the message comes back, and nothing is counted.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_11_the_secret_cannot_be_read() {
    let scene = Scene::start(|_| Answer::Status(204)).await;
    let mut deliver = scene.deliver().await;
    scene.proxy.cut("GetSecretValue", Cut::Throttle);
    let answer = deliver.invoke(scene.first()).await;
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "m0"}]}));
    let (_, webhook) = scene.tenant.call(Method::GET, &path(&scene.webhook, ""), None).await;
    assert_eq!((&webhook["total_calls"], &webhook["consecutive_failures"]), (&json!(0), &json!(0)));
    scene.proxy.mend();
    assert_eq!(deliver.invoke(scene.first()).await, DONE());
    assert_eq!(scene.deliveries().await[0]["attempts"][0]["number"], 1);
}

/// Killed during the request: it is made again, with the same id and bytes.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_12_killed_during_the_request() {
    let scene = Scene::start(|number| if number == 0 { Answer::Hang } else { Answer::Status(204) }).await;
    let queue = Queue::create(&scene.stack).await;
    queue.send(&scene.message).await;
    let deliver = scene.deliver().await;
    deliver.send(queue.receive().await.0).await;
    scene.receiver.wait_for(1).await;
    deliver.kill().await;
    assert_eq!(scene.deliveries().await, [] as [Value; 0], "nothing was written");
    let (event, receipt) = queue.receive().await;
    assert_eq!(scene.deliver().await.invoke(event).await, DONE());
    queue.delete(&receipt).await;
    scene.assert_received(2);
    assert_eq!(scene.state().await, "delivered");
}

/// Killed after the receiver took it: a duplicate that it can recognise, and delivered once.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_13_accepted_and_not_written() {
    let scene = Scene::start(|_| Answer::Status(204)).await;
    let deliver = scene.deliver().await;
    scene.proxy.cut("BatchWriteItem", Cut::Before);
    deliver.send(scene.first()).await;
    scene.proxy.was_cut().await;
    deliver.kill().await;
    assert_eq!(scene.deliver().await.invoke(scene.first()).await, DONE());
    scene.assert_received(2);
    let deliveries = scene.deliveries().await;
    assert_eq!((deliveries.len(), &deliveries[0]["state"]), (1, &json!("delivered")));
}

/// Killed after a failure: the attempt is made again, and counts once.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_14_failed_and_not_written() {
    let scene = Scene::start(|_| Answer::Status(500)).await;
    let deliver = scene.deliver().await;
    scene.proxy.cut("PutItem", Cut::Before);
    deliver.send(scene.first()).await;
    scene.proxy.was_cut().await;
    deliver.kill().await;
    assert_eq!(scene.deliver().await.invoke(scene.first()).await, DONE());
    scene.assert_received(2);
    let delivery = scene.deliveries().await.remove(0);
    assert_eq!((&delivery["state"], delivery["attempts"].as_array().unwrap().len()), (&json!("retrying"), 1));
}

/// Killed after the outcome was written and before the retry was sent: the row is due, and the sweep sends it.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_15_written_and_the_retry_not_sent() {
    let scene = Scene::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let deliver = scene.deliver().await;
    scene.proxy.cut("SendMessageBatch", Cut::Before);
    deliver.send(scene.first()).await;
    scene.proxy.was_cut().await;
    deliver.kill().await;
    assert_eq!(scene.state().await, "retrying");
    super::sweeping::overdue(&scene).await;
    scene.function("SweepFunction").await.invoke(json!({})).await;
    // The stack's own sweep may have been quicker; then the stack's own deliver makes the attempt.
    let mut deliver = scene.deliver().await;
    eventually("the second attempt", async || {
        if let Some(retry) = scene.retries.look().await {
            // The sweep may have sent what is due of another test too: its attempt is made here as well as anywhere.
            let is_done = deliver.invoke(event(&retry.to_json())).await == DONE();
            assert!(retry.delivery != scene.message.delivery || (retry.attempt == 2 && is_done), "{retry:?}");
        }
        (scene.receiver.received().len() == 2).then_some(())
    })
    .await;
    scene.assert_received(2);
}

/// Killed after the retry was sent and before the message was deleted: the row shows that it is an old copy.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_16_the_retry_sent_and_the_message_not_deleted() {
    let scene = Scene::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let deliver = scene.deliver().await;
    scene.proxy.cut("SendMessageBatch", Cut::After);
    deliver.send(scene.first()).await;
    scene.proxy.was_cut().await;
    deliver.kill().await;
    let mut deliver = scene.deliver().await;
    assert_eq!(deliver.invoke(scene.first()).await, DONE());
    scene.assert_received(1);
    deliver.invoke(event(&scene.retries.message().await.to_json())).await;
    scene.assert_received(2);
    assert!(scene.retries.look().await.is_none(), "one chain");
}

/// One of ten hangs when the process is killed: the outcomes of the other nine are written.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_17_one_of_ten_takes_the_process_with_it() {
    let scene = Scene::start(|_| Answer::Status(204)).await;
    let hanging = tests::Receiver::start(|_| Answer::Hang).await;
    let hung = scene.tenant.webhook(&hanging.url, json!({})).await;
    let mut bodies = vec![super::first_message(&scene.tenant.name, &hung).to_json()];
    for number in 0..9 {
        let event =
            domain::id::EventId::derive(jiff::Timestamp::UNIX_EPOCH, &[&scene.tenant.name, &number.to_string()]);
        let Message { event_type, webhook, tenant, body, .. } = scene.message.clone();
        bodies.push(Message::first(event, event_type, webhook, tenant, body.unwrap()).to_json());
    }
    let deliver = scene.deliver().await;
    deliver.send(batch(&bodies)).await;
    hanging.wait_for(1).await;
    eventually("nine outcomes", async || (scene.deliveries().await.len() == 9).then_some(())).await;
    deliver.kill().await;
    let delivered = scene.deliveries().await.iter().filter(|delivery| delivery["state"] == "delivered").count();
    assert_eq!((delivered, scene.tenant.deliveries(&hung).await.len()), (9, 0));
    // All ten come again: nine are recognised by their rows.
    let deliver = scene.deliver().await;
    deliver.send(batch(&bodies)).await;
    hanging.wait_for(2).await;
    assert_eq!(scene.receiver.received().len(), 9);
    deliver.kill().await;
}

/// The outcome cannot be written: the message stays, and the row says what it said.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_18_the_write_is_throttled() {
    let scene = Scene::start(|_| Answer::Status(500)).await;
    let mut deliver = scene.deliver().await;
    scene.proxy.cut("PutItem", Cut::Throttle);
    assert_eq!(deliver.invoke(scene.first()).await, json!({"batchItemFailures": [{"itemIdentifier": "m0"}]}));
    assert_eq!(scene.deliveries().await, [] as [Value; 0]);
    scene.proxy.mend();
    assert_eq!(deliver.invoke(scene.first()).await, DONE());
    assert_eq!(scene.deliveries().await[0]["attempts"].as_array().unwrap().len(), 1);
}

/// Killed after the last attempt was written and before the dead letter: the row is the truth, and the sweep buries it.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_19_exhausted_without_a_dead_letter() {
    let scene = Scene::start(|_| Answer::Status(500)).await;
    let mut deliver = scene.deliver().await;
    deliver.invoke(scene.first()).await;
    scene.proxy.cut("SendMessageBatch", Cut::Before);
    deliver.send(scene.second()).await;
    scene.proxy.was_cut().await;
    deliver.kill().await;
    assert_eq!(scene.state().await, "exhausted");
    super::sweeping::overdue(&scene).await;
    scene.function("SweepFunction").await.invoke(json!({})).await;
    // By this sweep, or by the stack's own if that was quicker.
    eventually("the dead letter", async || {
        let (_, letters) = scene.tenant.call(Method::GET, "/dead-letters", None).await;
        (letters["data"][0]["delivery"]["id"] == scene.message.delivery.to_string()).then_some(())
    })
    .await;
    if let Some(letter) = scene.exhausted.look().await {
        assert_eq!((letter.delivery, letter.cycle, letter.attempt), (scene.message.delivery, 1, 1));
    }
}

/// A receipt that is too old deletes nothing: the message comes again and is recognised by the row.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_21_a_stale_receipt_deletes_nothing() {
    let scene = Scene::start(|_| Answer::Status(204)).await;
    let queue = Queue::create(&scene.stack).await;
    queue.send(&scene.message).await;
    let (first, stale) = queue.receive().await;
    let (again, _) = queue.receive().await;
    let mut deliver = scene.deliver().await;
    assert_eq!(deliver.invoke(first).await, DONE());
    queue.delete(&stale).await;
    assert_eq!(deliver.invoke(again).await, DONE());
    scene.assert_received(1);
}

/// Redelivered by hand while a retry waits: both ask for the same attempt, and one of them makes it.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_22_redelivered_while_a_retry_comes() {
    let scene = Scene::start(|number| Answer::Status(if number == 0 { 500 } else { 204 })).await;
    let mut deliver = scene.deliver().await;
    deliver.invoke(scene.first()).await;
    let redeliver = path(&scene.webhook, &format!("/deliveries/{}/redeliver", scene.message.delivery));
    let (status, answer) = scene.tenant.call(Method::POST, &redeliver, None).await;
    assert!(status.is_success(), "{answer}");
    assert_eq!(deliver.invoke(scene.second()).await, DONE());
    eventually("the delivery", async || (scene.state().await == "delivered").then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.assert_received(2);
}

/// Paused or deleted between two attempts: late messages are acknowledged, and nothing is sent.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_23_paused_or_deleted_between_attempts() {
    for (method, action, state) in [(Method::POST, "/pause", "parked"), (Method::DELETE, "", "cancelled")] {
        let scene = Scene::start(|_| Answer::Status(500)).await;
        let mut deliver = scene.deliver().await;
        deliver.invoke(scene.first()).await;
        assert!(scene.tenant.call(method, &path(&scene.webhook, action), None).await.0.is_success());
        for _ in 0..2 {
            assert_eq!(deliver.invoke(scene.second()).await, DONE());
        }
        scene.assert_received(1);
        let ledger = scene.stack.aws.ledger(scene.stack.output("DeliveriesTable").to_owned());
        let row = ledger.delivery(scene.message.webhook, scene.message.delivery, now()).await.unwrap().unwrap();
        assert_eq!(row.progress.state.as_str(), state);
    }
}

/// Received again and again for a fault of ours: from the third time on its row holds it, its tenant sees it, and it is made once the
/// fault has ended.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn crash_point_24_received_too_often() {
    let scene = Scene::start(|_| Answer::Status(204)).await;
    scene.proxy.cut("GetSecretValue", Cut::Throttle);
    let mut deliver = scene.deliver().await;
    for receives in 1..=3 {
        let mut event = scene.first();
        event["Records"][0]["attributes"]["ApproximateReceiveCount"] = json!(receives.to_string());
        assert_eq!(deliver.invoke(event).await == DONE(), receives == 3, "{receives} receives");
        assert_eq!(scene.deliveries().await.len(), usize::from(receives == 3));
    }
    let delivery = &scene.deliveries().await[0];
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("retrying"), &json!([])));
    assert!(delivery["next_at"].is_string(), "{delivery}");
    let again = event(&Message { body: None, ..scene.message.clone() }.to_json());
    assert_eq!(deliver.invoke(again.clone()).await, DONE(), "its row holds it, however often its message comes");
    assert_eq!(scene.state().await, "retrying");
    scene.proxy.mend();
    assert_eq!(deliver.invoke(again).await, DONE());
    scene.assert_received(1);
    assert_eq!(scene.state().await, "delivered");
}
