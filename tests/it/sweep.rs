//! The sweep wakes what is due, even if its message was lost.

use std::time::Duration;

use aws::ledger::Due;
use domain::delivery::message::Body;
use domain::delivery::{Delivery, Progress, State};
use domain::id::{DeliveryId, EventId};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Function, Receiver, Stack, Tenant, eventually, now};

/// Writes a row of a delivery to the webhook, for which there is no message.
pub(crate) async fn strand(stack: &Stack, tenant: &Tenant, webhook: &Value, state: State) -> DeliveryId {
    let now = now();
    let event = EventId::derive(now, &[&tenant.name]);
    let delivery = Delivery {
        id: DeliveryId::derive(now, &[&tenant.name]),
        event,
        event_type: "item.created".parse().unwrap(),
        webhook: webhook["id"].as_str().unwrap().parse().unwrap(),
        tenant: tenant.name.parse().unwrap(),
        progress: Progress { state, cycle: 0, attempt: 2, next_at: Some(now - Duration::from_mins(10)) },
        lease_until: None,
        body: Some(Body::Inline("{}".to_owned())),
        body_digest: None,
        last_response: None,
        app: None,
        sequence: None,
        entity: None,
        entity_path: None,
        hops: domain::event::hops::Hops::NONE,
        traceparent: None,
        deferred_until: None,
        over_budget: false,
        test: false,
        content_type: domain::payload::ContentType::Json,
        attempts: vec![],
    };
    let ledger = stack.aws.ledger(stack.output("DeliveriesTable").to_owned());
    // Written ten minutes ago, so that it is overdue.
    ledger.record_first(&delivery, now - Duration::from_mins(10)).await.unwrap();
    delivery.id
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_retry_whose_message_was_lost_is_made() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let receiver = Receiver::accepting().await;
    let webhook = tenant.webhook(&receiver.url, json!({})).await;
    strand(&stack, &tenant, &webhook, State::Retrying).await;
    // The stack's own sweep may come first.
    let mut sweep = Function::start(&stack, "SweepFunction", &[]).await;
    sweep.invoke(json!({})).await;
    receiver.wait_for(1).await[0].verify(webhook["secret"].as_str().unwrap());
    tenant.delivery(&webhook, "delivered").await;
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_exhausted_delivery_that_without_a_dead_letter_gets_one() {
    let stack = Stack::connect().await;
    let tenant = stack.tenant();
    let webhook = tenant.webhook("http://127.0.0.1:9/", json!({})).await;
    let id = strand(&stack, &tenant, &webhook, State::Exhausted).await.to_string();
    let mut sweep = Function::start(&stack, "SweepFunction", &[]).await;
    sweep.invoke(json!({})).await;
    eventually("the dead letter", async || {
        let (_, letters) = tenant.call(Method::GET, "/dead-letters", None).await;
        (letters["data"][0]["delivery"]["id"] == id).then_some(())
    })
    .await;
    let ledger = stack.aws.ledger(stack.output("DeliveriesTable").to_owned());
    let due = ledger.due(now() + Duration::from_mins(10), 1000, now()).await.unwrap().rows;
    assert!(
        due.iter().all(|due| !matches!(due, Due::Delivery(due) if due.message.delivery.to_string() == id)),
        "it is off the list"
    );
}
