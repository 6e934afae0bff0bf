//! Checks that the cloud behaves like AWS, through the code that uses it.

use aws::ledger::{AttemptKey, Made, Written};
use domain::attempt::Attempt;
use domain::attempt::outcome::{Outcome, Verdict};
use domain::attempt::redact::SentHeaders;
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::id::EventId;
use domain::payload::ContentType;
use domain::webhook::Webhook;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::Hooks;

#[derive(Default)]
struct Hand(Mutex<SignedDuration>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + *self.0.lock().unwrap()
    }
}

fn fares(fault: Option<Fault>) -> FaultScript {
    Arc::new(move |_, number| Faults { fault: fault.filter(|_| number == 0), ..Faults::default() })
}

async fn cloud() -> (Arc<Cloud>, Arc<Hand>, Webhook) {
    let hand = Arc::new(Hand::default());
    let cloud = Cloud::new(hand.clone());
    let webhook = Hooks::new(&cloud).await.create("acme", 1, json!({"url": "https://receiver.example/"})).await;
    (cloud, hand, webhook)
}

fn message(webhook: &Webhook, number: u128) -> Message {
    let event = EventId::from_parts(Timestamp::UNIX_EPOCH, number);
    let body = Body::Inline("{}".to_owned());
    Message::first(event, "order.created".parse().unwrap(), webhook.id, webhook.tenant.clone(), body)
}

fn failed(webhook: &Webhook, number: u32) -> Attempt {
    let (at, outcome) = (Timestamp::UNIX_EPOCH, Outcome::unanswered(Verdict::TimedOut, "no answer"));
    let (secret_fingerprint, request_headers) = (webhook.secret.fingerprint.clone(), SentHeaders::default());
    Attempt { cycle: 0, number, at, outcome, request_headers, secret_fingerprint, url: None }
}

fn row(webhook: &Webhook, message: &Message) -> Delivery {
    let next_at = Some(Timestamp::UNIX_EPOCH);
    let progress = Progress { state: State::Retrying, cycle: 0, attempt: 2, next_at };
    let Message { delivery, event, event_type, webhook: id, tenant, body, .. } = message.clone();
    Delivery {
        id: delivery,
        event,
        event_type,
        webhook: id,
        tenant,
        app: None,
        sequence: None,
        entity: None,
        entity_path: None,
        hops: domain::event::hops::Hops::NONE,
        traceparent: None,
        deferred_until: None,
        over_budget: false,
        test: false,
        progress,
        lease_until: None,
        body,
        body_digest: None,
        last_response: None,
        content_type: ContentType::Json,
        attempts: vec![failed(webhook, 1)],
    }
}

#[tokio::test(start_paused = true)]
async fn expressions_mean_what_they_say() {
    let (cloud, _, webhook) = cloud().await;
    let ledger = cloud.line(fares(None)).aws().await.ledger("deliveries".to_owned());
    let (now, message) = (Timestamp::UNIX_EPOCH, message(&webhook, 1));
    assert_eq!(ledger.record_first(&row(&webhook, &message), now).await.unwrap(), Written::Yes);
    let of_another = Delivery { attempts: Vec::new(), ..row(&webhook, &message) };
    assert_eq!(ledger.record_first(&of_another, now).await.unwrap(), Written::TooLate);

    let slot = AttemptKey { attempt: 2, ..AttemptKey::of(&message) };
    let until = now + Duration::from_mins(1);
    assert_eq!(ledger.lease(slot, until, now).await.unwrap(), Written::Yes);
    assert_eq!(ledger.lease(slot, until, now).await.unwrap(), Written::TooLate);
    assert!(ledger.due(now, 10, now).await.unwrap().rows.is_empty());
    assert_eq!(ledger.due(until, 10, now).await.unwrap().rows.len(), 1, "the index knows it");

    let progress = Progress { state: State::Exhausted, cycle: 0, attempt: 2, next_at: None };
    assert_eq!(ledger.record(slot, Made::Attempt(&failed(&webhook, 2)), &progress, now).await.unwrap(), Written::Yes);
    let of_another = Attempt { at: now + Duration::from_millis(1), ..failed(&webhook, 2) };
    assert_eq!(ledger.record(slot, Made::Attempt(&of_another), &progress, now).await.unwrap(), Written::TooLate);
    let row = ledger.delivery(webhook.id, message.delivery, now).await.unwrap().unwrap();
    assert_eq!(row.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(ledger.dead_letter_sent(slot, &webhook.tenant, now).await.unwrap(), Written::Yes);
    assert!(ledger.due(now + Duration::from_hours(1), 10, now).await.unwrap().rows.is_empty(), "the index forgot it");
}

/// A unit is 1 KB that is written or 4 KB that are read, a consistent read counts twice, and an index is written too.
#[tokio::test(start_paused = true)]
async fn calls_are_counted_as_aws_bills_them() {
    let (cloud, _, webhook) = cloud().await;
    let ledger = cloud.line(fares(None)).aws().await.ledger("deliveries".to_owned());
    let (now, waits) = (Timestamp::UNIX_EPOCH, message(&webhook, 1));
    let written = |usage: &Usage| usage.writes.get("deliveries").copied().unwrap_or_default().to_bits();
    cloud.take_usage();

    // In the lane of due rows.
    ledger.record_first(&row(&webhook, &waits), now).await.unwrap();
    assert_eq!(written(&cloud.take_usage()), 2_f64.to_bits());
    // A condition that does not hold is billed like the write.
    let later = now + Duration::from_secs(1);
    assert_eq!(ledger.record_first(&row(&webhook, &waits), later).await.unwrap(), Written::TooLate);
    assert_eq!(written(&cloud.take_usage()), 1_f64.to_bits());
    // In no lane.
    let progress = Progress { state: State::Delivered, cycle: 0, attempt: 1, next_at: None };
    let arrived = Delivery { progress, ..row(&webhook, &message(&webhook, 2)) };
    ledger.record_delivered(&[arrived], |_| true, now).await.unwrap();
    let usage = cloud.take_usage();
    assert_eq!((written(&usage), &usage.calls), (1_f64.to_bits(), &BTreeMap::from([("BatchWriteItem".to_owned(), 1)])));

    ledger.delivery(webhook.id, waits.delivery, now).await.unwrap();
    assert_eq!(cloud.take_usage().reads, BTreeMap::from([("deliveries".to_owned(), 1.0)]));
}

#[test]
fn queues_bill_chunks_of_64_kilobytes() {
    let requests = |sizes: &[usize]| queue_requests(sizes.iter().copied());
    assert_eq!([requests(&[]), requests(&[1]), requests(&[65_536]), requests(&[65_536, 1])], [1, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_is_all_or_nothing() {
    let (cloud, _, webhook) = cloud().await;
    let registry = cloud.line(fares(None)).aws().await.registry("registry".to_owned());
    let items = cloud.tables.items("registry").len();
    let writer = aws::registry::WebhookWriter::new(registry, "events".to_owned(), "deliveries".to_owned(), || 1);
    let again = writer.create(&webhook, 10).await;
    assert!(matches!(again, Err(aws::StoreError::Conflict { .. })), "{again:?}");
    assert_eq!(cloud.tables.items("registry").len(), items);
}

/// Refused entries are sent again, and a write whose answer was lost happens once.
#[tokio::test(start_paused = true)]
async fn faults_are_met_and_passed() {
    for fault in [Fault::Throttle, Fault::LoseAnswer, Fault::RefuseSome, Fault::HangBefore, Fault::HangAfter] {
        let (cloud, _, webhook) = cloud().await;
        let ledger = cloud.line(fares(Some(fault))).aws().await.ledger("deliveries".to_owned());
        let rows: Vec<_> = (1..4).map(|number| row(&webhook, &message(&webhook, number))).collect();
        ledger.record_delivered(&rows, |_| false, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(cloud.tables.items("deliveries").len(), 3, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_wait_come_again_and_are_given_up() {
    let (cloud, hand, _) = cloud().await;
    let all = |_: &Letter| 0;
    cloud.queues.send("retries", "text".to_owned(), Duration::from_mins(1), None, None);
    assert!(cloud.queues.receive("retries", 10, all).is_empty(), "it waits");
    *hand.0.lock().unwrap() = SignedDuration::from_secs(60);
    let max = cloud.queues.max_receives("retries").unwrap();
    for receives in 1..=max {
        assert_eq!(cloud.queues.receive("retries", 10, all)[0].receives, receives);
        assert!(cloud.queues.receive("retries", 10, all).is_empty(), "it is hidden");
        *hand.0.lock().unwrap() += SignedDuration::from_mins(6);
    }
    assert!(cloud.queues.receive("retries", 10, all).is_empty());
    assert_eq!((cloud.queues.len("retries"), cloud.queues.len("dead-letters")), (0, 1));
}

/// Every queue that deliver reads keeps messages as long as SQS allows.
#[tokio::test(start_paused = true)]
async fn a_fault_of_days_moves_nothing_to_the_dead_letter_queue() {
    let (cloud, _, _) = cloud().await;
    for queue in ["deliveries", "retries", "slow"] {
        assert_eq!(cloud.queues.max_receives(queue), Some(1000), "{queue}");
    }
    assert_eq!(cloud.queues.max_receives("exhausted"), None);
}

/// Only received messages are deleted, and only with the latest receipt.
#[tokio::test(start_paused = true)]
async fn letters_are_hidden_and_removed() {
    let (cloud, hand, webhook) = cloud().await;
    let aws = cloud.line(fares(None)).aws().await;
    let url = "https://sqs.us-east-1.amazonaws.com/000000000000/exhausted".to_owned();
    let exhausted = aws.dead_letters(url, "events".to_owned(), "deliveries".to_owned());
    for number in 1..=11 {
        cloud.queues.send("exhausted", message(&webhook, number).to_json(), Duration::ZERO, None, None);
    }
    let minute = Duration::from_mins(1);
    let first = exhausted.receive(minute).await.unwrap();
    assert_eq!((first.len(), exhausted.receive(minute).await.unwrap().len()), (10, 1));
    assert!(exhausted.receive(minute).await.unwrap().is_empty(), "all are hidden");
    *hand.0.lock().unwrap() += SignedDuration::from_mins(1);
    let again = exhausted.receive(minute).await.unwrap();
    assert_eq!(exhausted.remove(first).await, 10, "SQS says nothing of a stale receipt");
    assert_eq!(cloud.queues.len("exhausted"), 11);
    exhausted.remove(again).await;
    assert_eq!(cloud.queues.len("exhausted"), 1);
}

/// The ledger returns one state for two letters of the same delivery, and none for an expired one.
#[tokio::test(start_paused = true)]
async fn the_ledger_tells_where_the_deliveries_of_letters_stand() {
    let (cloud, _, webhook) = cloud().await;
    let ledger = cloud.line(fares(None)).aws().await.ledger("deliveries".to_owned());
    let (known, unknown) = (message(&webhook, 1), message(&webhook, 2));
    let now = Timestamp::UNIX_EPOCH;
    ledger.record_first(&row(&webhook, &known), now).await.unwrap();
    let standings = ledger.standings([&known, &unknown, &known].into_iter(), now).await.unwrap();
    let standing = domain::delivery::dead_letter::Standing {
        state: State::Retrying,
        cycle: 0,
        hops: domain::event::hops::Hops::NONE,
    };
    assert_eq!(standings.into_iter().collect::<Vec<_>>(), [(known.delivery, standing)]);
    let later = now + domain::delivery::KEPT + Duration::from_secs(1);
    assert!(ledger.standings([&known].into_iter(), later).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn secrets_are_found_by_id_and_by_label() {
    let (cloud, _, _) = cloud().await;
    cloud.secrets.put("/a", "1", "whsec_first");
    cloud.secrets.put("/a", "2", "whsec_second");
    let secret = |query: Value| {
        let reply = cloud.secrets.answer("GetSecretValue", &query, 0);
        serde_json::from_str::<Value>(&reply.body).unwrap()["SecretString"].as_str().map(str::to_owned)
    };
    assert_eq!(secret(json!({"SecretId": "/a"})).as_deref(), Some("whsec_second"));
    assert_eq!(secret(json!({"SecretId": "/a", "VersionStage": "AWSPREVIOUS"})).as_deref(), Some("whsec_first"));
    assert_eq!(secret(json!({"SecretId": "/a", "VersionId": "1"})).as_deref(), Some("whsec_first"));
    assert_eq!(secret(json!({"SecretId": "/b"})), None);
}

/// As on AWS, a call with two parts for one item, or with one id twice, is refused as a whole.
#[tokio::test(start_paused = true)]
async fn copies_in_one_call_are_refused_whole() {
    let (cloud, _, _) = cloud().await;
    let put = |sk: &str| json!({"PutRequest": {"Item": {"pk": {"S": "a"}, "sk": {"S": sk}}}});
    let write = json!({"RequestItems": {"deliveries": [put("1"), put("2"), put("1")]}});
    let entry = |id: &str| json!({"Id": id, "MessageBody": "text"});
    let send = json!({"QueueUrl": "https://sqs/0/retries", "Entries": [entry("1"), entry("2"), entry("1")]});
    for (target, request) in [("DynamoDB_20120810.BatchWriteItem", write), ("AmazonSQS.SendMessageBatch", send)] {
        let reply = cloud.answer(target, request.to_string().as_bytes(), None);
        assert_eq!(reply.status, 400, "{target}: {}", reply.body);
    }
    assert_eq!((cloud.tables.items("deliveries").len(), cloud.queues.len("retries")), (0, 0));
}

/// The engine refuses such calls too, for callers without the cloud.
#[test]
fn the_tables_refuse_two_parts_about_one_item() {
    let tables = Tables::of_the_template();
    let key = json!({"pk": {"S": "a"}, "sk": {"S": "b"}});
    let update = json!({"Update": {"TableName": "deliveries", "Key": key, "UpdateExpression": "REMOVE lane"}});
    for (operation, request) in [
        ("BatchGetItem", json!({"RequestItems": {"deliveries": {"Keys": [key, key]}}})),
        (
            "BatchWriteItem",
            json!({"RequestItems": {"deliveries": [{"PutRequest": {"Item": key}}, {"DeleteRequest": {"Key": key}}]}}),
        ),
        ("TransactWriteItems", json!({"TransactItems": [update, update]})),
    ] {
        let reply = tables.answer(operation, request.to_string().as_bytes());
        assert_eq!(reply.status, 400, "{operation}: {}", reply.body);
        assert!(reply.body.contains("ValidationException"), "{operation}: {}", reply.body);
    }
}
