//! Processes that die at the worst moment, and calls that are cut there: `SIGKILL`, the real binaries, real queues.
//!
//! One test a point; the numbers are those of the table in docs/use/runbook.md. Those of fan-out, up to its last send, are in the
//! simulation's `faults`.

mod copies;
mod delivery;
mod publish;
mod sweeping;

use aws_sdk_sqs::types::QueueAttributeName;
use domain::delivery::message::{Body, Message};
use domain::id::{EventId, WebhookId};
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::{Answer, Function, Proxy, Receiver, Stack, Tenant, eventually, unique};

/// A queue of a test's own, from which a message returns after two seconds.
pub(crate) struct Queue {
    stack: Stack,
    url: String,
}

impl Queue {
    pub(crate) async fn create(stack: &Stack) -> Self {
        let create = stack.sqs.create_queue().queue_name(unique("crash"));
        let answer = create.attributes(QueueAttributeName::VisibilityTimeout, "2").send().await.unwrap();
        Self { stack: stack.clone(), url: answer.queue_url.unwrap() }
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
        (event(&message.body.unwrap()), message.receipt_handle.unwrap())
    }

    /// Waits for the message and reads it.
    async fn message(&self) -> Message {
        let (event, _) = self.receive().await;
        Message::from_json(event["Records"][0]["body"].as_str().unwrap()).unwrap()
    }

    /// Returns a message, if there is one now.
    async fn look(&self) -> Option<Message> {
        let answer = self.stack.sqs.receive_message().queue_url(&self.url).send().await.unwrap();
        let message = answer.messages.unwrap_or_default().into_iter().next()?;
        Some(Message::from_json(message.body().unwrap()).unwrap())
    }

    /// What Lambda does with a message that is not reported as failed. A receipt that is too old deletes nothing: AWS says nothing
    /// of it, and the emulator does.
    async fn delete(&self, receipt: &str) {
        let _ = self.stack.sqs.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await;
    }
}

/// A message as Lambda hands it over.
pub(crate) fn event(body: &str) -> Value {
    batch(&[body.to_owned()])
}

fn batch(bodies: &[String]) -> Value {
    let record = |(index, body): (usize, &String)| {
        json!({
            "messageId": format!("m{index}"), "receiptHandle": "r", "body": body, "attributes": {}, "messageAttributes": {},
            "eventSource": "aws:sqs", "awsRegion": "us-east-1", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:crash",
        })
    };
    json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()})
}

pub(crate) fn first_message(tenant: &str, webhook: &Value) -> Message {
    let webhook: WebhookId = webhook["id"].as_str().unwrap().parse().unwrap();
    let event = EventId::derive(Timestamp::UNIX_EPOCH, &[tenant]);
    let body = Body::Inline(r#"{"operationType":"created"}"#.to_owned());
    Message::first(event, "item.created".parse().unwrap(), webhook, tenant.parse().unwrap(), body)
}

/// All is well.
const DONE: fn() -> Value = || json!({"batchItemFailures": []});

/// A delivery to a receiver, by processes whose connection to AWS can be cut and whose retries no other process reads.
struct Scene {
    stack: Stack,
    tenant: Tenant,
    receiver: Receiver,
    webhook: Value,
    message: Message,
    proxy: Proxy,
    retries: Queue,
    exhausted: Queue,
}

impl Scene {
    /// A webhook whose receiver answers as the function says.
    async fn start(answer: impl Fn(usize) -> Answer + Clone + Send + Sync + 'static) -> Self {
        let stack = Stack::connect().await;
        let tenant = stack.tenant();
        let receiver = Receiver::start(answer).await;
        let policy = json!({"retry_policy": {"maxAttempts": 2, "baseMs": 100, "capMs": 1000, "timeoutMs": 30_000}});
        let webhook = tenant.webhook(&receiver.url, policy).await;
        let message = first_message(&tenant.name, &webhook);
        let (proxy, retries) = (Proxy::start().await, Queue::create(&stack).await);
        let exhausted = Queue::create(&stack).await;
        Self { stack, tenant, receiver, webhook, message, proxy, retries, exhausted }
    }

    async fn function(&self, name: &str) -> Function {
        let environment = [
            ("AWS_ENDPOINT_URL", self.proxy.url.as_str()),
            ("RETRIES_QUEUE_URL", &self.retries.url),
            ("EXHAUSTED_QUEUE_URL", &self.exhausted.url),
        ];
        Function::start(&self.stack, name, &environment).await
    }

    async fn deliver(&self) -> Function {
        self.function("DeliverFunction").await
    }

    /// The first message of the delivery, as Lambda hands it over.
    fn first(&self) -> Value {
        event(&self.message.to_json())
    }

    /// The message that asks for its second attempt.
    fn second(&self) -> Value {
        event(&Message { attempt: 2, body: None, ..self.message.clone() }.to_json())
    }

    async fn deliveries(&self) -> Vec<Value> {
        self.tenant.deliveries(&self.webhook).await
    }

    async fn state(&self) -> String {
        self.deliveries().await[0]["state"].as_str().unwrap().to_owned()
    }

    /// The receiver got the delivery so many times, each time the same.
    fn assert_received(&self, count: usize) {
        let received = self.receiver.received();
        assert_eq!(received.len(), count);
        let same = |one: &tests::Received, other: &tests::Received| {
            (one.header("webhook-id"), &one.body) == (other.header("webhook-id"), &other.body)
        };
        assert!(received.iter().all(|one| same(one, &received[0])), "one id and one body");
    }
}
