//! Operational events: events about webhooks and deliveries, for those of the tenant's webhooks that subscribe to their
//! types.

use jiff::{SignedDuration, Timestamp};

use super::breaker::trip_failures;
use super::message::Message;
use crate::access::tenant::{AppId, TenantId};
use crate::budget::{self, Budget};
use crate::event::Event;
use crate::event::operational::{EXHAUSTED, FAILING, OPERATIONAL, RECOVERED, about, is_about_exhaustion};
use crate::event::published::Fact;
use crate::id::{DeliveryId, EventId, WebhookId};
use crate::value::{Map, Value};
use crate::webhook::Webhook;
use crate::webhook::limits::AutoPause;
use crate::webhook::statistics::Statistics;

/// What happened to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// Its deliveries are parked.
    Paused,
    /// Its deliveries are sent again.
    Resumed,
    /// It receives no more events.
    Disabled,
    /// Another secret signs its deliveries.
    SecretRotated,
}

impl LifecycleEvent {
    fn event_type(self) -> &'static str {
        match self {
            Self::Paused => "webhook.paused",
            Self::Resumed => "webhook.resumed",
            Self::Disabled => "webhook.disabled",
            Self::SecretRotated => "webhook.secret_rotated",
        }
    }
}

/// Returns the operational events of a change to a webhook: one for each thing that happened to it.
#[must_use]
pub fn lifecycle_events(before: &Webhook, after: &Webhook) -> Vec<Event> {
    let happened = [
        (before.pause.is_none() && after.pause.is_some(), LifecycleEvent::Paused),
        (before.pause.is_some() && after.pause.is_none(), LifecycleEvent::Resumed),
        (before.settings.enabled && !after.settings.enabled, LifecycleEvent::Disabled),
        (before.secret.fingerprint != after.secret.fingerprint, LifecycleEvent::SecretRotated),
    ];
    happened
        .into_iter()
        .filter_map(|(happened, happening)| happened.then(|| webhook_event(happening, after)).flatten())
        .collect()
}

/// How long the same notice is not repeated, in seconds.
const NOTICE_SECONDS: i64 = 3600;

/// Returns the delivery of an event to a notice. Events of a type about the same webhook within an hour have the same
/// delivery, so that people are notified once.
#[must_use]
pub fn delivery(event: &Event, notice: WebhookId) -> DeliveryId {
    let hour = event.at.as_second().div_euclid(NOTICE_SECONDS) * NOTICE_SECONDS;
    let hour = Timestamp::from_second(hour).unwrap_or(event.at);
    let subject = about(event).unwrap_or(&event.entity.id);
    DeliveryId::derive(hour, &["notice", &notice.to_string(), event.event_type.as_str(), subject])
}

/// The `updated_by` of webhooks that Dynahook itself changed because of a receiver's answer.
pub const ITSELF: &str = "dynahook";

/// Returns the event for a webhook that has just been written. Its id is derived from the webhook's version, so a
/// repeated call returns the same event. `None` for a notice: two broken notices could report each other forever.
#[must_use]
pub fn webhook_event(happening: LifecycleEvent, webhook: &Webhook) -> Option<Event> {
    if webhook.notice.is_some() {
        return None;
    }
    let (id, audit) = (webhook.id.to_string(), &webhook.audit);
    let by_failures = match happening {
        // `deliver` disables a webhook only because its receiver asked for it.
        LifecycleEvent::Disabled => audit.updated_by == ITSELF,
        LifecycleEvent::Paused | LifecycleEvent::Resumed | LifecycleEvent::SecretRotated => {
            webhook.pause.is_some_and(|pause| pause.by_failures)
        }
    };
    let data = [
        ("webhook_id", text(&id)),
        ("name", text(&webhook.settings.name)),
        ("by", text(&audit.updated_by)),
        ("by_failures", Value::Bool(by_failures)),
    ];
    let at = audit.updated_at;
    let event = EventId::derive(at, &[OPERATIONAL, &id, &audit.version.to_string(), happening.event_type()]);
    let about = About { entity_id: id, collection: "webhooks".to_owned(), app: webhook.app.clone() };
    about.event(happening.event_type(), event, webhook.tenant.clone(), at, &data)
}

/// Returns the event that deliveries of a webhook fail, and what to do. `status` is that of the last response.
///
/// Its id is derived from the first failure, and the write that publishes it happens once for each series of failures.
/// `None` for a notice: two broken notices could report each other forever.
#[must_use]
pub fn failing_event(webhook: &Webhook, statistics: &Statistics, status: Option<u16>, now: Timestamp) -> Option<Event> {
    let since = statistics.failing_since.unwrap_or(now);
    let AutoPause { failures, after_seconds } = webhook.settings.auto_pause;
    let opens_at = trip_failures(webhook);
    let advice = format!(
        "check the receiver; after {opens_at} failures in a row, deliveries are parked until it answers again, and after \
         {failures} over {after_seconds} seconds the webhook is paused; a successful POST /webhooks/{{id}}/test releases \
         parked deliveries at once"
    );
    let data = [
        ("failures", number(statistics.consecutive_failures)),
        ("since", text(&since.to_string())),
        ("last_verdict", statistics.last_delivery_status.map_or(Value::Null, |verdict| text(verdict.as_str()))),
        ("last_status", status.map_or(Value::Null, number)),
        ("last_error", statistics.last_error.as_deref().map_or(Value::Null, text)),
        ("advice", text(&advice)),
    ];
    health_event(FAILING, webhook, since, now, &data)
}

/// Returns the event that deliveries of a webhook arrive again, after the failures that began at `failing_since`.
#[must_use]
pub fn recovered_event(webhook: &Webhook, failing_since: Timestamp, now: Timestamp) -> Option<Event> {
    health_event(RECOVERED, webhook, failing_since, now, &[("since", text(&failing_since.to_string()))])
}

fn health_event(
    event_type: &str,
    webhook: &Webhook,
    failing_since: Timestamp,
    now: Timestamp,
    data: &[(&str, Value)],
) -> Option<Event> {
    if webhook.notice.is_some() {
        return None;
    }
    let id = webhook.id.to_string();
    let mut all = vec![("webhook_id", text(&id)), ("name", text(&webhook.settings.name))];
    all.extend_from_slice(data);
    let event = EventId::derive(now, &[OPERATIONAL, &id, event_type, &failing_since.to_string()]);
    let about = About { entity_id: id, collection: "webhooks".to_owned(), app: webhook.app.clone() };
    about.event(event_type, event, webhook.tenant.clone(), now, &all)
}

/// Returns the event that reports an exhausted delivery, with the number of attempts and the last status. `None` if the
/// delivery was itself of such an event, or a notice; otherwise two broken webhooks could report each other forever.
///
/// The id is derived from the delivery's cycle and `ended_at` comes from the row, so a repeated call returns the same
/// event.
#[must_use]
pub fn exhausted_event(message: &Message, attempts: u32, status: Option<u16>, ended_at: Timestamp) -> Option<Event> {
    let said = message.event_type.as_str();
    if message.notice || is_about_exhaustion(said) {
        return None;
    }
    let (delivery, webhook) = (message.delivery.to_string(), message.webhook.to_string());
    let data = [
        ("webhook_id", text(&webhook)),
        ("delivery_id", text(&delivery)),
        ("event_id", text(&message.event.to_string())),
        ("event_type", text(said)),
        ("attempts", number(attempts)),
        ("last_status", status.map_or(Value::Null, number)),
    ];
    let id = EventId::derive(ended_at, &[OPERATIONAL, &delivery, &message.cycle.to_string()]);
    let collection = format!("webhooks/{webhook}/deliveries");
    let about = About { entity_id: delivery, collection, app: message.app.clone() };
    // Keep the hop count of the delivered event: a relay for these events may be part of a loop.
    let event = about.event(EXHAUSTED, id, message.tenant.clone(), ended_at, &data)?;
    Some(Event { hops: message.hops, ..event })
}

/// Returns the event that a tenant has used a given part of a budget. Its id is derived from the part and the day, so
/// all processes that notice it return the same event.
#[must_use]
pub fn threshold_event(
    tenant: &TenantId,
    budget: Budget,
    percent: u8,
    (used, limit): (u64, u64),
    now: Timestamp,
) -> Option<Event> {
    let (name, end) = (budget.as_str(), budget::resets_at(now));
    // The number of webhooks is not counted by day.
    let resets_at = if budget == Budget::Webhooks { Value::Null } else { text(&end.to_string()) };
    let start = end - SignedDuration::from_hours(24);
    let data = [
        ("budget", text(name)),
        ("percent", number(percent)),
        ("used", number(used)),
        ("limit", number(limit)),
        ("resets_at", resets_at),
    ];
    let id = EventId::derive(start, &[OPERATIONAL, "budget", tenant.as_str(), name, &percent.to_string()]);
    let about = About { entity_id: format!("{name}-{percent}"), collection: "usage".to_owned(), app: None };
    about.event(budget::EVENT_TYPE, id, tenant.clone(), now, &data)
}

struct About {
    entity_id: String,
    collection: String,
    app: Option<AppId>,
}

impl About {
    fn event(
        self,
        event_type: &str,
        id: EventId,
        tenant: TenantId,
        at: Timestamp,
        data: &[(&str, Value)],
    ) -> Option<Event> {
        let Self { entity_id, collection, app } = self;
        let data: Map = data.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let event_type = event_type.parse().ok()?;
        let fact = Fact { event_type, entity_id, entity_key: None, collection, app, data, old_data: None };
        Some(Event { source: OPERATIONAL.to_owned(), ..fact.event(id, tenant, at) })
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn number<N: ToString + Copy>(number: N) -> Value {
    number.to_string().parse().map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::attempt::outcome::Verdict;
    use crate::delivery::message::Body;
    use crate::event::operational::{alias, is_reserved};
    use crate::id::WebhookId;
    use crate::signing::secret::tests::fingerprint;
    use crate::webhook::Pause;
    use crate::webhook::tests::webhook;

    const PAUSE: Pause = Pause { at: Timestamp::UNIX_EPOCH, by_failures: false };

    fn exhausted(event_type: &str) -> Option<Event> {
        let at = Timestamp::UNIX_EPOCH;
        let (event, webhook) = (EventId::from_parts(at, 2), WebhookId::from_parts(at, 3));
        let body = Body::Inline("{}".to_owned());
        let message = Message::first(event, event_type.parse().unwrap(), webhook, "acme".parse().unwrap(), body);
        exhausted_event(&message, 9, Some(500), at)
    }

    #[test]
    fn say_what_happened() {
        let at = Timestamp::UNIX_EPOCH;
        let statistics = Statistics {
            consecutive_failures: 5,
            failing_since: Some(at),
            last_error: Some("the receiver answered 503".to_owned()),
            last_delivery_status: Some(Verdict::Unavailable),
            ..Statistics::default()
        };
        let events = [
            exhausted("order.created"),
            webhook_event(LifecycleEvent::SecretRotated, &webhook()),
            failing_event(&webhook(), &statistics, Some(503), at),
            recovered_event(&webhook(), at, at),
        ];
        insta::assert_snapshot!(serde_json::to_string_pretty(&events).unwrap());
    }

    #[test]
    fn no_notice_is_reported() {
        let notice = json!({"channel": {"type": "slack"}});
        let notice = Webhook { notice: Some(serde_json::from_value(notice).unwrap()), ..webhook() };
        let (statistics, at) = (Statistics::default(), Timestamp::UNIX_EPOCH);
        let reported = [
            webhook_event(LifecycleEvent::Paused, &notice),
            failing_event(&notice, &statistics, None, at),
            recovered_event(&notice, at, at),
        ];
        assert_eq!(reported, [None, None, None]);
    }

    #[rstest]
    #[case::of_a_webhook("webhook.paused", true)]
    #[case::failing("webhook.failing", true)]
    #[case::not_yet_one("webhook.painted", true)]
    #[case::one_word("webhook", true)]
    #[case::given_up("delivery.exhausted", true)]
    #[case::used_up("usage.threshold_reached", true)]
    #[case::another_use("usage.counted", false)]
    #[case::superoffices("webhookwhk_00000000000000000000000003.errors", true)]
    #[case::another_word("webhooks.paused", false)]
    #[case::another_delivery("delivery.created", false)]
    #[case::another_error("build.errors", false)]
    fn reserved_types(#[case] event_type: &str, #[case] reserved: bool) {
        assert_eq!(is_reserved(&event_type.parse().unwrap()), reserved);
    }

    #[test]
    fn end() {
        assert!(exhausted("order.created").is_some());
        assert_eq!((exhausted("delivery.exhausted"), exhausted("webhookwhk_1.errors")), (None, None));
    }

    #[test]
    fn errors_have_a_second_name() {
        let aliased = |event: Option<Event>| alias(&event.unwrap()).map(String::from);
        assert_eq!(aliased(exhausted("order.created")).unwrap(), "webhookwhk_00000000000000000000000003.errors");
        let mut webhook = webhook();
        assert_eq!(aliased(webhook_event(LifecycleEvent::Paused, &webhook)), None);
        webhook.pause = Some(Pause { at: Timestamp::UNIX_EPOCH, by_failures: true });
        assert_eq!(
            aliased(webhook_event(LifecycleEvent::Paused, &webhook)).unwrap(),
            format!("webhook{}.errors", webhook.id)
        );
    }

    #[rstest]
    #[case::nothing(|_: &mut Webhook| (), &[])]
    #[case::another_name(|webhook: &mut Webhook| webhook.settings.name = "other".to_owned(), &[])]
    #[case::paused(|webhook: &mut Webhook| webhook.pause = Some(PAUSE), &["webhook.paused"])]
    #[case::disabled(|webhook: &mut Webhook| webhook.settings.enabled = false, &["webhook.disabled"])]
    #[case::rotated(|webhook: &mut Webhook| webhook.secret.fingerprint = fingerprint(9), &["webhook.secret_rotated"])]
    #[case::two_things(
        |webhook: &mut Webhook| { webhook.settings.enabled = false; webhook.pause = Some(PAUSE); },
        &["webhook.paused", "webhook.disabled"]
    )]
    fn a_write_makes_events_of_what_it_did(#[case] write: fn(&mut Webhook), #[case] types: &[&str]) {
        let before = webhook();
        let mut after = before.clone();
        write(&mut after);
        let said =
            |events: Vec<Event>| events.into_iter().map(|event| event.event_type.into()).collect::<Vec<String>>();
        assert_eq!(said(lifecycle_events(&before, &after)), types);
        let undone = if after.pause.is_some() { &["webhook.resumed"][..] } else { &[] };
        let undone: Vec<_> = undone.iter().chain(types.iter().filter(|said| said.ends_with("rotated"))).collect();
        assert_eq!(said(lifecycle_events(&after, &before)).iter().collect::<Vec<_>>(), undone);
    }

    #[test]
    fn the_same_write_is_the_same_event() {
        let mut webhook = webhook();
        let first = webhook_event(LifecycleEvent::Paused, &webhook).unwrap();
        assert_eq!(webhook_event(LifecycleEvent::Paused, &webhook).unwrap(), first);
        webhook.touch(webhook.audit.updated_at, "anna");
        assert_ne!(webhook_event(LifecycleEvent::Paused, &webhook).unwrap().id, first.id);
    }
}
