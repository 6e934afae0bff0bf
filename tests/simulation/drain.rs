//! What was parked behind a receiver that was down is released as fast as the queue keeps up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws::Ledger;
use aws::ledger::{AttemptKey, Made};
use domain::delivery::breaker::{pace, step};
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::id::{EventId, WebhookId};
use domain::time::Clock;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::json;
use tests::Hooks;
use tests::cloud::environment::variable;
use tests::cloud::{Cloud, Faults};

/// Milliseconds since 1970, and how many of them pass each time that someone looks at the clock.
#[derive(Debug, Clone)]
pub(crate) struct Time(pub(crate) Arc<AtomicI64>, pub(crate) Arc<AtomicI64>);

impl Clock for Time {
    fn now(&self) -> Timestamp {
        let passes = self.1.load(Ordering::Relaxed);
        Timestamp::from_millisecond(self.0.fetch_add(passes, Ordering::Relaxed)).unwrap()
    }
}

/// Webhooks whose breakers have just closed, with parked deliveries, and a sweep.
struct Drain {
    time: Time,
    cloud: Arc<Cloud>,
    ledger: Ledger,
    sweep: sweep::App,
    webhooks: Vec<WebhookId>,
}

impl Drain {
    async fn of(parked: u32, rate_limit: Option<u32>) -> Self {
        Self::of_webhooks(1, parked, rate_limit).await
    }

    async fn of_webhooks(webhooks: u128, parked: u32, rate_limit: Option<u32>) -> Self {
        let time = Time(Arc::new(AtomicI64::new(1_795_244_140_000)), Arc::default());
        let cloud = Cloud::new(Arc::new(time.clone()));
        let settings = json!({"url": "https://receiver.example/", "rate_limit": rate_limit});
        let aws = cloud.line(Arc::new(|_, _| Faults::default())).aws().await;
        let ledger = aws.ledger("deliveries".to_owned());
        let (now, hooks, mut ids) = (time.now(), Hooks::new(&cloud).await, Vec::new());
        for number in 1..=webhooks {
            let webhook = hooks.create("acme", number, settings.clone()).await;
            for number in 0..parked {
                let event = EventId::derive(now - SignedDuration::from_hours(1), &[&number.to_string()]);
                let (event_type, body) = ("item.updated".parse().unwrap(), Body::Inline("{}".to_owned()));
                let message = Message::first(event, event_type, webhook.id, webhook.tenant.clone(), body);
                let progress = Progress { state: State::Parked, cycle: 0, attempt: 1, next_at: None };
                ledger.record_first(&Delivery::first(message, progress), now).await.unwrap();
            }
            ledger.open_breaker(&webhook, now).await.unwrap();
            ledger.close_breaker(webhook.id, now).await.unwrap();
            ids.push(webhook.id);
        }
        let config = sweep::Config::from_lookup(variable).unwrap();
        let sweep = sweep::App::new(config, &aws, Box::new(time.clone()));
        Self { time, cloud, ledger, sweep, webhooks: ids }
    }

    /// Runs the sweep, and a minute of deliveries, of which `capacity` arrive. Returns how many were released.
    async fn minute(&self, capacity: usize) -> usize {
        let deadline = self.time.now() + SignedDuration::from_secs(55);
        let released = sweep::run(&self.sweep, SystemTime::from(deadline)).await.unwrap().swept.released;
        self.time.0.fetch_add(60_000, Ordering::Relaxed);
        let arrived = self.cloud.queues.receive("retries", capacity, |letter| letter.id);
        for letter in &arrived {
            let message = letter.message.as_ref().unwrap();
            let progress = Progress { state: State::Delivered, cycle: 0, attempt: 1, next_at: None };
            self.ledger
                .record(AttemptKey::of(message), Made::Nothing { lease: None }, &progress, self.time.now())
                .await
                .unwrap();
        }
        self.cloud.queues.delete("retries", &arrived.iter().map(|letter| letter.id).collect::<Vec<_>>());
        released
    }
}

#[tokio::test(start_paused = true)]
async fn the_pace_doubles_while_the_queue_keeps_up() {
    let drain = Drain::of(3500, None).await;
    let mut released = Vec::new();
    for _ in 0..4 {
        released.push(drain.minute(10_000).await);
    }
    // The third run reads its deliveries in two parts.
    assert_eq!(released, [600, 1200, 1700, 0]);
    assert_eq!(drain.cloud.queues.len("retries"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_pace_falls_while_the_queue_does_not_keep_up() {
    let drain = Drain::of(4400, None).await;
    let mut released = Vec::new();
    for capacity in [600, 500, 500, 700, 700, 900, 900] {
        released.push(drain.minute(capacity).await);
    }
    // 700 wait, so the pace stays; then 1,400, so it halves until they are done.
    assert_eq!(released, [600, 1200, 1200, 600, 600, 200, 0]);
}

/// What is released to a slow receiver waits in the queue of slow receivers, so that queue sets the pace.
#[tokio::test(start_paused = true)]
async fn the_pace_of_a_slow_receiver_is_that_of_its_queue() {
    let drain = Drain::of(2400, None).await;
    drain.ledger.mark_slow(drain.webhooks[0], drain.time.now()).await.unwrap();
    let mut released = vec![drain.minute(10_000).await, drain.minute(10_000).await];
    for number in 0..5_000 {
        drain.cloud.queues.send("slow", number.to_string(), Duration::ZERO, None, None);
    }
    released.push(drain.minute(10_000).await);
    assert_eq!(released, [600, 1200, 600]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_with_a_rate_gets_no_more() {
    let drain = Drain::of(500, Some(4)).await;
    let mut released = Vec::new();
    for _ in 0..3 {
        released.push(drain.minute(10_000).await);
    }
    assert_eq!(released, [240, 240, 20]);
}

/// Many drains at once, with a clock that hurries: no row is moved without its message, and the next runs continue.
#[tokio::test(start_paused = true)]
async fn what_the_time_does_not_suffice_for_stays_parked() {
    let drain = Drain::of_webhooks(8, 250, None).await;
    drain.time.1.store(60, Ordering::Relaxed);
    let first = drain.minute(0).await;
    assert!((100..2000).contains(&first), "{first} were released");
    let is_parked =
        |item: &serde_json::Value| item["lane"]["S"].as_str().is_some_and(|lane| lane.starts_with("parked"));
    let parked = drain.cloud.tables.items("deliveries").iter().filter(|item| is_parked(item)).count();
    assert_eq!((parked + first, drain.cloud.queues.len("retries")), (2000, first));
    // The pace of those that had no turn has not grown, and they are due before the others.
    let (mut missed, mut had_turns) = (Vec::new(), Vec::new());
    for webhook in &drain.webhooks {
        let breaker = drain.ledger.breaker(*webhook).await.unwrap().unwrap();
        let parked = drain.ledger.count_parked(*webhook, 1_000, drain.time.now()).await.unwrap();
        let has_missed = parked == 250;
        assert_eq!(breaker.drained, u32::from(!has_missed), "{parked} of {webhook} are parked");
        if has_missed { missed.push(breaker.look_at) } else { had_turns.push(breaker.look_at) }
    }
    assert!(!missed.is_empty(), "the time sufficed for all");
    assert!(missed.iter().max() < had_turns.iter().min(), "{missed:?} {had_turns:?}");
    for _ in 0..40 {
        drain.minute(10_000).await;
    }
    let rows = drain.cloud.tables.items("deliveries");
    let delivered = rows.iter().filter(|item| item["delivery_state"]["S"] == "delivered").count();
    assert_eq!(delivered, 2000);
}

/// Returns how many minutes a drain takes if the queue passes on that many deliveries a second.
fn minutes(mut parked: usize, a_second: usize, rate: Option<u32>) -> u32 {
    let (mut waiting, mut drained) = (0, 0);
    for minute in 0.. {
        if parked == 0 && waiting == 0 {
            return minute;
        }
        let step = step(drained, Some(waiting));
        let released = pace(step, rate).0.min(parked);
        drained = step + 1;
        parked -= released;
        waiting = (waiting + released).saturating_sub(60 * a_second);
    }
    unreachable!()
}

/// The table of docs/use/scale.md: a million parked deliveries, as of a tenant with 280 a second after an hour.
#[rstest]
#[case::a_fast_receiver(1000, None, 57)]
#[case::ten_batches_and_a_receiver_of_450_ms(222, None, 82)]
#[case::twenty_batches(444, None, 57)]
#[case::a_rate_of_100(1000, Some(100), 170)]
#[case::ten_batches_and_a_receiver_of_two_seconds(50, None, 372)]
fn a_million_parked_deliveries_drain(#[case] a_second: usize, #[case] rate: Option<u32>, #[case] expected: u32) {
    assert_eq!(minutes(1_000_000, a_second, rate), expected);
}
