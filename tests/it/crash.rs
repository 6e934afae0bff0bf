//! Processes that die at the worst moment. `SIGKILL`, the real binary, a real queue.

use std::time::Duration;

use aws::ledger::Due;
use aws_sdk_sqs::types::QueueAttributeName;
use domain::id::{EventId, WebhookId};
use domain::message::{Body, Message};
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::{Answer, Function, Receiver, Stack, eventually, now, unique};

/// A queue of this test's own, from which a message returns after two seconds.
struct Queue<'a> {
    stack: &'a Stack,
    url: String,
}

impl<'a> Queue<'a> {
    async fn create(stack: &'a Stack) -> Self {
        let create = stack.sqs.create_queue().queue_name(unique("crash"));
        let answer = create.attributes(QueueAttributeName::VisibilityTimeout, "2").send().await.unwrap();
        Self { stack, url: answer.queue_url.unwrap() }
    }

    async fn send(&self, message: &Message) {
        self.stack.sqs.send_message().queue_url(&self.url).message_body(message.to_json()).send().await.unwrap();
    }

    /// Waits for the message and returns it as Lambda would hand it over, and its receipt.
    async fn receive(&self) -> (Value, String) {
        let message = eventually("the message", async || {
            let answer = self.stack.sqs.receive_message().queue_url(&self.url).send().await.unwrap();
            answer.messages.unwrap_or_default().into_iter().next()
        })
        .await;
        let event = json!({"Records": [{
            "messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
            "attributes": {}, "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:crash",
        }]});
        (event, message.receipt_handle.unwrap())
    }

    /// What Lambda does with a message that is not reported as failed.
    async fn delete(&self, receipt: &str) {
        self.stack.sqs.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await.unwrap();
    }
}

pub(crate) fn first_message(tenant: &str, webhook: &Value) -> Message {
    let webhook: WebhookId = webhook["id"].as_str().unwrap().parse().unwrap();
    let event = EventId::derive(Timestamp::UNIX_EPOCH, &[tenant]);
    let body = Body::Inline(r#"{"operationType":"created"}"#.to_owned());
    Message::first(event, "item.created".parse().unwrap(), webhook, tenant.parse().unwrap(), body)
}

/// Between receiving a message and writing its outcome: the receiver has the request, nobody else knows.
#[tokio::test]
async fn a_crash_during_the_first_request_loses_nothing() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| if number == 0 { Answer::Hang } else { Answer::Status(204) }).await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    let queue = Queue::create(&stack).await;
    queue.send(&first_message(&tenant.name, &webhook)).await;

    let deliver = Function::start(&stack, "DeliverFunction", &[]).await;
    deliver.send(queue.receive().await.0).await;
    receiver.wait_for(1).await;
    deliver.kill().await;
    assert_eq!(tenant.deliveries(&webhook).await, [] as [Value; 0], "nothing was written");

    let mut deliver = Function::start(&stack, "DeliverFunction", &[]).await;
    let (event, receipt) = queue.receive().await;
    assert_eq!(deliver.invoke(event.clone()).await, json!({"batchItemFailures": []}));
    tenant.delivery(&webhook, "delivered").await;
    let [first, second] = &receiver.received()[..] else { panic!("two requests") };
    assert_eq!((first.header("webhook-id"), &first.body), (second.header("webhook-id"), &second.body));

    // Had the process died after the write instead: the message comes once more, and is told by its row.
    deliver.invoke(event).await;
    assert_eq!(receiver.received().len(), 2);
    queue.delete(&receipt).await;
}

/// During a later attempt, under a lease: nobody else makes it meanwhile, and the row says when it may be made again.
#[tokio::test]
async fn a_crash_during_a_later_request_leaves_a_row_that_is_due() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::start(|number| if number == 0 { Answer::Status(500) } else { Answer::Hang }).await;
    let policy = json!({"retry_policy": {"maxAttempts": 5, "backoff": "exponential", "timeoutMs": 30_000}});
    let webhook = tenant.webhook(&receiver.url, policy).await;
    let queue = Queue::create(&stack).await;
    let first = first_message(&tenant.name, &webhook);
    queue.send(&first).await;
    let (event, receipt) = queue.receive().await;
    // Retries go to a queue that nobody reads, so that this test makes the second attempt itself.
    let nowhere = Queue::create(&stack).await;
    let environment = [("RETRIES_QUEUE_URL", nowhere.url.as_str())];
    let mut deliver = Function::start(&stack, "DeliverFunction", &environment).await;
    deliver.invoke(event).await;
    queue.delete(&receipt).await;
    tenant.delivery(&webhook, "retrying").await;

    queue.send(&Message { attempt: 2, body: None, ..first }).await;
    deliver.send(queue.receive().await.0).await;
    receiver.wait_for(2).await;
    deliver.kill().await;

    let mut other = Function::start(&stack, "DeliverFunction", &environment).await;
    let (event, _) = queue.receive().await;
    tokio::time::timeout(Duration::from_secs(5), other.invoke(event))
        .await
        .expect("no request is made under the lease");
    assert_eq!(receiver.received().len(), 2);
    let ledger = stack.aws.ledger(stack.output("DeliveriesTable").to_owned());
    let lease_ends = now() + Duration::from_mins(2);
    let due = ledger.due(lease_ends, 1000).await.unwrap();
    assert!(
        due.iter().any(|due| matches!(due, Due::Delivery(due) if due.message.tenant.as_str() == tenant.name)),
        "the sweep finds it once the lease ends"
    );
}
