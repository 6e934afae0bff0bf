//! What happens next to a delivery.

use std::time::Duration;

use jiff::Timestamp;

use super::breaker::{Breaker, Gate, gate, is_slow};
use super::message::{Body, Message};
use crate::attempt::outcome::{Outcome, Verdict};
use crate::attempt::retry::RetryPolicy;
use crate::budget::{Deferral, LONGEST_DEFERRAL_DAYS};
use crate::delivery::{Delivery, OVERDUE_AFTER, Progress, SHORT_WAIT, State};
use crate::event::hops::{Hops, MAX_HOPS};
use crate::payload::ContentType;
use crate::webhook::Webhook;

/// Whether a message is to be acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Attempt it: nobody has before.
    First,
    /// Attempt it, after taking the lease.
    Again,
    /// It ended, and is sent again: start a new cycle by taking the lease, then attempt it.
    Redriven,
    /// Acknowledge it without a request.
    Stale(Stale),
}

/// Why a message needs no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// The delivery is delivered, exhausted or cancelled.
    #[error("the delivery has ended")]
    Ended,
    /// The attempt it asks for was made, or is not due yet.
    #[error("the ledger waits for another attempt")]
    Superseded,
    /// It waits behind another, which lets it go when it has ended.
    #[error("the delivery waits behind an earlier one of its entity")]
    Held,
    /// Somebody else is at it.
    #[error("the attempt is being made")]
    Leased,
    /// It names a row that is not there any more, and brings no body.
    #[error("the ledger knows nothing of it")]
    Unknown,
}

/// Says whether a message is to be acted upon, given the ledger's row, read consistently.
///
/// The row is the truth. A duplicate, a late copy and a message that overtook another are all told by it.
#[must_use]
pub fn admit(message: &Message, row: Option<&Delivery>, now: Timestamp) -> Admission {
    let Some(row) = row else {
        let is_first = message.attempt == 1 && message.cycle == 0 && message.body.is_some();
        return if is_first { Admission::First } else { Admission::Stale(Stale::Unknown) };
    };
    let Progress { state, cycle, attempt, .. } = row.progress;
    if state.is_terminal() && message.cycle == cycle + 1 && message.attempt == 1 {
        Admission::Redriven
    } else if state.is_terminal() {
        Admission::Stale(Stale::Ended)
    } else if state == State::Held {
        Admission::Stale(Stale::Held)
    } else if (message.cycle, message.attempt) != (cycle, attempt) {
        Admission::Stale(Stale::Superseded)
    } else if row.lease_until.is_some_and(|until| until > now) {
        Admission::Stale(Stale::Leased)
    } else {
        Admission::Again
    }
}

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Acknowledge it without a request.
    Drop(Stale),
    /// Its webhook is gone or disabled: so is the delivery.
    Cancel,
    /// There is nothing to send, or it must not be sent, for this reason: give it up without a request.
    GiveUp(Verdict, String),
    /// Let it wait until then: it is over its tenant's budget.
    Defer(Timestamp),
    /// Let it wait until its webhook's deliveries are let go.
    Park,
    /// Send the message to the queue of slow receivers.
    Detour,
    /// Make the request.
    Attempt {
        /// Only as the one prober of an open breaker.
        probe: bool,
        /// Whether it waited for its turn: it takes none of its webhook's rate any more.
        had_turn: bool,
    },
}

/// Says what to do with a message, given all that is known of its delivery and its webhook.
///
/// A test is attempted at once and in any case: its sender wants to know what happens.
#[must_use]
pub fn decide(
    message: &Message,
    row: Option<&Delivery>,
    webhook: Option<&Webhook>,
    breaker: Option<&Breaker>,
    now: Timestamp,
) -> (Admission, Decision) {
    let admission = admit(message, row, now);
    let wanted = |webhook: &&Webhook| if message.test { !webhook.is_deleted() } else { webhook.wants_events() };
    let decision = match (admission, webhook.filter(wanted)) {
        (Admission::Stale(why), _) => Decision::Drop(why),
        (_, None) => Decision::Cancel,
        (_, Some(webhook)) => match (hopeless(message, row), gate(webhook, breaker, now)) {
            (Some((verdict, why)), _) => Decision::GiveUp(verdict, why),
            (None, _) if message.test => Decision::Attempt { probe: false, had_turn: true },
            (None, _) if let Some(until) = deferred(message, now) => match admission {
                Admission::First => Decision::Defer(until),
                // A copy of its first message: the row has it wait.
                Admission::Again | Admission::Redriven | Admission::Stale(_) => Decision::Drop(Stale::Superseded),
            },
            (None, Gate::Park) => Decision::Park,
            (None, _) if is_slow(breaker, now) && !message.slow => Decision::Detour,
            (None, gate) => Decision::Attempt { probe: gate == Gate::Probe, had_turn: row.is_some_and(had_turn) },
        },
    };
    (admission, decision)
}

/// Returns the body, and what it is: the ledger's, or that of a message that sends again what the ledger has no body of.
#[must_use]
pub fn to_send<'a>(message: &'a Message, row: Option<&'a Delivery>) -> (Option<&'a Body>, ContentType) {
    match row {
        Some(row) if row.body.is_some() || message.body.is_none() => (row.body.as_ref(), row.content_type),
        Some(_) | None => (message.body.as_ref(), message.content_type),
    }
}

/// Returns how many deliveries led to the event. A message that the sweep sends is made of an index that does not have the count; the
/// row does.
#[must_use]
pub fn hops(message: &Message, row: Option<&Delivery>) -> Hops {
    row.map_or(message.hops, |row| row.hops.max(message.hops))
}

/// Says why no request is to be made, now or ever, if none is.
fn hopeless(message: &Message, row: Option<&Delivery>) -> Option<(Verdict, String)> {
    if hops(message, row).next().is_none() {
        let why = format!(
            "the event goes round in a circle: {MAX_HOPS} deliveries led to it, each to the next; remove one of the webhooks that lead to \
             each other"
        );
        return Some((Verdict::Looped, why));
    }
    let over_budget = row.map_or(message.deferral == Some(Deferral::Never), |row| row.over_budget);
    if over_budget && message.cycle == 0 {
        let why = format!(
            "the tenant's budget of deliveries is used up for {LONGEST_DEFERRAL_DAYS} days ahead; send it again later, or ask the operator \
             for a larger budget"
        );
        return Some((Verdict::OverBudget, why));
    }
    never_made(message, row).map(|why| (Verdict::Unrendered, why))
}

/// Says why there is nothing to send, if there is nothing: a redrive finds it in the log of attempts.
fn never_made(message: &Message, row: Option<&Delivery>) -> Option<String> {
    match to_send(message, row).0 {
        Some(Body::Failed(why)) => Some(format!("the template made no payload: {why}")),
        Some(Body::Inline(_) | Body::Stored(_)) => None,
        None => {
            let last = &row?.attempts.last()?.outcome;
            last.error.clone().filter(|_| last.verdict == Verdict::Unrendered)
        }
    }
}

/// Returns until when a delivery waits that is over its tenant's budget. Only its first message has this time; a later
/// message is attempted.
pub(crate) fn deferred(message: &Message, now: Timestamp) -> Option<Timestamp> {
    match message.deferral {
        Some(Deferral::Until(until)) if until > now => Some(until),
        Some(Deferral::Until(_) | Deferral::Never) | None => None,
    }
}

/// Says whether it waited for a turn of its webhook's rate. One that only waited for its tenant's budget has had none.
fn had_turn(row: &Delivery) -> bool {
    let Progress { state, next_at, .. } = row.progress;
    state == State::Pending && next_at.is_some() && next_at != row.deferred_until
}

/// Says where a delivery stands after attempt number `attempt` of `cycle` ended as it did.
///
/// `draw` is a uniform draw from `0.0..1.0` for the wait.
#[must_use]
pub fn settle(
    cycle: u32,
    attempt: u32,
    outcome: &Outcome,
    policy: &RetryPolicy,
    now: Timestamp,
    draw: f64,
) -> Progress {
    // Who takes it and wants no more has taken it.
    let taken = outcome.verdict == Verdict::Gone && outcome.status.is_some_and(|status| (200..300).contains(&status));
    if outcome.verdict == Verdict::Accepted || taken {
        return Progress { state: State::Delivered, cycle, attempt, next_at: None };
    }
    match policy.wait(attempt, outcome, draw) {
        Some(wait) => Progress { state: State::Retrying, cycle, attempt: attempt + 1, next_at: Some(now + wait) },
        None => Progress { state: State::Exhausted, cycle, attempt, next_at: None },
    }
}

/// How the sweep moves a due delivery on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Send the message that asks for its next attempt, after this long, and look again at `due_at`.
    Send {
        /// How long the message is to wait.
        delay: Duration,
        /// When to look again, should the message be lost.
        due_at: Timestamp,
    },
    /// Send its letter to the queue of exhausted deliveries.
    DeadLetter,
}

/// Says how the sweep moves a due delivery on, or `None` if there is nothing to do: the delivery has ended, and
/// [`waits`](Progress::waits) nowhere any more.
#[must_use]
pub fn wake(progress: &Progress, now: Timestamp) -> Option<Wake> {
    match progress.state {
        State::Pending | State::Retrying | State::Parked => {
            let at = progress.next_at.unwrap_or(now).max(now);
            let delay = Duration::try_from(at.duration_since(now)).unwrap_or_default().min(SHORT_WAIT);
            Some(Wake::Send { delay, due_at: now + delay + OVERDUE_AFTER })
        }
        State::Exhausted => Some(Wake::DeadLetter),
        State::Held | State::Delivered | State::Cancelled | State::Failed => None,
    }
}

/// Returns the letter of an exhausted delivery, the message that is kept in the queue of those.
///
/// It asks for the first attempt of the next cycle: moved back to a queue, as the console's redrive does, it starts the
/// delivery anew.
#[must_use]
pub fn dead_letter(message: Message) -> Message {
    Message { cycle: message.cycle + 1, attempt: 1, body: None, slow: false, deferral: None, ..message }
}
