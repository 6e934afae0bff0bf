//! Loops of messages: Lambda counts them by the trace header, which the SDK sends along.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::delivery::message::{Body, Message};
use domain::id::EventId;
use domain::time::Clock;
use jiff::Timestamp;
use serde_json::json;
use tests::cloud::recursion::{DELIVER, invocations, invoked};
use tests::cloud::{Faults, delivery_environment, sqs_event};
use tests::{Cloud, Function, Hooks, Receiver, binary, now};

/// The time on the wall.
struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// Twenty-four deliveries, of which the receiver takes one at a time: each wakes the next, so that all but the first batch are one
/// chain of requests. Lambda would refuse the seventeenth, and so does the cloud in memory, if the template did not allow it.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_chain_of_messages_goes_on_for_as_long_as_it_must() {
    let cloud = Cloud::new(Arc::new(Wall));
    let url = cloud.listen(Arc::new(|_, _| Faults::default())).await;
    let receiver = Receiver::accepting().await;
    let webhook = Hooks::new(&cloud).await.create("acme", 1, json!({"url": receiver.url, "max_concurrency": 1})).await;
    let mut deliver = Function::spawn(&binary(DELIVER), delivery_environment(&url)).await;
    for number in 0..24 {
        let event = EventId::from_parts(now(), number);
        let body = Body::Inline(json!({"number": number.to_string()}).to_string());
        let message = Message::first(event, "item.created".parse().unwrap(), webhook.id, webhook.tenant.clone(), body);
        cloud.queues.send("deliveries", message.to_json(), Duration::ZERO, None, None);
    }
    let (end, mut longest) = (Instant::now() + Duration::from_secs(30), 0);
    while receiver.received().len() < 24 {
        assert!(Instant::now() < end, "{} of 24 arrived in chains of {longest}", receiver.received().len());
        for queue in ["deliveries", "retries"] {
            let letters = cloud.queues.receive(queue, 10, |letter| letter.id);
            if letters.is_empty() {
                continue;
            }
            let trace = invoked(DELIVER, &letters);
            longest = longest.max(invocations(DELIVER, Some(&trace)));
            deliver.trace(trace);
            assert_eq!(deliver.invoke(sqs_event(&letters)).await, json!({"batchItemFailures": []}));
            let ids: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
            cloud.queues.delete(queue, &ids);
        }
    }
    assert_eq!(receiver.received().len(), 24, "each once");
    assert!(longest > 16, "the SDK sends the lineage along: {longest}");
}
