//! The ledger's conditions, against the emulator: who comes first wins, and only who comes first.

use std::time::Duration;

use aws::Ledger;
use aws::ledger::{AttemptKey, Due, DueDelivery, Made, Written};
use domain::attempt::Attempt;
use domain::attempt::outcome::{Outcome, Verdict};
use domain::attempt::redact::SentHeaders;
use domain::delivery::message::Body;
use domain::delivery::{Delivery, EARLIER_ATTEMPTS, KEPT, Progress, State};
use domain::id::{DeliveryId, EventId, WebhookId};
use jiff::Timestamp;
use serde_json::json;
use tests::{Stack, row_key, unique};

async fn ledger() -> Ledger {
    let stack = Stack::connect().await;
    stack.aws.ledger(stack.output("DeliveriesTable").to_owned())
}

fn attempt(number: u32) -> Attempt {
    let outcome = Outcome {
        status: Some(500),
        duration_ms: 12,
        ..Outcome::unanswered(Verdict::ServerFailed, "the receiver answered 500")
    };
    let secret_fingerprint = serde_json::from_value(json!("f")).unwrap();
    Attempt {
        cycle: 0,
        number,
        at: now(),
        outcome,
        secret_fingerprint,
        request_headers: SentHeaders::default(),
        url: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_795_244_140).unwrap()
}

/// A delivery that failed once and waits for its second attempt. Far in the past, so that no sweep of the stack minds it.
fn retrying() -> Delivery {
    let name = unique("ledger");
    let event = EventId::derive(now(), &[&name]);
    Delivery {
        id: DeliveryId::derive(now(), &[&name, "delivery"]),
        event,
        event_type: "item.created".parse().unwrap(),
        webhook: WebhookId::derive(now(), &[&name, "webhook"]),
        tenant: name.parse().unwrap(),
        progress: Progress {
            state: State::Retrying,
            cycle: 0,
            attempt: 2,
            next_at: Some(now() + Duration::from_hours(24 * 365)),
        },
        lease_until: None,
        body: Some(Body::Inline("{\"é\":1}".to_owned())),
        body_digest: None,
        last_response: None,
        app: None,
        sequence: None,
        entity: None,
        entity_path: None,
        hops: domain::event::hops::Hops::NONE,
        traceparent: None,
        deferred_until: None,
        over_budget: false,
        test: false,
        content_type: domain::payload::ContentType::Json,
        attempts: vec![attempt(1)],
    }
}

fn slot(delivery: &Delivery, cycle: u32, attempt: u32) -> AttemptKey {
    AttemptKey { webhook: delivery.webhook, delivery: delivery.id, cycle, attempt }
}

async fn read(ledger: &Ledger, delivery: &Delivery) -> Delivery {
    ledger.delivery(delivery.webhook, delivery.id, now()).await.unwrap().unwrap()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_row_is_read_as_it_was_written() {
    let (ledger, delivery, now) = (ledger().await, retrying(), now());
    assert_eq!(ledger.record_first(&delivery, now).await.unwrap(), Written::Yes);
    assert_eq!(read(&ledger, &delivery).await, delivery);
    assert_eq!(
        ledger.record_first(&delivery, now).await.unwrap(),
        Written::Yes,
        "the SDK repeats a lost answer's write"
    );
    let of_another = Delivery { attempts: Vec::new(), ..delivery.clone() };
    assert_eq!(ledger.record_first(&of_another, now).await.unwrap(), Written::TooLate, "the first writer wins");
    assert_eq!(read(&ledger, &delivery).await, delivery);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_lease_is_taken_by_one() {
    let (ledger, delivery) = (ledger().await, retrying());
    ledger.record_first(&delivery, now()).await.unwrap();
    let until = now() + Duration::from_mins(1);
    let lease = async |attempt, now| ledger.lease(slot(&delivery, 0, attempt), until, now).await.unwrap();
    assert_eq!(lease(3, now()).await, Written::TooLate, "not its turn");
    let (one, other) = tokio::join!(lease(2, now()), lease(2, now()));
    assert_eq!([one, other].iter().filter(|written| **written == Written::Yes).count(), 1);
    assert_eq!(lease(2, until).await, Written::Yes, "it has ended");
}

/// Two copies of a message: while one process makes its request, the other finds that the delivery must wait.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_process_that_makes_no_request_leaves_the_lease_of_another() {
    let (ledger, delivery) = (ledger().await, retrying());
    ledger.record_first(&delivery, now()).await.unwrap();
    let until = now() + Duration::from_mins(1);
    assert_eq!(ledger.lease(slot(&delivery, 0, 2), until, now()).await.unwrap(), Written::Yes);
    let parked = Progress { state: State::Parked, cycle: 0, attempt: 2, next_at: None };
    let park =
        async |lease, at| ledger.record(slot(&delivery, 0, 2), Made::Nothing { lease }, &parked, at).await.unwrap();
    assert_eq!(park(None, now()).await, Written::TooLate);
    assert_eq!(park(Some(now()), now()).await, Written::TooLate, "its own lease was an earlier one");
    assert_eq!(read(&ledger, &delivery).await.lease_until, Some(until));
    assert_eq!(park(None, until).await, Written::Yes, "the lease has ended");
    assert_eq!(ledger.lease(slot(&delivery, 0, 2), until, now()).await.unwrap(), Written::Yes);
    assert_eq!(park(Some(until), now()).await, Written::Yes, "its own lease");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_attempt_is_recorded_once_and_ends_the_lease() {
    let (ledger, delivery) = (ledger().await, retrying());
    ledger.record_first(&delivery, now()).await.unwrap();
    let until = now() + Duration::from_mins(1);
    ledger.lease(slot(&delivery, 0, 2), until, now()).await.unwrap();
    let progress = Progress { state: State::Exhausted, cycle: 0, attempt: 2, next_at: None };
    let record =
        async |attempt_made| ledger.record(slot(&delivery, 0, 2), Made::Attempt(&attempt_made), &progress, now()).await;
    assert_eq!(record(attempt(2)).await.unwrap(), Written::Yes);
    assert_eq!(record(attempt(2)).await.unwrap(), Written::Yes, "the SDK repeats a lost answer's write");
    let of_another = Attempt { at: attempt(2).at + Duration::from_millis(1), ..attempt(2) };
    assert_eq!(record(of_another).await.unwrap(), Written::TooLate);
    let row = read(&ledger, &delivery).await;
    assert_eq!(row.attempts, [attempt(1), attempt(2)]);
    assert_eq!(
        (row.progress, row.lease_until, &row.body),
        (progress, None, &delivery.body),
        "a redrive needs the body"
    );

    // Redriven once, by the first request.
    assert_eq!(ledger.redrive(slot(&delivery, 2, 1), 2, None, until).await.unwrap(), Written::TooLate);
    assert_eq!(ledger.redrive(slot(&delivery, 1, 1), 2, None, until).await.unwrap(), Written::Yes);
    assert_eq!(ledger.redrive(slot(&delivery, 1, 1), 2, None, until).await.unwrap(), Written::TooLate);
    let progress = Progress { state: State::Delivered, cycle: 1, attempt: 1, next_at: None };
    let made = Attempt { cycle: 1, ..attempt(1) };
    let written = ledger.record(slot(&delivery, 1, 1), Made::Attempt(&made), &progress, now()).await.unwrap();
    assert_eq!(written, Written::Yes);
    let row = read(&ledger, &delivery).await;
    assert_eq!((row.progress, row.body, row.attempts.len()), (progress, delivery.body, 3), "people look at it");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_row_is_kept_from_when_it_was_last_touched() {
    let stack = Stack::connect().await;
    let (ledger, delivery) = (ledger().await, retrying());
    let key = row_key(delivery.webhook, delivery.id);
    let kept_until = async || {
        let get = stack.dynamodb.get_item().table_name(stack.output("DeliveriesTable")).set_key(Some(key.clone()));
        let item = get.send().await.unwrap().item.unwrap();
        Timestamp::from_second(item["expires_at"].as_n().unwrap().parse().unwrap()).unwrap()
    };
    let hours = |count| now() + Duration::from_hours(count);
    ledger.record_first(&delivery, hours(0)).await.unwrap();
    assert_eq!(kept_until().await, hours(0) + KEPT);
    let put_off = Progress { state: State::Retrying, cycle: 0, attempt: 2, next_at: Some(hours(2)) };
    assert_eq!(ledger.put_off(slot(&delivery, 0, 2), &put_off, hours(1)).await.unwrap(), Written::Yes);
    assert_eq!(kept_until().await, hours(0) + KEPT, "a fault that never ends keeps no row for ever");
    ledger.lease(slot(&delivery, 0, 2), hours(2), hours(1)).await.unwrap();
    assert_eq!(kept_until().await, hours(2) + KEPT, "it must not go while an attempt is made");
    let progress = Progress { state: State::Exhausted, cycle: 0, attempt: 2, next_at: None };
    ledger.record(slot(&delivery, 0, 2), Made::Attempt(&attempt(2)), &progress, hours(3)).await.unwrap();
    assert_eq!(kept_until().await, hours(3) + KEPT);
    ledger.redrive(slot(&delivery, 1, 1), 2, None, hours(4)).await.unwrap();
    assert_eq!(kept_until().await, hours(4) + KEPT);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_redrive_forgets_the_first_of_many_attempts() {
    let (ledger, mut delivery) = (ledger().await, retrying());
    let attempts: Vec<_> = (1..=25).map(attempt).collect();
    delivery.progress = Progress { state: State::Exhausted, cycle: 0, attempt: 25, next_at: None };
    delivery.attempts.clone_from(&attempts);
    ledger.record_first(&delivery, now()).await.unwrap();
    ledger.redrive(slot(&delivery, 1, 1), attempts.len(), None, now()).await.unwrap();
    assert_eq!(read(&ledger, &delivery).await.attempts, attempts[25 - EARLIER_ATTEMPTS..]);
}

fn deliveries(due: Vec<Due>) -> impl Iterator<Item = DueDelivery> {
    due.into_iter().filter_map(|due| if let Due::Delivery(delivery) = due { Some(*delivery) } else { None })
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_due_row_is_moved_by_one_sweep() {
    let (ledger, delivery) = (ledger().await, retrying());
    ledger.record_first(&delivery, now()).await.unwrap();
    let far = now() + Duration::from_hours(24 * 365);
    let find = async || {
        deliveries(ledger.due(far, 1000, now()).await.unwrap().rows).find(|due| due.message.delivery == delivery.id)
    };
    let due = find().await.expect("it is due by then");
    assert_eq!((due.message.attempt, due.message.cycle, due.message.body.clone()), (2, 0, None));
    assert_eq!(due.progress, delivery.progress);
    let later = far + Duration::from_mins(2);
    let (one, other) = tokio::join!(ledger.postpone(&due, later, now()), ledger.postpone(&due, later, now()));
    assert_eq!([one.unwrap(), other.unwrap()].iter().filter(|written| **written == Written::Yes).count(), 1);
    assert!(find().await.is_none(), "not before it is due again");
}
