//! Interprets a receiver's response.
//!
//! The status decides; a webhook can configure which statuses count as success ([`StatusPattern`]). A receiver can also
//! send two headers. `Retry-After` asks to wait before the next request. `webhook-delivery`, as [proposed for Standard
//! Webhooks][1], stops unwanted deliveries: `disable` disables the webhook, and `abort-message` gives up the event. No
//! other part of the response has an effect.
//!
//! [1]: https://github.com/standard-webhooks/standard-webhooks/pull/291

mod status;

use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};

use super::outcome::Verdict;
use super::redact::redirect;
use crate::time::seconds_up;

pub use status::{MAX_STATUS_PATTERNS, ParseStatusPatternError, StatusPattern, is_success};

/// The longest `Retry-After` that is respected. Longer waits are cut to it, so that a mistaken date does not hold a
/// delivery for years.
pub const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The maximum length of the redirect target in an error, in characters.
const MAX_LOCATION_CHARACTERS: usize = 200;

/// The parts of a response that have an effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: Option<&'a str>,
    /// The `webhook-delivery` header.
    pub webhook_delivery: Option<&'a str>,
    /// The `Location` header.
    pub location: Option<&'a str>,
}

/// The meaning of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict of the attempt.
    pub verdict: Verdict,
    /// The error message, if it is a failure.
    pub error: Option<String>,
    /// The wait that the receiver asked for, in seconds. Missing if the response counts as success.
    pub retry_after_s: Option<u32>,
}

/// Interprets a response for a webhook that counts `success` as success.
///
/// `webhook-delivery: disable` has an effect with any status, even success. `webhook-delivery: abort-message` has none
/// on a success, because nothing is left to abort. A status that the webhook lists is a success, whatever its standard
/// meaning.
#[must_use]
pub fn judge(answer: Answer<'_>, success: &[StatusPattern], now: Timestamp) -> Judgement {
    let status = answer.status;
    let told = |word: &str| answer.webhook_delivery.is_some_and(|said| said.trim().eq_ignore_ascii_case(word));
    let said = |what: &str| Some(format!("the receiver answered {status}{what}"));
    let succeeded = is_success(success, status);
    let (verdict, error) = if told("disable") {
        (Verdict::Gone, said(" and webhook-delivery: disable, so it wants no more events"))
    } else if succeeded {
        (Verdict::Accepted, None)
    } else if told("abort-message") {
        (Verdict::Aborted, said(" and webhook-delivery: abort-message, so it rejects this event"))
    } else {
        match status {
            300..=399 => (Verdict::Redirected, Some(redirected(answer.location))),
            410 => (Verdict::Gone, said(": it wants no more events")),
            429 => (Verdict::Throttled, said(": it receives too many requests")),
            503 => (Verdict::Unavailable, said(": it is temporarily unavailable")),
            400..=499 => (Verdict::Refused, said("")),
            200..=299 => (Verdict::ServerFailed, said(", which the webhook does not count as success")),
            _ => (Verdict::ServerFailed, said("")),
        }
    };
    let retry_after_s = answer.retry_after.filter(|_| !succeeded).and_then(|text| retry_after(text, now));
    Judgement { verdict, error, retry_after_s }
}

fn redirected(location: Option<&str>) -> String {
    let to = location.map_or_else(|| "nowhere".to_owned(), redirect);
    let to: String = to.chars().take(MAX_LOCATION_CHARACTERS).collect();
    format!("redirects are not followed; this one leads to {to}")
}

/// Parses `Retry-After` ([RFC 9110, 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)): seconds, or a date
/// in any of the three HTTP formats. Part of a second counts as a whole one, so that no request is earlier than the
/// date. A past date is a wait of zero, a wait above [`LONGEST_RETRY_AFTER`] is cut to it, and an invalid value is
/// ignored.
#[must_use]
pub fn retry_after(text: &str, now: Timestamp) -> Option<u32> {
    let text = text.trim();
    let longest = LONGEST_RETRY_AFTER.as_secs();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number with too many digits is a long wait too.
        text.parse().unwrap_or(longest)
    } else {
        let date: SystemTime = httpdate::parse_http_date(text).ok()?;
        seconds_up(Timestamp::try_from(date).ok()?.duration_since(now))
    };
    u32::try_from(seconds.clamp(0, longest)).ok()
}

#[cfg(test)]
mod tests;
