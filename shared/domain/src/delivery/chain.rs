//! Order: the deliveries of one entity to one webhook, none before an earlier one has ended.
//!
//! While all goes well nothing is kept: a queue hands over the deliveries of an entity one after another. One that has been looked
//! at and has not ended holds its entity. It is the head of a [`Chain`]; those that come after it wait, as rows that nobody looks
//! at ([`State::Held`]). Whoever writes that the head has ended lets the next one go in the same write, so that no process that
//! dies leaves others waiting for nothing. Other entities go on.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::decide::deferred;
use super::message::Message;
use super::{Delivery, Progress, State};
use crate::attempt::outcome::Verdict;
use crate::id::DeliveryId;
use crate::webhook::Webhook;
use crate::webhook::ordering::{OnExhausted, Ordering};

/// What holds an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// The delivery that has not ended.
    pub head: DeliveryId,
    /// How many have come to wait behind it since there is a chain: the number of the last one.
    pub tail: u32,
}

/// Returns the short name of an entity: a hash, because a path may be long and may be nobody else's business.
#[must_use]
pub fn entity(path: &str) -> String {
    hex::encode(&Sha256::digest(path)[..12])
}

/// Where the first message of a delivery stands among those of its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing is before it: it goes.
    Free,
    /// It has to wait.
    Behind,
    /// What is before it has ended, and nobody let the next one go: that is to be done first.
    Abandoned,
}

/// Says where a first message stands, given its own row, the chain and the row of the chain's head, all read consistently.
///
/// A message that has a row is told by that, and one whose webhook wants no events is for nobody.
#[must_use]
pub fn place(
    row: Option<&Delivery>,
    webhook: Option<&Webhook>,
    chain: Option<Chain>,
    head: Option<&Delivery>,
) -> Place {
    let wanted = webhook.is_some_and(Webhook::wants_events);
    match (chain, head) {
        (None, _) => Place::Free,
        (Some(_), _) if row.is_some() || !wanted => Place::Free,
        // Its row has been forgotten, with those of all that waited as long.
        (Some(_), None) => Place::Abandoned,
        (Some(_), Some(head)) => {
            let last = head.attempts.last().map(|attempt| attempt.outcome.verdict);
            // The webhook may halt no more.
            if lets_go(head.progress.state, last, webhook) { Place::Abandoned } else { Place::Behind }
        }
    }
}

/// Returns the progress of a delivery whose turn in its chain has come, given its first message. If it is over its
/// tenant's budget, it holds its entity and waits until the time that the budget gave it.
#[must_use]
pub fn released(first: &Message, now: Timestamp) -> Progress {
    let Message { cycle, attempt, .. } = *first;
    Progress { state: State::Pending, cycle, attempt, next_at: deferred(first, now) }
}

/// Says whether a delivery that stands there, and whose last request ended so, lets the next one of its entity go.
///
/// A receiver that wants the event no more, or none at all, does not wait for it; nor does one that is never sent it, because it goes
/// round in a circle.
#[must_use]
pub fn lets_go(state: State, last: Option<Verdict>, webhook: Option<&Webhook>) -> bool {
    match state {
        State::Delivered | State::Cancelled | State::Failed => true,
        State::Exhausted => {
            !webhook.is_some_and(halts) || matches!(last, Some(Verdict::Aborted | Verdict::Gone | Verdict::Looped))
        }
        State::Pending | State::Retrying | State::Parked | State::Held => false,
    }
}

fn halts(webhook: &Webhook) -> bool {
    webhook.settings.ordering == Ordering::Entity && webhook.settings.on_exhausted == OnExhausted::Halt
}

#[cfg(test)]
mod tests;
