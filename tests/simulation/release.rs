//! A deferred delivery is released while its turn in its chain comes.

use std::sync::Arc;
use std::time::Duration;

use aws::ledger::{Advance, Written};
use domain::budget::Deferral;
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::id::EventId;
use domain::webhook::Webhook;
use jiff::SignedDuration;
use rstest::rstest;
use serde_json::json;
use tests::Hooks;
use tests::cloud::{Cloud, Faults};

use crate::sweep::NOW;

const ENTITY: &str = "items/1";

fn message(webhook: &Webhook, number: u128, deferral: Option<Deferral>) -> Message {
    let (event, event_type) = (EventId::from_parts(NOW.0, number), "item.updated".parse().unwrap());
    let first = Message::first(event, event_type, webhook.id, webhook.tenant.clone(), Body::Inline(number.to_string()));
    Message { entity: Some(ENTITY.to_owned()), deferral, ..first }
}

/// Each call of the process that advances the chain takes 10 ms: it reads the chain, the pointer and the row, and writes.
#[rstest]
#[case::before(5)]
#[case::before_the_row_is_read(25)]
#[case::between_read_and_write(35)]
#[case::after(60)]
#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_released_meanwhile_is_due_now(#[case] milliseconds: u64) {
    let (cloud, now) = (Cloud::new(Arc::new(NOW)), NOW.0);
    let line =
        |delay| cloud.line(Arc::new(move |_, _| Faults { delay: Duration::from_millis(delay), ..Faults::default() }));
    let slow = line(10).aws().await.ledger("deliveries".to_owned());
    let ledger = line(0).aws().await.ledger("deliveries".to_owned());
    let webhook = Hooks::new(&cloud).await.create("acme", 1, json!({"url": "https://receiver.example/"})).await;
    let head = Delivery::first(
        message(&webhook, 1, None),
        Progress { state: State::Retrying, cycle: 0, attempt: 2, next_at: Some(now) },
    );
    ledger.record_head(&head, ENTITY, now).await.unwrap();
    let chain = ledger.chain(webhook.id, ENTITY, now).await.unwrap().unwrap();
    let next = message(&webhook, 2, Some(Deferral::Until(now + SignedDuration::from_hours(48))));
    ledger.append(&next, chain, now).await.unwrap();

    let read = async || ledger.delivery(webhook.id, next.delivery, now).await.unwrap().unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        let row = read().await;
        assert!(row.is_deferred(now), "{row:?}");
        (row.progress.state, ledger.release(&row, now).await.unwrap())
    };
    let (advanced, (state, written)) = tokio::join!(slow.advance(webhook.id, ENTITY, head.id, now), release);
    assert_eq!(written, Written::Yes);
    let row = read().await;
    assert_eq!((row.deferred_until, row.progress.state, row.progress.next_at), (None, State::Pending, None));
    let Advance::Yes(message) = advanced.unwrap() else { panic!("the head has ended") };
    match message {
        Some(message) => assert_eq!((message.message.delivery, message.delay), (next.delivery, Duration::ZERO)),
        // Its turn came first, so the process that released it sends the message.
        None => assert_eq!(state, State::Pending),
    }
    assert!(!row.is_deferred(now));
}
