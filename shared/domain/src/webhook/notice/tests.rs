use rstest::rstest;
use serde_json::{Value as Json, json};

use super::*;
use crate::event::operational::TYPES;
use crate::matching::subscription::TypedEvent;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:notices";

fn policy() -> NoticePolicy {
    NoticePolicy { sender: Some("webhooks@example.com".to_owned()), topics: vec![TOPIC.to_owned()] }
}

fn settings(more: &Json) -> NoticeSettings {
    let mut settings = json!({"channel": {"type": "email", "to": ["ops@example.com"]}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

fn now() -> Timestamp {
    "2026-11-29T10:00:00Z".parse().unwrap()
}

fn key() -> FingerprintKey {
    FingerprintKey::new("key".to_owned().into())
}

fn ids() -> (TenantId, WebhookId) {
    ("acme".parse().unwrap(), WebhookId::from_parts(now(), 1))
}

#[rstest]
#[case::email(json!({}))]
#[case::sns(json!({"channel": {"type": "sns", "topic_arn": TOPIC}}))]
#[case::slack(json!({"channel": {"type": "slack", "url": "https://hooks.slack.com/services/a"}}))]
#[case::teams(json!({"channel": {"type": "teams", "url": "https://example.com/workflows/a"}}))]
#[case::group(json!({"event_types": ["webhook.*", "*.exhausted", "webhook.recovered"]}))]
#[case::plus(json!({"channel": {"type": "email", "to": ["o'neil+dyna.hook@sub-1.example.com"]}}))]
fn allows(#[case] more: Json) {
    assert_eq!(settings(&more).check(&TargetPolicy::default(), &policy()), []);
}

#[rstest]
#[case::no_addresses(json!({"channel": {"type": "email"}}), &["/channel/to"])]
#[case::url_of_a_mail(json!({"channel": {"type": "email", "to": ["a@b.no"], "url": "https://b.no"}}), &["/channel/url"])]
#[case::another_topic(json!({"channel": {"type": "sns", "topic_arn": "arn:aws:sns:eu-west-1:123456789012:alarms"}}), &["/channel/topic_arn"])]
#[case::no_topic(json!({"channel": {"type": "sns"}}), &["/channel/topic_arn"])]
#[case::plain_http(json!({"channel": {"type": "slack", "url": "http://hooks.slack.com"}}), &["/channel/url"])]
#[case::private(json!({"channel": {"type": "teams", "url": "https://10.0.0.1/"}}), &["/channel/url"])]
#[case::no_url(json!({"channel": {"type": "teams"}}), &["/channel/url"])]
#[case::twice(json!({"channel": {"type": "email", "to": ["a@b.no", "a@b.no"]}}), &["/channel/to/1"])]
#[case::many(json!({"channel": {"type": "email", "to": (0..11).map(|n| format!("a{n}@b.no")).collect::<Vec<_>>()}}), &["/channel/to"])]
#[case::all_events(json!({"event_types": ["*"]}), &["/event_types/0"])]
#[case::other_events(json!({"event_types": ["webhook.paused", "order.created", "order.*"]}), &["/event_types/1", "/event_types/2"])]
#[case::no_events(json!({"event_types": []}), &["/event_types"])]
#[case::everything(json!({"name": " ", "channel": {"type": "email", "to": ["x"]}, "event_types": ["a.b"]}),
    &["/channel/to/0", "/name", "/event_types/0"])]
fn names_the_invalid_field(#[case] more: Json, #[case] pointers: &[&str]) {
    let faults = settings(&more).check(&TargetPolicy::default(), &policy());
    assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), pointers);
}

#[test]
fn a_deployment_without_sender_and_topics_says_what_to_set() {
    let faults = |more| settings(&more).check(&TargetPolicy::default(), &NoticePolicy::default());
    let mail = faults(json!({}));
    assert!(mail[0].pointer == "/channel/type" && mail[0].detail.contains("NoticeSender"), "{mail:?}");
    let topic = faults(json!({"channel": {"type": "sns", "topic_arn": TOPIC}}));
    assert!(topic[0].detail.contains("NoticeTopicArns"), "{topic:?}");
}

#[rstest]
#[case::two_addresses("a@b.no,c@d.no")]
#[case::header("a@b.no\r\nBcc: c@d.no")]
#[case::display_name("Anna <a@b.no>")]
#[case::no_host("a@")]
#[case::no_dot("a@localhost")]
#[case::literal("a@[10.0.0.1]")]
#[case::two_dots("a..b@c.no")]
#[case::two_ats("a@b@c.no")]
#[case::hyphen("a@-b.no")]
#[case::letters_beyond_ascii("å@b.no")]
fn refuses_what_is_not_one_plain_address(#[case] text: &str) {
    assert!(!is_address(text));
}

#[test]
fn a_near_name_is_suggested() {
    let faults = settings(&json!({"event_types": ["webhok.paused"]})).check(&TargetPolicy::default(), &policy());
    assert!(faults[0].detail.ends_with("did you mean webhook.paused?"), "{faults:?}");
}

/// Mail is sent only to addresses whose owner asked for it.
#[test]
fn an_address_gets_nothing_until_its_code_is_given() {
    let (tenant, id) = ids();
    let two = json!({"channel": {"type": "email", "to": ["a@b.no", "c@d.no"]}});
    let (_, mut notice) = settings(&two).into_webhook(None, now());
    assert!(!notice.reaches_people());
    let code = notice.recipients[1].code(&key(), &tenant, id);
    assert_eq!(code.len(), CODE_DIGITS);
    assert!(!notice.confirm(&key(), &tenant, id, "", now()));
    assert!(!notice.confirm(&key(), &"globex".parse().unwrap(), id, &code, now()));
    assert!(!notice.confirm(&key(), &tenant, WebhookId::from_parts(now(), 2), &code, now()));
    assert!(!notice.confirm(&key(), &tenant, id, &code, now() + CODE_VALID_FOR));
    assert!(notice.confirm(&key(), &tenant, id, &format!(" {} ", code.to_uppercase()), now()));
    assert_eq!((notice.reaches_people(), notice.confirmed().collect::<Vec<_>>()), (true, vec!["c@d.no"]));
    // The same address stays confirmed; another one must be confirmed first.
    let other = json!({"channel": {"type": "email", "to": ["c@d.no", "e@f.no"]}});
    let (_, changed) = settings(&other).into_webhook(Some(&notice), now());
    assert_eq!(changed.confirmed().collect::<Vec<_>>(), ["c@d.no"]);
    let (_, gone) = settings(&json!({})).into_webhook(Some(&changed), now());
    assert!(!gone.reaches_people());
}

#[test]
fn a_new_code_ends_the_earlier_one() {
    let (tenant, id) = ids();
    let (_, mut notice) = settings(&json!({})).into_webhook(None, now());
    let code = notice.recipients[0].code(&key(), &tenant, id);
    notice.recipients[0].asked_at = now() + SignedDuration::from_secs(1);
    assert!(!notice.confirm(&key(), &tenant, id, &code, now()));
}

#[test]
fn stored_form() {
    let one = json!({"webhook_ids": [ids().1]});
    let (_, notice) = settings(&one).into_webhook(None, now());
    insta::assert_snapshot!(serde_json::to_string_pretty(&notice).unwrap());
}

#[test]
fn settings_round_trip() {
    let slack = json!({"channel": {"type": "slack", "url": "https://a.no/"}, "name": "n", "enabled": false, "webhook_ids": [ids().1]});
    let before = settings(&slack);
    let (stored, notice) = before.clone().into_webhook(None, now());
    assert_eq!(NoticeSettings::of(&stored, &notice), before);
    assert_eq!((stored.url.as_str(), stored.enabled), ("https://a.no/", false));
}

#[test]
fn a_notice_hears_of_the_webhooks_that_it_names() {
    use crate::delivery::notices::{LifecycleEvent, webhook_event};
    let (about, mut own) = (crate::webhook::tests::webhook(), crate::webhook::tests::webhook());
    let event = webhook_event(LifecycleEvent::Paused, &about).unwrap();
    own.id = WebhookId::from_parts(now(), 9);
    let mut wants = |more: Json| {
        let slack = json!({"channel": {"type": "slack", "url": "https://a.no/"}});
        let mut all = slack.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        let (stored, notice) = settings(&Json::Object(all)).into_webhook(None, now());
        (own.settings, own.notice) = (stored, Some(notice));
        own.subscription()
            .unwrap()
            .wants_within(&TypedEvent::new(&event), &crate::matching::effort::Effort::unlimited())
    };
    assert!(wants(json!({})));
    assert!(wants(json!({"webhook_ids": [about.id]})));
    assert!(!wants(json!({"webhook_ids": [WebhookId::from_parts(now(), 7)]})));
    assert!(!wants(json!({"event_types": ["webhook.disabled"]})));
    // Not confirmed, so it hears nothing.
    let (stored, notice) = settings(&json!({})).into_webhook(None, now());
    (own.settings, own.notice) = (stored, Some(notice));
    assert_eq!(own.subscription(), None);
    // And it causes no events itself.
    assert_eq!(webhook_event(LifecycleEvent::Paused, &own), None);
}

#[test]
fn default_types_are_operational() {
    assert!(default_types().iter().all(|pattern| pattern.exact().is_some_and(|one| is_reserved(&one))));
    assert_eq!(default_types().len(), DEFAULT_TYPES.len());
    assert!(TYPES.iter().filter(|name| DEFAULT_TYPES.contains(name)).count() >= 4);
}
