//! What a receiver's answer means.
//!
//! The status decides, and a webhook says which ones are success ([`StatusPattern`]). Beside it a receiver has two headers:
//! `Retry-After` asks to be left alone for a while, and `webhook-delivery`, as [proposed for Standard Webhooks][1], ends what it no
//! longer wants: `disable` the webhook, `abort-message` the event. Nothing else of an answer is trusted with a decision.
//!
//! [1]: https://github.com/standard-webhooks/standard-webhooks/pull/291

mod status;

use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};

use super::outcome::Verdict;
use super::redact::redirect;

pub use status::{MAX_STATUS_PATTERNS, ParseStatusPatternError, StatusPattern, is_success};

/// The longest that a receiver can ask us to wait. Longer ones are cut to it: a mistaken date must not hold a delivery for years.
pub const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How much of where a redirect points is told, in characters.
const MAX_LOCATION_CHARACTERS: usize = 200;

/// The parts of an answer that decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// The header `webhook-delivery`.
    pub webhook_delivery: Option<&'a str>,
    /// The header `Location`.
    pub location: Option<&'a str>,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// How the attempt ended.
    pub verdict: Verdict,
    /// What went wrong, for a person.
    pub error: Option<String>,
    /// How long the receiver asked to wait, in seconds; not told of an answer that counts as success.
    pub retry_after_s: Option<u32>,
}

/// Says what an answer means to a webhook that counts `success` as success.
///
/// `webhook-delivery: disable` counts on any status, success included. `webhook-delivery: abort-message` changes nothing about a
/// success: there is nothing left to abort. A status that the webhook names is success whatever it is else said to mean.
#[must_use]
pub fn judge(answer: Answer<'_>, success: &[StatusPattern], now: Timestamp) -> Judgement {
    let status = answer.status;
    let told = |word: &str| answer.webhook_delivery.is_some_and(|said| said.trim().eq_ignore_ascii_case(word));
    let said = |what: &str| Some(format!("the receiver answered {status}{what}"));
    let succeeded = is_success(success, status);
    let (verdict, error) = if told("disable") {
        (Verdict::Gone, said(" and webhook-delivery: disable: it wants no more events"))
    } else if succeeded {
        (Verdict::Accepted, None)
    } else if told("abort-message") {
        (Verdict::Aborted, said(" and webhook-delivery: abort-message: it wants this event no more"))
    } else {
        match status {
            300..=399 => (Verdict::Redirected, Some(redirected(answer.location))),
            410 => (Verdict::Gone, said(": it wants no more events")),
            429 => (Verdict::Throttled, said(": it gets too many requests")),
            503 => (Verdict::Unavailable, said(": it is down for a while")),
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

/// Reads `Retry-After` ([RFC 9110, 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)): seconds, or a date in any of
/// HTTP's three forms. What lies in the past is no wait, what lies beyond [`LONGEST_RETRY_AFTER`] is cut to it, and what is
/// neither counts as not said.
#[must_use]
pub fn retry_after(text: &str, now: Timestamp) -> Option<u32> {
    let text = text.trim();
    let longest = LONGEST_RETRY_AFTER.as_secs();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number can have are a long wait all the same.
        text.parse().unwrap_or(longest)
    } else {
        let date: SystemTime = httpdate::parse_http_date(text).ok()?;
        Timestamp::try_from(date).ok()?.duration_since(now).as_secs()
    };
    u32::try_from(seconds.clamp(0, longest)).ok()
}

#[cfg(test)]
mod tests;
