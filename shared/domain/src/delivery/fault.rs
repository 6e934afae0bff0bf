//! Handles internal faults: the attempt was not made, or the process died during it.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::decide::Admission;
use super::message::Message;
use super::{Delivery, Progress, State};

/// How often a message may be received before a fault is assumed to be more than brief. After that, the message itself
/// may be what kills the process.
pub const PATIENCE: u32 = 3;

/// The shortest time that a delivery is put off: as long as a message that returns to its queue stays invisible.
pub const PUT_OFF_AT_LEAST: Duration = Duration::from_mins(6);

/// The longest time that a delivery is put off, and so the longest delay between the end of a fault and the next
/// attempt.
pub const PUT_OFF_AT_MOST: Duration = Duration::from_mins(30);

/// Returns the progress of a delivery that could not be attempted because of an internal fault. `None` if its message
/// must return to the queue, because only the message holds the delivery.
///
/// A delivery that has a row is put off at once: the row holds it, and a returned message would duplicate the one that
/// the sweep sends. A first attempt has no row. After some receives it gets one, so that its tenant sees it. The state
/// is [retrying](State::Retrying), because a pending delivery with a time counts as having waited for the webhook's
/// rate limit.
///
/// The wait is a quarter of the delivery's age, within bounds: after a fault of an hour a delivery is at most a quarter
/// of an hour later than necessary, and a fault that lasts for days costs two attempts per hour.
#[must_use]
pub fn put_off(admission: Admission, message: &Message, now: Timestamp) -> Option<Progress> {
    let has_holder = match admission {
        // The caller does not wait for a later test, and the sweep would turn it into an ordinary delivery.
        _ if message.test => false,
        Admission::First => message.receives >= PATIENCE,
        Admission::Again => true,
        // A row that has ended is not due: only the message records that it is redriven.
        Admission::Redriven | Admission::Stale(_) => false,
    };
    let age = Duration::try_from(now.duration_since(message.delivery.timestamp())).unwrap_or_default();
    let next_at = now + (age / 4).clamp(PUT_OFF_AT_LEAST, PUT_OFF_AT_MOST);
    let Message { cycle, attempt, .. } = *message;
    has_holder.then_some(Progress { state: State::Retrying, cycle, attempt, next_at: Some(next_at) })
}

/// Returns whether a message is deleted although its attempt is still due: it was received too often, and its delivery
/// has a row.
///
/// The sweep has sent other messages for the row meanwhile. If the attempt kills processes, each of these messages
/// would return for four days, and their number would grow.
#[must_use]
pub fn is_redundant(admission: Admission, message: &Message) -> bool {
    admission == Admission::Again && message.receives > PATIENCE
}

/// The order in which the messages of a batch are attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    /// Messages that show no sign of a fault.
    First,
    /// Half of the suspects.
    Second,
    /// The other half of the suspects.
    Third,
}

/// Returns when a message of a batch is attempted. Messages that may have killed a process come after the others.
///
/// Such a message would take the other messages of its batch down with it again and again, because messages that return
/// together are received together. Signs are a high receive count, or a lease that ended without an outcome. The other
/// messages of its batch show the same signs, so half of the suspects are attempted before the other half. The halves
/// change with each receive, so that each harmless message is soon in an earlier wave than the one that kills.
#[must_use]
pub fn wave(message: &Message, row: Option<&Delivery>, now: Timestamp) -> Wave {
    let died = row.is_some_and(|row| row.lease_until.is_some_and(|until| until <= now));
    if message.receives <= PATIENCE && !died {
        return Wave::First;
    }
    let lease = row.and_then(|row| row.lease_until).map_or(0, Timestamp::as_millisecond);
    let digest = Sha256::digest(format!("{}/{}/{lease}", message.delivery, message.receives));
    if digest[0] & 1 == 0 { Wave::Second } else { Wave::Third }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::delivery::decide::Stale;
    use crate::delivery::message::Body;
    use crate::id::{EventId, WebhookId};

    const BORN: Timestamp = Timestamp::UNIX_EPOCH;

    fn message(number: u128, receives: u32) -> Message {
        let (event, webhook) = (EventId::from_parts(BORN, number), WebhookId::from_parts(BORN, 2));
        let body = Body::Inline("{}".to_owned());
        let first = Message::first(event, "film.created".parse().unwrap(), webhook, "acme".parse().unwrap(), body);
        Message { receives, ..first }
    }

    #[rstest]
    #[case::a_short_fault(Admission::First, 2, 0, None)]
    #[case::one_that_goes_on(Admission::First, 3, 12, Some(6))]
    #[case::a_later_attempt(Admission::Again, 1, 12, Some(6))]
    #[case::for_hours(Admission::Again, 1, 80, Some(20))]
    #[case::for_days(Admission::First, 9, 5000, Some(30))]
    #[case::sent_again(Admission::Redriven, 9, 120, None)]
    #[case::nothing_to_do(Admission::Stale(Stale::Ended), 9, 120, None)]
    fn puts_off(#[case] admission: Admission, #[case] receives: u32, #[case] age: u64, #[case] wait: Option<u64>) {
        let now = BORN + Duration::from_mins(age);
        let message = Message { cycle: 1, attempt: 4, ..message(1, receives) };
        let expected = wait.map(|wait| {
            let next_at = Some(now + Duration::from_mins(wait));
            Progress { state: State::Retrying, cycle: 1, attempt: 4, next_at }
        });
        assert_eq!(put_off(admission, &message, now), expected);
        assert_eq!(put_off(admission, &Message { test: true, ..message }, now), None, "a test comes back");
    }

    #[test]
    fn a_delivery_takes_another_rate_limit_turn_after_a_fault() {
        let now = BORN + Duration::from_mins(1);
        let progress = put_off(Admission::Again, &message(1, 1), now).unwrap();
        let row = Delivery { progress, ..Delivery::first(message(1, 1), progress) };
        let webhook = crate::webhook::tests::webhook();
        let (_, decision) = crate::delivery::decide::decide(&message(1, 1), Some(&row), Some(&webhook), None, now);
        assert_eq!(decision, crate::delivery::decide::Decision::Attempt { probe: false, had_turn: false });
    }

    #[rstest]
    #[case::first(Admission::First, 1000, false)]
    #[case::sent_again(Admission::Redriven, 1000, false)]
    #[case::held_by_a_row(Admission::Again, 4, true)]
    #[case::held_by_a_row_for_a_short_time(Admission::Again, 3, false)]
    fn a_message_that_returns_although_its_delivery_has_a_row_is_redundant(
        #[case] admission: Admission,
        #[case] receives: u32,
        #[case] redundant: bool,
    ) {
        assert_eq!(is_redundant(admission, &message(1, receives)), redundant);
    }

    #[test]
    fn suspects_come_after_the_others() {
        let now = BORN + Duration::from_mins(5);
        let leased = |until: u64| {
            let progress = Progress { state: State::Retrying, cycle: 0, attempt: 1, next_at: None };
            let lease_until = Some(BORN + Duration::from_mins(until));
            Delivery { lease_until, ..Delivery::first(message(1, 1), progress) }
        };
        assert_eq!(wave(&message(1, PATIENCE), None, now), Wave::First);
        assert_eq!(wave(&message(1, 1), Some(&leased(6)), now), Wave::First);
        assert_ne!(wave(&message(1, PATIENCE + 1), None, now), Wave::First);
        assert_ne!(wave(&message(1, 1), Some(&leased(5)), now), Wave::First);
    }

    /// Whichever message of a batch kills the process, each of the others is soon attempted before it.
    #[test]
    fn every_message_is_soon_attempted_before_the_one_that_kills() {
        for killer in 0..10 {
            for other in (0..10).filter(|other| *other != killer) {
                let earlier = |receives: &u32| {
                    wave(&message(other, *receives), None, BORN) < wave(&message(killer, *receives), None, BORN)
                };
                let soon = (PATIENCE + 1..30).find(earlier);
                assert!(soon.is_some(), "{other} waits for {killer}");
            }
        }
    }
}
