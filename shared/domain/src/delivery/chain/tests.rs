use std::time::Duration;

use jiff::Timestamp;
use rstest::rstest;

use super::*;
use crate::budget::Deferral;
use crate::delivery::message::Body;
use crate::delivery::{OVERDUE_AFTER, Progress, SHORT_WAIT, Waits};
use crate::id::EventId;
use crate::webhook::tests::webhook;

mod model;

fn start() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn ordered(on_exhausted: OnExhausted) -> Webhook {
    let mut webhook = webhook();
    (webhook.settings.ordering, webhook.settings.on_exhausted) = (Ordering::Entity, on_exhausted);
    webhook.settings.retry_policy.max_attempts = 2;
    webhook
}

/// The first message of the delivery with that number.
fn first(number: u32) -> Message {
    let event = EventId::from_parts(start(), number.into());
    let body = Body::Inline("{}".to_owned());
    let message = Message::first(event, "film.created".parse().unwrap(), webhook().id, "acme".parse().unwrap(), body);
    Message { entity: Some(entity("films/1")), ..message }
}

fn standing(state: State) -> Delivery {
    Delivery::first(first(1), Progress { state, cycle: 0, attempt: 1, next_at: None })
}

#[rstest]
#[case::no_chain(None, None, ChainPosition::Free)]
#[case::failing(Some(1), Some(State::Retrying), ChainPosition::Behind)]
#[case::parked(Some(1), Some(State::Parked), ChainPosition::Behind)]
#[case::halted(Some(1), Some(State::Exhausted), ChainPosition::Behind)]
#[case::ended(Some(1), Some(State::Delivered), ChainPosition::Abandoned)]
#[case::forgotten(Some(1), None, ChainPosition::Abandoned)]
fn places(#[case] chain: Option<u32>, #[case] head: Option<State>, #[case] expected: ChainPosition) {
    let chain = chain.map(|number| Chain { head: first(number).delivery, tail: 0 });
    let (webhook, head) = (ordered(OnExhausted::Halt), head.map(standing));
    assert_eq!(place(None, Some(&webhook), chain, head.as_ref()), expected);
    assert_eq!(place(Some(&standing(State::Held)), Some(&webhook), chain, head.as_ref()), ChainPosition::Free);
    assert_eq!(place(None, None, chain, head.as_ref()), ChainPosition::Free);
}

#[rstest]
#[case::halt(Ordering::Entity, OnExhausted::Halt, Verdict::Refused, false)]
#[case::skip(Ordering::Entity, OnExhausted::Skip, Verdict::Refused, true)]
#[case::no_order_any_more(Ordering::None, OnExhausted::Halt, Verdict::Refused, true)]
#[case::not_wanted(Ordering::Entity, OnExhausted::Halt, Verdict::Aborted, true)]
#[case::nothing_wanted(Ordering::Entity, OnExhausted::Halt, Verdict::Gone, true)]
fn an_exhausted_delivery_releases_the_next_one(
    #[case] ordering: Ordering,
    #[case] on_exhausted: OnExhausted,
    #[case] last: Verdict,
    #[case] expected: bool,
) {
    let mut webhook = ordered(on_exhausted);
    webhook.settings.ordering = ordering;
    assert_eq!(lets_go(State::Exhausted, Some(last), Some(&webhook)), expected);
}

/// A deferred delivery that waited behind another: the time that it is due when its turn comes, and the delay of its
/// message.
#[rstest]
#[case::within_the_budget(None, None, OVERDUE_AFTER, Some(Duration::ZERO))]
#[case::its_time_has_come(Some(Deferral::Until(start())), None, OVERDUE_AFTER, Some(Duration::ZERO))]
#[case::soon(Some(later(SHORT_WAIT)), Some(SHORT_WAIT), SHORT_WAIT + OVERDUE_AFTER, Some(SHORT_WAIT))]
#[case::tomorrow(Some(later(DAY)), Some(DAY), DAY, None)]
#[case::never(Some(Deferral::Never), None, OVERDUE_AFTER, Some(Duration::ZERO))]
fn a_deferral_outlasts_the_wait_in_a_chain(
    #[case] deferral: Option<Deferral>,
    #[case] next_at: Option<Duration>,
    #[case] due: Duration,
    #[case] delay: Option<Duration>,
) {
    let message = Message { body: None, deferral, ..first(2) };
    let progress = released(&message, start());
    let next_at = next_at.map(|wait| start() + wait);
    assert_eq!(progress, Progress { state: State::Pending, cycle: 0, attempt: 1, next_at });
    assert_eq!(progress.waits(start()), Some(Waits::Due(start() + due)));
    assert_eq!(progress.delay(start()), delay);
    assert!(!lets_go(progress.state, None, Some(&ordered(OnExhausted::Skip))), "it holds its entity meanwhile");
}

const DAY: Duration = Duration::from_hours(24);

fn later(wait: Duration) -> Deferral {
    Deferral::Until(start() + wait)
}

/// A message of the previous version has no deferral. Its delivery is attempted at once, as before.
#[test]
fn a_message_without_a_deferral_is_sent_at_once() {
    let json = Message { body: None, ..first(2) }.to_json();
    assert!(!json.contains("deferral"), "{json}");
    assert_eq!(released(&Message::from_json(&json).unwrap(), start()).next_at, None);
}

#[test]
fn an_entity_has_a_short_name() {
    assert_eq!(entity("films/1"), entity("films/1"));
    assert_ne!(entity("films/1"), entity("films/2"));
    assert_eq!(entity("films/1").len(), 24);
}
