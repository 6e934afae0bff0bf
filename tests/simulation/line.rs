//! Deliveries that wait in line for a free slot at their receiver.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws::ledger::Receiver;
use domain::attempt::outcome::{Outcome, Verdict};
use domain::attempt::rate_limit::{Ask, ReceiverLimits, Turn};
use domain::attempt::target::TargetPolicy;
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::id::EventId;
use domain::time::Clock as _;
use domain::webhook::Webhook;
use jiff::{SignedDuration, Timestamp};
use outbound::{Client, Script};
use serde_json::json;
use tests::Hooks;
use tests::cloud::environment::variable;
use tests::cloud::{Cloud, Faults, handed_back, sqs_event};

use crate::drain::Time;
use crate::sweep::NOW;

/// Returns the first message of a delivery of an hour ago.
fn message(webhook: &Webhook, number: u32, now: Timestamp) -> Message {
    let event = EventId::derive(now - SignedDuration::from_hours(1), &[&number.to_string()]);
    let (event_type, body) = ("item.updated".parse().unwrap(), Body::Inline("{}".to_owned()));
    Message::first(event, event_type, webhook.id, webhook.tenant.clone(), body)
}

/// The slot of a receiver that has answered is free, although another receiver of the batch still has not.
#[tokio::test(start_paused = true)]
async fn a_slot_is_free_while_a_neighbour_in_the_batch_hangs() {
    let (now, cloud) = (NOW.now(), Cloud::new(Arc::new(NOW)));
    let aws = cloud.line(Arc::new(|_, _| Faults::default())).aws().await;
    let hooks = Hooks::new(&cloud).await;
    let limited = json!({"url": "https://receiver.example/", "max_concurrency": 1});
    let limited = hooks.create("acme", 1, limited).await;
    let hangs = hooks.create("globex", 2, json!({"url": "https://hangs.example/"})).await;
    for (webhook, number) in [(&limited, 1), (&limited, 2), (&hangs, 3)] {
        cloud.queues.send("deliveries", message(webhook, number, now).to_json(), Duration::ZERO, None, None);
    }
    let letters = cloud.queues.receive("deliveries", 10, |letter| letter.id);

    let woken = Arc::new(AtomicUsize::new(0));
    let script = Script::new({
        let (cloud, woken) = (Arc::clone(&cloud), Arc::clone(&woken));
        move |request| {
            let (cloud, woken) = (Arc::clone(&cloud), Arc::clone(&woken));
            async move {
                if request.url.contains("hangs") {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                    woken.store(cloud.queues.len("retries"), Ordering::Relaxed);
                }
                Outcome { status: Some(204), ..Outcome::unanswered(Verdict::Accepted, "") }
            }
        }
    });
    let receivers = Client::new(TargetPolicy::default()).unwrap().scripted(script);
    let config = deliver::Config::from_lookup(variable).unwrap();
    let deliver = deliver::App::new(config, &aws, receivers, Box::new(NOW), Box::new(|| 0.5));
    let event = serde_json::from_value(sqs_event(&letters)).unwrap();
    let response = deliver::handle(&deliver, event, SystemTime::from(now + SignedDuration::from_mins(1))).await;
    assert!(handed_back(&serde_json::to_value(response).unwrap()).is_empty());
    assert_eq!(
        woken.load(Ordering::Relaxed),
        1,
        "the delivery that waited was woken before the other receiver answered"
    );
}

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
    let message = |webhook, number| message(webhook, number, now);
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
