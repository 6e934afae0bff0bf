//! The statuses that a webhook counts as success.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest number of patterns in a webhook.
pub const MAX_STATUS_PATTERNS: usize = 20;

/// A status or a class of statuses: `409` or `2xx`.
///
/// The classes are `2xx`, `4xx` and `5xx`; the codes are 200 to 599. `1xx` is not a final response. `3xx` is left out,
/// because a receiver that has moved must not count as one that accepts everything; a single code such as `304` is a
/// deliberate choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct StatusPattern(Pattern);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Pattern {
    Class(u16),
    Code(u16),
}

/// The text is not a valid pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseStatusPatternError {
    /// Neither a class nor a code.
    #[error("must be a class (2xx, 4xx or 5xx) or a code from 200 to 599 such as 409")]
    Malformed,
    /// `1xx`, or one of its codes.
    #[error("must not be an informational status; use 2xx, 4xx, 5xx or a code from 200 to 599")]
    Informational,
    /// `3xx`.
    #[error("must not be the class of redirects, which are not followed; use a single code such as 304")]
    Redirects,
}

impl StatusPattern {
    /// Returns whether the pattern matches the status.
    #[must_use]
    pub fn matches(self, status: u16) -> bool {
        match self.0 {
            Pattern::Class(class) => status / 100 == class,
            Pattern::Code(code) => status == code,
        }
    }
}

/// Returns whether the status is a success for a webhook with these patterns. Without patterns, 2xx is.
#[must_use]
pub fn is_success(patterns: &[StatusPattern], status: u16) -> bool {
    match patterns {
        [] => (200..300).contains(&status),
        named => named.iter().any(|pattern| pattern.matches(status)),
    }
}

impl FromStr for StatusPattern {
    type Err = ParseStatusPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 3 || !text.is_ascii() {
            return Err(ParseStatusPatternError::Malformed);
        }
        match text.strip_suffix("xx") {
            Some("1") => Err(ParseStatusPatternError::Informational),
            Some("2") => Ok(Self(Pattern::Class(2))),
            Some("3") => Err(ParseStatusPatternError::Redirects),
            Some("4") => Ok(Self(Pattern::Class(4))),
            Some("5") => Ok(Self(Pattern::Class(5))),
            Some(_) => Err(ParseStatusPatternError::Malformed),
            None if !text.bytes().all(|byte| byte.is_ascii_digit()) => Err(ParseStatusPatternError::Malformed),
            None => match text.parse() {
                Ok(100..=199) => Err(ParseStatusPatternError::Informational),
                Ok(code @ 200..=599) => Ok(Self(Pattern::Code(code))),
                _ => Err(ParseStatusPatternError::Malformed),
            },
        }
    }
}

impl TryFrom<String> for StatusPattern {
    type Error = ParseStatusPatternError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Pattern::Class(class) => write!(f, "{class}xx"),
            Pattern::Code(code) => write!(f, "{code}"),
        }
    }
}

impl From<StatusPattern> for String {
    fn from(pattern: StatusPattern) -> Self {
        pattern.to_string()
    }
}
