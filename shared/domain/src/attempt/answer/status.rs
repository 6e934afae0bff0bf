//! Which statuses a webhook counts as success.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many of them a webhook may name.
pub const MAX_STATUS_PATTERNS: usize = 20;

/// A status, or a class of them: `409` or `2xx`.
///
/// The classes are `2xx`, `4xx` and `5xx`, the codes 200 to 599. `1xx` is no answer yet. All of `3xx` is left out because a receiver
/// that has moved must not count as one that takes everything; one code of it, `304`, says what its owner means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct StatusPattern(Pattern);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Pattern {
    Class(u16),
    Code(u16),
}

/// A text that names no status that an answer can end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseStatusPatternError {
    /// Nothing of the kind.
    #[error("must be a class (2xx, 4xx or 5xx) or a code from 200 to 599 such as 409")]
    Malformed,
    /// `1xx`, or a code of it.
    #[error("must not be informational: another answer follows it; use 2xx, 4xx, 5xx or a code from 200 to 599")]
    Informational,
    /// `3xx`.
    #[error("must not be all redirects, which are not followed: name the one code that is meant, such as 304")]
    Redirects,
}

impl StatusPattern {
    /// Says whether it means the status.
    #[must_use]
    pub fn matches(self, status: u16) -> bool {
        match self.0 {
            Pattern::Class(class) => status / 100 == class,
            Pattern::Code(code) => status == code,
        }
    }
}

/// Says whether the status is success to a webhook that names these: 2xx if it names none.
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
