//! What to do with a delivery: the state machine that the ledger records.
//!
//! Pure decisions. [`decide`](decide::decide) looks at a message, the ledger's row, the webhook and its breaker, and says whether
//! to attempt. [`settle`](decide::settle) looks at the attempt's outcome and says what state the delivery is in.
//! [`wake`](decide::wake) looks at a due row and says how the sweep moves it on. What they say is true wherever a process dies in
//! between, because until a delivery is terminal there is a holder: a message that is not deleted, or a row that waits in a lane.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::tenant::{AppId, TenantId};
use crate::attempt::Attempt;
use crate::budget::Deferral;
use crate::event::hops::Hops;
use crate::event::types::EventType;
use crate::id::{DeliveryId, EventId, WebhookId};
use crate::payload::ContentType;
use message::{Body, Message};

pub mod breaker;
pub mod burial;
pub mod chain;
pub mod decide;
pub mod fault;
pub mod job;
pub mod message;
pub mod notices;
pub mod redelivery;
pub mod request;
pub mod slice;

/// The longest wait that goes out at once as a delayed message (SQS allows 15 minutes); the sweep wakes after longer ones.
pub const SHORT_WAIT: Duration = Duration::from_mins(15);

/// How long the sweep leaves to a message that should already be on its way before it sends another.
pub const OVERDUE_AFTER: Duration = Duration::from_mins(2);

/// How far ahead the sweep looks: the time between two runs, so that a delivery wakes on time and not at the next run.
pub const SWEEP_AHEAD: Duration = Duration::from_mins(1);

/// How long the ledger keeps a delivery after it was last written, and a stored body after its event.
pub const KEPT: Duration = Duration::from_hours(30 * 24);

/// How many attempts of earlier cycles a row keeps when a new one begins: with those of the new one, and a body, it stays below the
/// 400 KB of an item, however long their headers and excerpts are: each takes less than 7 KB.
pub const EARLIER_ATTEMPTS: usize = 20;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its turn: sent again after it ended and not attempted since; until `next_at` where its webhook takes no more in a
    /// second; or, without a time, where it takes no more at once, until one of those under way has ended.
    Pending,
    /// The last attempt failed, or a fault of the service kept it from being made; another follows at `next_at`.
    Retrying,
    /// The webhook is paused, or its receiver down; the delivery goes on when it is not any more.
    Parked,
    /// It waits behind an earlier delivery of its entity, which has not ended.
    Held,
    /// The receiver took it.
    Delivered,
    /// The last attempt failed, and it was the last: a dead letter, until a redrive starts anew.
    Exhausted,
    /// The webhook is gone or disabled, and the delivery with it.
    Cancelled,
    /// A test that did not arrive. Tests are not attempted again.
    Failed,
}

impl State {
    /// Returns the name, as tables, logs and the API spell it.
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

    /// Says whether nothing more happens by itself.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Delivered | Self::Exhausted | Self::Cancelled | Self::Failed => true,
            Self::Pending | Self::Retrying | Self::Parked | Self::Held => false,
        }
    }
}

/// A delivery, as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event that is delivered.
    pub event: EventId,
    /// Its type.
    pub event_type: EventType,
    /// The webhook that it goes to.
    pub webhook: WebhookId,
    /// Whose webhook that is.
    pub tenant: TenantId,
    /// The application that registered it, if one did.
    pub app: Option<AppId>,
    /// Where the event stands in the order of the entity's changes.
    pub sequence: Option<String>,
    /// The entity that it is about, if its webhook wants the deliveries of one in order.
    pub entity: Option<String>,
    /// How many deliveries led to its event.
    pub hops: Hops,
    /// Until when it waits or waited, if it was over its tenant's budget.
    pub deferred_until: Option<Timestamp>,
    /// Whether its tenant's budget has no room for it within [some days](crate::budget::LONGEST_DEFERRAL_DAYS): it is
    /// given up when its turn comes.
    pub over_budget: bool,
    /// Where it stands.
    pub progress: Progress,
    /// Until when somebody is at it.
    pub lease_until: Option<Timestamp>,
    /// The body, while there may be another attempt.
    pub body: Option<Body>,
    /// What the body is.
    pub content_type: ContentType,
    /// The attempts so far, oldest first; of earlier cycles the last [few](EARLIER_ATTEMPTS).
    pub attempts: Vec<Attempt>,
}

impl Delivery {
    /// Returns the delivery that a first message asks for, and where it stands now.
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
            hops,
            deferral,
            body,
            content_type,
            ..
        } = message;
        let deferred_until = match deferral {
            Some(Deferral::Until(until)) => Some(until),
            Some(Deferral::Never) | None => None,
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
            hops,
            deferred_until,
            over_budget: deferral == Some(Deferral::Never),
            progress,
            lease_until: None,
            body: body.filter(|_| progress.needs_body()),
            content_type,
            attempts: Vec::new(),
        }
    }

    /// Returns the message that asks for its next attempt. Without a body: the row has it.
    #[must_use]
    pub fn next_message(&self) -> Message {
        let Self {
            id, event, event_type, webhook, tenant, app, sequence, entity, hops, progress, content_type, ..
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
            hops,
            cycle,
            attempt,
            body: None,
            content_type,
            test: false,
            slow: false,
            deferral: None,
            receives: 0,
        }
    }
}

/// Where a delivery stands, and what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The state.
    pub state: State,
    /// Counts the redrives.
    pub cycle: u32,
    /// The number of the attempt that comes next; of a terminal delivery, of the last one.
    pub attempt: u32,
    /// When it comes, while retrying.
    pub next_at: Option<Timestamp>,
}

impl Progress {
    /// Returns where the row waits to be found, or `None` once nothing more is to do.
    ///
    /// A short wait is on a queue already, so the sweep comes only when that message is overdue. An exhausted delivery is due
    /// until its letter is known to be in the queue of exhausted deliveries.
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
            // A held one is let go by who ends the one before it.
            State::Held | State::Delivered | State::Cancelled | State::Failed => None,
        }
    }

    /// Returns how long the message that asks for the next attempt waits in a queue, or `None` if that is too long for
    /// a queue: the sweep sends it then.
    #[must_use]
    pub fn delay(&self, now: Timestamp) -> Option<Duration> {
        let next_at = self.next_at.unwrap_or(now);
        is_short(now, next_at).then(|| Duration::try_from(next_at.duration_since(now)).unwrap_or_default())
    }

    /// Says whether the body is still needed: there may be another attempt, or a redrive.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        !self.state.is_terminal() || self.state == State::Exhausted
    }
}

/// Where a row waits to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// With all that the sweep should look at, then.
    Due(Timestamp),
    /// With its webhook's others, until they are let go.
    Parked,
}

/// Says whether the time from `now` to `then` fits a delayed message.
#[must_use]
pub fn is_short(now: Timestamp, then: Timestamp) -> bool {
    then <= now + SHORT_WAIT
}

#[cfg(test)]
mod tests;
