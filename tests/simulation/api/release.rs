//! A release of deferred deliveries that takes many requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::budget::Deferral;
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::id::EventId;
use domain::time::Clock as _;
use jiff::SignedDuration;
use tests::cloud::Faults;

use super::{World, tenant, webhook};

/// The time of a request is up after each page of deliveries.
#[tokio::test(start_paused = true)]
async fn a_release_continues_where_it_stopped() {
    let world = World::new(false);
    let ledger = world.aws().await.ledger("deliveries".to_owned());
    let (api, now) = (world.api().await, world.hand.now());
    let mut expected = BTreeSet::new();
    for (of, count) in [2, 0, 230, 3].into_iter().enumerate() {
        let (status, hook) = api.call("POST", "/webhooks", &webhook()).await;
        assert_eq!(status, 201, "{hook}");
        let id = hook["id"].as_str().unwrap().parse().unwrap();
        for number in 0..count {
            let event = EventId::derive(now, &[&of.to_string(), &number.to_string()]);
            let body = Body::Inline("{}".to_owned());
            let first = Message::first(event, "a.b".parse().unwrap(), id, tenant(), body);
            let until = now + SignedDuration::from_hours(48);
            let message = Message { deferral: Some(Deferral::Until(until)), ..first };
            let progress = Progress { state: State::Pending, cycle: 0, attempt: 1, next_at: Some(until) };
            expected.insert(message.delivery);
            ledger.record_first(&Delivery::first(message, progress), now).await.unwrap();
        }
    }
    let hand = world.hand.clone();
    let slow = world.api_over(Arc::new(move |operation, _| {
        if operation == "Query" {
            hand.turn(SignedDuration::from_secs(3));
        }
        Faults::default()
    }));
    let (slow, mut released, mut requests, mut query) = (slow.await, 0, 0, String::new());
    loop {
        let path = format!("/tenants/acme/deferred-deliveries/release{query}");
        let (status, answer) = slow.operate("POST", &path).await;
        assert_eq!(status, 200, "{answer}");
        released += answer["released"].as_u64().unwrap();
        requests += 1;
        assert!(requests < 20, "{answer}");
        let Some(next) = answer["next_cursor"].as_str() else { break };
        query = format!("?cursor={next}");
    }
    assert_eq!((released, requests > 3), (235, true), "{requests} requests");
    let letters = world.cloud.queues.receive("deliveries", 1_000, |letter| letter.id);
    let sent: BTreeSet<_> = letters.iter().map(|letter| letter.message.as_ref().unwrap().delivery).collect();
    assert_eq!((sent, letters.len()), (expected, 235), "each has one message");
}
