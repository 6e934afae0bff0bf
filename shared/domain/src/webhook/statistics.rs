//! What deliveries add up to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::hours::{Hour, Hours, Sums};
use crate::delivery::{Attempt, Verdict};

/// How much of an error the sums keep, in bytes: they are one write unit, and the log of attempts has all of it.
const MAX_ERROR_BYTES: usize = 75;

/// What a webhook's attempts add up to. Counted beside the webhook and never in it, so that a count is no write of its
/// owner's and collides with none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// All attempts.
    pub total_calls: u64,
    /// Those that failed.
    pub total_errors: u64,
    /// Those that failed since the last one that did not.
    pub consecutive_failures: u64,
    /// When the first of these was made.
    pub failing_since: Option<Timestamp>,
    /// Those that got no answer in time since the last one that got another end.
    pub consecutive_timeouts: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When the last attempt was made.
    pub last_delivery_at: Option<Timestamp>,
    /// How it ended.
    pub last_delivery_status: Option<Verdict>,
    /// The last two days, hour by hour.
    #[serde(skip)]
    pub hours: Hours,
}

/// What attempts that ended together add to a webhook's statistics: one write, however many they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Attempts.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// How long all of them took together, in milliseconds.
    pub duration_ms: u64,
    /// Those that failed after the last one that did not, or all.
    pub failures: u64,
    /// Whether one did not fail, so that failures are counted anew.
    pub succeeded: bool,
    /// When the first of these failures was made, if there are any.
    pub failing_since: Option<Timestamp>,
    /// Those that got no answer in time after the last one that got another end, or all.
    pub timeouts: u64,
    /// Whether one got another end, so that timeouts are counted anew.
    pub ended_otherwise: bool,
    /// What went wrong last, if anything did.
    pub last_error: Option<String>,
    /// When the last attempt was made.
    pub last_at: Timestamp,
    /// How it ended.
    pub last_status: Verdict,
}

impl Tally {
    /// Adds up attempts, in whatever order they ended; `None` if there are none.
    #[must_use]
    pub fn of(attempts: &mut [&Attempt]) -> Option<Self> {
        attempts.sort_by_key(|attempt| attempt.at);
        let last = attempts.last()?;
        let failed = |attempt: &&&Attempt| attempt.outcome.verdict != Verdict::Accepted;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let timed_out = |attempt: &&&Attempt| attempt.outcome.verdict == Verdict::TimedOut;
        let failures = attempts.iter().rev().take_while(failed).count();
        let timeouts = attempts.iter().rev().take_while(timed_out).count();
        Some(Self {
            calls: count(attempts.len()),
            errors: count(attempts.iter().filter(failed).count()),
            duration_ms: attempts.iter().map(|attempt| u64::from(attempt.outcome.duration_ms)).sum(),
            failures: count(failures),
            succeeded: failures < attempts.len(),
            failing_since: attempts.iter().rev().take_while(failed).last().map(|attempt| attempt.at),
            timeouts: count(timeouts),
            ended_otherwise: timeouts < attempts.len(),
            last_error: attempts.iter().rev().find_map(|attempt| attempt.outcome.error.as_deref()).map(clip),
            last_at: last.at,
            last_status: last.outcome.verdict,
        })
    }

    /// Returns the hour that they are counted for: that of the last one.
    #[must_use]
    pub fn hour(&self) -> Hour {
        Hour::of(self.last_at)
    }

    /// Returns what they add to their hour.
    #[must_use]
    pub fn sums(&self) -> Sums {
        Sums { calls: self.calls, errors: self.errors, duration_ms: self.duration_ms }
    }
}

fn clip(error: &str) -> String {
    if error.len() <= MAX_ERROR_BYTES {
        return error.to_owned();
    }
    let end = error.floor_char_boundary(MAX_ERROR_BYTES - '…'.len_utf8());
    format!("{}…", &error[..end])
}

#[cfg(test)]
mod tests {
    use Verdict::{Accepted, Refused, TimedOut};
    use rstest::rstest;

    use super::*;
    use crate::delivery::Outcome;
    use crate::secret::tests::fingerprint;
    use crate::sent::SentHeaders;

    fn attempt(second: i64, verdict: Verdict) -> Attempt {
        let error = (verdict != Accepted).then(|| format!("{} at {second}", verdict.as_str()));
        Attempt {
            cycle: 0,
            number: 1,
            at: Timestamp::from_second(second).unwrap(),
            outcome: Outcome { error, ..Outcome::unanswered(verdict, "") },
            secret_fingerprint: fingerprint(1),
            request_headers: SentHeaders::default(),
        }
    }

    fn tally(verdicts: &[Verdict]) -> Tally {
        let attempts: Vec<Attempt> = (0..).zip(verdicts).map(|(second, verdict)| attempt(second, *verdict)).collect();
        // They end in any order.
        let mut attempts: Vec<&Attempt> = attempts.iter().rev().collect();
        Tally::of(&mut attempts).unwrap()
    }

    #[rstest]
    #[case::all_well(&[Accepted, Accepted], (2, 0, 0, true), None)]
    #[case::all_failed(&[Refused, TimedOut], (2, 2, 2, false), Some("timed_out at 1"))]
    #[case::failed_in_the_end(&[Accepted, TimedOut, Refused], (3, 2, 2, true), Some("refused at 2"))]
    #[case::well_in_the_end(&[TimedOut, Accepted], (2, 1, 0, true), Some("timed_out at 0"))]
    fn adds_up(#[case] verdicts: &[Verdict], #[case] sums: (u64, u64, u64, bool), #[case] last_error: Option<&str>) {
        let tally = tally(verdicts);
        assert_eq!((tally.calls, tally.errors, tally.failures, tally.succeeded), sums);
        assert_eq!(tally.last_error.as_deref(), last_error);
        assert_eq!(tally.last_at.as_second(), i64::try_from(verdicts.len()).unwrap() - 1);
    }

    #[rstest]
    #[case::all_well(&[Accepted], None)]
    #[case::all_failed(&[Refused, TimedOut], Some(0))]
    #[case::failed_in_the_end(&[Refused, Accepted, TimedOut, Refused], Some(2))]
    #[case::well_in_the_end(&[TimedOut, Accepted], None)]
    fn knows_since_when_all_failed(#[case] verdicts: &[Verdict], #[case] second: Option<i64>) {
        assert_eq!(tally(verdicts).failing_since.map(Timestamp::as_second), second);
    }

    #[rstest]
    #[case::none(&[Accepted, Refused], (0, true))]
    #[case::all(&[TimedOut, TimedOut], (2, false))]
    #[case::another_failure_ends_them(&[TimedOut, TimedOut, Refused], (0, true))]
    #[case::in_the_end(&[Accepted, TimedOut], (1, true))]
    fn counts_timeouts_in_a_row(#[case] verdicts: &[Verdict], #[case] timeouts: (u64, bool)) {
        let tally = tally(verdicts);
        assert_eq!((tally.timeouts, tally.ended_otherwise), timeouts);
    }

    #[rstest]
    #[case::short("é", "é")]
    #[case::just_right(&"e".repeat(75), &"e".repeat(75))]
    #[case::long(&"e".repeat(76), &format!("{}…", "e".repeat(72)))]
    #[case::within_a_character(&"é".repeat(50), &format!("{}…", "é".repeat(36)))]
    fn an_error_is_kept_in_short(#[case] error: &str, #[case] kept: &str) {
        assert_eq!(clip(error), kept);
    }

    #[test]
    fn durations_add_up() {
        let attempts = [5, 7].map(|duration_ms| {
            let mut attempt = attempt(3600, Accepted);
            attempt.outcome.duration_ms = duration_ms;
            attempt
        });
        let tally = Tally::of(&mut attempts.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!((tally.hour().number(), tally.sums()), (1, Sums { calls: 2, errors: 0, duration_ms: 12 }));
    }

    #[test]
    fn nothing_adds_up_to_nothing() {
        assert_eq!(Tally::of(&mut []), None);
    }
}
