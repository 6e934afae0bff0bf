//! One fault at a time. Afterwards, each pair of event and webhook was sent once, or several times with the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::delivery::message::Message;
use domain::id::WebhookId;
use domain::source::Source;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};
use tests::{FakeAws, Fault, Function, binary, fanout_environment};

pub(crate) struct Bench {
    pub(crate) fake: Arc<FakeAws>,
    url: String,
    pub(crate) function: Function,
}

pub(crate) fn source(more: &Value) -> Source {
    let mut mapping = json!({"entity": "order", "tenant": "{tenant}", "id": "{id}", "collection": "orders"});
    mapping.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json!({"table": "orders", "entities": [mapping]})).unwrap()
}

pub(crate) fn record(number: u64, more: &Value) -> Value {
    let mut image = json!({"tenant": {"S": "acme"}, "id": {"S": format!("o{number}")}});
    image.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "eventID": format!("e{number}"), "eventName": "INSERT", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
        "dynamodb": {"ApproximateCreationDateTime": 1_795_244_140.0, "Keys": {"id": {"S": "x"}}, "NewImage": image,
            "SequenceNumber": number.to_string(), "SizeBytes": 100, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-11-21T10:00:00.000",
    })
}

pub(crate) fn batch(records: u64) -> Value {
    json!({"Records": (1..=records).map(|number| record(number, &json!({}))).collect::<Vec<_>>()})
}

impl Bench {
    /// Starts a function with a table, two tenants, and two webhooks of each that want everything.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Does the same with additional environment variables.
    pub(crate) async fn start_with(more: &[(&str, &str)]) -> Self {
        let (fake, url) = FakeAws::start().await;
        fake.register(source(&json!({}))).await;
        for number in [1, 2] {
            let id = WebhookId::from_parts(Timestamp::UNIX_EPOCH, number).to_string();
            for tenant in ["acme", "globex"] {
                fake.write(tenant, &id, Some(serde_json::from_value(json!({"webhook": id})).unwrap())).await;
            }
        }
        let mut environment = fanout_environment(&url);
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let function = Function::spawn(&binary("FanoutFunction"), environment).await;
        Self { fake, url, function }
    }

    async fn restart(&mut self) {
        let next = Function::spawn(&binary("FanoutFunction"), fanout_environment(&self.url)).await;
        std::mem::replace(&mut self.function, next).kill().await;
    }

    /// Restarts the function with archiving enabled.
    async fn keep_events(&mut self) {
        let mut environment = fanout_environment(&self.url);
        environment.insert("PAYLOAD_RETENTION_DAYS".to_owned(), "7".to_owned());
        let next = Function::spawn(&binary("FanoutFunction"), environment).await;
        std::mem::replace(&mut self.function, next).kill().await;
    }

    async fn fail(&self, fault: Fault) {
        *self.fake.fault.lock().await = Some(fault);
    }

    /// Returns the content of the queue: for each pair of event and webhook, the deliveries and bodies that were sent.
    pub(crate) async fn pairs(&self) -> BTreeMap<(String, String), BTreeSet<(String, String)>> {
        let mut pairs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for text in self.fake.deliveries.lock().await.iter() {
            let Message { event, webhook, delivery, body, .. } = Message::from_json(text).unwrap();
            let sent = (delivery.to_string(), format!("{body:?}"));
            pairs.entry((event.to_string(), webhook.to_string())).or_default().insert(sent);
        }
        pairs
    }

    pub(crate) async fn all_sent(&self, records: usize) {
        let pairs = self.pairs().await;
        assert_eq!(pairs.len(), records * 2);
        assert!(pairs.values().all(|sent| sent.len() == 1), "one id and one body of each");
    }
}

/// The response that returns no record.
pub(crate) const DONE: fn() -> Value = || json!({"batchItemFailures": []});

/// The SDK or the function itself retries; whatever is sent twice has the same ids.
#[rstest]
#[case::the_registry_is_throttled(Fault::Throttle)]
#[case::some_messages_are_refused(Fault::RefuseSome)]
#[case::an_answer_is_lost(Fault::LoseAnswer)]
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn crash_point_04_a_fault_that_passes_is_not_seen(#[case] fault: Fault) {
    let mut bench = Bench::start().await;
    bench.fail(fault).await;
    assert_eq!(bench.function.invoke(batch(10)).await, DONE());
    assert_eq!(*bench.fake.fault.lock().await, None, "the fault was met");
    bench.all_sent(10).await;
}

/// A batch of 25 records makes 50 messages in five calls, up to eight at once. If the process is killed in one of them,
/// some messages were sent.
#[rstest]
#[case::before_its_messages_are_taken(Fault::HangBefore)]
#[case::after_its_messages_are_taken(Fault::HangAfter)]
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn crash_point_03_and_04_a_process_that_is_killed_in_a_send_loses_nothing(#[case] fault: Fault) {
    let mut bench = Bench::start().await;
    bench.fail(fault).await;
    bench.function.send(batch(25)).await;
    bench.fake.hangs.notified().await;
    bench.restart().await;
    assert_eq!(bench.function.invoke(batch(25)).await, DONE());
    bench.all_sent(25).await;
}

/// A record that comes twice in one batch, at any positions, is archived once, sent once, and delays nothing. The same
/// holds for a record that cannot be mapped.
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn crash_point_04_a_record_that_comes_twice_in_a_batch_is_sent_once() {
    for order in [[1, 1, 2], [1, 2, 1], [2, 1, 1]] {
        let mut bench = Bench::start().await;
        bench.keep_events().await;
        let poison = json!({"eventID": "e3", "dynamodb": {"SequenceNumber": "3", "NewImage": []}});
        let mut records = order.map(|number| record(number, &json!({}))).to_vec();
        records.extend([poison.clone(), poison]);
        assert_eq!(bench.function.invoke(json!({"Records": records})).await, DONE(), "{order:?}");
        assert_eq!(bench.fake.deliveries.lock().await.len(), 4, "{order:?}");
        bench.all_sent(2).await;
        assert_eq!(bench.fake.failures.lock().await.len(), 1, "{order:?}");
    }
}

/// The process is killed after the last send and before the batch is acknowledged, so the whole batch is received
/// again.
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn crash_point_05_a_process_that_is_killed_after_its_sends_repeats_them_with_the_same_ids() {
    let mut bench = Bench::start().await;
    assert_eq!(bench.function.invoke(batch(25)).await, DONE());
    bench.restart().await;
    assert_eq!(bench.function.invoke(batch(25)).await, DONE());
    assert_eq!(bench.fake.deliveries.lock().await.len(), 100);
    bench.all_sent(25).await;
}

#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn crash_point_06_a_poison_record_is_kept_and_the_others_go_on() {
    let mut bench = Bench::start().await;
    let poison = json!({"eventID": "e2", "dynamodb": {"SequenceNumber": "2", "NewImage": []}});
    let records = json!({"Records": [record(1, &json!({})), poison, record(3, &json!({}))]});
    assert_eq!(bench.function.invoke(records).await, DONE());
    bench.all_sent(2).await;
    let failures = bench.fake.failures.lock().await;
    let [failure] = &failures[..] else { panic!("one failure") };
    assert_eq!(serde_json::from_str::<Value>(failure).unwrap()["record"], poison);
}

/// A body that does not fit a message is sent by reference. It is stored once for all webhooks with the same rendering.
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn crash_point_06_an_oversize_record_travels_by_reference() {
    let mut bench = Bench::start().await;
    let noise = |seed: u64| {
        // Text that does not compress; two images make an item of the maximum size.
        let mut state = seed;
        let digits = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b' ' + 2 + u8::try_from((state >> 33) % 90).unwrap())
        });
        digits.take(390_000).collect::<String>()
    };
    let mut large = record(1, &json!({"text": {"S": noise(1)}}));
    large["eventName"] = json!("MODIFY");
    large["dynamodb"]["OldImage"] = json!({"tenant": {"S": "acme"}, "id": {"S": "o1"}, "text": {"S": noise(2)}});
    assert_eq!(bench.function.invoke(json!({"Records": [large]})).await, DONE());
    bench.all_sent(1).await;
    assert!(bench.pairs().await.values().flatten().all(|(_, body)| body.contains("Stored")));
    let parts = bench.fake.calls.lock().await["PutItem"];
    assert!(parts > 1, "in {parts} items");
}

/// A batch uses the mapping that is current when it is read, whatever was cached.
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn a_mapping_that_changed_under_the_stream_holds_at_once() {
    let mut bench = Bench::start().await;
    let body = async |bench: &Bench| bench.pairs().await.into_values().flatten().last().unwrap().1;
    bench.function.invoke(json!({"Records": [record(1, &json!({"hash": {"S": "canary"}}))]})).await;
    assert!(body(&bench).await.contains("canary"));
    bench.fake.deliveries.lock().await.clear();
    bench.fake.register(source(&json!({"redact": ["hash"], "collection": "sales"}))).await;
    bench.function.invoke(json!({"Records": [record(2, &json!({"hash": {"S": "canary"}}))]})).await;
    let body = body(&bench).await;
    assert!(!body.contains("canary") && body.contains("sales/o2"), "{body}");
}

/// A webhook that is created before fan-out reads the record gets it; one that was deleted does not.
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn webhooks_are_those_of_now() {
    let mut bench = Bench::start().await;
    bench.function.invoke(batch(1)).await;
    let [first, third] = [1, 3].map(|number| WebhookId::from_parts(Timestamp::UNIX_EPOCH, number).to_string());
    bench.fake.write("acme", &first, None).await;
    bench.fake.write("acme", &third, Some(serde_json::from_value(json!({"webhook": third})).unwrap())).await;
    bench.fake.deliveries.lock().await.clear();
    bench.function.invoke(json!({"Records": [record(2, &json!({}))]})).await;
    let webhooks: Vec<String> = bench.pairs().await.into_keys().map(|(_, webhook)| webhook).collect();
    assert_eq!(webhooks, [WebhookId::from_parts(Timestamp::UNIX_EPOCH, 2).to_string(), third]);
}

/// Messages are accepted so slowly that time runs out: what was sent is acknowledged, and the rest of the batch is
/// received again. When time is short, nothing more is rendered in the shard, so that each record is one slice.
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn a_slow_batch_ends_in_time() {
    let mut bench = Bench::start().await;
    bench.function.invoke(batch(1)).await;
    bench.fake.sluggishness.store(200, std::sync::atomic::Ordering::Relaxed);
    // 1,000 records make as many messages as are sent at once. Sending them takes longer than the time that is left
    // after the reserve.
    bench.function.allow(Duration::from_secs(16));
    let response = bench.function.invoke(batch(1_200)).await;
    assert_eq!(response, json!({"batchItemFailures": [{"itemIdentifier": "1001"}]}));
    assert_eq!(bench.fake.renderings.lock().await.len(), 1_000);
}

/// While the Registry is unavailable, the batch is returned from its start, and nothing was sent.
#[tokio::test]
#[ignore = "needs the functions that `make test` builds"]
async fn a_registry_that_stays_away_hands_the_batch_back() {
    let mut bench = Bench::start().await;
    bench.fake.throttled.store(true, std::sync::atomic::Ordering::Relaxed);
    let response = bench.function.invoke(batch(3)).await;
    assert_eq!(response, json!({"batchItemFailures": [{"itemIdentifier": "1"}]}));
    bench.fake.throttled.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(bench.function.invoke(batch(3)).await, DONE());
    bench.all_sent(3).await;
}
