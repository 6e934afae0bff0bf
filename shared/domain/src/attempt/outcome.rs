//! The outcome of an attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AttemptVerdict)]
pub enum Verdict {
    /// The receiver answered with a status that counts as success: 2xx unless the webhook configures others.
    Accepted,
    /// The receiver answered 4xx.
    Refused,
    /// The receiver answered 5xx, or with an unknown status.
    ServerFailed,
    /// The receiver answered 429: it receives too many requests.
    Throttled,
    /// The receiver answered 503: it is temporarily unavailable.
    Unavailable,
    /// The receiver answered 410, or `webhook-delivery: disable`: it wants no more events.
    Gone,
    /// The receiver answered `webhook-delivery: abort-message`: it rejects this event.
    Aborted,
    /// The receiver answered with a redirect, which is not followed.
    Redirected,
    /// There was no response in time.
    TimedOut,
    /// The host name does not resolve, or not to addresses that policy allows. The owner of the webhook cannot tell the
    /// two apart.
    DnsFailed,
    /// The connection failed.
    ConnectFailed,
    /// The receiver's certificate is invalid.
    TlsFailed,
    /// The connection broke, or the response was not HTTP.
    ProtocolFailed,
    /// Policy forbids the URL: its port, or the address in it.
    Forbidden,
    /// There was nothing to send: the webhook's template failed for the event.
    Unrendered,
    /// The webhook's authorization server did not issue a token.
    Unauthorized,
    /// The event is in a loop: [too many](crate::event::hops::MAX_HOPS) deliveries led to it. No request is made.
    Looped,
    /// The tenant's budget has no room for the delivery within [the longest
    /// deferral](crate::budget::LONGEST_DEFERRAL_DAYS). No request is made.
    OverBudget,
}

impl Verdict {
    /// Returns the name used in tables, logs and the API.
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

    /// Returns whether the verdict reflects the state of the receiver. It does not if no request was made.
    #[must_use]
    pub fn tells_of_receiver(self) -> bool {
        !matches!(self, Self::Unrendered | Self::Looped | Self::OverBudget)
    }
}

/// The outcome of one HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The response status, if there was a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The error message, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The start of the response body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_excerpt: Option<String>,
    /// More of the response body, if it is longer than the excerpt and the attempt failed. The log of attempts keeps it
    /// for the last attempt only.
    #[serde(skip)]
    pub response_body: Option<String>,
    /// The time from the start of the request to the end of the response, in milliseconds, including the wait for a
    /// token of an authorization server.
    pub duration_ms: u32,
    /// The parts of that time.
    #[serde(default, skip_serializing_if = "Timing::is_empty")]
    pub timing: Timing,
    /// How long the receiver asked to wait (`Retry-After`), in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

impl Outcome {
    /// Returns the outcome of a request without a response.
    #[must_use]
    pub fn unanswered(verdict: Verdict, error: impl Into<String>) -> Self {
        let (timing, duration_ms) = (Timing::default(), 0);
        let error = Some(error.into());
        let (response_excerpt, response_body) = (None, None);
        Self { verdict, status: None, error, response_excerpt, response_body, duration_ms, timing, retry_after_s: None }
    }

    /// Returns whether the receiver has the event: it accepted it, or answered 2xx and wants no more.
    #[must_use]
    pub fn arrived(&self) -> bool {
        let is_success = self.status.is_some_and(|status| (200..300).contains(&status));
        self.verdict == Verdict::Accepted || self.verdict == Verdict::Gone && is_success
    }

    /// Adds the wait for a token to the duration of the attempt.
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
