//! What runs have found, and what is best seen on a clock that stands still, each as a plain test.

use std::time::Duration;

use domain::delivery::State;
use domain::message::Body;
use serde_json::json;
use tests::cloud::Fault;

use super::model::Mood;
use super::process::Plan;
use super::world::{Work, World, dies};

async fn world_with(max_attempts: u32) -> (World, domain::id::WebhookId) {
    let mut world = World::new(1).await;
    let policy = json!({"retry_policy": {"maxAttempts": max_attempts, "timeoutMs": 5000}});
    let webhook = world.register_with(policy, max_attempts).await;
    (world, webhook)
}

/// Runs a batch of what is due in a queue.
async fn batch(world: &mut World, queue: &'static str, plan: Plan) {
    let letters = world.ground.cloud.queues.receive(queue, 10, |letter| letter.id);
    world.run(vec![Work::Batch(queue, letters, plan)]).await;
}

/// Not found by a run, but what all of them rest on: the machinery sees a delivery end, die and come again.
#[tokio::test(start_paused = true)]
async fn a_batch_that_dies_comes_again() {
    let (mut world, webhook) = world_with(3).await;
    world.publish(webhook);
    for call in 1..4 {
        batch(&mut world, "deliveries", dies(call, Fault::DieBefore)).await;
        world.ground.time.jump(jiff::SignedDuration::from_mins(6));
    }
    world.drain().await;
    assert!(world.model().deliveries.values().all(|known| known.row.as_ref().unwrap().state == State::Delivered));
}

/// A last attempt that fails is buried once, and a redrive starts anew.
#[tokio::test(start_paused = true)]
async fn an_exhausted_delivery_is_redriven() {
    let (mut world, webhook) = world_with(1).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
    world.publish(webhook);
    batch(&mut world, "deliveries", Plan::default()).await;
    assert_eq!(world.ground.cloud.queues.redrive("dead-letters", "retries", 10).len(), 1);
    world.drain().await;
    assert!(world.model().deliveries.values().all(|known| known.row.as_ref().unwrap().cycle == 1));
}

/// Others do not wait behind a receiver that hangs: it is slow before it has answered.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_is_slow_meanwhile() {
    let mut world = World::new(1).await;
    let webhook = world.register_with(json!({"retry_policy": {"timeoutMs": 15_000}}), 8).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Slow;
    world.publish(webhook);
    world.publish(webhook);
    let (queues, started) = (&world.ground.cloud.queues, tokio::time::Instant::now());
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

/// What is kept no longer cannot be sent, now or later: the delivery ends.
#[tokio::test(start_paused = true)]
async fn a_body_that_has_expired_ends_its_delivery() {
    let (mut world, webhook) = world_with(3).await;
    world.hand_over(webhook, Body::Stored("long gone".to_owned()), None);
    batch(&mut world, "deliveries", Plan::default()).await;
    let items = world.ground.cloud.tables.items("deliveries");
    let row = items.iter().find(|item| item["delivery"]["S"].is_string()).expect("a row");
    assert_eq!(row["delivery_state"]["S"], "exhausted");
    assert!(row["attempts"].to_string().contains("its payload is kept no longer"), "{row}");
}
