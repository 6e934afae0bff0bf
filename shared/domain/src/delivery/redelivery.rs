//! Sends a delivery again: one on request, or many by a [job](crate::delivery::job).
//!
//! A delivery that has ended starts a new cycle, with the message that its dead letter contains. A delivery that waits
//! is attempted now, with the message that it waits for. The ledger's row recognizes duplicates of either message, so
//! two copies result in one attempt.

use super::decide::dead_letter;
use super::message::Message;
use super::{Delivery, Progress, State};
use crate::webhook::Webhook;
use crate::webhook::settings::Direction;

/// How a delivery is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redelivery {
    /// Send this message. The ledger has the body, so the receiver gets the same bytes as before.
    Send(Message),
    /// Render the event with the webhook's current settings, and send the message with that body.
    Render(Message),
    /// Its webhook's breaker is open: make a probe due, and send this message, which becomes the probe.
    Probe(Message),
}

/// Why a delivery cannot be sent again now, and what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The webhook is deleted.
    #[error("the webhook is deleted; restore it first")]
    Deleted,
    /// The webhook is inbound: it is called, and calls no receiver.
    #[error("the webhook is inbound, so it has no deliveries; call its `url` instead")]
    Inbound,
    /// The delivery would be cancelled.
    #[error("the webhook is disabled; enable it first")]
    Disabled,
    /// The delivery would be parked.
    #[error("the webhook is paused; resume it first")]
    Paused,
    /// It continues by itself.
    #[error(
        "the delivery waits behind an earlier delivery of its entity; it continues when that one is delivered or skipped"
    )]
    Held,
    /// Tests are attempted only once.
    #[error("the delivery was a test; send another one with POST /webhooks/{{id}}/test")]
    Test,
    /// Neither the ledger nor the archive still has the payload or the event.
    #[error("its payload and its event are no longer kept")]
    Expired,
    /// There is no payload to send.
    #[error("the webhook's template fails for the event; POST /webhooks/{{id}}/dry-run shows the error")]
    Unrendered,
}

/// Plans how to send a delivery again.
///
/// # Errors
///
/// The reason, if it cannot be sent again.
pub fn plan(row: &Delivery, webhook: &Webhook) -> Result<Redelivery, Refusal> {
    receives(webhook)?;
    let waiting = row.next_message();
    match row.progress.state {
        State::Pending | State::Retrying => Ok(Redelivery::Send(waiting)),
        State::Parked => Ok(Redelivery::Probe(waiting)),
        State::Held => Err(Refusal::Held),
        _ if row.test => Err(Refusal::Test),
        State::Failed => Err(Refusal::Test),
        State::Delivered | State::Exhausted | State::Cancelled => {
            let again = dead_letter(waiting);
            Ok(if row.body.is_some() { Redelivery::Send(again) } else { Redelivery::Render(again) })
        }
    }
}

/// Checks that a delivery to the webhook would be attempted now.
///
/// # Errors
///
/// The reason, if it would not.
pub fn receives(webhook: &Webhook) -> Result<(), Refusal> {
    if webhook.is_deleted() {
        Err(Refusal::Deleted)
    } else if webhook.settings.direction == Direction::Inbound {
        Err(Refusal::Inbound)
    } else if !webhook.settings.enabled {
        Err(Refusal::Disabled)
    } else if webhook.pause.is_some() {
        Err(Refusal::Paused)
    } else {
        Ok(())
    }
}

/// Returns the progress of a delivery whose message has been sent.
#[must_use]
pub fn started(row: &Progress, message: &Message) -> Progress {
    if message.cycle == row.cycle {
        return *row;
    }
    Progress { state: State::Pending, cycle: message.cycle, attempt: message.attempt, next_at: None }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;
    use proptest::sample::select;
    use rstest::rstest;

    use super::*;
    use crate::delivery::decide::{Admission, admit};
    use crate::delivery::message::Body;
    use crate::id::EventId;
    use crate::payload::ContentType;
    use crate::webhook::Pause;
    use crate::webhook::tests::webhook;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn row(state: State, cycle: u32, attempt: u32, body: Option<Body>) -> Delivery {
        let webhook = webhook();
        let (event, event_type) = (EventId::from_parts(now(), 1), "film.created".parse().unwrap());
        let first = Message::first(event, event_type, webhook.id, webhook.tenant, Body::Inline(String::new()));
        Delivery {
            id: first.delivery,
            event,
            event_type: first.event_type,
            webhook: webhook.id,
            tenant: first.tenant,
            app: None,
            sequence: Some("s".to_owned()),
            entity: None,
            entity_path: None,
            hops: first.hops,
            traceparent: None,
            deferred_until: None,
            over_budget: false,
            test: false,
            progress: Progress { state, cycle, attempt, next_at: None },
            lease_until: None,
            body,
            body_digest: None,
            last_response: None,
            content_type: ContentType::CloudEvents,
            attempts: Vec::new(),
        }
    }

    fn body() -> Body {
        Body::Inline("{}".to_owned())
    }

    #[rstest]
    #[case::dead_letter(State::Exhausted, Some(body()), Some((true, 3, 1)))]
    #[case::dead_letter_without_payload(State::Exhausted, None, Some((false, 3, 1)))]
    #[case::delivered(State::Delivered, None, Some((false, 3, 1)))]
    #[case::cancelled(State::Cancelled, None, Some((false, 3, 1)))]
    #[case::waiting(State::Retrying, Some(body()), Some((true, 2, 4)))]
    #[case::pending(State::Pending, Some(body()), Some((true, 2, 4)))]
    #[case::parked(State::Parked, Some(body()), Some((true, 2, 4)))]
    #[case::held(State::Held, Some(body()), None)]
    #[case::test(State::Failed, None, None)]
    fn plans(#[case] state: State, #[case] body: Option<Body>, #[case] expected: Option<(bool, u32, u32)>) {
        let planned = plan(&row(state, 2, 4, body), &webhook()).ok().map(|plan| match plan {
            Redelivery::Send(message) | Redelivery::Probe(message) => (true, message.cycle, message.attempt),
            Redelivery::Render(message) => (false, message.cycle, message.attempt),
        });
        assert_eq!(planned, expected);
    }

    #[test]
    fn asks_for_a_webhook_that_receives() {
        let refusal = |change: fn(&mut Webhook)| {
            let mut webhook = webhook();
            change(&mut webhook);
            plan(&row(State::Exhausted, 0, 1, Some(body())), &webhook).err()
        };
        assert_eq!(refusal(|_| ()), None);
        assert_eq!(refusal(|webhook| webhook.delete(now(), "ada")), Some(Refusal::Deleted));
        assert_eq!(refusal(|webhook| webhook.settings.direction = Direction::Inbound), Some(Refusal::Inbound));
        assert_eq!(refusal(|webhook| webhook.settings.enabled = false), Some(Refusal::Disabled));
        let pause = |webhook: &mut Webhook| webhook.pause = Some(Pause { at: now(), by_failures: true });
        assert_eq!(refusal(pause), Some(Refusal::Paused));
    }

    proptest! {
        /// Every planned message is admitted by the row that it was planned for. A second copy is not admitted once the
        /// first has started and ended its cycle.
        #[test]
        fn a_planned_message_is_admitted_once(
            state in select(vec![State::Pending, State::Retrying, State::Delivered, State::Exhausted, State::Cancelled]),
            cycle in 0_u32..5, attempt in 1_u32..10, has_body: bool,
        ) {
            let row = row(state, cycle, attempt, has_body.then(body));
            let planned = plan(&row, &webhook()).unwrap();
            let (Redelivery::Send(message) | Redelivery::Render(message) | Redelivery::Probe(message)) = planned;
            let admission = admit(&message, Some(&row), now());
            prop_assert_eq!(admission, if state.is_terminal() { Admission::Redriven } else { Admission::Again });
            let progress = Progress { state: State::Delivered, ..started(&row.progress, &message) };
            let after = Delivery { progress, ..row };
            prop_assert!(matches!(admit(&message, Some(&after), now()), Admission::Stale(_)));
        }
    }
}
