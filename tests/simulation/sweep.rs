//! Runs of which a part fails, for example because a version that was rolled back has left rows that this one cannot
//! read: the rest is processed. A run of the sweep fails nevertheless, so that an alarm sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use domain::attempt::outcome::{Outcome, Verdict};
use domain::attempt::target::TargetPolicy;
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::id::EventId;
use domain::time::Clock;
use domain::webhook::Webhook;
use jiff::{SignedDuration, Timestamp};
use outbound::{Client, Script};
use serde_json::json;
use tests::Hooks;
use tests::cloud::environment::variable;
use tests::cloud::{Cloud, Fault, FaultScript, Faults, handed_back, sqs_event};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixed(pub(crate) Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

pub(crate) const NOW: Fixed = Fixed(Timestamp::constant(1_795_244_140, 0));

/// Returns a cloud with so many deliveries that are due for a retry, and a sweep whose calls meet faults.
async fn due(count: u32, fault_script: FaultScript) -> (Arc<Cloud>, sweep::App) {
    let now = NOW.now();
    let cloud = Cloud::new(Arc::new(NOW));
    let ledger = cloud.line(Arc::new(|_, _| Faults::default())).aws().await.ledger("deliveries".to_owned());
    let webhook = Hooks::new(&cloud).await.create("acme", 1, json!({"url": "https://receiver.example/"})).await;
    for number in 0..count {
        let next_at = Some(now - SignedDuration::from_mins(10));
        let progress = Progress { state: State::Retrying, cycle: 0, attempt: 2, next_at };
        ledger.record_first(&Delivery::first(message(&webhook, number), progress), now).await.unwrap();
    }
    let aws = cloud.line(fault_script).aws().await;
    let sweep = sweep::App::new(sweep::Config::from_lookup(variable).unwrap(), &aws, Box::new(NOW));
    (cloud, sweep)
}

/// Returns the first message of a delivery of an hour ago.
fn message(webhook: &Webhook, number: u32) -> Message {
    let event = EventId::derive(NOW.now() - SignedDuration::from_hours(1), &[&number.to_string()]);
    let (event_type, body) = ("item.updated".parse().unwrap(), Body::Inline("{}".to_owned()));
    Message::first(event, event_type, webhook.id, webhook.tenant.clone(), body)
}

/// Runs the sweep. Returns why it failed, and how many deliveries have a message.
async fn run(cloud: &Cloud, sweep: &sweep::App) -> (String, usize) {
    let ran = sweep::run(sweep, SystemTime::from(NOW.now() + SignedDuration::from_secs(55))).await;
    let letters = cloud.queues.receive("retries", 1_000, |letter| letter.id);
    let messages: BTreeSet<_> =
        letters.iter().filter_map(|letter| letter.message.as_ref()).map(|message| message.delivery).collect();
    (ran.unwrap_err().to_string(), messages.len())
}

/// A row that was moved is not due again for minutes, so it must get its message.
#[tokio::test(start_paused = true)]
async fn rows_that_were_moved_have_their_messages_although_others_were_throttled() {
    let throttled = |operation: &str, number: usize| Faults {
        fault: (operation == "UpdateItem" && number > 90).then_some(Fault::Throttle),
        ..Faults::default()
    };
    let (cloud, sweep) = due(100, Arc::new(throttled)).await;
    let (why, messages) = run(&cloud, &sweep).await;
    assert!(why.contains("parts of the sweep failed"), "{why}");
    let rows = cloud.tables.items("deliveries");
    let moved = rows.iter().filter(|item| {
        let due_at = item["lane_at"]["N"].as_str().and_then(|at| at.parse().ok());
        item.get("delivery").is_some() && due_at > Some(NOW.now().as_millisecond())
    });
    assert_eq!(messages, moved.count());
    assert!((1..100).contains(&messages), "{messages} were moved");
}

/// The events of one tenant cannot be published, because its partitions are throttled.
#[tokio::test(start_paused = true)]
async fn dead_letters_of_a_throttled_tenant_hold_up_no_others() {
    let (now, cloud) = (NOW.now(), Cloud::new(Arc::new(NOW)));
    let (hooks, calls) = (Hooks::new(&cloud).await, AtomicUsize::new(0));
    // The first call is of the first tenant, and so are those that repeat it.
    let throttled = move |operation: &str, _| Faults {
        fault: (operation == "BatchWriteItem" && calls.fetch_add(1, Ordering::Relaxed) != 1).then_some(Fault::Throttle),
        ..Faults::default()
    };
    let aws = cloud.line(Arc::new(throttled)).aws().await;
    let ledger = aws.ledger("deliveries".to_owned());
    for (tenant, number) in [("acme", 1), ("globex", 2)] {
        let webhook = hooks.create(tenant, number, json!({"url": "https://receiver.example/"})).await;
        let progress = Progress { state: State::Exhausted, cycle: 0, attempt: 1, next_at: None };
        let earlier = now - SignedDuration::from_mins(10);
        ledger.record_first(&Delivery::first(message(&webhook, 1), progress), earlier).await.unwrap();
    }
    let sweep = sweep::App::new(sweep::Config::from_lookup(variable).unwrap(), &aws, Box::new(NOW));
    let deadline = SystemTime::from(now + SignedDuration::from_secs(55));
    let failed = sweep::run(&sweep, deadline).await.unwrap_err().to_string();
    assert!(failed.contains("1 parts of the sweep failed"), "{failed}");
    let letters = cloud.queues.receive("exhausted", 10, |letter| letter.id);
    let tenants: Vec<_> = letters.iter().map(|letter| letter.message.as_ref().unwrap().tenant.as_str()).collect();
    assert_eq!(tenants, ["globex"]);
}

/// Makes the row of a delivery unreadable.
fn spoil(cloud: &Cloud, id: &str) {
    let rows = cloud.tables.items("deliveries").into_iter();
    let mut row = rows.filter(|item| item.get("delivery").is_some()).find(|item| item["sk"]["S"] == id).unwrap();
    row["delivery_state"] = json!({"S": "of a newer version"});
    cloud.tables.put("deliveries", &row);
}

/// Leaves unreadable rows in a lane.
fn leave(cloud: &Cloud, lane: &str, count: usize, at: i64) {
    for number in 0..count {
        let spoilt = json!({
            "pk": {"S": format!("D#{lane}#{number}")}, "sk": {"S": "spoilt"}, "lane": {"S": lane},
            "lane_at": {"N": at.to_string()}, "delivery": {"S": "spoilt"},
        });
        cloud.tables.put("deliveries", &spoilt);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_read_stop_no_other() {
    let (cloud, sweep) = due(150, Arc::new(|_, _| Faults::default())).await;
    let rows = cloud.tables.items("deliveries");
    let row = rows.iter().find(|item| item.get("delivery").is_some()).unwrap();
    spoil(&cloud, row["sk"]["S"].as_str().unwrap());
    // More than a page of each partition, all of which have been due for longer than any other row.
    let at: i64 = row["lane_at"]["N"].as_str().unwrap().parse().unwrap();
    leave(&cloud, row["lane"]["S"].as_str().unwrap(), 60, at - 1_000);
    let (why, messages) = run(&cloud, &sweep).await;
    assert_eq!(why, "61 parts of the sweep failed; the log says why");
    assert_eq!(messages, 149);
}

#[tokio::test(start_paused = true)]
async fn parked_and_waiting_deliveries_behind_rows_that_cannot_be_read_go_on() {
    let cloud = Cloud::new(Arc::new(NOW));
    let ledger = cloud.line(Arc::new(|_, _| Faults::default())).aws().await.ledger("deliveries".to_owned());
    let webhook = Hooks::new(&cloud).await.create("acme", 1, json!({"url": "https://receiver.example/"})).await;
    let now = NOW.now();
    let (mut parked, mut waiting) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let message = message(&webhook, number);
        let state = if number % 2 == 0 { State::Parked } else { State::Pending };
        let delivery = Delivery::first(message, Progress { state, cycle: 0, attempt: 1, next_at: None });
        if state == State::Parked {
            ledger.record_first(&delivery, now).await.unwrap();
            parked.push(delivery.id);
        } else {
            ledger.join_line_first(&delivery, now).await.unwrap();
            waiting.push(delivery.id);
        }
    }
    parked.sort();
    waiting.sort();
    for (lane, part) in ["parked", "waiting"].into_iter().flat_map(|lane| (0..4).map(move |part| (lane, part))) {
        leave(&cloud, &format!("{lane}#{}#{part}", webhook.id), 60, 0);
    }
    let found = ledger.parked(webhook.id, 4, now).await.unwrap();
    assert_eq!(found.iter().map(|due| due.message.delivery).collect::<Vec<_>>(), parked);
    let found = ledger.line(webhook.id, 4, now).await.unwrap();
    assert_eq!(found.iter().map(|message| message.delivery).collect::<Vec<_>>(), waiting);
}

/// DynamoDB deletes expired rows late, so a lane may begin with any number of them. Of rows that cannot be read, a call
/// reads so many that it ends in time.
#[tokio::test(start_paused = true)]
async fn a_lane_is_read_past_all_expired_rows_and_many_unreadable_ones() {
    let (cloud, _) = due(1, Arc::new(|_, _| Faults::default())).await;
    let ledger = cloud.line(Arc::new(|_, _| Faults::default())).aws().await.ledger("deliveries".to_owned());
    let row = cloud.tables.items("deliveries").into_iter().find(|item| item.get("delivery").is_some()).unwrap();
    let (now, lane) = (NOW.now(), row["lane"]["S"].as_str().unwrap());
    for number in 0..11_000 {
        let expired = json!({
            "pk": {"S": format!("D#{number}")}, "sk": {"S": "expired"}, "lane": {"S": lane}, "lane_at": {"N": "1"},
            "delivery": {"S": "expired"}, "expires_at": {"N": (now.as_second() - 1).to_string()},
        });
        cloud.tables.put("deliveries", &expired);
    }
    let found = ledger.due(now, 50, now).await.unwrap();
    assert_eq!((found.rows.len(), found.unreadable.count), (1, 0));
    leave(&cloud, lane, 11_000, 2);
    let found = ledger.due(now, 50, now).await.unwrap();
    assert_eq!((found.rows.len(), found.unreadable.count >= 10_000), (0, true));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_row_cannot_be_read_holds_back_no_other() {
    let (cloud, sweep) = due(3, Arc::new(|_, _| Faults::default())).await;
    sweep::run(&sweep, SystemTime::from(NOW.now() + SignedDuration::from_secs(55))).await.unwrap();
    let letters = cloud.queues.receive("retries", 10, |letter| letter.id);
    assert_eq!(letters.len(), 3);
    spoil(&cloud, &letters[1].message.as_ref().unwrap().delivery.to_string());

    let accepted = || Outcome { status: Some(204), ..Outcome::unanswered(Verdict::Accepted, "") };
    let client = Client::new(TargetPolicy::default()).unwrap();
    let receivers = client.scripted(Script::new(move |_| async move { accepted() }));
    let aws = cloud.line(Arc::new(|_, _| Faults::default())).aws().await;
    let config = deliver::Config::from_lookup(variable).unwrap();
    let deliver = deliver::App::new(config, &aws, receivers, Box::new(NOW), Box::new(|| 0.5));
    let event = serde_json::from_value(sqs_event(&letters)).unwrap();
    let deadline = SystemTime::from(NOW.now() + SignedDuration::from_mins(1));
    let response = deliver::handle(&deliver, event, deadline).await;
    assert_eq!(handed_back(&serde_json::to_value(response).unwrap()), [letters[1].id]);
    let rows = cloud.tables.items("deliveries");
    assert_eq!(rows.iter().filter(|item| item["delivery_state"]["S"] == "delivered").count(), 2);
}
