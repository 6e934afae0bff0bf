//! Receivers that hang or answer late, called by several processes at once, on a paused clock.

use std::time::Duration;

use domain::delivery::State;
use domain::delivery::patience::{FIRST_PATIENCE, GRACE, PATIENT_FOR, SLOW_FOR};
use domain::id::WebhookId;
use domain::time::Clock as _;
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::cloud::{Fault, Letter};
use tokio::time::Instant;

use super::model::Mood;
use super::process::Plan;
use super::world::{Work, World, dies};

/// How long the calls to AWS of an invocation take at most.
const CALLS: Duration = Duration::from_millis(300);

const TIMEOUT: Duration = Duration::from_secs(15);

async fn world_with(mood: Mood) -> (World, WebhookId) {
    let mut world = World::new(1).await;
    let policy = json!({"retry_policy": {"maxAttempts": 8, "timeoutMs": 15_000}});
    let webhook = world.register_with(policy, 8).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = mood;
    (world, webhook)
}

/// Hands a new delivery to each process, and returns the messages.
fn one_each(world: &mut World, webhook: WebhookId) -> Vec<Vec<Letter>> {
    let each = world.delivers.iter().map(|_| ()).collect::<Vec<()>>();
    let publish = each.into_iter().map(|()| {
        world.hand_over_real(webhook, "{}".to_owned());
        world.fixture.cloud.queues.receive("deliveries", 1, |letter| letter.id)
    });
    publish.collect()
}

/// Runs a batch in each process at the same time, and returns how long each took.
async fn at_once(world: &World, batches: &[Vec<Letter>]) -> Vec<Duration> {
    let started = Instant::now();
    let runs = batches.iter().zip(&world.delivers).map(async |(letters, process)| {
        assert_eq!(process.deliver(letters).await, Some(Vec::new()));
        let ids: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
        world.fixture.cloud.queues.delete("deliveries", &ids);
        started.elapsed()
    });
    let mut took = join_all(runs).await;
    took.sort();
    took
}

/// Runs a batch of a queue's messages.
async fn batch(world: &mut World, queue: &'static str, plan: Plan) {
    let letters = world.fixture.cloud.queues.receive(queue, 10, |letter| letter.id);
    world.run(vec![Work::Batch(queue, letters, plan)]).await;
}

/// Returns an attribute of the webhook's breaker row, as a number.
fn noted(world: &World, webhook: WebhookId, name: &str) -> Option<i64> {
    let items = world.fixture.cloud.tables.items("deliveries");
    let key = [json!(format!("W#{webhook}")), json!("BREAKER")];
    let row = items.iter().find(|item| [&item["pk"]["S"], &item["sk"]["S"]] == [&key[0], &key[1]])?;
    row[name]["N"].as_str().and_then(|number| number.parse().ok())
}

fn is_marked(world: &World, webhook: WebhookId) -> bool {
    noted(world, webhook, "slow_until").is_some_and(|until| until > world.fixture.time.now().as_millisecond())
}

/// Asserts that every delivery has arrived, after everything that was left to do.
async fn assert_all_arrive(mut world: World) {
    world.drain().await;
    let model = world.model();
    assert!(model.deliveries.values().all(|known| known.row.as_ref().unwrap().state == State::Delivered));
    assert_eq!(world.fixture.cloud.queues.len("dead-letters"), 0);
}

/// Only the process that marks the receiver waits until the timeout.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_occupies_one_process() {
    let (mut world, webhook) = world_with(Mood::Slow).await;
    let batches = one_each(&mut world, webhook);
    let took = at_once(&world, &batches).await;
    world.check("three batches");
    let leaves = FIRST_PATIENCE + GRACE;
    assert!(took[..2].iter().all(|took| (leaves..leaves + CALLS).contains(took)), "{took:?}");
    assert!((TIMEOUT..TIMEOUT + CALLS).contains(&took[2]), "{took:?}");
    let (requests, moved) = (world.model().requests.len(), world.fixture.cloud.queues.len("slow"));
    assert_eq!((requests, moved), (3, 3), "two moved to the queue of slow receivers, where the retry is, too");
    let rows = world.model().deliveries.values().filter_map(|known| known.row.clone()).collect::<Vec<_>>();
    assert_eq!(rows.iter().map(|row| row.attempts.len()).collect::<Vec<_>>(), [1], "one attempt is counted");
    assert!(is_marked(&world, webhook));
    // There, a receiver has its whole timeout.
    let started = Instant::now();
    batch(&mut world, "slow", Plan::default()).await;
    assert!(started.elapsed() >= TIMEOUT);
    assert_eq!((world.model().requests.len(), world.fixture.cloud.queues.len("slow")), (5, 3));
    assert_all_arrive(world).await;
}

/// The requests of one invocation end together anyway, so none of them is left.
#[tokio::test(start_paused = true)]
async fn the_requests_of_one_invocation_share_a_mark() {
    let (mut world, webhook) = world_with(Mood::Slow).await;
    for _ in 0..3 {
        world.hand_over_real(webhook, "{}".to_owned());
    }
    batch(&mut world, "deliveries", Plan::default()).await;
    let left: usize = world.model().deliveries.values().map(|known| known.left).sum();
    assert_eq!((world.model().requests.len(), left), (3, 0));
    assert_all_arrive(world).await;
}

/// A delivery that waits for its second attempt does not wait for its lease to end.
#[tokio::test(start_paused = true)]
async fn a_retry_that_is_left_is_made_again_at_once() {
    let (mut world, webhook) = world_with(Mood::Failing).await;
    world.hand_over_real(webhook, "{}".to_owned());
    batch(&mut world, "deliveries", Plan::default()).await;
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Slow;
    world.fixture.time.jump(SignedDuration::from_mins(10));
    let retry = world.fixture.cloud.queues.receive("retries", 1, |letter| letter.id);
    let batches = [one_each(&mut world, webhook).remove(0), retry];
    let runs = async {
        let first = world.delivers[0].deliver(&batches[0]);
        let second = async {
            // The other process has marked the receiver by then.
            tokio::time::sleep(Duration::from_millis(200)).await;
            world.delivers[1].deliver(&batches[1]).await
        };
        tokio::join!(first, second)
    };
    assert_eq!(runs.await, (Some(Vec::new()), Some(Vec::new())));
    assert_eq!(world.fixture.cloud.queues.len("slow"), 2, "the retry, and what follows the first attempt");
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Up;
    let left = world.fixture.cloud.queues.receive("slow", 1, |letter| letter.id);
    assert_eq!(world.delivers[2].deliver(&left).await, Some(Vec::new()));
    world.check("the last batch");
    let states: Vec<State> =
        world.model().deliveries.values().filter_map(|known| known.row.as_ref().map(|row| row.state)).collect();
    assert!(states.contains(&State::Delivered), "{states:?}");
}

/// A mark ends with the answer, and the next such answer makes none.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_answers_late_is_marked_only_until_it_answers() {
    let (mut world, webhook) = world_with(Mood::Late(700)).await;
    let batches = one_each(&mut world, webhook);
    let first = async { world.delivers[0].deliver(&batches[0]).await };
    let second = async {
        tokio::time::sleep(Duration::from_millis(450)).await;
        let marked = is_marked(&world, webhook);
        world.delivers[1].deliver(&batches[1]).await;
        (marked, world.fixture.cloud.queues.len("slow"))
    };
    let (_, while_it_waits) = tokio::join!(first, second);
    assert_eq!(while_it_waits, (true, 1), "it is marked, and the next delivery moves");
    assert!(!is_marked(&world, webhook));
    assert_eq!(noted(&world, webhook, "patience_ms"), Some(1000));
    // The same again, with all processes, marks nothing and moves nothing.
    let batches = one_each(&mut world, webhook);
    let took = at_once(&world, &batches).await;
    assert!(took[2] < Duration::from_millis(700) + CALLS, "{took:?}");
    assert!(!is_marked(&world, webhook));
    assert_eq!(world.fixture.cloud.queues.len("slow"), 1);
    assert!(world.model().deliveries.values().all(|known| known.posts <= 1 && known.left == 0));
}

/// What usual answers need is kept, and falls when they need less.
#[tokio::test(start_paused = true)]
async fn patience_lasts_as_long_as_it_is_needed() {
    let (mut world, webhook) = world_with(Mood::Late(400)).await;
    let deliver = async |world: &mut World| {
        world.hand_over_real(webhook, "{}".to_owned());
        batch(world, "deliveries", Plan::default()).await;
        noted(world, webhook, "patience_until").unwrap()
    };
    let learned = deliver(&mut world).await;
    let a_third = SignedDuration::try_from(PATIENT_FOR / 3).unwrap();
    world.fixture.time.jump(a_third);
    assert_eq!(deliver(&mut world).await, learned, "it is still new");
    world.fixture.time.jump(a_third);
    assert!(deliver(&mut world).await > learned);
    assert_eq!(noted(&world, webhook, "patience_ms"), Some(800));
    world.model().hooks.get_mut(&webhook).unwrap().mood = Mood::Up;
    world.fixture.time.jump(a_third);
    deliver(&mut world).await;
    assert_eq!(noted(&world, webhook, "patience_ms"), Some(400));
}

/// A receiver that usually takes long, but gets few events, gets each of them once and fails none.
#[tokio::test(start_paused = true)]
async fn a_slow_receiver_with_few_events_gets_each_once() {
    let (mut world, webhook) = world_with(Mood::Late(6000)).await;
    for _ in 0..3 {
        world.hand_over_real(webhook, "{}".to_owned());
        batch(&mut world, "deliveries", Plan::default()).await;
        if world.fixture.cloud.queues.len("slow") > 0 {
            batch(&mut world, "slow", Plan::default()).await;
        }
        world.fixture.time.jump(SignedDuration::try_from(SLOW_FOR).unwrap() - SignedDuration::from_mins(3));
    }
    let model = world.model();
    assert!(model.deliveries.values().all(|known| known.posts == 1 && known.row.as_ref().unwrap().attempts.len() == 1));
    drop(model);
    // The last answer renewed the mark.
    assert!(is_marked(&world, webhook));
}

/// Whichever call the process dies at, the mark ends, and the delivery arrives.
#[tokio::test(start_paused = true)]
async fn a_mark_ends_after_a_crash_between_it_and_the_answer() {
    let mut marked = 0;
    for call in 1..8 {
        for fault in [Fault::DieBefore, Fault::DieAfter] {
            let (mut world, webhook) = world_with(Mood::Late(2000)).await;
            world.hand_over_real(webhook, "{}".to_owned());
            batch(&mut world, "deliveries", dies(call, fault)).await;
            marked += usize::from(is_marked(&world, webhook));
            world.fixture.time.jump(SignedDuration::from_secs(70));
            assert!(!is_marked(&world, webhook), "{call} {fault:?}");
            assert_all_arrive(world).await;
        }
    }
    assert!(marked > 0, "some processes died while they waited");
}

/// A lost answer of the write does not make the process take its own mark for that of another one.
#[tokio::test(start_paused = true)]
async fn a_process_knows_its_mark_although_the_answer_of_the_write_is_lost() {
    let mut met = 0;
    for call in 1..8 {
        let (mut world, webhook) = world_with(Mood::Late(2000)).await;
        world.hand_over_real(webhook, "{}".to_owned());
        batch(&mut world, "deliveries", Plan { dies: Some((call, Fault::LoseAnswer)), ..Plan::default() }).await;
        met += world.counts.get("lost an answer").copied().unwrap_or_default();
        let left: usize = world.model().deliveries.values().map(|known| known.left).sum();
        assert_eq!((left, is_marked(&world, webhook)), (0, false), "{call}");
        assert_all_arrive(world).await;
    }
    assert!(met > 2, "{met} answers were lost");
}

/// If the mark cannot be written, the process waits as if there were no marks.
#[tokio::test(start_paused = true)]
async fn a_process_that_cannot_mark_a_receiver_waits() {
    let (mut world, webhook) = world_with(Mood::Late(3000)).await;
    world.hand_over_real(webhook, "{}".to_owned());
    let letters = world.fixture.cloud.queues.receive("deliveries", 1, |letter| letter.id);
    let outage = std::sync::Arc::clone(&world.fixture.outage);
    let breaks = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        *outage.lock().unwrap() = Some(super::process::Outage::Tables);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        *outage.lock().unwrap() = None;
    };
    let (back, ()) = tokio::join!(world.delivers[0].deliver(&letters), breaks);
    assert_eq!(back, Some(Vec::new()));
    let row: Value = {
        let items = world.fixture.cloud.tables.items("deliveries");
        items.into_iter().find(|item| item["delivery"]["S"].is_string()).unwrap()
    };
    assert_eq!(row["delivery_state"]["S"], "delivered");
    assert_eq!(world.model().requests.len(), 1);
}
