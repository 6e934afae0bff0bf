//! What follows from a fault of ours: the attempt was not made, or the process died of it.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::decide::Admission;
use super::message::Message;
use super::{Delivery, Progress, State};

/// How often a message may be received before something is done about it. A short fault needs no more; a message that has been
/// received more often may be what kills the process.
pub const PATIENCE: u32 = 3;

/// How long a delivery is put off at least: as long as a message that goes back to its queue stays invisible.
pub const PUT_OFF_AT_LEAST: Duration = Duration::from_mins(6);

/// How long a delivery is put off at most, and so how long after the end of a fault its last delivery may be attempted.
pub const PUT_OFF_AT_MOST: Duration = Duration::from_mins(30);

/// Says where a delivery stands that could not be attempted for a fault of ours, or `None` if its message has to go back to the
/// queue, because that message is all that holds it.
///
/// A delivery that has a row is put off at once: the row holds it, and a message that went back would come again next to those that
/// the sweep sends. A first attempt has no row; after some receives it gets one, so that its tenant sees it. It is
/// [retrying](State::Retrying), because a pending delivery with a time has had its turn at a receiver that takes only so much.
///
/// The wait is a quarter of the delivery's age, within bounds: a fault of an hour makes a delivery a quarter of an hour later than
/// it has to be, and one that goes on for days costs two attempts an hour.
#[must_use]
pub fn put_off(admission: Admission, message: &Message, now: Timestamp) -> Option<Progress> {
    let has_holder = match admission {
        // No one waits for a test that is made later, and the sweep would make a delivery of it.
        _ if message.test => false,
        Admission::First => message.receives >= PATIENCE,
        Admission::Again => true,
        // A row that has ended is due nowhere: the message is all that says that it is sent again.
        Admission::Redriven | Admission::Stale(_) => false,
    };
    let age = Duration::try_from(now.duration_since(message.delivery.timestamp())).unwrap_or_default();
    let next_at = now + (age / 4).clamp(PUT_OFF_AT_LEAST, PUT_OFF_AT_MOST);
    let Message { cycle, attempt, .. } = *message;
    has_holder.then_some(Progress { state: State::Retrying, cycle, attempt, next_at: Some(next_at) })
}

/// Says whether a message is acknowledged although its attempt is still to be made: it came back again and again, and its delivery
/// has a row.
///
/// The sweep has sent other messages of the row meanwhile. If processes die of the attempt each of these would come back for four days,
/// and there would be more and more of them.
#[must_use]
pub fn is_redundant(admission: Admission, message: &Message) -> bool {
    admission == Admission::Again && message.receives > PATIENCE
}

/// Which messages of a batch are attempted at once, and which after those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    /// Those that show no sign of a fault.
    First,
    /// Half of those that do.
    Second,
    /// The other half.
    Third,
}

/// Says when a message of a batch is attempted: after the others, if a process may have died of it.
///
/// Such a message would take the others of its batch with it, again and again, as those that come back at one time are received
/// together again. It shows by the count of its receives, or by a lease that ended without an outcome; so do those that it took with it,
/// which is why half of the suspects go before the other half. The halves are other ones at each receive, so that each of them is
/// soon in an earlier wave than the one that kills.
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
    fn who_waited_for_a_turn_takes_another_after_a_fault() {
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
    fn what_comes_back_beside_its_row_is_redundant(
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

    /// Whichever of a batch kills: each of the others is soon attempted before it.
    #[test]
    fn the_halves_change_until_everybody_was_before_the_one_that_kills() {
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
