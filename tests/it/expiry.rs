//! Expired items that DynamoDB has not deleted yet, as it does hours to days late: every read must take them as gone. The emulator
//! deletes none at all, so each item here is read once while it is valid and once after its end.

use std::time::Duration;

use aws::events::{Archiving, Range as EventRange};
use aws::ledger::dead::Letters;
use aws::ledger::{Advance, AttemptKey, Due, Made, Range, Written};
use aws::{Events, Ledger, StoreError};
use domain::access::tenant::TenantId;
use domain::delivery::job::{Job, JobKind, JobScope, JobState};
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, KEPT, Progress, State};
use domain::event::Event;
use domain::id::{DeliveryId, EventId, JobId, WebhookId};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::json;
use tests::{Stack, now, unique};

/// When the items were written, while they are valid, and when they have expired.
struct Times {
    written: Timestamp,
    valid: Timestamp,
    expired: Timestamp,
}

fn times() -> Times {
    let expired = now();
    let written = expired - KEPT - Duration::from_hours(1);
    Times { written, valid: written + Duration::from_hours(1), expired }
}

async fn stores() -> (Ledger, Events, aws::Registry) {
    let stack = Stack::connect().await;
    let table = |name: &str| stack.output(name).to_owned();
    (
        stack.aws.ledger(table("DeliveriesTable")),
        stack.aws.events(table("EventsTable")),
        stack.aws.registry(table("RegistryTable")),
    )
}

/// The first message of a delivery of a tenant, a webhook and an entity of its own.
fn message(name: &str, number: u32, at: Timestamp) -> Message {
    let event = EventId::derive(at, &[name, &number.to_string()]);
    let webhook = WebhookId::derive(Timestamp::UNIX_EPOCH, &[name]);
    let body = Body::Inline("{}".to_owned());
    let first = Message::first(event, "item.created".parse().unwrap(), webhook, name.parse().unwrap(), body);
    Message { entity: Some(format!("{name}/1")), ..first }
}

fn row(message: &Message, state: State, next_at: Option<Timestamp>) -> Delivery {
    Delivery::first(message.clone(), Progress { state, cycle: 0, attempt: 2, next_at })
}

fn event(name: &str, at: Timestamp) -> Event {
    numbered(name, at, 1)
}

fn numbered(name: &str, at: Timestamp, number: u32) -> Event {
    let id = EventId::derive(at, &[name, &number.to_string()]);
    let event = json!({
        "source": "items", "id": id, "tenant": name, "event_type": "item.created", "operation": "created", "at": at,
        "sequence": "1", "entity": {"id": "1", "key": "item", "collection": "items"}, "new": {"properties": {}}});
    serde_json::from_value(event).unwrap()
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivery_is_gone_when_it_has_expired() {
    let (ledger, _, registry) = stores().await;
    let Times { written, valid, expired } = times();
    let message = message(&unique("expiry"), 1, written);
    let row = row(&message, State::Delivered, None);
    assert_eq!(ledger.record_first(&row, written).await.unwrap(), Written::Yes);
    for (now, there) in [(valid, true), (expired, false)] {
        assert_eq!(ledger.delivery(row.webhook, row.id, now).await.unwrap().is_some(), there);
        let page = ledger.deliveries(&[row.webhook], Range::all(now), 10, |_| true).await.unwrap();
        assert_eq!(page.deliveries.len(), usize::from(there));
        assert_eq!(ledger.load(&registry, &[&message], now).await.unwrap().rows.len(), usize::from(there));
    }
    assert_eq!(ledger.record_first(&row, valid).await.unwrap(), Written::TooLate);
    assert_eq!(
        ledger.record_first(&row, expired).await.unwrap(),
        Written::Yes,
        "an expired row does not block a new one"
    );
}

/// What did not arrive is kept for the usual time, and so is a delivery that is sent again until it arrives again.
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_delivery_that_arrived_is_gone_sooner() {
    let (ledger, _, registry) = stores().await;
    let kept = Duration::from_hours(15 * 24);
    let ledger = ledger.keeping_arrived(kept);
    let written = now();
    let (before, after) = (written + kept - Duration::from_secs(2), written + kept + Duration::from_secs(2));
    let name = unique("expiry");
    let found = async |message: &Message, at| {
        let row = ledger.delivery(message.webhook, message.delivery, at).await.unwrap();
        assert_eq!(ledger.load(&registry, &[message], at).await.unwrap().rows.len(), usize::from(row.is_some()));
        row.is_some()
    };

    let [at_once, with_a_retry, failed] = [1, 2, 3].map(|number| message(&name, number, written));
    ledger.record_delivered(&[row(&at_once, State::Delivered, None)], |_| true, written).await.unwrap();
    ledger.record_first(&row(&with_a_retry, State::Retrying, Some(written)), written).await.unwrap();
    ledger.record_first(&row(&failed, State::Exhausted, None), written).await.unwrap();
    assert!(found(&with_a_retry, after).await, "it has not arrived yet");
    let arrived = Progress { state: State::Delivered, cycle: 0, attempt: 2, next_at: None };
    let attempt = AttemptKey { attempt: 2, ..AttemptKey::of(&with_a_retry) };
    assert_eq!(ledger.record(attempt, Made::Nothing { lease: None }, &arrived, written).await.unwrap(), Written::Yes);

    for message in [&at_once, &with_a_retry] {
        assert!(found(message, before).await);
        assert!(!found(message, after).await);
    }
    assert!(found(&failed, after).await);
    let attempt = AttemptKey { cycle: 1, attempt: 1, ..AttemptKey::of(&at_once) };
    assert_eq!(ledger.redrive(attempt, 0, None, written + Duration::from_mins(2)).await.unwrap(), Written::Yes);
    assert!(found(&at_once, after).await, "it is sent again");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn nothing_that_has_expired_is_woken() {
    let (ledger, ..) = stores().await;
    let Times { written, valid, expired } = times();
    let name = unique("expiry");
    let due = row(&message(&name, 1, written), State::Retrying, Some(written));
    let parked: Vec<_> = (2..6).map(|number| row(&message(&name, number, written), State::Parked, None)).collect();
    for row in parked.iter().chain([&due]) {
        ledger.record_first(row, written).await.unwrap();
    }
    let fresh = row(&message(&name, 6, written + Duration::from_secs(1)), State::Parked, None);
    ledger.record_first(&fresh, valid + Duration::from_hours(1)).await.unwrap();
    let find = async |now| {
        let all = ledger.due(valid, 10_000, now).await.unwrap().rows.into_iter();
        all.filter_map(|found| if let Due::Delivery(found) = found { Some(found) } else { None })
            .find(|found| found.message.delivery == due.id)
    };
    let found = find(valid).await.unwrap();
    assert!(find(expired).await.is_none());
    // A sweep that read the index before the row expired.
    assert_eq!(ledger.postpone(&found, expired, expired).await.unwrap(), Written::TooLate);
    assert_eq!(ledger.postpone(&found, valid, valid).await.unwrap(), Written::Yes);

    assert_eq!(ledger.parked(fresh.webhook, 5, valid).await.unwrap().len(), 5);
    let left: Vec<DeliveryId> =
        ledger.parked(fresh.webhook, 1, expired).await.unwrap().iter().map(|due| due.message.delivery).collect();
    assert_eq!(left, [fresh.id], "the expired ones do not stand in its way, however few are asked for");
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_dead_letter_leaves_the_list_when_it_expires() {
    let (ledger, _, registry) = stores().await;
    let Times { written, valid, expired } = times();
    let message = message(&unique("expiry"), 1, written);
    let row = row(&message, State::Exhausted, None);
    ledger.record_first(&row, written).await.unwrap();
    ledger
        .dead_letter_sent(AttemptKey { attempt: 2, ..AttemptKey::of(&message) }, &message.tenant, written)
        .await
        .unwrap();
    for (now, count) in [(valid, 1), (expired, 0)] {
        let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let which = Letters { tenant: &message.tenant, from, to, after: None, newest_first: true, now };
        let page = ledger.dead_letters(which, 10, |_| true).await.unwrap();
        assert_eq!(page.letters.len(), count);
        let rows = ledger.rows(&registry, &message.tenant, &page.letters, now).await.unwrap().rows;
        assert_eq!(rows.len(), count);
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_chain_holds_nothing_once_its_head_has_expired() {
    let (ledger, ..) = stores().await;
    let Times { written, valid, expired } = times();
    let name = unique("expiry");
    let (head, waiting, later) = (message(&name, 1, written), message(&name, 2, written), message(&name, 3, written));
    let entity = head.entity.clone().unwrap();
    let head_row = row(&head, State::Retrying, Some(written));
    ledger.record_head(&head_row, &entity, written).await.unwrap();
    let chain = ledger.chain(head.webhook, &entity, valid).await.unwrap().unwrap();
    assert_eq!(ledger.append(&waiting, chain, written).await.unwrap(), Written::Yes);
    assert!(ledger.delivery(head.webhook, head.delivery, expired).await.unwrap().is_none());
    let advanced = ledger.advance(head.webhook, &entity, head.delivery, expired).await.unwrap();
    assert_eq!(advanced, Advance::Yes(None), "what waited has expired with it");
    assert!(ledger.chain(head.webhook, &entity, expired).await.unwrap().is_none());

    // The entity's next delivery holds it now, and what waited before is passed over with its expired row.
    let later_row = row(&later, State::Retrying, Some(expired));
    assert_eq!(ledger.record_head(&later_row, &entity, expired).await.unwrap(), Written::Yes);
    let chain = ledger.chain(head.webhook, &entity, expired).await.unwrap().unwrap();
    assert_eq!((chain.head, chain.tail), (later.delivery, 0));
    let last = message(&name, 4, written);
    assert_eq!(ledger.append(&last, chain, expired).await.unwrap(), Written::Yes);
    let advanced = ledger.advance(head.webhook, &entity, later.delivery, expired).await.unwrap();
    let Advance::Yes(Some(next)) = advanced else { panic!("{advanced:?}") };
    assert_eq!(next.message.delivery, last.delivery);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_expired_job_is_not_there() {
    let (ledger, ..) = stores().await;
    let Times { written, valid, expired } = times();
    let tenant: TenantId = unique("expiry").parse().unwrap();
    let job = Job {
        id: JobId::derive(written, &[tenant.as_str()]),
        tenant: tenant.clone(),
        app: None,
        kind: JobKind::Redrive,
        scope: JobScope { webhook: None, event_types: Vec::new(), from: None, to: written },
        rate: 1,
        dry_run: true,
        state: JobState::Done,
        reason: None,
        progress: domain::delivery::job::JobProgress { cursor: None, looked_at: 0, sent: 0, next_at: written },
        created_at: written,
        created_by: "ada".to_owned(),
        updated_at: written,
    };
    assert_eq!(ledger.start_job(job.clone(), written).await.unwrap(), Written::Yes);
    for (now, there) in [(valid, true), (expired, false)] {
        assert_eq!(ledger.job(&tenant, job.id, now).await.unwrap().is_some(), there);
        assert_eq!(ledger.jobs(&tenant, None, 10, now, |_| true).await.unwrap().len(), usize::from(there));
    }
    assert_eq!(ledger.start_job(job.clone(), valid).await.unwrap(), Written::TooLate);
    assert_eq!(ledger.start_job(job, expired).await.unwrap(), Written::Yes);
}

#[rstest]
#[case::with_a_row(1)]
#[case::in_a_pack(3)]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn an_event_is_gone_when_it_has_expired(#[case] together: u32) {
    let (_, events, _) = stores().await;
    let Times { written, valid, expired } = times();
    let tenant = unique("expiry");
    let archived: Vec<Event> = (0..together).map(|number| numbered(&tenant, written, number)).collect();
    events.archive(&mut Archiving::new(&archived), written, written + KEPT).await;
    let tenant = &archived[0].tenant;
    for (now, is_there) in [(valid, true), (expired, false)] {
        for event in &archived {
            assert_eq!(events.event(tenant, event.id, now).await.unwrap().is_some(), is_there);
        }
        let count = if is_there { archived.len() } else { 0 };
        let (from, to) = (written - Duration::from_secs(1), written + Duration::from_secs(1));
        let range = EventRange { from, to, below: None, now };
        assert_eq!(events.list(tenant, range, 10, |_| true).await.unwrap().events.len(), count);
        let oldest = events.list_oldest_first(tenant, (from, to), None, 10, now, |_| true).await.unwrap();
        assert_eq!(oldest.events.len(), count);
    }
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_name_can_be_published_again_when_its_first_use_has_expired() {
    let (_, events, _) = stores().await;
    let Times { written, valid, expired } = times();
    let name = unique("expiry");
    let (first, second) = (event(&name, written), event(&name, expired));
    let once = async |event, now| events.publish_once(event, (&name, "order-1"), now).await.unwrap();
    assert_eq!(once(&first, written).await, first.id);
    assert_eq!(once(&second, valid).await, first.id, "it was published before");
    assert_eq!(once(&second, expired).await, second.id);
}

#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn a_body_is_gone_as_a_whole_when_it_expires() {
    let stack = Stack::connect().await;
    let bodies = stack.aws.bodies(stack.output("EventsTable").to_owned());
    let Times { written, expired, .. } = times();
    let body = bodies.carry(&unique("expiry"), "{\"large\": true}", 0, written).await.unwrap();
    assert_eq!(bodies.text(&body, expired).await.unwrap(), "{\"large\": true}", "it outlives a delivery's row");
    let gone = bodies.text(&body, written + 2 * KEPT).await;
    assert!(matches!(gone, Err(StoreError::Missing { .. })), "{gone:?}");
}
