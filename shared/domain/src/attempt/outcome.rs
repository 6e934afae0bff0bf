//! How an attempt ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// The event goes round in a circle: [so many](crate::event::hops::MAX_HOPS) deliveries led to it. No request is made.
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
    /// From the start of the request to the end of the answer, in milliseconds, with the wait for an authorization server's token.
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

    /// Counts the wait for a token to the attempt.
    #[must_use]
    pub fn after_token(mut self, waited: Duration) -> Self {
        let waited = u32::try_from(waited.as_millis()).unwrap_or(u32::MAX);
        self.timing.token_ms = Some(waited);
        self.duration_ms = self.duration_ms.saturating_add(waited);
        self
    }
}

/// How long the parts of a request took, in milliseconds; nothing where there was none, as on a connection that is used again.
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
