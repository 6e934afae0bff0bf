//! Trace contexts ([W3C Trace Context](https://www.w3.org/TR/trace-context/)): which trace an event belongs to, and
//! which traces are exported.
//!
//! A context is stored only if a publisher has sent one, or the API has started a trace. All others are derived: the
//! trace id from the event's id, and the ids of spans from what they describe. A message or row needs no field for
//! that, a repeated batch gives the same spans, and a retry belongs to the trace of the first attempt wherever its
//! message came from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::id::{DeliveryId, EventId};

/// The header that carries a context.
pub const HEADER: &str = "traceparent";

/// The id of a trace. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// Returns the id of a trace that starts at this second, from 96 random bits (the upper 32 bits of `random` are
    /// ignored). It has the form of an X-Ray id, which starts with the time. The specification asks only for random
    /// bits at the end.
    #[must_use]
    pub fn new(second: i64, random: u128) -> Self {
        let second = u128::from(u32::try_from(second).unwrap_or_default());
        Self(((second << 96) | (random & (u128::MAX >> 32))).max(1))
    }

    /// Returns the id of the trace of an event that came without a context.
    #[must_use]
    pub fn of(event: EventId) -> Self {
        let digest: [u8; 32] = Sha256::digest(format!("trace {event}")).into();
        let random = digest.iter().take(12).fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
        Self::new(event.timestamp().as_second(), random)
    }

    /// Returns the bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// The id of a span. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl SpanId {
    /// Returns an id from random bits.
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self(random.max(1))
    }

    /// Returns the id of the span in which an event becomes deliveries.
    #[must_use]
    pub fn of_event(event: EventId) -> Self {
        Self::derive(&format!("event {event}"))
    }

    /// Returns the id of the span of an attempt.
    #[must_use]
    pub fn of_attempt(delivery: DeliveryId, cycle: u32, attempt: u32) -> Self {
        Self::derive(&format!("attempt {delivery} {cycle} {attempt}"))
    }

    fn derive(subject: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(subject).into();
        Self::new(digest.iter().take(8).fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// A place in a trace: what the header carries. Its text is the header's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span whose child follows.
    pub span: SpanId,
    /// Whether its spans are exported.
    pub sampled: bool,
}

/// The text is not a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a W3C traceparent, such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
pub struct TraceParentError;

impl TraceParent {
    /// Reads the header values of a request. The specification asks to ignore a header that is invalid or occurs more
    /// than once.
    #[must_use]
    pub fn read<'a>(mut values: impl Iterator<Item = Option<&'a str>>) -> Option<Self> {
        let only = values.next()??;
        if values.next().is_some() { None } else { only.trim().parse().ok() }
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let mut fields = text.split('-');
        let mut field = |digits: usize| {
            let is_hex = |field: &&str| field.len() == digits && field.bytes().all(is_lower_hex);
            fields.next().filter(is_hex).ok_or(TraceParentError)
        };
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        // Later versions may have more fields. 255 is forbidden.
        if version == "ff" || (version == "00" && fields.next().is_some()) {
            return Err(TraceParentError);
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0).ok_or(TraceParentError)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0).ok_or(TraceParentError)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| TraceParentError)?;
        Ok(Self { trace: TraceId(trace), span: SpanId(span), sampled: flags & 1 == 1 })
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{:032x}-{:016x}-{:02x}", self.trace.0, self.span.0, u8::from(self.sampled))
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

impl TryFrom<String> for TraceParent {
    type Error = TraceParentError;

    fn try_from(text: String) -> Result<Self, TraceParentError> {
        text.parse()
    }
}

/// The bits of a trace id that sampling looks at. The specification asks for these to be random.
const RANDOM_BITS: u32 = 56;

/// Which part of the traces that start here is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Traces are exported whose random bits are at least this.
    threshold: u64,
}

/// The text is not a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from 0 to 1, such as 0.05")]
pub struct SamplingError;

impl Sampling {
    /// Returns whether a trace is exported. All functions of a deployment decide the same, and so do other systems with
    /// [consistent sampling](https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/).
    #[must_use]
    pub fn takes(self, trace: TraceId) -> bool {
        let mask = (1_u128 << RANDOM_BITS) - 1;
        trace.0 & mask >= u128::from(self.threshold)
    }

    /// Returns the trace of an event. The context with which it was published decides whether it is exported; without
    /// one, the sampling does.
    #[must_use]
    pub fn of_event(self, event: EventId, given: Option<TraceParent>) -> EventTrace {
        if let Some(TraceParent { trace, span, sampled }) = given {
            return EventTrace { trace, parent: Some(span), sampled };
        }
        let trace = TraceId::of(event);
        EventTrace { trace, parent: None, sampled: self.takes(trace) }
    }
}

impl FromStr for Sampling {
    type Err = SamplingError;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the product is from 0 to 2^56"
    )]
    fn from_str(text: &str) -> Result<Self, SamplingError> {
        let part = text.parse::<f64>().ok().filter(|part| (0.0..=1.0).contains(part)).ok_or(SamplingError)?;
        Ok(Self { threshold: ((1.0 - part) * (1_u64 << RANDOM_BITS) as f64) as u64 })
    }
}

/// The trace of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTrace {
    /// The trace.
    pub trace: TraceId,
    /// The span of the publisher, if there is one.
    pub parent: Option<SpanId>,
    /// Whether it is exported.
    pub sampled: bool,
}

/// How traces are exported.
#[derive(Debug, Clone)]
pub struct TracePolicy {
    /// Which traces are exported.
    pub sampling: Sampling,
    /// Where OTLP requests go.
    pub endpoint: Url,
    /// Whether requests are signed for X-Ray with the function's role.
    pub signed: bool,
    /// The ARN of the secret with the headers that authenticate requests.
    pub headers_secret_arn: Option<String>,
}

#[cfg(test)]
mod tests;
