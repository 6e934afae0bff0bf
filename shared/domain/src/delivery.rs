//! Deliveries and the state machine that the ledger records.
//!
//! All decisions are pure. [`decide`](decide::decide) takes a message, the ledger's row, the webhook and its breaker,
//! and says whether to attempt the delivery. [`settle`](decide::settle) turns the attempt's outcome into the delivery's
//! next state. [`wake`](decide::wake) takes a due row and says how the sweep moves it on.
//!
//! Invariant: until a delivery is terminal, something holds it: a message that has not been deleted, or a row in a lane
//! that the sweep reads. A process can therefore die at any point without losing a delivery.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::access::tenant::{AppId, TenantId};
use crate::attempt::Attempt;
use crate::budget::Deferral;
use crate::event::hops::Hops;
use crate::event::trace::TraceParent;
use crate::event::types::EventType;
use crate::id::{DeliveryId, EventId, WebhookId};
use crate::payload::ContentType;
use message::{Body, Message};

pub mod breaker;
pub mod chain;
pub mod dead_letter;
pub mod decide;
pub mod fault;
pub mod health;
pub mod job;
pub mod lookup;
pub mod message;
pub mod notice_text;
pub mod notices;
pub mod patience;
pub mod redelivery;
pub mod request;
pub mod slice;

/// The longest wait that a delayed message can cover (SQS allows 15 minutes). The sweep wakes deliveries that wait
/// longer.
pub const SHORT_WAIT: Duration = Duration::from_mins(15);

/// How long the sweep waits for a message that should already be on its way before it sends another.
pub const OVERDUE_AFTER: Duration = Duration::from_mins(2);

/// How far ahead the sweep looks. Equal to the time between two runs, so that a delivery wakes on time rather than at
/// the next run.
pub const SWEEP_AHEAD: Duration = Duration::from_mins(1);

/// Retention: how long the ledger keeps a delivery after its last write, and a stored body after its event.
pub const KEPT: Duration = Duration::from_hours(30 * 24);

/// How many attempts of earlier cycles a row keeps when a new cycle begins. Each attempt takes less than 7 KB, so
/// together with the attempts of the new cycle and a body the row stays below DynamoDB's item limit of 400 KB.
pub const EARLIER_ATTEMPTS: usize = 20;

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryState)]
pub enum State {
    /// Waiting for its turn: redriven and not attempted since; until `next_at` if the webhook's rate limit is used up;
    /// or, without a time, until one of the webhook's requests in flight ends if its concurrency limit is reached.
    Pending,
    /// The last attempt failed, or an internal fault prevented it. The next one follows at `next_at`.
    Retrying,
    /// Waiting until the webhook is resumed or its receiver answers again.
    Parked,
    /// Waiting behind an earlier delivery of its entity that has not ended.
    Held,
    /// The receiver accepted it.
    Delivered,
    /// The last attempt failed and no more follow: a dead letter, until a redrive starts a new cycle.
    Exhausted,
    /// Cancelled because the webhook is deleted or disabled.
    Cancelled,
    /// A test that did not arrive. Tests are not retried.
    Failed,
}

impl State {
    /// Returns the name used in tables, logs and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Parked => "parked",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Returns whether the delivery stays in this state unless it is redriven.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Delivered | Self::Exhausted | Self::Cancelled | Self::Failed => true,
            Self::Pending | Self::Retrying | Self::Parked | Self::Held => false,
        }
    }
}

/// A delivery, as recorded in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The delivery's id.
    pub id: DeliveryId,
    /// The event that it delivers.
    pub event: EventId,
    /// The event's type.
    pub event_type: EventType,
    /// The webhook that it is for.
    pub webhook: WebhookId,
    /// The webhook's tenant.
    pub tenant: TenantId,
    /// The application that registered the webhook, if any.
    pub app: Option<AppId>,
    /// The event's position in the order of its entity's changes.
    pub sequence: Option<String>,
    /// The event's entity, if the webhook wants the deliveries of an entity in order.
    pub entity: Option<String>,
    /// The [path](message::entity_path) of the event's entity. Unknown for deliveries of earlier versions.
    pub entity_path: Option<String>,
    /// How many deliveries led to the event.
    pub hops: Hops,
    /// The trace in which the event was published, if it was published in one.
    pub traceparent: Option<TraceParent>,
    /// If it is over its tenant's budget: when its first attempt becomes possible. Kept after that time.
    pub deferred_until: Option<Timestamp>,
    /// Whether its tenant's budget has no room for it within [the longest
    /// deferral](crate::budget::LONGEST_DEFERRAL_DAYS). It is given up when its turn comes.
    pub over_budget: bool,
    /// Whether it is a test.
    pub test: bool,
    /// Its state, and its next attempt.
    pub progress: Progress,
    /// When the lease of the process that is attempting it ends.
    pub lease_until: Option<Timestamp>,
    /// The body, from the first failure on, and if it is [stored](Body::Stored) apart or the delivery is a test. Most
    /// deliveries arrive at once, and a row with a body would cost more to write.
    pub body: Option<Body>,
    /// The digest of a body that the row does not have, which recognizes it when it is rendered again.
    pub body_digest: Option<BodyDigest>,
    /// The content type of the body.
    pub content_type: ContentType,
    /// The response body of the last attempt, if that failed and its excerpt is not all of it.
    pub last_response: Option<String>,
    /// The attempts so far, oldest first. Of earlier cycles only the [last ones](EARLIER_ATTEMPTS) are kept.
    pub attempts: Vec<Attempt>,
}

impl Delivery {
    /// Returns whether its tenant's budget defers it beyond `now`: it waits for the time that the budget allows; or it is
    /// held, and will wait for that time, or be given up, when its turn comes.
    #[must_use]
    pub fn is_deferred(&self, now: Timestamp) -> bool {
        let waits = self.deferred_until.is_some_and(|until| until > now);
        match self.progress.state {
            // It may also wait for another reason.
            State::Pending => waits && self.progress.next_at == self.deferred_until,
            State::Held => waits || self.over_budget,
            State::Retrying
            | State::Parked
            | State::Delivered
            | State::Exhausted
            | State::Cancelled
            | State::Failed => false,
        }
    }

    /// Returns the delivery that a first message asks for, with the given progress.
    #[must_use]
    pub fn first(message: Message, progress: Progress) -> Self {
        let Message {
            delivery,
            event,
            event_type,
            webhook,
            tenant,
            app,
            sequence,
            entity,
            entity_path,
            hops,
            traceparent,
            deferral,
            test,
            body,
            content_type,
            ..
        } = message;
        let deferred_until = match deferral {
            Some(Deferral::Until(until)) => Some(until),
            Some(Deferral::Never) | None => None,
        };
        let is_kept = test || progress.needs_body();
        let (body, body_digest) = match body {
            Some(Body::Inline(text)) if !is_kept => (None, Some(BodyDigest::of(&text))),
            Some(Body::Failed(_)) if !is_kept => (None, None),
            body => (body, None),
        };
        Self {
            id: delivery,
            event,
            event_type,
            webhook,
            tenant,
            app,
            sequence,
            entity,
            entity_path,
            hops,
            traceparent,
            deferred_until,
            over_budget: deferral == Some(Deferral::Never),
            test,
            progress,
            lease_until: None,
            body,
            body_digest,
            content_type,
            last_response: None,
            attempts: Vec::new(),
        }
    }

    /// Returns the time from the event to its arrival, the end of the first successful attempt, in milliseconds; `None`
    /// if no attempt succeeded. The clocks that measure the two may differ, so a negative time counts as 0.
    #[must_use]
    pub fn lateness_ms(&self) -> Option<u64> {
        let arrived = self.attempts.iter().find(|attempt| attempt.outcome.arrived())?;
        let end = arrived.at.as_millisecond() + i64::from(arrived.outcome.duration_ms);
        Some(u64::try_from(end - self.event.timestamp().as_millisecond()).unwrap_or(0))
    }

    /// Returns the message that asks for the next attempt. It has no body, because the row keeps the body.
    #[must_use]
    pub fn next_message(&self) -> Message {
        let Self {
            id,
            event,
            event_type,
            webhook,
            tenant,
            app,
            sequence,
            entity,
            entity_path,
            hops,
            traceparent,
            test,
            progress,
            content_type,
            ..
        } = self.clone();
        let Progress { cycle, attempt, .. } = progress;
        Message {
            delivery: id,
            event,
            event_type,
            webhook,
            tenant,
            app,
            sequence,
            entity,
            entity_path,
            hops,
            traceparent,
            cycle,
            attempt,
            body: None,
            content_type,
            test,
            slow: false,
            deferral: None,
            receives: 0,
            notice: false,
        }
    }
}

/// The first bytes of the SHA-256 of a body: enough to tell it from any other body of the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyDigest(pub [u8; 8]);

impl BodyDigest {
    /// Returns the digest of a body.
    #[must_use]
    pub fn of(body: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(body).into();
        Self(std::array::from_fn(|index| digest[index]))
    }
}

/// The state of a delivery, and its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The state.
    pub state: State,
    /// The number of redrives.
    pub cycle: u32,
    /// The number of the next attempt; of a terminal delivery, the number of the last one.
    pub attempt: u32,
    /// When the next attempt is due, while retrying, or while pending until a turn or a budget allows it.
    pub next_at: Option<Timestamp>,
}

impl Progress {
    /// Returns which index lane the row waits in, or `None` if there is nothing left to do.
    ///
    /// A short wait is already covered by a delayed message, so the sweep comes only when that message is overdue. An
    /// exhausted delivery is due until its dead letter is known to be in the queue.
    #[must_use]
    pub fn waits(&self, now: Timestamp) -> Option<Waits> {
        match self.state {
            State::Retrying | State::Pending => Some(Waits::Due(match self.next_at {
                Some(next_at) if !is_short(now, next_at) => next_at,
                Some(next_at) => next_at + OVERDUE_AFTER,
                None => now + OVERDUE_AFTER,
            })),
            State::Exhausted => Some(Waits::Due(now + OVERDUE_AFTER)),
            State::Parked => Some(Waits::Parked),
            State::Held => Some(Waits::Held),
            State::Delivered | State::Cancelled | State::Failed => None,
        }
    }

    /// Returns the delay of the message that asks for the next attempt, or `None` if it exceeds what a queue can delay.
    /// In that case the sweep sends the message later.
    #[must_use]
    pub fn delay(&self, now: Timestamp) -> Option<Duration> {
        let next_at = self.next_at.unwrap_or(now);
        is_short(now, next_at).then(|| Duration::try_from(next_at.duration_since(now)).unwrap_or_default())
    }

    /// Returns whether the body is still needed, for another attempt or a redrive.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        !self.state.is_terminal() || self.state == State::Exhausted
    }
}

/// The index lane in which a row waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// In the lane that the sweep reads, due at this time.
    Due(Timestamp),
    /// With the webhook's other parked deliveries, until they are released.
    Parked,
    /// With the webhook's other held deliveries, where they are counted. Each is released when the one before it ends.
    Held,
}

/// Returns whether a delayed message can cover the time from `now` to `then`.
#[must_use]
pub fn is_short(now: Timestamp, then: Timestamp) -> bool {
    then <= now + SHORT_WAIT
}

#[cfg(test)]
mod tests;
