//! One HTTP request of a delivery.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attempt::outcome::Outcome;
use crate::signing::secret::Fingerprint;
use redact::SentHeaders;

pub mod answer;
pub mod outcome;
pub mod rate_limit;
pub mod redact;
pub mod retry;
pub mod target;

/// One attempt, as recorded in the log of attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The cycle that it belongs to.
    pub cycle: u32,
    /// Its number within the cycle, from 1.
    pub number: u32,
    /// When it started.
    pub at: Timestamp,
    /// Its outcome.
    pub outcome: Outcome,
    /// Identifies the secret that signed it.
    pub secret_fingerprint: Fingerprint,
    /// The request headers, without secrets.
    #[serde(default, skip_serializing_if = "SentHeaders::is_empty")]
    pub request_headers: SentHeaders,
}
