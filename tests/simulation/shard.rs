//! Faults that must not block a shard: an archive that does not keep up, a record that makes fan-out panic, a message
//! that AWS never accepts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use domain::id::WebhookId;
use domain::time::Clock;
use fanout::{App, Config, StreamEvent};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};
use tests::{FakeAws, Refusal, Trap, fanout_environment};

use super::faults::{Bench, DONE, batch, record, source};

/// The webhooks of each tenant.
const WEBHOOKS: u128 = 2;

/// Returns a hundred records that alternate between two tenants, with their own numbers.
fn of_two_tenants(batch: u64) -> Value {
    let records = (1..=100).map(|number| {
        let tenant = if number % 2 == 0 { "globex" } else { "acme" };
        record(batch * 100 + number, &json!({"tenant": {"S": tenant}}))
    });
    json!({"Records": records.collect::<Vec<_>>()})
}

/// Ten batches while the archive accepts nothing: all deliveries are sent, and no record is returned. A batch takes as
/// long as its messages take; it waits for the archive a little at first and hardly at all later.
#[rstest]
#[case::of_one_tenant_is_throttled("acme", 0)]
#[case::is_throttled_as_a_whole("*", 0)]
#[case::does_not_answer("", 60_000)]
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn no_delivery_waits_for_an_archive_that(#[case] full: &str, #[case] slowness: u64) {
    let mut bench = Bench::start_with(&[("PAYLOAD_RETENTION_DAYS", "7")]).await;
    *bench.fake.full.lock().await = Some(full.to_owned());
    bench.fake.slowness.store(slowness, Ordering::Relaxed);
    let started = Instant::now();
    for number in 0..10 {
        assert_eq!(bench.function.invoke(of_two_tenants(number)).await, DONE());
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15), "ten batches took {took:?}");
    bench.all_sent(1_000).await;
    let archived = bench.fake.archived.lock().await;
    let of = |tenant: &str| archived.iter().filter(|(pk, _)| pk.split('#').nth(1) == Some(tenant)).count();
    assert_eq!((of("acme"), of("globex")), (0, if full == "acme" { 500 } else { 0 }), "the others are archived");
}

/// A batch of large records is processed in several groups. Together, they wait for the archive no longer than one
/// group would.
#[tokio::test(start_paused = true)]
async fn the_groups_of_a_batch_wait_for_the_archive_once() {
    const GROUPS: u64 = 6;
    let (fake, app) = in_process_with(Arc::new(|_, _| {}), &[("PAYLOAD_RETENTION_DAYS", "7")]).await;
    // An archive that is fast enough for one group.
    fake.slowness.store(1_500, Ordering::Relaxed);
    let maps: Value = (0..15_000).map(|_| json!({"M": {"a": {"N": "1"}}})).collect();
    let records: Vec<Value> = (1..=2 * GROUPS).map(|number| record(number, &json!({"large": {"L": maps}}))).collect();
    let started = tokio::time::Instant::now();
    assert_eq!(invoke(&app, &json!({"Records": records})).await, DONE());
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2), "there are several groups, and the archive takes longer: {took:?}");
    assert!(took < Duration::from_millis(2_500), "six groups waited {took:?}");
}

/// An archive that is throttled for a short time loses nothing.
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn an_archive_that_is_slow_for_a_moment_gets_all_events() {
    let mut bench = Bench::start_with(&[("PAYLOAD_RETENTION_DAYS", "7")]).await;
    *bench.fake.full.lock().await = Some("acme".to_owned());
    bench.fake.sluggishness.store(500, Ordering::Relaxed);
    bench.function.send(of_two_tenants(0)).await;
    tests::eventually("the other tenant's events", async || {
        (bench.fake.archived.lock().await.len() >= 50).then_some(())
    })
    .await;
    *bench.fake.full.lock().await = None;
    assert_eq!(bench.function.response().await, DONE());
    assert_eq!(bench.fake.archived.lock().await.len(), 100);
}

#[rstest]
#[case::in_a_call_that_takes_the_others(Refusal::Entry)]
#[case::with_the_whole_call(Refusal::Call)]
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn a_message_that_sqs_never_takes_goes_to_stream_failures(#[case] how: Refusal) {
    let mut bench = Bench::start().await;
    *bench.fake.forbidden.lock().await = Some(("orders/o7\\\"".to_owned(), how));
    assert_eq!(bench.function.invoke(batch(25)).await, DONE(), "the shard goes on");
    bench.all_sent(24).await;
    let failures = bench.fake.failures.lock().await;
    let [failure] = &failures[..] else { panic!("one failure of two messages: {failures:?}") };
    let failure: Value = serde_json::from_str(failure).unwrap();
    assert_eq!(failure["record"], record(7, &json!({})));
    let reason = failure["reason"].as_str().unwrap();
    assert!(reason.contains("InvalidMessageContents"), "{reason}");
}

/// A body that must be stored, and that DynamoDB always refuses as invalid.
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn a_body_that_dynamodb_never_takes_goes_to_stream_failures() {
    let mut bench = Bench::start().await;
    bench.fake.picky.store(true, Ordering::Relaxed);
    let large = record(2, &json!({"text": {"S": "x".repeat(100_000)}}));
    let records = json!({"Records": [record(1, &json!({})), large, record(3, &json!({}))]});
    assert_eq!(bench.function.invoke(records).await, DONE());
    bench.all_sent(2).await;
    let failures = bench.fake.failures.lock().await;
    let [failure] = &failures[..] else { panic!("one failure") };
    assert_eq!(serde_json::from_str::<Value>(failure).unwrap()["record"], large);
}

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        tests::now()
    }
}

/// Returns fan-out in the test's own process; some of its calls panic.
async fn in_process(trap: Trap) -> (Arc<FakeAws>, App) {
    in_process_with(trap, &[]).await
}

async fn in_process_with(trap: Trap, more: &[(&str, &str)]) -> (Arc<FakeAws>, App) {
    let fake = Arc::new(FakeAws::default());
    fake.register(source(&json!({}))).await;
    for number in 1..=WEBHOOKS {
        let id = WebhookId::from_parts(Timestamp::UNIX_EPOCH, number).to_string();
        fake.write("acme", &id, Some(serde_json::from_value(json!({"webhook": id})).unwrap())).await;
    }
    let mut environment = fanout_environment("http://127.0.0.1:9");
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let config = Config::from_lookup(|name| environment.get(name).cloned()).unwrap();
    let app = App::new(config, &fake.aws(trap).await, Box::new(Wall));
    (fake, app)
}

async fn invoke(app: &App, records: &Value) -> Value {
    let event: StreamEvent = serde_json::from_str(&records.to_string()).unwrap();
    let response = fanout::handle(app, event, SystemTime::now() + Duration::from_mins(1)).await;
    serde_json::to_value(response).unwrap()
}

/// A record makes fan-out panic in a batch with others: when its tenant is read, when its body is stored, or when its
/// messages are sent.
#[rstest]
#[case::when_its_tenant_is_read("BatchGetItem", "T#poison")]
#[case::when_its_body_is_stored("PutItem", "BODY#")]
#[case::when_its_messages_are_sent("SendMessageBatch", "orders/o2")]
#[tokio::test]
async fn a_record_that_makes_fan_out_panic_is_kept_and_the_others_go_on(
    #[case] operation: &'static str,
    #[case] what: &'static str,
) {
    let trap: Trap = Arc::new(move |called, body| {
        let is_delivery = !body.contains("/failures\"");
        assert!(called != operation || !body.contains(what) || !is_delivery, "the secret value of a record");
    });
    let (fake, app) = in_process(trap).await;
    let poison = match operation {
        "BatchGetItem" => record(2, &json!({"tenant": {"S": "poison"}})),
        "PutItem" => record(2, &json!({"text": {"S": "x".repeat(100_000)}})),
        _ => record(2, &json!({})),
    };
    let mut records: Vec<Value> = (1..=12).map(|number| record(number, &json!({}))).collect();
    records[1] = poison.clone();
    assert_eq!(invoke(&app, &json!({"Records": records})).await, DONE(), "the shard goes on");
    let failures = fake.failures.lock().await.clone();
    let [failure] = &failures[..] else { panic!("one failure: {failures:?}") };
    let failure: Value = serde_json::from_str(failure).unwrap();
    assert_eq!(failure["record"], poison);
    let reason = failure["reason"].as_str().unwrap();
    assert!(reason.contains("panicked") && !reason.contains("secret"), "{reason}");
    let sent = fake.deliveries.lock().await.clone();
    for number in (1..=12).filter(|number| *number != 2) {
        let of = sent.iter().filter(|message| message.contains(&format!("orders/o{number}\\\""))).count();
        assert!(of >= 2, "record {number} was sent to both webhooks: {of}");
    }
    // The process still works afterwards.
    assert_eq!(invoke(&app, &batch(3)).await, DONE());
}

/// If keeping the record panics too, the batch is returned from this record on.
#[tokio::test]
async fn a_record_that_cannot_be_kept_comes_again() {
    let trap: Trap = Arc::new(|called, body| assert!(called != "SendMessageBatch" || !body.contains("o3\\"), "no"));
    let (fake, app) = in_process(trap).await;
    assert_eq!(invoke(&app, &batch(5)).await, json!({"batchItemFailures": [{"itemIdentifier": "3"}]}));
    assert_eq!(*fake.failures.lock().await, Vec::<String>::new());
}
