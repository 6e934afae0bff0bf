//! Outages of hours in which every call of a part of AWS fails. Afterwards, everything is delivered or visible.

use domain::delivery::State;
use domain::delivery::fault::PATIENCE;
use domain::id::WebhookId;
use domain::time::Clock as _;
use jiff::{SignedDuration, Timestamp};

use super::model::Mood;
use super::process::{Outage, Plan, Process};
use super::world::{QUEUES, Work, World};

/// The duration of an outage.
const LASTS: SignedDuration = SignedDuration::from_hours(6);

/// Acts like Lambda for about a minute: passes due messages to the functions, and runs the sweep.
async fn minute(world: &mut World) {
    let started = world.fixture.time.now();
    for _ in 0..4 {
        let mut work = Vec::new();
        for queue in QUEUES {
            let letters = world.fixture.cloud.queues.receive(queue, 10, |letter| letter.due);
            if !letters.is_empty() {
                work.push(Work::Batch(queue, letters, Plan::default()));
            }
        }
        if work.is_empty() {
            break;
        }
        world.run(work).await;
    }
    world.run(vec![Work::Sweep(Plan::default())]).await;
    let rest = SignedDuration::from_mins(1) - world.fixture.time.now().duration_since(started);
    world.fixture.time.jump(rest.max(SignedDuration::ZERO));
}

/// Replaces all processes by new ones with empty caches.
async fn restart(world: &mut World) {
    for index in 0..world.delivers.len() {
        world.delivers[index] = Process::<deliver::App>::start(&world.fixture).await;
    }
}

/// Runs an outage. Some deliveries wait for a retry when it starts, and more are published meanwhile. Returns when it
/// ended.
async fn live_through(world: &mut World, outage: Outage) -> Timestamp {
    let webhooks: Vec<WebhookId> = world.living().into_iter().take(4).collect();
    world.model().hooks.get_mut(&webhooks[0]).unwrap().mood = Mood::Failing;
    for _ in 0..6 {
        world.publish(webhooks[0]);
    }
    minute(world).await;
    world.model().hooks.get_mut(&webhooks[0]).unwrap().mood = Mood::Up;
    restart(world).await;
    *world.fixture.outage.lock().unwrap() = Some(outage);
    let end = world.fixture.time.now() + LASTS;
    let mut minutes = 0;
    while world.fixture.time.now() < end {
        if minutes % 10 == 0 {
            world.publish(webhooks[minutes / 10 % webhooks.len()]);
        }
        minutes += 1;
        minute(world).await;
    }
    *world.fixture.outage.lock().unwrap() = None;
    world.fixture.time.now()
}

/// Checks that SQS moved no message to a dead-letter queue, and that there are no more messages than deliveries, except
/// for some copies.
fn assert_no_flood(world: &World) {
    let queues = &world.fixture.cloud.queues;
    assert_eq!(queues.len("dead-letters"), 0, "SQS gave up messages");
    let messages: usize = QUEUES.iter().map(|queue| queues.len(queue)).sum();
    let deliveries = world.model().deliveries.len();
    assert!(messages <= deliveries + deliveries / 4, "{messages} messages of {deliveries} deliveries");
}

/// Drains the world, and checks that every delivery arrived that could.
async fn assert_all_arrive(mut world: World) {
    world.drain().await;
    let model = world.model();
    assert!(model.deliveries.len() > 40);
    for (id, known) in &model.deliveries {
        let state = known.row.as_ref().unwrap().state;
        let is_given_up = known.body.is_none() || known.message.test;
        assert!(state == State::Delivered || is_given_up, "{id}: {known:?}");
    }
    assert_eq!(world.fixture.cloud.queues.len("dead-letters"), 0);
}

/// While secrets cannot be read, a tenant sees its waiting deliveries from the third receive on.
#[tokio::test(start_paused = true)]
async fn deliveries_are_visible_while_secrets_cannot_be_read_for_six_hours() {
    let mut world = World::new(3).await;
    live_through(&mut world, Outage::Secrets).await;
    assert_no_flood(&world);
    for (id, known) in &world.model().deliveries {
        let is_due_to_be_seen = known.firsts >= usize::try_from(PATIENCE).unwrap() && !known.message.test;
        let row = known.row.as_ref().map(|row| row.state);
        assert!(row == Some(State::Retrying) || !is_due_to_be_seen, "{id}: {known:?}");
    }
    let visible = world.model().deliveries.values().filter(|known| known.row.is_some()).count();
    assert!(visible > 30, "{visible} are visible");
    assert_all_arrive(world).await;
}

/// While no table can be used, nothing is visible, but nothing is lost.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_tables_cannot_be_used_for_six_hours() {
    let mut world = World::new(4).await;
    live_through(&mut world, Outage::Tables).await;
    assert_no_flood(&world);
    assert_all_arrive(world).await;
}
