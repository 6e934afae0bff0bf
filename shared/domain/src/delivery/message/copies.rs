//! Copies of a message in one batch.
//!
//! A queue delivers at least once, and a sender repeats a call whose answer was lost. Several messages can therefore
//! ask for the same attempt, and with a backlog they can be in the same batch. The ledger cannot tell them apart before
//! the attempt is made, so a batch makes each attempt once on behalf of all copies.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Body, Message};
use crate::id::DeliveryId;

/// The messages of a batch that ask for the same attempt, by their positions in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// The one to act upon.
    pub chosen: usize,
    /// All others.
    pub others: Vec<usize>,
}

/// What identifies an attempt: delivery, cycle and attempt number.
type Key = (DeliveryId, u32, u32);

/// Groups the messages of a batch by the attempt that they ask for, in the order in which each attempt first appears.
///
/// Messages of one delivery that ask for different attempts are not grouped: [`admit`](crate::delivery::decide::admit)
/// admits at most one of them, whatever the ledger's row says.
#[must_use]
pub fn by_attempt(messages: &[&Message]) -> Vec<Copies> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: BTreeMap<Key, usize> = BTreeMap::new();
    for (place, Message { delivery, cycle, attempt, .. }) in messages.iter().enumerate() {
        let group = *known.entry((*delivery, *cycle, *attempt)).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(places) => places.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups.into_iter().filter_map(|places| choose(messages, places)).collect()
}

/// Chooses the copy with the highest rank; the first one of several.
fn choose(messages: &[&Message], places: Vec<usize>) -> Option<Copies> {
    let chosen = places.iter().copied().min_by_key(|place| Reverse(brings(messages[*place])))?;
    let others = places.into_iter().filter(|place| *place != chosen).collect();
    Some(Copies { chosen, others })
}

/// Ranks a message among its copies. A body comes first: a redrive may carry one that the row no longer has. Then the
/// number of receives: a copy that may have killed a process is attempted apart from the others. Then the queue: a copy
/// that is already on the queue of slow receivers needs no detour to it.
fn brings(message: &Message) -> (u8, u32, bool) {
    let body = match &message.body {
        Some(Body::Inline(_) | Body::Stored(_)) => 2,
        Some(Body::Failed(_)) => 1,
        None => 0,
    };
    (body, message.receives, message.slow)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::decide::{Admission, admit};
    use crate::delivery::{Delivery, Progress, State};
    use crate::id::{EventId, WebhookId};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn message(event: u128, cycle: u32, attempt: u32, body: Option<Body>, slow: bool) -> Message {
        let (id, webhook) = (EventId::from_parts(NOW, event), WebhookId::from_parts(NOW, 1));
        let event_type = "film.created".parse().unwrap();
        let first = Message::first(id, event_type, webhook, "acme".parse().unwrap(), Body::Inline(String::new()));
        Message { cycle, attempt, slow, body, ..first }
    }

    fn bodies() -> impl Strategy<Value = Option<Body>> {
        prop_oneof![
            Just(None),
            Just(Some(Body::Failed("a template".to_owned()))),
            Just(Some(Body::Inline("{}".to_owned()))),
            Just(Some(Body::Stored("a key".to_owned()))),
        ]
    }

    fn batches() -> impl Strategy<Value = Vec<Message>> {
        let one = (0_u128..3, 0_u32..3, 1_u32..4, bodies(), any::<bool>());
        let one = one.prop_map(|(event, cycle, attempt, body, slow)| message(event, cycle, attempt, body, slow));
        proptest::collection::vec(one, 0..11)
    }

    /// Either no row, or a row in any state.
    fn rows() -> impl Strategy<Value = Option<Delivery>> {
        let states = prop_oneof![
            Just(State::Pending),
            Just(State::Retrying),
            Just(State::Parked),
            Just(State::Held),
            Just(State::Delivered),
            Just(State::Exhausted),
            Just(State::Cancelled),
            Just(State::Failed),
        ];
        let row = (states, 0_u32..3, 1_u32..4).prop_map(|(state, cycle, attempt)| {
            Delivery::first(message(0, 0, 1, None, false), Progress { state, cycle, attempt, next_at: None })
        });
        proptest::option::of(row)
    }

    fn key(message: &Message) -> Key {
        (message.delivery, message.cycle, message.attempt)
    }

    proptest! {
        #[test]
        fn each_attempt_is_made_once_for_all_that_ask_for_it(batch in batches()) {
            let messages: Vec<&Message> = batch.iter().collect();
            let groups = by_attempt(&messages);
            let mut places: Vec<usize> = Vec::new();
            let mut keys = BTreeSet::new();
            for Copies { chosen, others } in &groups {
                let chosen_one = messages[*chosen];
                prop_assert!(keys.insert(key(chosen_one)), "one attempt, one group");
                for other in others {
                    prop_assert_eq!(key(messages[*other]), key(chosen_one));
                    let (most, less) = (brings(chosen_one), brings(messages[*other]));
                    prop_assert!(most > less || (most == less && chosen < other));
                }
                places.push(*chosen);
                places.extend(others);
            }
            let first = |copies: &Copies| copies.others.iter().chain([&copies.chosen]).min().copied();
            let firsts: Vec<_> = groups.iter().map(first).collect();
            prop_assert!(firsts.is_sorted(), "in the order of the batch");
            places.sort_unstable();
            prop_assert_eq!(places, (0..batch.len()).collect::<Vec<_>>(), "every message is in one group");
        }

        /// Therefore no two writes of a batch concern the same row.
        #[test]
        fn at_most_one_attempt_of_a_delivery_is_admitted(batch in batches(), row in rows()) {
            let delivery = message(0, 0, 1, None, false).delivery;
            let messages: Vec<&Message> = batch.iter().filter(|message| message.delivery == delivery).collect();
            let chosen = by_attempt(&messages).into_iter().map(|copies| messages[copies.chosen]);
            let acted_upon = chosen.filter(|message| !matches!(admit(message, row.as_ref(), NOW), Admission::Stale(_)));
            prop_assert!(acted_upon.count() <= 1);
        }
    }

    #[test]
    fn the_copy_with_a_body_is_chosen_at_any_position() {
        let body = || Some(Body::Inline("{}".to_owned()));
        let (bare, slow) = (message(1, 1, 1, None, false), message(1, 1, 1, None, true));
        let (full, failed) =
            (message(1, 1, 1, body(), false), message(1, 1, 1, Some(Body::Failed("why".to_owned())), true));
        let chosen = |batch: &[&Message]| by_attempt(batch).iter().map(|copies| copies.chosen).collect::<Vec<_>>();
        assert_eq!(chosen(&[&bare, &full, &failed]), [1]);
        assert_eq!(chosen(&[&failed, &bare]), [0]);
        assert_eq!(chosen(&[&bare, &slow, &slow]), [1]);
        assert_eq!(chosen(&[&full, &message(2, 1, 1, None, false), &full]), [0, 1]);
        assert_eq!(chosen(&[]), [] as [usize; 0]);
    }
}
