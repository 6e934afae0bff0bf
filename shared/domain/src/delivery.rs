//! What to do with a delivery: the state machine that the ledger records.
//!
//! Pure decisions. [`decide()`] looks at a message, the ledger's row, the webhook and its breaker, and says whether to attempt;
//! [`settle`] looks at what came of the attempt and says what state the delivery is in; [`wake`] looks at a due row and says
//! how the sweep moves it on. What they say is true wherever a process dies in between, because until a delivery is terminal
//! there is a holder: a message that is not deleted, or a row that waits in a lane.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::budget::Deferral;
use crate::event::EventType;
use crate::hops::Hops;
use crate::id::{DeliveryId, EventId, WebhookId};
use crate::message::{Body, Message};
use crate::payload::ContentType;
use crate::secret::Fingerprint;
use crate::sent::SentHeaders;
use crate::tenant::{AppId, TenantId};

mod decide;
mod fault;

pub use decide::{Admission, Decision, Stale, Wake, admit, dead_letter, decide, hops, settle, to_send, wake};
pub use fault::{PATIENCE, PUT_OFF_AT_LEAST, PUT_OFF_AT_MOST, Wave, is_redundant, put_off, wave};

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

/// The state of a delivery.
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

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The receiver answered with a status that the webhook counts as success: 2xx, unless it says otherwise.
    Accepted,
    /// The receiver answered 4xx.
    Refused,
    /// The receiver answered 5xx, or with a status that nobody knows.
    ServerFailed,
    /// The receiver answered 429: it gets too many.
    Throttled,
    /// The receiver answered 503: it is down for a while.
    Unavailable,
    /// The receiver answered 410, or `webhook-delivery: disable`: it wants no more events.
    Gone,
    /// The receiver answered `webhook-delivery: abort-message`: it wants this event no more.
    Aborted,
    /// The receiver answered with a redirect; it is not followed.
    Redirected,
    /// No answer in time.
    TimedOut,
    /// The name did not resolve, or not to addresses that policy allows: which of them, the owner of a webhook is not told.
    DnsFailed,
    /// The connection failed.
    ConnectFailed,
    /// The receiver's certificate did not stand up.
    TlsFailed,
    /// The connection broke, or what came was not HTTP.
    ProtocolFailed,
    /// Policy forbids the URL: its port, or the address that it names.
    Forbidden,
    /// There was nothing to send: the webhook's template made no payload of the event.
    Unrendered,
    /// The webhook's authorization server gave no token.
    Unauthorized,
    /// The event goes round in a circle: [so many](crate::hops::MAX_HOPS) deliveries led to it. No request is made.
    Looped,
    /// The tenant's budget has no room for the delivery, today or within [some days](crate::budget::LONGEST_DEFERRAL_DAYS). No request
    /// is made.
    OverBudget,
}

impl Verdict {
    /// Returns the name, as tables, logs and the API spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::ServerFailed => "server_failed",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Gone => "gone",
            Self::Aborted => "aborted",
            Self::Redirected => "redirected",
            Self::TimedOut => "timed_out",
            Self::DnsFailed => "dns_failed",
            Self::ConnectFailed => "connect_failed",
            Self::TlsFailed => "tls_failed",
            Self::ProtocolFailed => "protocol_failed",
            Self::Forbidden => "forbidden",
            Self::Unrendered => "unrendered",
            Self::Unauthorized => "unauthorized",
            Self::Looped => "looped",
            Self::OverBudget => "over_budget",
        }
    }

    /// Says whether it tells how the receiver is: it does not if no request was made.
    #[must_use]
    pub fn tells_of_receiver(self) -> bool {
        !matches!(self, Self::Unrendered | Self::Looped | Self::OverBudget)
    }
}

/// What came of one HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The start of the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_excerpt: Option<String>,
    /// From the start of the request to the end of the answer, in milliseconds, with the wait for an authorization server's token.
    pub duration_ms: u32,
    /// The parts of that time.
    #[serde(default, skip_serializing_if = "Timing::is_empty")]
    pub timing: Timing,
    /// How long the receiver asked to wait (`Retry-After`), in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

impl Outcome {
    /// Returns the outcome of a request that was not answered.
    #[must_use]
    pub fn unanswered(verdict: Verdict, error: impl Into<String>) -> Self {
        let (timing, duration_ms) = (Timing::default(), 0);
        let error = Some(error.into());
        Self { verdict, status: None, error, response_excerpt: None, duration_ms, timing, retry_after_s: None }
    }

    /// Counts the wait for a token to the attempt.
    #[must_use]
    pub fn after_token(mut self, waited: Duration) -> Self {
        let waited = u32::try_from(waited.as_millis()).unwrap_or(u32::MAX);
        self.timing.token_ms = Some(waited);
        self.duration_ms = self.duration_ms.saturating_add(waited);
        self
    }
}

/// How long the parts of a request took, in milliseconds. A part that did not occur is missing, as on a reused
/// connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timing {
    /// Waiting for a token of the webhook's authorization server, before the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ms: Option<u32>,
    /// Resolving the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_ms: Option<u32>,
    /// Connecting, without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u32>,
    /// The TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<u32>,
    /// From the start of the request to the head of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u32>,
}

impl Timing {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One attempt, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The cycle that it belongs to.
    pub cycle: u32,
    /// Its number within the cycle, from 1.
    pub number: u32,
    /// When it started.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// Which secret signed it.
    pub secret_fingerprint: Fingerprint,
    /// What was sent beside the body, without what is secret of it.
    #[serde(default, skip_serializing_if = "SentHeaders::is_empty")]
    pub request_headers: SentHeaders,
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
    /// The application that registered it, if any.
    pub app: Option<AppId>,
    /// Where the event stands in the order of the entity's changes.
    pub sequence: Option<String>,
    /// The entity that it is about, if its webhook wants the deliveries of one in order.
    pub entity: Option<String>,
    /// How many deliveries led to its event.
    pub hops: Hops,
    /// Until when it waits or waited, if it was over its tenant's budget.
    pub deferred_until: Option<Timestamp>,
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
