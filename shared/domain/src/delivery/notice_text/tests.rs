use rstest::rstest;
use serde_json::{Value as Json, json};

use super::*;
use crate::delivery::message::{Body, Message};
use crate::delivery::notices::{LifecycleEvent, delivery, exhausted_event, threshold_event, webhook_event};
use crate::event::Event;
use crate::payload::{PayloadFormat, Rendering};
use crate::webhook::Pause;
use crate::webhook::tests::webhook;

const ID: &str = "whk_01KAJP5JK0000000000000000A";

/// The text of an event with this data, about a failing webhook.
fn text(event_type: &str, data: &Json) -> NoticeText {
    let facts = json!({"type": event_type, "timestamp": "2026-11-29T10:00:00.000Z", "data": {"value": data}});
    let statistics = Statistics {
        consecutive_failures: 25,
        failing_since: "2026-11-29T09:10:00Z".parse().ok(),
        last_error: Some("answered 500".to_owned()),
        ..Statistics::default()
    };
    let mut about = webhook();
    about.settings.name = "orders to the ERP".to_owned();
    about.settings.url = "https://user-part.example.com/hook?token=secret".to_owned();
    let about = data.get("webhook_id").map(|_| (&about, &statistics));
    Facts::read(&facts.to_string()).compose(about)
}

#[rstest]
#[case::failing("webhook.failing", json!({"webhook_id": ID}))]
#[case::recovered("webhook.recovered", json!({"webhook_id": ID}))]
#[case::paused_by_failures("webhook.paused", json!({"webhook_id": ID, "by": "dynahook", "by_failures": true}))]
#[case::paused("webhook.paused", json!({"webhook_id": ID, "by": "anna", "by_failures": false}))]
#[case::resumed("webhook.resumed", json!({"webhook_id": ID, "by": "anna", "by_failures": false}))]
#[case::disabled_by_failures("webhook.disabled", json!({"webhook_id": ID, "by": "dynahook", "by_failures": true}))]
#[case::disabled("webhook.disabled", json!({"webhook_id": ID, "by": "anna", "by_failures": false}))]
#[case::rotated("webhook.secret_rotated", json!({"webhook_id": ID, "by": "anna"}))]
#[case::exhausted("delivery.exhausted", json!({"webhook_id": ID, "delivery_id": "dlv_1", "event_id": "evt_1",
    "event_type": "order.created", "attempts": 10, "last_status": 500}))]
#[case::usage("usage.threshold_reached", json!({"budget": "events_per_day", "percent": 80, "used": 8, "limit": 10,
    "resets_at": "2026-11-30T00:00:00Z"}))]
#[case::another("webhook.renamed", json!({"webhook_id": ID}))]
#[case::tried("notice.test", json!({}))]
fn each_event(#[case] event_type: &str, #[case] data: Json) {
    let name = format!("{event_type}_{}", data["by_failures"].as_bool().is_some_and(|by| by));
    let text = text(event_type, &data);
    let shown = format!("{}\n\n{}", text.subject(), text.text());
    assert!(!shown.contains("secret?") && !shown.contains("token"), "{shown}");
    insta::assert_snapshot!(name.as_str(), shown);
}

#[test]
fn the_contact_of_the_webhook_is_named() {
    let mut about = webhook();
    about.settings.error_email = Some("erp@example.com".to_owned());
    let facts = json!({"type": "webhook.failing", "timestamp": "", "data": {"value": {"webhook_id": ID}}});
    let text = Facts::read(&facts.to_string()).compose(Some((&about, &Statistics::default())));
    assert!(text.text().contains("\nContact: erp@example.com\n"), "{}", text.text());
}

#[test]
fn each_channel() {
    let text = text("webhook.paused", &json!({"webhook_id": ID, "by": "dynahook", "by_failures": true}));
    insta::assert_snapshot!("slack", text.slack());
    insta::assert_snapshot!("teams", text.teams());
}

#[test]
fn a_confirmation() {
    let text = confirmation("acme", "ntc_1", "0123456789abcdef0123");
    insta::assert_snapshot!("confirmation", format!("{}\n\n{}", text.subject(), text.text()));
}

/// What others chose adds no line, no header, no mention and no formatting.
#[test]
fn names_are_shown_as_they_are() {
    let mut about = webhook();
    about.settings.name = format!("a\r\nBcc: x@y.no <!channel> *b* é {}", "z".repeat(300));
    let facts =
        json!({"type": "webhook.paused", "timestamp": "t", "data": {"value": {"by": "anna\nx", "webhook_id": ID}}});
    let text = Facts::read(&facts.to_string()).compose(Some((&about, &Statistics::default())));
    assert!(!text.subject().contains(['\r', '\n']) && text.subject().chars().count() < 100, "{}", text.subject());
    let ascii = text.ascii_subject();
    assert!(ascii.len() < 100 && ascii.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{ascii}");
    assert!(text.lines.iter().all(|line| !line.contains(['\r', '\n'])));
    let slack: Json = serde_json::from_str(&text.slack()).unwrap();
    assert!(slack["text"].as_str().unwrap().contains("&lt;!channel&gt; *b*") && slack["mrkdwn"] == false, "{slack}");
}

#[test]
fn a_webhook_that_is_gone_is_named_by_its_event() {
    let facts =
        json!({"type": "webhook.disabled", "timestamp": "t", "data": {"value": {"webhook_id": ID, "name": "old"}}});
    assert_eq!(Facts::read(&facts.to_string()).compose(None).subject(), "Webhook \"old\" is disabled");
    assert!(!Facts::read("no JSON").compose(None).text().is_empty());
}

/// The body that fan-out renders has what the text needs.
#[test]
fn real_events_are_read() {
    let mut paused = webhook();
    paused.pause = Some(Pause { at: paused.audit.updated_at, by_failures: true });
    let event = webhook_event(LifecycleEvent::Paused, &paused).unwrap();
    let rendering = Rendering { format: PayloadFormat::Standard, ..Rendering::default() };
    let facts = Facts::read(&rendering.render(&event, &event.event_type).unwrap());
    assert_eq!((facts.webhook(), facts.by_failures(), facts.address()), (Some(paused.id), true, None));
    let asked = Facts::read(&Facts::body(CONFIRMATION, "t", Some("a@b.no")));
    assert_eq!((asked.address(), asked.webhook()), (Some("a@b.no"), None));
}

/// There is one notice an hour of the same about the same webhook.
#[test]
fn the_same_notice_is_one_delivery_within_an_hour() {
    let notice = WebhookId::from_parts(jiff::Timestamp::UNIX_EPOCH, 5);
    let event = |at: &str, happening, number: u128| -> Event {
        let mut webhook = webhook();
        webhook.id = WebhookId::from_parts(jiff::Timestamp::UNIX_EPOCH, number);
        webhook.touch(at.parse().unwrap(), "anna");
        webhook_event(happening, &webhook).unwrap()
    };
    let first = delivery(&event("2026-11-29T10:00:00Z", LifecycleEvent::Paused, 1), notice);
    let same = |at, happening, number| delivery(&event(at, happening, number), notice) == first;
    assert!(same("2026-11-29T10:59:59.9Z", LifecycleEvent::Paused, 1));
    assert!(!same("2026-11-29T11:00:00Z", LifecycleEvent::Paused, 1));
    assert!(!same("2026-11-29T10:00:00Z", LifecycleEvent::Resumed, 1));
    assert!(!same("2026-11-29T10:00:00Z", LifecycleEvent::Paused, 2));
    let other = WebhookId::from_parts(jiff::Timestamp::UNIX_EPOCH, 6);
    assert_ne!(delivery(&event("2026-11-29T10:00:00Z", LifecycleEvent::Paused, 1), other), first);
    let used = |percent| {
        let now = "2026-11-29T10:00:00Z".parse().unwrap();
        threshold_event(&"acme".parse().unwrap(), crate::budget::Budget::JobsPerDay, percent, (1, 2), now).unwrap()
    };
    assert_ne!(delivery(&used(80), notice), delivery(&used(100), notice));
}

#[test]
fn a_notice_that_is_given_up_causes_no_other() {
    let at = jiff::Timestamp::UNIX_EPOCH;
    let (event, notice) = (crate::id::EventId::from_parts(at, 2), WebhookId::from_parts(at, 3));
    let body = Body::Inline("{}".to_owned());
    let first = Message::first(event, "webhook.paused".parse().unwrap(), notice, "acme".parse().unwrap(), body);
    assert!(exhausted_event(&first, 9, None, at).is_some());
    assert_eq!(exhausted_event(&Message { notice: true, ..first }, 9, None, at), None);
}
