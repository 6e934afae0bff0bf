//! A long line of deliveries whose receiver no longer has a limit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws::ledger::Receiver;
use domain::attempt::rate_limit::{Ask, ReceiverLimits, Turn};
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::id::EventId;
use domain::time::Clock as _;
use domain::webhook::Webhook;
use jiff::SignedDuration;
use serde_json::json;
use tests::Hooks;
use tests::cloud::environment::variable;
use tests::cloud::{Cloud, Faults};

use crate::drain::Time;

const IN_LINE: u32 = 2_500;
const DUE: u32 = 200;

/// A run ends in time, although a line takes longer, and due deliveries do not wait for the line.
#[tokio::test(start_paused = true)]
async fn a_line_that_takes_longer_than_a_run_goes_on_in_the_next() {
    let time = Time(Arc::new(AtomicI64::new(1_795_244_140_000)), Arc::default());
    let cloud = Cloud::new(Arc::new(time.clone()));
    let aws = cloud.line(Arc::new(|_, _| Faults::default())).aws().await;
    let (ledger, hooks) = (aws.ledger("deliveries".to_owned()), Hooks::new(&cloud).await);
    let settings = json!({"url": "https://receiver.example/"});
    let lined = hooks.create("acme", 1, settings.clone()).await;
    let other = hooks.create("globex", 2, settings).await;
    let now = time.now();
    let message = |webhook: &Webhook, number: u32| {
        let event = EventId::derive(now - SignedDuration::from_hours(1), &[&number.to_string()]);
        let (event_type, body) = ("item.updated".parse().unwrap(), Body::Inline("{}".to_owned()));
        Message::first(event, event_type, webhook.id, webhook.tenant.clone(), body)
    };
    let limits = ReceiverLimits { rate: None, concurrency: Some(1) };
    let receiver = Receiver { webhook: lined.id, tenant: &lined.tenant, limits };
    let asks = [0, 1].map(|number| Ask { delivery: message(&lined, number).delivery, had_turn: false });
    let turns = ledger.take_turns(receiver, &asks, "a process", now + Duration::from_mins(1), now).await.unwrap();
    assert_eq!(turns, [Turn::At(now), Turn::Wait]);
    for number in 0..IN_LINE {
        let progress = Progress { state: State::Pending, cycle: 0, attempt: 1, next_at: None };
        ledger.join_line_first(&Delivery::first(message(&lined, number), progress), now).await.unwrap();
    }
    for number in 0..DUE {
        let progress = Progress { state: State::Retrying, cycle: 0, attempt: 2, next_at: Some(now) };
        ledger.record_first(&Delivery::first(message(&other, number), progress), now).await.unwrap();
    }

    let sweep = sweep::App::new(sweep::Config::from_lookup(variable).unwrap(), &aws, Box::new(time.clone()));
    // With every look at the clock, that many milliseconds pass.
    time.1.store(1_000, Ordering::Relaxed);
    let (mut runs, mut released, mut woken) = (0, 0, 0);
    while released < IN_LINE as usize {
        time.0.fetch_add(120_000, Ordering::Relaxed);
        let deadline = SystemTime::from(time.now() + SignedDuration::from_secs(55));
        let swept = sweep::run(&sweep, deadline).await.unwrap().swept;
        (runs, released, woken) = (runs + 1, released + swept.released, woken + swept.woken);
        if runs == 1 {
            assert!((100..IN_LINE as usize).contains(&released), "{released} were released");
            assert_eq!(woken, DUE as usize);
            time.1.store(0, Ordering::Relaxed);
        }
        assert!(runs < 5, "{released} of {IN_LINE} were released");
    }
    time.0.fetch_add(900_000, Ordering::Relaxed);
    let letters = cloud.queues.receive("retries", 10_000, |letter| letter.id);
    let messages: BTreeSet<_> =
        letters.iter().filter_map(|letter| letter.message.as_ref()).map(|message| message.delivery).collect();
    assert_eq!(messages.len(), (IN_LINE + DUE) as usize, "a message for each");
}
