//! What runs have found, each as a plain test.

use domain::delivery::State;
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
