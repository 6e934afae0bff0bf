//! Dead letters: what is sent to the dead letter queue, and when it is removed.
//!
//! An exhausted delivery is a row in the ledger, and a letter in a queue of its own from which SQS can move it back.
//! The row is authoritative. A letter cannot be looked up by its delivery, so the sweep regularly scans the queue and
//! removes the letters of deliveries that are no longer exhausted.

use std::time::Duration;

use jiff::Timestamp;

use super::State;
use super::decide::dead_letter;
use super::message::Message;
use super::notices::exhausted_event;
use crate::event::Event;
use crate::event::hops::Hops;

/// A delivery whose last attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message of its last attempt.
    pub message: Message,
    /// The status of the last response, if known.
    pub last_status: Option<u16>,
    /// When it was exhausted, from its row.
    pub ended_at: Timestamp,
}

impl DeadLetter {
    /// Returns the event that reports it, or `None` if the delivery itself was of such an event.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        exhausted_event(&self.message, self.message.attempt, self.last_status, self.ended_at)
    }

    /// Adds what only the delivery's row has. The index in which the sweep finds the delivery has no count of hops;
    /// without the count, the events that follow could loop forever.
    #[must_use]
    pub fn completed(self, row: Option<Standing>) -> Self {
        let hops = row.map_or(self.message.hops, |row| row.hops.max(self.message.hops));
        Self { message: Message { hops, ..self.message }, ..self }
    }

    /// Returns its dead letter.
    #[must_use]
    pub fn letter(&self) -> Message {
        dead_letter(self.message.clone())
    }

    /// Describes for the operator why the letter is in the queue.
    #[must_use]
    pub fn cause(&self) -> String {
        let status = self.last_status.map_or_else(String::new, |status| format!("; the last got status {status}"));
        format!("exhausted after {} attempts{status}", self.message.attempt)
    }
}

/// The part of a delivery's row that decides about its letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// The number of redrives.
    pub cycle: u32,
    /// How many deliveries led to its event.
    pub hops: Hops,
}

/// Returns whether a letter must be removed, given its delivery's row, read consistently. Moving a letter back has an
/// effect only while the delivery is exhausted in the letter's cycle. A missing row has expired.
#[must_use]
pub fn is_obsolete(letter: &Message, row: Option<Standing>) -> bool {
    !row.is_some_and(|row| row.state == State::Exhausted && row.cycle + 1 == letter.cycle)
}

/// How long the sweep scans the queue, from the start of each hour.
const LOOKS_FOR: Duration = Duration::from_mins(15);

/// Stop receiving letters this long before the end of that time.
const LAST_LOOK: Duration = Duration::from_mins(1);

/// The length of an hour.
const NANOSECONDS_PER_HOUR: i128 = 3_600_000_000_000;

/// Returns the visibility timeout of letters received now, or `None` if none are received now.
///
/// Scanned letters stay invisible until the end of the quarter hour, so that consecutive runs see different letters.
/// For the rest of the hour all letters are visible, because an SQS redrive moves only visible messages.
#[must_use]
pub fn hidden_for(now: Timestamp) -> Option<Duration> {
    let into_the_hour = now.as_nanosecond().rem_euclid(NANOSECONDS_PER_HOUR);
    let into_the_hour = Duration::from_nanos(u64::try_from(into_the_hour).unwrap_or_default());
    let left = LOOKS_FOR.saturating_sub(into_the_hour);
    (left >= LAST_LOOK).then_some(left)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::delivery::decide::{Admission, admit};
    use crate::delivery::message::Body;
    use crate::delivery::{Delivery, Progress};
    use crate::id::{EventId, WebhookId};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn dead_letter(cycle: u32) -> DeadLetter {
        let (event, webhook) = (EventId::from_parts(NOW, 1), WebhookId::from_parts(NOW, 2));
        let body = Body::Inline("{}".to_owned());
        let first = Message::first(event, "film.created".parse().unwrap(), webhook, "acme".parse().unwrap(), body);
        DeadLetter { message: Message { cycle, attempt: 9, ..first }, last_status: Some(500), ended_at: NOW }
    }

    fn standing(state: State, cycle: u32) -> Standing {
        Standing { state, cycle, hops: Hops::NONE }
    }

    /// The index read by the sweep has no count of hops; the letter and the event take it from the row.
    #[rstest]
    #[case::of_the_index(0, Some(3), 3)]
    #[case::of_the_row_before_there_were_hops(0, Some(0), 0)]
    #[case::of_the_last_message(2, Some(2), 2)]
    #[case::expired(2, None, 2)]
    fn a_dead_letter_has_the_hops_of_its_row(#[case] message: usize, #[case] row: Option<usize>, #[case] hops: u8) {
        let count = |hops: usize| (0..hops).fold(Hops::NONE, |hops, _| hops.next().unwrap());
        let found = dead_letter(0);
        let found = DeadLetter { message: Message { hops: count(message), ..found.message }, ..found };
        let row = row.map(|row| Standing { hops: count(row), ..standing(State::Exhausted, 0) });
        let dead_letter = found.completed(row);
        assert_eq!(dead_letter.letter().hops.get(), hops);
        assert_eq!(dead_letter.event().unwrap().hops.get(), hops);
    }

    #[rstest]
    #[case::exhausted(Some((State::Exhausted, 1)), false)]
    #[case::delivered(Some((State::Delivered, 2)), true)]
    #[case::delivered_by_a_copy_of_its_first_message(Some((State::Delivered, 0)), true)]
    #[case::being_sent_again(Some((State::Pending, 2)), true)]
    #[case::waiting_again(Some((State::Retrying, 2)), true)]
    #[case::parked_in_the_next_cycle(Some((State::Parked, 2)), true)]
    #[case::cancelled(Some((State::Cancelled, 2)), true)]
    #[case::exhausted_again(Some((State::Exhausted, 2)), true)]
    #[case::row_in_an_earlier_cycle(Some((State::Exhausted, 0)), true)]
    #[case::expired(None, true)]
    fn a_letter_is_removed_when_its_delivery_is_no_longer_exhausted(
        #[case] row: Option<(State, u32)>,
        #[case] obsolete: bool,
    ) {
        let row = row.map(|(state, cycle)| standing(state, cycle));
        assert_eq!(is_obsolete(&dead_letter(1).letter(), row), obsolete);
    }

    /// A removed letter would have done nothing if moved back; a letter that would restart the delivery is kept.
    #[test]
    fn no_letter_is_removed_that_would_start_an_exhausted_delivery() {
        let states = [
            State::Pending,
            State::Retrying,
            State::Parked,
            State::Held,
            State::Delivered,
            State::Exhausted,
            State::Cancelled,
            State::Failed,
        ];
        for (state, cycle) in states.into_iter().flat_map(|state| (0..4).map(move |cycle| (state, cycle))) {
            let letter = dead_letter(1).letter();
            let progress = Progress { state, cycle, attempt: 1, next_at: None };
            let row = Delivery::first(letter.clone(), progress);
            let starts = state == State::Exhausted && admit(&letter, Some(&row), NOW) == Admission::Redriven;
            assert_eq!(is_obsolete(&letter, Some(standing(state, cycle))), !starts, "{state:?} in cycle {cycle}");
        }
    }

    #[test]
    fn says_why() {
        assert_eq!(dead_letter(0).cause(), "exhausted after 9 attempts; the last got status 500");
        assert_eq!(DeadLetter { last_status: None, ..dead_letter(0) }.cause(), "exhausted after 9 attempts");
    }

    #[rstest]
    #[case::at_the_hour(0, Some(900))]
    #[case::in_between(300, Some(600))]
    #[case::the_last_run(840, Some(60))]
    #[case::too_late(841, None)]
    #[case::in_the_rest_of_the_hour(1800, None)]
    #[case::the_next_hour(3600, Some(900))]
    fn looks_in_the_first_quarter_of_an_hour(#[case] second: i64, #[case] hidden: Option<u64>) {
        let now = Timestamp::from_second(1_795_240_800 + second).unwrap();
        assert_eq!(hidden_for(now), hidden.map(Duration::from_secs));
    }

    /// SQS hides for whole seconds, so the end of a part of one is not after the quarter hour.
    #[test]
    fn part_of_a_second_is_not_hidden() {
        let hidden = hidden_for("2026-11-21T10:00:59.25Z".parse().unwrap()).unwrap();
        assert_eq!(hidden.as_secs(), 14 * 60);
    }
}
