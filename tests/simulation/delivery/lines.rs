//! Lines of deliveries that wait for a free slot of their receiver: their cost, their order, and that no delivery is
//! left waiting when the process dies that should wake it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::attempt::rate_limit::{Ask, Turn};
use domain::delivery::State;
use domain::id::{DeliveryId, WebhookId};
use domain::time::Clock as _;
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::cloud::{Fault, Faults};

use super::model::Mood;
use super::process::Plan;
use super::world::{QUEUES, TENANT, Work, World, dies};

/// Returns a world with a webhook with these limits, and that many deliveries to it.
async fn world_with(limits: Value, deliveries: usize) -> (World, WebhookId) {
    let mut world = World::new(1).await;
    let mut settings = json!({"retry_policy": {"maxAttempts": 4, "timeoutMs": 5000}});
    settings.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    let webhook = world.register_with(settings, 4).await;
    for _ in 0..deliveries {
        let text = format!(r#"{{"number":{}}}"#, world.published + 1);
        world.hand_over_real(webhook, text);
    }
    (world, webhook)
}

/// Runs a batch of a queue's due messages; returns how many there were.
async fn batch(world: &mut World, queue: &'static str, plan: Plan) -> usize {
    let letters = world.fixture.cloud.queues.receive(queue, 10, |letter| letter.id);
    let count = letters.len();
    if count > 0 {
        world.run(vec![Work::Batch(queue, letters, plan)]).await;
    }
    count
}

fn states(world: &World) -> BTreeMap<&'static str, usize> {
    let mut states = BTreeMap::new();
    for known in world.model().deliveries.values() {
        *states.entry(known.row.as_ref().map_or("none", |row| row.state.as_str())).or_default() += 1;
    }
    states
}

fn in_line(world: &World) -> usize {
    let model = world.model();
    model.deliveries.values().filter(|known| known.row.as_ref().is_some_and(|row| row.is_in_line)).count()
}

/// Processes everything that is due, three batches at once, until all deliveries have ended. When no message is due
/// soon, a minute passes and the sweep runs. Returns how many messages were received, and how long it took.
async fn work_off(world: &mut World) -> (usize, SignedDuration) {
    let started = world.fixture.time.now();
    let mut received = 0;
    for _ in 0..10_000 {
        let mut work = Vec::new();
        for queue in ["deliveries", "retries", "retries"] {
            let letters = world.fixture.cloud.queues.receive(queue, 10, |letter| letter.id);
            received += letters.len();
            if !letters.is_empty() {
                work.push(Work::Batch(queue, letters, Plan::default()));
            }
        }
        if !work.is_empty() {
            world.run(work).await;
            continue;
        }
        let ended = |known: &super::model::Known| known.row.as_ref().is_some_and(|row| row.state.is_terminal());
        if world.model().deliveries.values().all(ended) {
            return (received, world.fixture.time.now().duration_since(started));
        }
        let now = world.fixture.time.now();
        let next = QUEUES.iter().filter_map(|queue| world.fixture.cloud.queues.next_due(queue)).min();
        match next {
            Some(next) if next > now && next < now + SignedDuration::from_secs(60) => {
                world.fixture.time.jump(next.duration_since(now));
            }
            _ => {
                world.fixture.time.jump(SignedDuration::from_secs(60));
                world.run(vec![Work::Sweep(Plan::default())]).await;
            }
        }
    }
    panic!("it never ends: {:?}", states(world));
}

/// No delivery polls: each costs its first message and one that wakes it, however long it waits.
#[tokio::test(start_paused = true)]
async fn a_thousand_that_wait_cost_one_message_more_each() {
    let (mut world, _) = world_with(json!({"max_concurrency": 5}), 1000).await;
    world.fixture.cloud.take_calls();
    let (received, took) = work_off(&mut world).await;
    assert_eq!(states(&world), BTreeMap::from([("delivered", 1000)]));
    assert!(received <= 2100, "{received} messages for 1000 deliveries");
    let calls = world.fixture.cloud.take_calls();
    println!("1000 deliveries, five at once: {received} messages in {took:#}, and the calls {calls:?}");
    let count = |operation: &str| calls.get(operation).copied().unwrap_or(0);
    assert!(count("PutItem") <= 1000, "each joins the line once: {calls:?}");
    // Each delivery leaves the line, is leased, and gets its outcome; the remaining writes are those of batches.
    assert!(count("UpdateItem") <= 4100, "{calls:?}");
    assert!(count("SendMessageBatch") <= 300, "{calls:?}");
}

/// With one slot, each delivery is sent when the one before it has ended.
#[tokio::test(start_paused = true)]
async fn the_oldest_goes_first() {
    let (mut world, webhook) = world_with(json!({"max_concurrency": 1}), 0).await;
    for number in 0..30 {
        world.hand_over_real(webhook, format!(r#"{{"number":{number}}}"#));
        world.fixture.time.jump(SignedDuration::from_millis(1));
    }
    // All of them are in the line before the second one is sent.
    for _ in 0..3 {
        batch(&mut world, "deliveries", Plan::default()).await;
    }
    work_off(&mut world).await;
    let requests = world.model().requests.clone();
    assert_eq!(requests.len(), 30);
    assert!(requests.is_sorted(), "{requests:?}");
}

/// The process that should wake the next delivery dies before or after any of its calls. The next one is sent about two
/// minutes later, and does not wait for ever.
#[tokio::test(start_paused = true)]
async fn a_process_that_dies_leaves_nobody_waiting() {
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for call in 1..16 {
            let (mut world, _) = world_with(json!({"max_concurrency": 1}), 4).await;
            batch(&mut world, "deliveries", dies(call, fault)).await;
            let (_, took) = work_off(&mut world).await;
            assert_eq!(states(&world), BTreeMap::from([("delivered", 4)]), "dies at call {call}");
            assert!(took < SignedDuration::from_mins(12), "dies at call {call}: {took:#}");
        }
    }
}

/// The row is due two minutes after its delivery was woken.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_lost_is_sent_again() {
    let (mut world, _) = world_with(json!({"max_concurrency": 1}), 3).await;
    batch(&mut world, "deliveries", Plan::default()).await;
    let woken = world.fixture.cloud.queues.receive("retries", 10, |letter| letter.id);
    assert_eq!((woken.len(), in_line(&world)), (1, 1), "one place, one message");
    world.fixture.cloud.queues.delete("retries", &[woken[0].id]);
    let (_, took) = work_off(&mut world).await;
    assert_eq!(states(&world), BTreeMap::from([("delivered", 3)]));
    assert!(took < SignedDuration::from_mins(5), "{took:#}");
}

/// The sweep looks at an empty line less and less often, and not at all after a day.
#[tokio::test(start_paused = true)]
async fn a_line_that_is_empty_is_forgotten() {
    let (mut world, webhook) = world_with(json!({"max_concurrency": 1}), 3).await;
    work_off(&mut world).await;
    world.drain().await;
    let items = world.fixture.cloud.tables.items("deliveries");
    let flow =
        items.iter().find(|item| item["pk"]["S"] == format!("W#{webhook}") && item["sk"]["S"] == "FLOW").unwrap();
    assert!(flow["lane"].is_null() && flow["lane_at"].is_null(), "{flow}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_webhook_that_is_paused_is_parked_and_goes_when_it_is_resumed() {
    let (mut world, webhook) = world_with(json!({"max_concurrency": 1}), 10).await;
    batch(&mut world, "deliveries", Plan::default()).await;
    assert_eq!(in_line(&world), 8);
    world.pause(webhook).await;
    while batch(&mut world, "retries", Plan::default()).await > 0 {}
    for _ in 0..5 {
        world.fixture.time.jump(SignedDuration::from_secs(60));
        world.run(vec![Work::Sweep(Plan::default())]).await;
        while batch(&mut world, "retries", Plan::default()).await > 0 {}
    }
    assert_eq!(states(&world), BTreeMap::from([("delivered", 1), ("parked", 9)]));
    world.resume(webhook).await;
    world.drain().await;
    assert_eq!(states(&world), BTreeMap::from([("delivered", 10)]));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_webhook_that_is_deleted_is_cancelled() {
    let (mut world, webhook) = world_with(json!({"max_concurrency": 1}), 10).await;
    batch(&mut world, "deliveries", Plan::default()).await;
    world.delete(webhook).await;
    work_off(&mut world).await;
    assert_eq!(states(&world), BTreeMap::from([("cancelled", 9), ("delivered", 1)]));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_limit_that_is_removed_goes() {
    let (mut world, webhook) = world_with(json!({"max_concurrency": 1}), 10).await;
    batch(&mut world, "deliveries", Plan::default()).await;
    let now = world.fixture.time.now();
    let remove = |webhook: &mut domain::webhook::Webhook| webhook.settings.max_concurrency = None;
    world.hooks.change(&TENANT.parse().unwrap(), webhook, now, remove).await;
    world.model().hooks.get_mut(&webhook).unwrap().max_concurrency = None;
    let (_, took) = work_off(&mut world).await;
    assert_eq!(states(&world), BTreeMap::from([("delivered", 10)]));
    assert!(took < SignedDuration::from_mins(3), "{took:#}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_receiver_that_goes_down_is_parked_and_goes_when_it_is_up() {
    let (mut world, webhook) = world_with(json!({"max_concurrency": 2}), 40).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
    for _ in 0..200 {
        for queue in ["deliveries", "retries"] {
            batch(&mut world, queue, Plan::default()).await;
        }
        world.fixture.time.jump(SignedDuration::from_secs(1));
    }
    assert!(states(&world)["parked"] >= 30 && in_line(&world) == 0, "{:?}", states(&world));
    world.drain().await;
    assert_eq!(states(&world), BTreeMap::from([("delivered", 40)]));
}

/// Both limits hold, and a delivery that waits for a slot uses no turn of the rate.
#[tokio::test(start_paused = true)]
async fn a_rate_and_a_number_at_once_hold_together() {
    let (mut world, _) = world_with(json!({"max_concurrency": 2, "rate_limit": 4}), 60).await;
    let (received, took) = work_off(&mut world).await;
    assert_eq!(states(&world), BTreeMap::from([("delivered", 60)]));
    assert!(took >= SignedDuration::from_millis(13_500), "60 in {took:#}, four a second");
    assert!(took <= SignedDuration::from_secs(60), "60 in {took:#}, four a second");
    assert!(received <= 240, "{received} messages");
}

/// Forty processes at once each take a turn and return its slot, all by writing the same row.
#[tokio::test(start_paused = true)]
async fn many_processes_at_once_take_their_turns() {
    let (world, webhook) = world_with(json!({"max_concurrency": 20}), 0).await;
    let tenant = TENANT.parse().unwrap();
    let limits = domain::attempt::rate_limit::ReceiverLimits { rate: None, concurrency: Some(20) };
    let receiver = aws::ledger::Receiver { webhook, tenant: &tenant, limits };
    let at = world.fixture.time.now();
    let cloud = &world.fixture.cloud;
    let processes = (0..40_u32).map(|number| async move {
        let slow = move |_: &str, call: usize| {
            let milliseconds = 3 + (call + usize::try_from(number).unwrap()) % 7;
            Faults { delay: Duration::from_millis(u64::try_from(milliseconds).unwrap()), fault: None }
        };
        let ledger = cloud.line(Arc::new(slow)).aws().await.ledger("deliveries".to_owned());
        let ask = Ask { delivery: DeliveryId::from_parts(at, number.into()), had_turn: false };
        let holder = format!("{:08x}", number.wrapping_mul(0x9e37_79b9));
        let turns = ledger.take_turns(receiver, &[ask], &holder, at + Duration::from_mins(1), at).await;
        let given = ledger.wake(receiver, &[holder], &[], at).await;
        (turns.map(|turns| matches!(turns[0], Turn::At(_))), given.map(|woken| woken.messages.len()))
    });
    let all = join_all(processes).await;
    assert!(all.iter().all(|(turns, given)| turns.is_ok() && given.is_ok()), "{all:?}");
    assert!(all.iter().filter(|(turns, _)| matches!(turns, Ok(true))).count() >= 20);
}

/// A delivery that is sent again while all slots are taken also waits in the line, with its body.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_sent_again_waits_too() {
    let (mut world, webhook) = world_with(json!({"max_concurrency": 1, "retry_policy": {"maxAttempts": 1}}), 3).await;
    world.model().hooks.get_mut(&webhook).unwrap().max_attempts = 1;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Failing;
    work_off(&mut world).await;
    assert_eq!(states(&world), BTreeMap::from([("exhausted", 3)]));
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Up;
    assert_eq!(world.fixture.cloud.queues.redrive("exhausted", "retries", 10).len(), 3);
    batch(&mut world, "retries", Plan::default()).await;
    assert!(in_line(&world) >= 1);
    world.drain().await;
    let model = world.model();
    let rows: Vec<_> = model.deliveries.values().map(|known| known.row.as_ref().unwrap()).collect();
    assert!(rows.iter().all(|row| (row.state, row.cycle) == (State::Delivered, 1)), "{rows:?}");
}
