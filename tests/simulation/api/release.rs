//! A release of deferred deliveries that takes many requests, of which some fail.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::budget::Deferral;
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, SHORT_WAIT, State};
use domain::id::{DeliveryId, EventId};
use domain::time::Clock as _;
use jiff::SignedDuration;
use rstest::rstest;
use serde_json::{Value, json};
use tests::cloud::{Fault, Faults};

use super::{Api, World, tenant, webhook};

/// Creates webhooks with so many deferred deliveries each, of which every fifth is held, and returns the pending ones.
async fn deferred(world: &World, counts: &[usize]) -> BTreeSet<DeliveryId> {
    let ledger = world.aws().await.ledger("deliveries".to_owned());
    let (api, now) = (world.api().await, world.hand.now());
    let mut all_pending = BTreeSet::new();
    for (of, count) in counts.iter().enumerate() {
        let (status, hook) = api.call("POST", "/webhooks", &webhook()).await;
        assert_eq!(status, 201, "{hook}");
        let id = hook["id"].as_str().unwrap().parse().unwrap();
        for number in 0..*count {
            // Some are of records that were sent again weeks later.
            let days = if number % 2 == 0 { 20 } else { 0 };
            let at = now - SignedDuration::from_hours(24 * days);
            let event = EventId::derive(at, &[&of.to_string(), &number.to_string()]);
            let body = Body::Inline("{}".to_owned());
            let first = Message::first(event, "a.b".parse().unwrap(), id, tenant(), body);
            let until = now + SignedDuration::from_hours(48);
            let message = Message { deferral: Some(Deferral::Until(until)), ..first };
            let (state, next_at) = if number % 5 == 4 { (State::Held, None) } else { (State::Pending, Some(until)) };
            if state == State::Pending {
                all_pending.insert(message.delivery);
            }
            let progress = Progress { state, cycle: 0, attempt: 1, next_at };
            ledger.record_first(&Delivery::first(message, progress), now).await.unwrap();
        }
    }
    all_pending
}

fn rows(world: &World) -> Vec<Value> {
    let items = world.cloud.tables.items("deliveries").into_iter();
    items.filter(|item| item.get("delivery").is_some()).collect()
}

/// Sends requests until all deliveries were looked at. Returns how many were released, and how many requests that took.
async fn release(api: &Api) -> (u64, usize) {
    let (mut released, mut query) = (0, String::new());
    for requests in 1..50 {
        let path = format!("/tenants/acme/deferred-deliveries/release{query}");
        let (status, answer) = api.operate("POST", &path).await;
        if status == 503 {
            continue;
        }
        assert_eq!(status, 200, "{answer}");
        released += answer["released"].as_u64().unwrap();
        let Some(next) = answer["next_cursor"].as_str() else { return (released, requests) };
        query = format!("?cursor={next}");
    }
    panic!("it does not end");
}

/// The time of a request is up after each page of deliveries. A row that cannot be read stops nothing.
#[tokio::test(start_paused = true)]
async fn a_release_continues_where_it_stopped() {
    let world = World::new(false);
    let pending = deferred(&world, &[2, 0, 230, 5]).await;
    let mut spoilt = rows(&world).pop().unwrap();
    spoilt["sk"]["S"] = json!(DeliveryId::from_parts(world.hand.now(), 1).to_string());
    spoilt["delivery_state"]["S"] = json!("of a newer version");
    world.cloud.tables.put("deliveries", &spoilt);

    let hand = world.hand.clone();
    let slow = world.api_over(Arc::new(move |operation, _| {
        if operation == "Query" {
            hand.turn(SignedDuration::from_secs(3));
        }
        Faults::default()
    }));
    let (released, requests) = release(&slow.await).await;
    assert_eq!((released, requests > 3), (237, true), "{requests} requests");
    let letters = world.cloud.queues.receive("deliveries", 1_000, |letter| letter.id);
    let sent: BTreeSet<_> = letters.iter().map(|letter| letter.message.as_ref().unwrap().delivery).collect();
    assert_eq!((letters.len(), sent), (pending.len(), pending), "each has one message");
}

/// Answers are lost, calls are throttled for so long that requests fail, and messages are refused.
#[tokio::test(start_paused = true)]
async fn a_release_that_fails_is_repeated() {
    let world = World::new(false);
    let pending = deferred(&world, &[40, 160]).await;
    let api = world.api_over(Arc::new(|operation, number| Faults {
        fault: match operation {
            "UpdateItem" if (30..90).contains(&number) => Some(Fault::Throttle),
            "UpdateItem" if number % 7 == 0 => Some(Fault::LoseAnswer),
            "SendMessageBatch" if number % 3 == 0 => Some(Fault::RefuseSome),
            _ => None,
        },
        ..Faults::default()
    }));
    let (released, requests) = release(&api.await).await;
    assert!(requests > 1, "no request has failed");
    assert!((1..200).contains(&released), "those of a request that failed are in its log: {released}");
    let letters = world.cloud.queues.receive("deliveries", 1_000, |letter| letter.id);
    let sent: BTreeSet<_> = letters.iter().map(|letter| letter.message.as_ref().unwrap().delivery).collect();
    assert_eq!((letters.len(), sent.is_subset(&pending)), (sent.len(), true), "none has two messages");
    let left = pending.len() - sent.len();
    assert!((1..8).contains(&left), "only messages that were refused are left to the sweep: {left}");
    let soon = (world.hand.now() + SHORT_WAIT).as_millisecond();
    for row in rows(&world) {
        assert!(row.get("deferred_until").is_none(), "{row}");
        let due: i64 = row["lane_at"]["N"].as_str().unwrap().parse().unwrap();
        assert!(due <= soon, "the sweep sends a message that was refused: {row}");
    }
}

/// The end of the delivery before writes the row of a held one in a transaction. A release waits for that, and fails if
/// it does not end.
#[rstest]
#[case::now_and_then(|number| number % 7 == 1, true)]
#[case::for_long(|number| (50..400).contains(&number), false)]
#[tokio::test(start_paused = true)]
async fn a_release_waits_for_transactions(#[case] conflicts: fn(usize) -> bool, #[case] at_once: bool) {
    let world = World::new(false);
    let pending = deferred(&world, &[40, 60]).await;
    let api = world.api_over(Arc::new(move |operation, number| Faults {
        fault: (operation == "UpdateItem" && conflicts(number)).then_some(Fault::Conflict),
        ..Faults::default()
    }));
    let (released, requests) = release(&api.await).await;
    assert_eq!((released == 100, requests == 1), (at_once, at_once), "{released} in {requests} requests");
    assert!(rows(&world).iter().all(|row| row.get("deferred_until").is_none()), "none is left behind");
    assert_eq!(world.cloud.queues.len("deliveries"), pending.len());
}
