//! Renderings that have no room in their shard, on the deployed stack: through the queue, the function and its role.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tests::{Receiver, Stack};

/// More than one slice has, and many more than an event may have in its shard.
const WEBHOOKS: usize = 45;

/// Nearly all the steps that a template may take.
fn template(number: usize) -> String {
    let text = "x".repeat(125);
    format!("{{% for a in '{text}' %}}{{% for b in '{text}' %}}{{% endfor %}}{{% endfor %}}[{number}]")
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_event_with_many_templates_arrives_everywhere_once() {
    let stack = Stack::connect().await;
    let (hostile, healthy) = (stack.tenant(), stack.tenant());
    let (flooded, receiver) = (Receiver::accepting().await, Receiver::accepting().await);
    for number in 0..WEBHOOKS {
        hostile.webhook(&flooded.url, json!({"payload_format": "template", "template": template(number)})).await;
    }
    healthy.webhook(&receiver.url, json!({})).await;
    hostile.put("i1", &[]).await;
    healthy.put("i1", &[]).await;
    receiver.wait_for(1).await;
    let bodies: BTreeSet<String> =
        flooded.wait_for(WEBHOOKS).await.iter().map(|received| received.json().to_string()).collect();
    assert_eq!(bodies, (0..WEBHOOKS).map(|number| format!("[{number}]")).collect());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((flooded.received().len(), receiver.received().len()), (WEBHOOKS, 1), "each once");
}

/// Settings that are large together go as a list: the render function looks the webhooks up with its own role.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_event_with_large_templates_arrives_everywhere_once() {
    const LARGE: usize = 12;
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    for number in 0..LARGE {
        let template = format!("{{# {} #}}[{number}]", "x".repeat(15_000));
        tenant.webhook(&receiver.url, json!({"payload_format": "template", "template": template})).await;
    }
    tenant.put("i1", &[]).await;
    let bodies: BTreeSet<String> =
        receiver.wait_for(LARGE).await.iter().map(|received| received.json().to_string()).collect();
    assert_eq!(bodies, (0..LARGE).map(|number| format!("[{number}]")).collect());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.received().len(), LARGE, "each once");
}
