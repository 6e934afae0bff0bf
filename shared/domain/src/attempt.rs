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

/// How many bytes of a URL the log of attempts keeps, so that a row with all attempts stays below DynamoDB's item limit
/// of 400 KB even if the URL changes before each of them.
const MAX_URL_BYTES: usize = 500;

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
    /// The webhook's URL, unless it is that of the attempt before, as it mostly is. An attempt of an earlier version
    /// has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Returns the URL as the log of the next attempt keeps it: only if it is not that of the attempt before, and the start
/// of a long one. The first attempt of a cycle always keeps it, because earlier cycles may be removed from the log.
#[must_use]
pub fn logged_url(url: &str, earlier: &[Attempt], number: u32) -> Option<String> {
    let mut logged = url.to_owned();
    if url.len() > MAX_URL_BYTES {
        logged.truncate(url.floor_char_boundary(MAX_URL_BYTES));
        logged.push('…');
    }
    let before = earlier.iter().rev().find_map(|attempt| attempt.url.as_ref());
    (number == 1 || before != Some(&logged)).then_some(logged)
}

/// Returns the URL of each attempt, if it is known.
pub fn urls(attempts: &[Attempt]) -> impl Iterator<Item = Option<&str>> {
    attempts.iter().scan(None, |url, attempt| {
        *url = attempt.url.as_deref().or(*url);
        Some(*url)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::attempt::outcome::Verdict;

    fn attempt(number: u32, url: Option<String>) -> Attempt {
        Attempt {
            cycle: 0,
            number,
            at: Timestamp::UNIX_EPOCH,
            outcome: Outcome::unanswered(Verdict::TimedOut, ""),
            secret_fingerprint: serde_json::from_value("f".into()).unwrap(),
            request_headers: SentHeaders::default(),
            url,
        }
    }

    #[rstest]
    #[case::never_changed(&["a", "a", "a"], &[true, false, false])]
    #[case::changed_once(&["a", "b", "b"], &[true, true, false])]
    #[case::changed_back(&["a", "b", "a"], &[true, true, true])]
    fn a_url_is_kept_when_it_changes_and_shown_with_every_attempt(#[case] called: &[&str], #[case] kept: &[bool]) {
        let mut attempts = Vec::new();
        for (number, url) in (1..).zip(called) {
            let url = logged_url(url, &attempts, number);
            attempts.push(attempt(number, url));
        }
        assert_eq!(attempts.iter().map(|attempt| attempt.url.is_some()).collect::<Vec<_>>(), kept);
        assert_eq!(urls(&attempts).map(Option::unwrap).collect::<Vec<_>>(), called);
    }

    #[test]
    fn the_first_attempt_of_a_cycle_keeps_the_url() {
        let earlier = [attempt(1, Some("a".to_owned()))];
        assert_eq!(logged_url("a", &earlier, 1).as_deref(), Some("a"));
    }

    #[test]
    fn the_url_of_an_attempt_of_an_earlier_version_is_unknown() {
        let attempts = [attempt(1, None), attempt(2, logged_url("a", &[attempt(1, None)], 2))];
        assert_eq!(urls(&attempts).collect::<Vec<_>>(), [None, Some("a")]);
    }

    #[test]
    fn the_log_keeps_the_start_of_a_long_url() {
        let long = "é".repeat(MAX_URL_BYTES);
        let logged = logged_url(&long, &[], 1).unwrap();
        assert_eq!(logged, format!("{}…", "é".repeat(MAX_URL_BYTES / 2)));
        assert_eq!(logged_url(&long, &[attempt(1, Some(logged))], 2), None);
    }
}
