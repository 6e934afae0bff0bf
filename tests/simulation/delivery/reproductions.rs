//! Findings of earlier runs, and cases that need a paused clock, each as a plain test.

use std::sync::Arc;
use std::time::Duration;

use domain::delivery::State;
use domain::delivery::job::{Job, JobKind, JobProgress, JobScope};
use domain::delivery::message::{Body, Message};
use domain::event::hops::Hops;
use domain::id::{EventId, JobId};
use domain::time::Clock as _;
use serde_json::json;
use tests::cloud::{Fault, Faults};

use super::model::Mood;
use super::process::Plan;
use super::world::{TENANT, Work, World, dies};

async fn world_with(max_attempts: u32) -> (World, domain::id::WebhookId) {
    let mut world = World::new(1).await;
    let policy = json!({"retry_policy": {"maxAttempts": max_attempts, "timeoutMs": 5000}});
    let webhook = world.register_with(policy, max_attempts).await;
    (world, webhook)
}

/// Runs a batch of a queue's due messages.
async fn batch(world: &mut World, queue: &'static str, plan: Plan) {
    let letters = world.fixture.cloud.queues.receive(queue, 10, |letter| letter.id);
    world.run(vec![Work::Batch(queue, letters, plan)]).await;
}

/// No run found this, but all runs rely on it: the simulation sees a delivery end, die and be received again.
#[tokio::test(start_paused = true)]
async fn a_batch_that_dies_comes_again() {
    let (mut world, webhook) = world_with(3).await;
    world.publish(webhook);
    for call in 1..4 {
        batch(&mut world, "deliveries", dies(call, Fault::DieBefore)).await;
        world.fixture.time.jump(jiff::SignedDuration::from_mins(6));
    }
    world.drain().await;
    assert!(world.model().deliveries.values().all(|known| known.row.as_ref().unwrap().state == State::Delivered));
}

/// A failed last attempt makes one dead letter, and a redrive starts a new cycle.
#[tokio::test(start_paused = true)]
async fn an_exhausted_delivery_is_redriven() {
    let (mut world, webhook) = world_with(1).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
    world.publish(webhook);
    batch(&mut world, "deliveries", Plan::default()).await;
    assert_eq!(world.fixture.cloud.queues.redrive("exhausted", "retries", 10).len(), 1);
    world.drain().await;
    assert!(world.model().deliveries.values().all(|known| known.row.as_ref().unwrap().cycle == 1));
}

/// The SDK repeats a write whose answer was lost. The process knows its own outcome then, and sends what follows from it.
#[tokio::test(start_paused = true)]
async fn a_retry_follows_although_the_answer_of_the_write_is_lost() {
    let (mut met, mut left_to_the_sweep) = (0, 0);
    // On a busy machine a receiver may count as slow, and a call may take too long, which returns the message.
    let next = |world: &World| {
        let mut queues = ["retries", "slow", "deliveries"].into_iter();
        queues.find(|queue| world.fixture.cloud.queues.next_due(queue).is_some())
    };
    for call in 1..12 {
        let (mut world, webhook) = world_with(5).await;
        world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
        world.publish(webhook);
        batch(&mut world, "deliveries", dies(call, Fault::LoseAnswer)).await;
        let Some(queue) = next(&world) else { panic!("nothing follows from the first attempt at call {call}") };
        world.fixture.time.jump(jiff::SignedDuration::from_mins(2));
        batch(&mut world, queue, dies(call, Fault::LoseAnswer)).await;
        left_to_the_sweep += usize::from(next(&world).is_none());
        met += world.counts.get("lost an answer").copied().unwrap_or_default();
    }
    assert!(met > 8, "{met} answers were lost");
    // Only the lease has nothing by which its process knows it.
    assert!(left_to_the_sweep <= 1, "{left_to_the_sweep}");
}

/// Other deliveries do not wait behind a receiver that hangs: it counts as slow before it has answered.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_is_slow_meanwhile() {
    let mut world = World::new(1).await;
    let webhook = world.register_with(json!({"retry_policy": {"timeoutMs": 15_000}}), 8).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Slow;
    world.publish(webhook);
    world.publish(webhook);
    let (queues, started) = (&world.fixture.cloud.queues, tokio::time::Instant::now());
    let [first, second] = [1, 2].map(|_| queues.receive("deliveries", 1, |letter| letter.id));
    let hangs = world.delivers[0].deliver(&first);
    let next = async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        world.delivers[1].deliver(&second).await;
        (queues.len("slow"), started.elapsed() < Duration::from_secs(10))
    };
    let (_, detoured) = tokio::join!(hangs, next);
    assert_eq!(detoured, (1, true), "the second goes to the queue of the slow ones while the first still waits");
}

/// A body that has expired can never be sent, so its delivery ends.
#[tokio::test(start_paused = true)]
async fn a_body_that_has_expired_ends_its_delivery() {
    let (mut world, webhook) = world_with(3).await;
    world.hand_over(webhook, Body::Stored("long gone".to_owned()), None);
    batch(&mut world, "deliveries", Plan::default()).await;
    let items = world.fixture.cloud.tables.items("deliveries");
    let row = items.iter().find(|item| item["delivery"]["S"].is_string()).expect("a row");
    assert_eq!(row["delivery_state"]["S"], "exhausted");
    assert!(row["attempts"].to_string().contains("its payload has expired"), "{row}");
}

/// Of two exhausted deliveries, one is sent again and arrives: only its letter is deleted.
#[tokio::test(start_paused = true)]
async fn the_letter_of_a_delivery_that_arrived_after_all_is_removed() {
    let (mut world, webhook) = world_with(1).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
    for _ in 0..2 {
        world.publish(webhook);
        batch(&mut world, "deliveries", Plan::default()).await;
    }
    let queues = &world.fixture.cloud.queues;
    assert_eq!(queues.len("exhausted"), 2);
    // As the API does it, without deleting the letter.
    let again =
        domain::delivery::decide::dead_letter(world.model().deliveries.values().next().unwrap().message.clone());
    queues.send("retries", again.to_json(), Duration::ZERO, None, None);
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Up;
    batch(&mut world, "retries", Plan::default()).await;
    world.look_through_letters().await;
    let queues = &world.fixture.cloud.queues;
    assert_eq!((queues.len("exhausted"), world.model().obsolete(queues)), (1, None));
    // The other letter is visible again after a quarter of an hour, and can be moved back.
    world.fixture.time.jump(jiff::SignedDuration::from_mins(15));
    assert_eq!(world.fixture.cloud.queues.redrive("exhausted", "retries", 10).len(), 1);
}

/// Returns a world with a webhook whose receiver kills the process, and nine deliveries to another one in the same
/// batch.
async fn world_with_a_killer(others: Mood, killer: Mood) -> (World, domain::id::WebhookId, domain::id::WebhookId) {
    let (mut world, webhook) = world_with(4).await;
    let kills = world.register_with(json!({"retry_policy": {"maxAttempts": 4, "timeoutMs": 5000}}), 4).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = others;
    world.model().hooks.get_mut(&kills).unwrap().mood = killer;
    for number in 0..10 {
        world.publish(if number == 4 { kills } else { webhook });
    }
    (world, webhook, kills)
}

fn delivered(world: &World, webhook: domain::id::WebhookId) -> usize {
    let model = world.model();
    let of = model.deliveries.values().filter(|known| known.message.webhook == webhook);
    of.filter(|known| known.row.as_ref().is_some_and(|row| row.state == State::Delivered)).count()
}

/// Ten messages that return together are received together. The nine others are delivered although one message kills
/// every process.
#[tokio::test(start_paused = true)]
async fn a_first_message_that_kills_does_not_take_its_batch_with_it() {
    let (mut world, webhook, _) = world_with_a_killer(Mood::Up, Mood::Killing).await;
    for _ in 0..20 {
        batch(&mut world, "deliveries", Plan::default()).await;
        world.fixture.time.jump(jiff::SignedDuration::from_mins(6));
    }
    assert_eq!(delivered(&world, webhook), 9);
}

/// The same with later attempts, for which the sweep sends another message whenever a lease ends. Messages that were
/// received too often are dropped, so they do not multiply.
#[tokio::test(start_paused = true)]
async fn a_later_message_that_kills_leaves_the_others_alone_and_does_not_multiply() {
    let (mut world, webhook, kills) = world_with_a_killer(Mood::Failing, Mood::Failing).await;
    batch(&mut world, "deliveries", Plan::default()).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Up;
    world.model().hooks.get_mut(&kills).unwrap().mood = Mood::Killing;
    world.fixture.time.jump(jiff::SignedDuration::from_mins(1));
    for _ in 0..90 {
        for queue in ["retries", "slow"] {
            batch(&mut world, queue, Plan::default()).await;
        }
        world.run(vec![Work::Sweep(Plan::default())]).await;
        world.fixture.time.jump(jiff::SignedDuration::from_mins(1));
    }
    assert_eq!(delivered(&world, webhook), 9);
    let messages = world.fixture.cloud.queues.len("retries");
    assert!(messages <= 10, "{messages} messages of one delivery");
}

/// Runs a batch of two deliveries and a copy of the first one's message, in this order; returns the number of requests
/// of each delivery.
async fn copied(world: &mut World, queue: &'static str, order: [usize; 3]) -> Vec<usize> {
    let queues = Arc::clone(&world.fixture.cloud);
    let originals = queues.queues.receive(queue, 2, |letter| letter.id);
    let copy = queues.queues.receive_copy(queue, originals[0].id);
    let [first, second] = &originals[..] else { panic!("two messages") };
    let letters = [first.clone(), copy, second.clone()];
    let letters = order.map(|place| letters[place].clone()).to_vec();
    world.run(vec![Work::Batch(queue, letters, Plan::default())]).await;
    world.model().deliveries.values().map(|known| known.posts).collect()
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [2, 0, 1], [1, 0, 2], [1, 2, 0], [2, 1, 0]];

/// SQS hands out a first message twice in one batch, with another one: each delivery has one request and one row, and
/// no message returns.
#[tokio::test(start_paused = true)]
async fn copies_of_a_first_message_in_one_batch_are_one_delivery() {
    for order in ORDERS {
        let (mut world, webhook) = world_with(3).await;
        world.publish(webhook);
        world.publish(webhook);
        assert_eq!(copied(&mut world, "deliveries", order).await, [1, 1], "{order:?}");
        assert_eq!(world.fixture.cloud.queues.len("deliveries"), 0, "{order:?}: nothing comes back");
        let rows: Vec<_> = world.model().deliveries.values().map(|known| known.row.clone().unwrap().state).collect();
        assert_eq!(rows, [State::Delivered; 2], "{order:?}");
    }
}

/// The same with later attempts and with redriven dead letters: one request for all copies.
#[tokio::test(start_paused = true)]
async fn copies_of_a_later_message_in_one_batch_are_one_attempt() {
    for order in ORDERS {
        let (mut world, webhook) = world_with(2).await;
        world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
        world.publish(webhook);
        world.publish(webhook);
        batch(&mut world, "deliveries", Plan::default()).await;
        world.fixture.time.jump(jiff::SignedDuration::from_mins(1));
        assert_eq!(copied(&mut world, "retries", order).await, [2, 2], "{order:?}");
        assert_eq!(world.fixture.cloud.queues.redrive("exhausted", "retries", 10).len(), 2, "{order:?}");
        assert_eq!(copied(&mut world, "retries", order).await, [3, 3], "{order:?}");
    }
}

/// A late copy of a first message arrives together with the retry: the row says which of the two is due.
#[tokio::test(start_paused = true)]
async fn a_late_copy_beside_the_retry_does_nothing() {
    for late_first in [true, false] {
        let (mut world, webhook) = world_with(3).await;
        world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
        world.publish(webhook);
        world.fixture.cloud.queues.duplicate("deliveries", 0).unwrap();
        let queues = Arc::clone(&world.fixture.cloud);
        let late = queues.queues.receive("deliveries", 1, |letter| std::cmp::Reverse(letter.id));
        batch(&mut world, "deliveries", Plan::default()).await;
        world.fixture.time.jump(jiff::SignedDuration::from_mins(1));
        let mut letters = queues.queues.receive("retries", 1, |letter| letter.id);
        letters.insert(usize::from(!late_first), late[0].clone());
        world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Up;
        world.run(vec![Work::Batch("retries", letters, Plan::default())]).await;
        let known =
            world.model().deliveries.values().map(|known| (known.posts, known.row.clone().unwrap())).next().unwrap();
        assert_eq!((known.0, known.1.state, known.1.attempts), (2, State::Delivered, vec![(0, 1), (0, 2)]));
    }
}

/// An index returns its items twice, because they move while it is read: sweep and jobs send each delivery once.
#[tokio::test(start_paused = true)]
async fn what_an_index_repeats_is_sent_once() {
    let (mut world, webhook) = world_with(1).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
    world.publish(webhook);
    world.publish(webhook);
    batch(&mut world, "deliveries", Plan::default()).await;
    let cloud = Arc::clone(&world.fixture.cloud);
    assert_eq!(cloud.queues.len("exhausted"), 2);
    // Longer than the clocks of two processes differ.
    world.fixture.time.jump(jiff::SignedDuration::from_mins(1));

    let ledger = cloud.line(Arc::new(|_, _| Faults::default())).aws().await.ledger("deliveries".to_owned());
    let now = world.fixture.time.now();
    let job = Job {
        id: JobId::from_parts(now, 1),
        tenant: TENANT.parse().unwrap(),
        app: None,
        kind: JobKind::Redrive,
        scope: JobScope { webhook: None, event_types: Vec::new(), from: None, to: now },
        rate: 10,
        dry_run: false,
        state: domain::delivery::job::JobState::Running,
        reason: None,
        progress: JobProgress { cursor: None, looked_at: 0, sent: 0, next_at: now },
        created_at: now,
        created_by: "ada".to_owned(),
        updated_at: now,
    };
    let (tenant, id) = (job.tenant.clone(), job.id);
    ledger.start_job(job, now).await.unwrap();
    world.run(vec![Work::Sweep(Plan { repeats: true, ..Plan::default() })]).await;
    let job = ledger.job(&tenant, id, now).await.unwrap().unwrap();
    assert_eq!((job.state, job.progress.looked_at, job.progress.sent), (domain::delivery::job::JobState::Done, 2, 2));
    assert_eq!(cloud.queues.len("retries"), 2, "one message for each letter");
}

/// The same with due rows whose messages were lost.
#[tokio::test(start_paused = true)]
async fn a_due_row_that_an_index_repeats_is_woken_once() {
    let (mut world, webhook) = world_with(6).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
    world.publish(webhook);
    world.publish(webhook);
    batch(&mut world, "deliveries", Plan::default()).await;
    let cloud = Arc::clone(&world.fixture.cloud);
    world.fixture.time.jump(jiff::SignedDuration::from_mins(5));
    let lost: Vec<u64> =
        cloud.queues.receive("retries", 10, |letter| letter.id).iter().map(|letter| letter.id).collect();
    cloud.queues.delete("retries", &lost);
    assert_eq!((lost.len(), cloud.queues.len("retries")), (2, 0));
    world.run(vec![Work::Sweep(Plan { repeats: true, ..Plan::default() })]).await;
    assert_eq!(cloud.queues.len("retries"), 2, "one message for each row");
}

/// A process dies after it wrote that a delivery is exhausted, so the sweep publishes the event. It has the hops of the
/// delivery; otherwise webhooks that listen to such events could form an endless loop.
#[tokio::test(start_paused = true)]
async fn the_event_that_the_sweep_publishes_of_an_exhausted_delivery_keeps_its_hops() {
    let hops = Hops::NONE.next().and_then(Hops::next).unwrap();
    for call in 1..20 {
        let (mut world, webhook) = world_with(1).await;
        world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
        let text = "{}".to_owned();
        let event = EventId::from_parts(world.fixture.time.now(), 1);
        let (event_type, tenant) = ("order.created".parse().unwrap(), TENANT.parse().unwrap());
        let message = Message::first(event, event_type, webhook, tenant, Body::Inline(text.clone()));
        let message = Message { hops, ..message };
        world.fixture.cloud.queues.send("deliveries", message.to_json(), Duration::ZERO, None, None);
        world.model().publish(message.clone(), Some(text));
        let started = world.fixture.time.now();
        batch(&mut world, "deliveries", dies(call, Fault::DieBefore)).await;
        let row = world.model().deliveries[&message.delivery].row.clone();
        let cloud = Arc::clone(&world.fixture.cloud);
        if row.is_none_or(|row| row.state != State::Exhausted) || !cloud.tables.items("events").is_empty() {
            continue;
        }
        world.fixture.time.jump(jiff::SignedDuration::from_mins(5));
        world.run(vec![Work::Sweep(Plan::default())]).await;
        let letters = cloud.queues.receive("exhausted", 10, |letter| letter.id);
        assert_eq!(letters.iter().map(|letter| letter.message.as_ref().unwrap().hops).collect::<Vec<_>>(), [hops]);
        let aws = cloud.line(Arc::new(|_, _| Faults::default())).aws().await;
        let (tenant, now) = (message.tenant, world.fixture.time.now());
        let range = (started - Duration::from_mins(1), now);
        let events = aws.events("events".to_owned()).list_oldest_first(&tenant, range, None, 10, now, |_| true).await;
        let events: Vec<_> =
            events.unwrap().events.iter().map(|event| (event.event_type.to_string(), event.hops)).collect();
        assert_eq!(events, [("delivery.exhausted".to_owned(), hops)]);
        return;
    }
    panic!("no process died between the row and the event");
}
