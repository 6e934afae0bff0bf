//! Ordering: an entity's deliveries to one webhook go one at a time; none is attempted before the earlier ones have
//! ended.
//!
//! While deliveries succeed, nothing is stored: a FIFO queue hands over the deliveries of an entity one after another.
//! A delivery that has been attempted and has not ended holds its entity: it becomes the head of a [`Chain`], and later
//! deliveries wait behind it as [held](State::Held) rows. The write that records the end of the head also releases the
//! next delivery, so a process that dies cannot leave deliveries waiting. Other entities are not affected.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::decide::deferred;
use super::message::Message;
use super::{Delivery, Progress, State};
use crate::attempt::outcome::Verdict;
use crate::id::DeliveryId;
use crate::webhook::Webhook;
use crate::webhook::ordering::{OnExhausted, Ordering};

/// What holds an entity: a delivery that has not ended, and how many deliveries wait behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// The delivery that holds the entity.
    pub head: DeliveryId,
    /// How many deliveries have been queued behind the head since the chain was created. This is also the number of the
    /// last one.
    pub tail: u32,
}

/// Returns the short name of an entity: a hash, because a path may be long and confidential.
#[must_use]
pub fn entity(path: &str) -> String {
    hex::encode(&Sha256::digest(path)[..12])
}

/// The position of a delivery's first message among those of its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainPosition {
    /// Nothing is before it, so it can be attempted.
    Free,
    /// It must wait behind the head.
    Behind,
    /// The head has ended but has not released the next delivery. That must be done first.
    Abandoned,
}

/// Returns the position of a first message, given its own row, the chain and the row of the chain's head, all read
/// consistently.
///
/// A message that already has a row is decided by its row, and one whose webhook wants no events is cancelled; neither
/// waits.
#[must_use]
pub fn place(
    row: Option<&Delivery>,
    webhook: Option<&Webhook>,
    chain: Option<Chain>,
    head: Option<&Delivery>,
) -> ChainPosition {
    let wanted = webhook.is_some_and(Webhook::wants_events);
    match (chain, head) {
        (None, _) => ChainPosition::Free,
        (Some(_), _) if row.is_some() || !wanted => ChainPosition::Free,
        // The head's row has expired, and with it the rows of all deliveries that have waited as long.
        (Some(_), None) => ChainPosition::Abandoned,
        (Some(_), Some(head)) => {
            let last = head.attempts.last().map(|attempt| attempt.outcome.verdict);
            // The webhook's setting may have changed, so that it no longer halts.
            if lets_go(head.progress.state, last, webhook) { ChainPosition::Abandoned } else { ChainPosition::Behind }
        }
    }
}

/// Returns the progress of a delivery whose turn in its chain has come, given its first message. If it is over its
/// tenant's budget, it holds its entity until the time that the budget allows.
#[must_use]
pub fn released(first: &Message, now: Timestamp) -> Progress {
    let Message { cycle, attempt, .. } = *first;
    Progress { state: State::Pending, cycle, attempt, next_at: deferred(first, now) }
}

/// Returns whether a delivery in this state, with this verdict of its last request, releases the next one of its
/// entity.
///
/// Even with [`OnExhausted::Halt`] the chain goes on if the receiver rejects this event (`aborted`), wants no events at
/// all (`gone`), or if the event was in a loop and is never sent.
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
