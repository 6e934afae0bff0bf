//! Slow authorization servers, on a paused clock.

use std::time::Duration;

use domain::id::WebhookId;
use serde_json::json;

use super::model::Mood;
use super::world::{TENANT, World};

/// Registers a webhook whose authorization server answers after that many seconds.
async fn behind_tokens(world: &mut World, seconds: u32, timeout_ms: u32) -> WebhookId {
    let policy = json!({"retry_policy": {"maxAttempts": 8, "timeoutMs": timeout_ms}});
    let webhook = world.register_with(policy, 8).await;
    let url = format!("https://tokens.example/{webhook}/{seconds}");
    world.hooks.authorize(&TENANT.parse().unwrap(), webhook, &url).await;
    webhook
}

/// Publishes an event whose delivery is attempted at once.
fn publish(world: &mut World, webhook: WebhookId) {
    world.hand_over_real(webhook, "{}".to_owned());
}

/// Returns the recorded times of the only delivery, in milliseconds: the whole attempt, and the wait for the token.
fn logged(world: &World) -> (u32, u32) {
    let items = world.fixture.cloud.tables.items("deliveries");
    let row = items.iter().find(|item| item["delivery"]["S"].is_string()).expect("a row");
    let outcome = &row["attempts"]["L"][0]["M"]["outcome"]["M"];
    let number = |value: &serde_json::Value| value["N"].as_str().unwrap().parse().unwrap();
    (number(&outcome["duration_ms"]), number(&outcome["timing"]["M"]["token_ms"]))
}

#[tokio::test(start_paused = true)]
async fn others_do_not_wait_behind_a_slow_authorization_server() {
    let mut world = World::new(1).await;
    let webhook = behind_tokens(&mut world, 9, 20_000).await;
    publish(&mut world, webhook);
    publish(&mut world, webhook);
    let (queues, started) = (&world.fixture.cloud.queues, tokio::time::Instant::now());
    let [first, second] = [1, 2].map(|_| queues.receive("deliveries", 1, |letter| letter.id));
    let hangs = world.delivers[0].deliver(&first);
    let next = async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        world.delivers[1].deliver(&second).await;
        (queues.len("slow"), started.elapsed() < Duration::from_secs(8))
    };
    let (_, detoured) = tokio::join!(hangs, next);
    assert_eq!(
        detoured,
        (1, true),
        "the second goes to the queue of the slow ones while the first waits for its token"
    );
    let (duration, token) = logged(&world);
    assert!((9000..9500).contains(&token) && duration >= token, "{duration} {token}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_token_holds_no_place_at_the_receivers_host() {
    let mut world = World::new(1).await;
    // All receivers have the same host, to which a process sends at most 20 requests at once.
    let webhook = behind_tokens(&mut world, 9, 20_000).await;
    let other = world.register_with(json!({}), 8).await;
    for _ in 0..20 {
        publish(&mut world, webhook);
    }
    publish(&mut world, other);
    let letters = world.fixture.cloud.queues.receive("deliveries", 21, |letter| letter.id);
    assert_eq!(letters.len(), 21);
    let batch = world.delivers[0].deliver(&letters);
    let arrived = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.model().requests.len()
    };
    let (back, arrived) = tokio::join!(batch, arrived);
    assert_eq!((back, arrived), (Some(Vec::new()), 1), "the other webhook's receiver does not wait for the tokens");
    assert_eq!(world.model().requests.len(), 21);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_is_for_the_token_and_the_request_together() {
    let mut world = World::new(1).await;
    let webhook = behind_tokens(&mut world, 4, 10_000).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Slow;
    publish(&mut world, webhook);
    let letters = world.fixture.cloud.queues.receive("deliveries", 1, |letter| letter.id);
    let started = tokio::time::Instant::now();
    world.delivers[0].deliver(&letters).await;
    let took = started.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&took), "{took:?}");
}

/// The receiver gets at least half of the timeout, however long the authorization server takes.
#[tokio::test(start_paused = true)]
async fn a_token_that_takes_too_long_fails_the_attempt() {
    let mut world = World::new(1).await;
    let webhook = behind_tokens(&mut world, 7, 10_000).await;
    publish(&mut world, webhook);
    let letters = world.fixture.cloud.queues.receive("deliveries", 1, |letter| letter.id);
    world.delivers[0].deliver(&letters).await;
    let (duration, token) = logged(&world);
    assert!((5000..5100).contains(&token) && duration == token, "{duration} {token}");
    assert_eq!(world.model().requests.len(), 0);
}
