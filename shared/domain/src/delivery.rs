//! What to do with a delivery: the state machine that the ledger records.
//!
//! Three pure decisions. [`admit`] looks at a message and the ledger's row and says whether to attempt; [`settle`] looks at
//! what came of the attempt and says what state the delivery is in; [`wake`] looks at a due row and says how the sweep moves
//! it on. What they say is true wherever a process dies in between, because until a delivery is terminal there is a holder:
//! a message that is not deleted, or a row with a due time.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::EventType;
use crate::id::{DeliveryId, EventId, WebhookId};
use crate::message::{Body, Message};
use crate::payload::ContentType;
use crate::retry::RetryPolicy;
use crate::secret::Fingerprint;
use crate::tenant::{AppId, TenantId};

/// The longest wait that goes out at once as a delayed message (SQS allows 15 minutes); the sweep wakes after longer ones.
pub const SHORT_WAIT: Duration = Duration::from_mins(15);

/// How long the sweep leaves to a message that should already be on its way before it sends another.
pub const OVERDUE_AFTER: Duration = Duration::from_mins(2);

/// How often a parked delivery is looked at: whether its webhook is still paused.
pub const PARK_CHECK: Duration = Duration::from_mins(5);

/// How far ahead the sweep looks: the time between two runs, so that a delivery wakes on time and not at the next run.
pub const SWEEP_AHEAD: Duration = Duration::from_mins(1);

/// How long the ledger keeps a delivery after it was last written, and a stored body after its event.
pub const KEPT: Duration = Duration::from_hours(30 * 24);

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Redriven, and not attempted since.
    Pending,
    /// The last attempt failed; another follows at `next_at`.
    Retrying,
    /// The webhook is paused; the delivery goes on when it is resumed.
    Parked,
    /// The receiver took it.
    Delivered,
    /// The last attempt failed, and it was the last; a redrive starts anew.
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
            Self::Pending | Self::Retrying | Self::Parked => false,
        }
    }
}

/// How an attempt ended.
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
    /// The name did not resolve.
    DnsFailed,
    /// The connection failed.
    ConnectFailed,
    /// The receiver's certificate did not stand up.
    TlsFailed,
    /// The connection broke, or what came was not HTTP.
    ProtocolFailed,
    /// Policy forbids the address behind the name, or the URL.
    Forbidden,
    /// There was nothing to send: the webhook's template made no payload of the event.
    Unrendered,
    /// The webhook's authorization server gave no token.
    Unauthorized,
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
        }
    }
}

/// What came of one HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
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
    /// From the start of the request to the end of the answer, in milliseconds.
    pub duration_ms: u32,
    /// What of that time went where.
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
}

/// How long the parts of a request took, in milliseconds; nothing where there was none, as on a connection that is used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timing {
    /// Resolving the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_ms: Option<u32>,
    /// Connecting, without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u32>,
    /// The handshake of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<u32>,
    /// From the start of the request to the head of the answer.
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
    /// Where it stands.
    pub progress: Progress,
    /// Until when somebody is at it.
    pub lease_until: Option<Timestamp>,
    /// The body, while there may be another attempt.
    pub body: Option<Body>,
    /// What the body is.
    pub content_type: ContentType,
    /// All attempts so far, oldest first.
    pub attempts: Vec<Attempt>,
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
    /// Returns when the sweep should look at the delivery, or `None` once nothing more is to do.
    ///
    /// A short wait is on a queue already, so the sweep comes only when that message is overdue. An exhausted delivery is due
    /// until it is known to stand in the dead-letter queue.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.state {
            State::Retrying => {
                let next_at = self.next_at.unwrap_or(now);
                Some(if is_short(now, next_at) { next_at + OVERDUE_AFTER } else { next_at })
            }
            State::Pending | State::Exhausted => Some(now + OVERDUE_AFTER),
            State::Parked => Some(now + PARK_CHECK),
            State::Delivered | State::Cancelled | State::Failed => None,
        }
    }
}

/// Says whether the time from `now` to `then` fits a delayed message.
#[must_use]
pub fn is_short(now: Timestamp, then: Timestamp) -> bool {
    then <= now + SHORT_WAIT
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Attempt it: nobody has before.
    First,
    /// Attempt it, after taking the lease.
    Again,
    /// It came back from the dead-letter queue: start a new cycle by taking the lease, then attempt it.
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
    /// Somebody else is at it.
    #[error("the attempt is being made")]
    Leased,
    /// It names a row that is not there any more, and brings no body.
    #[error("the ledger knows nothing of it")]
    Unknown,
}

/// Says what to do with a message, given the ledger's row, read consistently.
///
/// The row is the truth. A duplicate, a late copy and a message that overtook another are all told by it.
#[must_use]
pub fn admit(message: &Message, row: Option<&Delivery>, now: Timestamp) -> Admission {
    let Some(row) = row else {
        let is_first = message.attempt == 1 && message.cycle == 0 && message.body.is_some();
        return if is_first { Admission::First } else { Admission::Stale(Stale::Unknown) };
    };
    let Progress { state, cycle, attempt, .. } = row.progress;
    if state == State::Exhausted && message.cycle == cycle + 1 && message.attempt == 1 {
        Admission::Redriven
    } else if state.is_terminal() {
        Admission::Stale(Stale::Ended)
    } else if (message.cycle, message.attempt) != (cycle, attempt) {
        Admission::Stale(Stale::Superseded)
    } else if row.lease_until.is_some_and(|until| until > now) {
        Admission::Stale(Stale::Leased)
    } else {
        Admission::Again
    }
}

/// Says where a delivery stands after attempt number `attempt` of `cycle` ended as it did.
///
/// `draw` is a uniform draw from `0.0..1.0` for the wait.
#[must_use]
pub fn settle(cycle: u32, attempt: u32, verdict: Verdict, policy: &RetryPolicy, now: Timestamp, draw: f64) -> Progress {
    if verdict == Verdict::Accepted {
        return Progress { state: State::Delivered, cycle, attempt, next_at: None };
    }
    match policy.wait_after(attempt, draw) {
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
    /// Send it to the dead-letter queue.
    DeadLetter,
}

/// Says how the sweep moves a due delivery on, or `None` if there is nothing to do: the delivery has ended, and
/// [`due_at`](Progress::due_at) made it due no more.
#[must_use]
pub fn wake(progress: &Progress, now: Timestamp) -> Option<Wake> {
    match progress.state {
        State::Pending | State::Retrying | State::Parked => {
            let at = progress.next_at.unwrap_or(now).max(now);
            let delay = Duration::try_from(at.duration_since(now)).unwrap_or_default().min(SHORT_WAIT);
            Some(Wake::Send { delay, due_at: now + delay + OVERDUE_AFTER })
        }
        State::Exhausted => Some(Wake::DeadLetter),
        State::Delivered | State::Cancelled | State::Failed => None,
    }
}

/// Returns the message that stands for an exhausted delivery in the dead-letter queue.
///
/// It asks for the first attempt of the next cycle: moved back to a queue, as the console's redrive does, it starts the
/// delivery anew.
#[must_use]
pub fn dead_letter(message: Message) -> Message {
    Message { cycle: message.cycle + 1, attempt: 1, body: None, ..message }
}

#[cfg(test)]
mod tests;
