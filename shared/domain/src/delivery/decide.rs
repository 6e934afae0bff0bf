//! Decides what happens next to a delivery.

use std::time::Duration;

use jiff::Timestamp;

use super::breaker::{Breaker, Gate, gate, is_slow};
use super::message::{Body, Message};
use super::patience::{SLOW, patience};
use crate::attempt::outcome::{Outcome, Verdict};
use crate::attempt::retry::RetryPolicy;
use crate::budget::{Deferral, LONGEST_DEFERRAL_DAYS};
use crate::delivery::{Delivery, OVERDUE_AFTER, Progress, SHORT_WAIT, State};
use crate::event::hops::{Hops, MAX_HOPS};
use crate::event::trace::TraceParent;
use crate::payload::ContentType;
use crate::time::after;
use crate::webhook::Webhook;

/// Whether to act on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Attempt it: it has not been attempted before.
    First,
    /// Attempt it, after taking the lease.
    Again,
    /// It ended and has been redriven: start a new cycle by taking the lease, then attempt it.
    Redriven,
    /// Delete the message without making a request.
    Stale(Stale),
}

/// Why a message needs no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// The delivery has ended.
    #[error("the delivery has ended")]
    Ended,
    /// The attempt that it asks for was already made, or is not due yet.
    #[error("the ledger expects a different attempt")]
    Superseded,
    /// It waits behind another delivery, which releases it when it ends.
    #[error("the delivery waits behind an earlier delivery of its entity")]
    Held,
    /// Another process is making the attempt.
    #[error("another process is making the attempt")]
    Leased,
    /// It has no body, and its row no longer exists.
    #[error("the ledger has no record of it")]
    Unknown,
}

/// Decides whether to act on a message, given the ledger's row, read consistently.
///
/// The row is authoritative: it identifies duplicates, late copies and messages that arrived out of order.
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
    /// Delete the message without making a request.
    Drop(Stale),
    /// The webhook is deleted or disabled: cancel the delivery.
    Cancel,
    /// Give the delivery up without a request, for this reason: there is nothing to send, or it must not be sent.
    GiveUp(Verdict, String),
    /// Wait until then: the delivery is over its tenant's budget.
    Defer(Timestamp),
    /// Park the delivery until its webhook's deliveries are released.
    Park,
    /// Move the message to the queue of slow receivers.
    SlowQueue,
    /// Write the delivery as a row that waits for the queue of slow receivers: an ordered delivery must hold its entity
    /// first.
    RecordThenSlowQueue,
    /// Make the request.
    Attempt {
        /// Only as the probe of an open breaker.
        probe: bool,
        /// Whether it has already waited for the webhook's rate limit and so does not count towards it again.
        had_turn: bool,
    },
}

/// Decides what to do with a message, given everything known about its delivery and its webhook.
///
/// A test is attempted at once, even if the webhook is paused, because the caller is waiting for its result.
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
                // A duplicate of the first message: its row already waits.
                Admission::Again | Admission::Redriven | Admission::Stale(_) => Decision::Drop(Stale::Superseded),
            },
            (None, Gate::Park) => Decision::Park,
            (None, _) if is_slow(breaker, now) && !message.slow => {
                let enters = admission == Admission::First && message.entity.is_some();
                if enters { Decision::RecordThenSlowQueue } else { Decision::SlowQueue }
            }
            (None, gate) => Decision::Attempt { probe: gate == Gate::Probe, had_turn: row.is_some_and(had_turn) },
        },
    };
    (admission, decision)
}

/// How a process waits for the response to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How long the request waits before the process marks the receiver as slow.
    pub mark_after: Duration,
    /// Whether the process may leave the request, and move the delivery to the queue of slow receivers.
    pub may_leave: bool,
}

/// Returns how a process waits for the response to a request; `None` if it waits until the timeout.
///
/// The caller of a test waits for its result. In the queue of slow receivers, and for the probe of an open breaker,
/// a receiver has its whole timeout.
#[must_use]
pub fn waiting(message: &Message, probe: bool, breaker: Option<&Breaker>, now: Timestamp) -> Option<Waiting> {
    if message.test || is_slow(breaker, now) {
        return None;
    }
    let may_leave = !message.slow && !probe;
    let learned = breaker.and_then(|breaker| breaker.patience);
    let mark_after = if may_leave { patience(learned, now) } else { SLOW };
    Some(Waiting { mark_after, may_leave })
}

/// Returns the body to send and its content type: those of the ledger, or those of a redrive's message if the ledger no
/// longer keeps a body.
#[must_use]
pub fn to_send<'a>(message: &'a Message, row: Option<&'a Delivery>) -> (Option<&'a Body>, ContentType) {
    match row {
        Some(row) if row.body.is_some() || message.body.is_none() => (row.body.as_ref(), row.content_type),
        Some(_) | None => (message.body.as_ref(), message.content_type),
    }
}

/// Returns how many deliveries led to the event. The sweep builds messages from an index that lacks the count, so the
/// row's count is used if it is higher.
#[must_use]
pub fn hops(message: &Message, row: Option<&Delivery>) -> Hops {
    row.map_or(message.hops, |row| row.hops.max(message.hops))
}

/// Returns the trace in which the event was published. Like the count of hops, it is missing in messages of the sweep.
#[must_use]
pub fn traceparent(message: &Message, row: Option<&Delivery>) -> Option<TraceParent> {
    row.and_then(|row| row.traceparent).or(message.traceparent)
}

/// Returns the verdict and the reason if a request must never be made for this delivery.
fn hopeless(message: &Message, row: Option<&Delivery>) -> Option<(Verdict, String)> {
    if hops(message, row).next().is_none() {
        let why = format!(
            "the event is in a loop: it is the result of {MAX_HOPS} deliveries in a row; remove one of the webhooks that trigger \
             each other"
        );
        return Some((Verdict::Looped, why));
    }
    let over_budget = row.map_or(message.deferral == Some(Deferral::Never), |row| row.over_budget);
    if over_budget && message.cycle == 0 {
        let why = format!(
            "the tenant's delivery budget is used up for the next {LONGEST_DEFERRAL_DAYS} days; redrive it later, or ask the operator \
             for a larger budget"
        );
        return Some((Verdict::OverBudget, why));
    }
    never_made(message, row).map(|why| (Verdict::Unrendered, why))
}

/// Returns the reason if there is no payload to send. For a redrive the reason is in the log of attempts.
fn never_made(message: &Message, row: Option<&Delivery>) -> Option<String> {
    match to_send(message, row).0 {
        Some(Body::Failed(why)) => Some(format!("the template failed: {why}")),
        Some(Body::Inline(_) | Body::Stored(_)) => None,
        None => {
            let last = &row?.attempts.last()?.outcome;
            last.error.clone().filter(|_| last.verdict == Verdict::Unrendered)
        }
    }
}

/// Returns the time until which a delivery over its tenant's budget must wait. Only the first message has one; later
/// messages are attempted at once.
pub(crate) fn deferred(message: &Message, now: Timestamp) -> Option<Timestamp> {
    match message.deferral {
        Some(Deferral::Until(until)) if until > now => Some(until),
        Some(Deferral::Until(_) | Deferral::Never) | None => None,
    }
}

/// Returns whether the delivery has waited for its webhook's rate limit. Waiting only for the tenant's budget does not
/// count.
fn had_turn(row: &Delivery) -> bool {
    let Progress { state, next_at, .. } = row.progress;
    state == State::Pending && next_at.is_some() && next_at != row.deferred_until
}

/// Returns the progress of a delivery after the attempt that `message` asked for had this outcome. A test is attempted
/// once, so any failure is its end.
///
/// `draw` is a uniform random number in `0.0..1.0`, for the jitter of the wait.
#[must_use]
pub fn settle(message: &Message, outcome: &Outcome, policy: &RetryPolicy, now: Timestamp, draw: f64) -> Progress {
    let Message { cycle, attempt, test, .. } = *message;
    // A 2xx with `webhook-delivery: disable` is still a successful delivery.
    if outcome.arrived() {
        return Progress { state: State::Delivered, cycle, attempt, next_at: None };
    }
    if test {
        return give_up(message);
    }
    match policy.wait(attempt, outcome, draw) {
        Some(wait) => Progress { state: State::Retrying, cycle, attempt: attempt + 1, next_at: Some(after(now, wait)) },
        None => give_up(message),
    }
}

/// Returns the progress of a delivery that is given up. A test has failed then; it makes no dead letter.
#[must_use]
pub fn give_up(message: &Message) -> Progress {
    let state = if message.test { State::Failed } else { State::Exhausted };
    Progress { state, cycle: message.cycle, attempt: message.attempt, next_at: None }
}

/// How the sweep moves a due delivery on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Send the message that asks for the next attempt with this delay, and look again at `due_at`.
    Send {
        /// The delay of the message.
        delay: Duration,
        /// When to look again, in case the message is lost.
        due_at: Timestamp,
    },
    /// Send its dead letter to the queue.
    DeadLetter,
}

/// Returns how the sweep moves a due delivery on, or `None` if there is nothing to do because the delivery has ended
/// and its row no longer [waits](Progress::waits).
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

/// Returns the dead letter of an exhausted delivery: the message that its dead letter queue keeps.
///
/// It asks for the first attempt of the next cycle, so moving it back to a queue, as the redrive of the SQS console
/// does, restarts the delivery.
#[must_use]
pub fn dead_letter(message: Message) -> Message {
    Message { cycle: message.cycle + 1, attempt: 1, body: None, slow: false, deferral: None, ..message }
}
