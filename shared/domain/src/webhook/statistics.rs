//! A webhook's delivery statistics.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::hours::{Hour, Hours, Sums};
use crate::attempt::Attempt;
use crate::attempt::outcome::Verdict;
use crate::text::clip;

/// The length to which the last error is cut, in bytes. It keeps an update within one write unit; the log of attempts
/// has the full text.
pub(crate) const MAX_ERROR_BYTES: usize = 75;

/// Statistics of a webhook's attempts. Stored next to the webhook and not in it, so that counting is not a write of the
/// webhook and conflicts with none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// All attempts.
    pub total_calls: u64,
    /// Failed attempts.
    pub total_errors: u64,
    /// Calls of an inbound webhook that it does not name.
    pub ignored_calls: u64,
    /// Consecutive failures of the receiver.
    pub consecutive_failures: u64,
    /// When the first of these failures occurred.
    pub failing_since: Option<Timestamp>,
    /// Consecutive timeouts.
    pub consecutive_timeouts: u64,
    /// The last error.
    pub last_error: Option<String>,
    /// When the last attempt was made.
    pub last_delivery_at: Option<Timestamp>,
    /// The verdict of the last attempt.
    pub last_delivery_status: Option<Verdict>,
    /// The last two days, hour by hour.
    #[serde(skip)]
    pub hours: Hours,
    /// Whether a delivery that is counted later ended the stored series of failures, which the next count replaces.
    #[serde(skip)]
    pub is_series_over: bool,
}

impl Statistics {
    /// Resets the counters of consecutive failures, for a webhook that was changed, resumed or restored.
    pub fn reset_failures(&mut self) {
        (self.consecutive_failures, self.consecutive_timeouts, self.failing_since) = (0, 0, None);
    }

    /// Adds the time of the last arrival, which is [counted later](super::arrivals). It ends a series of failures whose
    /// last attempt was made before.
    #[must_use]
    pub fn with_arrival(mut self, at: Timestamp) -> Self {
        if self.last_delivery_at.is_some_and(|last| last >= at) {
            return self;
        }
        self.is_series_over = self.is_failing();
        self.reset_failures();
        (self.last_delivery_at, self.last_delivery_status) = (Some(at), Some(Verdict::Accepted));
        self
    }

    /// Returns whether a series of failures is counted, which an arrival must end at once.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.consecutive_failures > 0 || self.consecutive_timeouts > 0 || self.failing_since.is_some()
    }
}

/// The sum of attempts that ended together. It is added to a webhook's statistics in one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Attempts.
    pub calls: u64,
    /// Failed attempts.
    pub errors: u64,
    /// Calls of an inbound webhook that it does not name.
    pub ignored: u64,
    /// The total duration of all attempts, in milliseconds.
    pub duration_ms: u64,
    /// The failures since the last success in this tally, or all failures.
    pub failures: u64,
    /// Whether any attempt showed that the receiver works, so that the count of consecutive failures restarts.
    pub succeeded: bool,
    /// When the first of the consecutive failures was made, if any.
    pub failing_since: Option<Timestamp>,
    /// The timeouts since the last attempt that did not time out, or all timeouts.
    pub timeouts: u64,
    /// Whether any attempt did not time out, so that the count of consecutive timeouts restarts.
    pub ended_otherwise: bool,
    /// The last error, if any.
    pub last_error: Option<String>,
    /// When the last attempt was made.
    pub last_at: Timestamp,
    /// The verdict of the last attempt.
    pub last_status: Verdict,
}

impl Tally {
    /// Adds up attempts that ended in any order, each with whether it was a test. `None` if there are none.
    ///
    /// Only failures caused by the receiver count towards the streak. Tests, payloads that could not be rendered and
    /// `aborted`, which rejects a single event, do not.
    #[must_use]
    pub fn of(attempts: &mut [(&Attempt, bool)]) -> Option<Self> {
        attempts.sort_by_key(|(attempt, _)| attempt.at);
        let (last, _) = attempts.last()?;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let telling = attempts.iter().filter(|(attempt, test)| !test && attempt.outcome.verdict.tells_of_receiver());
        let telling: Vec<_> = telling.map(|(attempt, _)| (attempt.at, attempt.outcome.verdict)).rev().collect();
        let failures =
            telling.iter().take_while(|(_, verdict)| !matches!(verdict, Verdict::Accepted | Verdict::Aborted)).count();
        let timeouts = telling.iter().take_while(|(_, verdict)| *verdict == Verdict::TimedOut).count();
        let attempts = attempts.iter().map(|(attempt, _)| attempt);
        Some(Self {
            calls: count(attempts.len()),
            errors: count(attempts.clone().filter(|attempt| attempt.outcome.verdict != Verdict::Accepted).count()),
            ignored: 0,
            duration_ms: attempts.clone().map(|attempt| u64::from(attempt.outcome.duration_ms)).sum(),
            failures: count(failures),
            succeeded: failures < telling.len(),
            failing_since: telling[..failures].last().map(|(at, _)| *at),
            timeouts: count(timeouts),
            ended_otherwise: timeouts < telling.len(),
            last_error: attempts
                .rev()
                .find_map(|attempt| attempt.outcome.error.as_deref())
                .map(|error| clip(error, MAX_ERROR_BYTES)),
            last_at: last.at,
            last_status: last.outcome.verdict,
        })
    }

    /// Returns the tally for a webhook with these statistics: it starts a new series of failures if the stored one is
    /// over.
    #[must_use]
    pub fn after(self, statistics: &Statistics) -> Self {
        let is_new = statistics.is_series_over;
        Self { succeeded: self.succeeded || is_new, ended_otherwise: self.ended_otherwise || is_new, ..self }
    }

    /// Returns the hour that the attempts are counted in: that of the last attempt.
    #[must_use]
    pub fn hour(&self) -> Hour {
        Hour::of(self.last_at)
    }

    /// Returns what the attempts add to their hour.
    #[must_use]
    pub fn sums(&self) -> Sums {
        Sums { calls: self.calls, errors: self.errors, duration_ms: self.duration_ms }
    }
}

#[cfg(test)]
mod tests {
    use Verdict::{Aborted, Accepted, Refused, TimedOut, Unrendered};
    use rstest::rstest;

    use super::*;
    use crate::attempt::outcome::Outcome;
    use crate::attempt::redact::SentHeaders;
    use crate::signing::secret::tests::fingerprint;

    fn attempt(second: i64, verdict: Verdict) -> Attempt {
        let error = (verdict != Accepted).then(|| format!("{} at {second}", verdict.as_str()));
        Attempt {
            cycle: 0,
            number: 1,
            at: Timestamp::from_second(second).unwrap(),
            outcome: Outcome { error, ..Outcome::unanswered(verdict, "") },
            secret_fingerprint: fingerprint(1),
            request_headers: SentHeaders::default(),
            url: None,
        }
    }

    fn tally(verdicts: &[Verdict]) -> Tally {
        let attempts: Vec<Attempt> = (0..).zip(verdicts).map(|(second, verdict)| attempt(second, *verdict)).collect();
        // The order in which they end does not matter.
        let mut attempts: Vec<_> = attempts.iter().rev().map(|attempt| (attempt, false)).collect();
        Tally::of(&mut attempts).unwrap()
    }

    #[rstest]
    #[case::all_accepted(&[Accepted, Accepted], (2, 0, 0, true), None)]
    #[case::all_failed(&[Refused, TimedOut], (2, 2, 2, false), Some("timed_out at 1"))]
    #[case::failed_in_the_end(&[Accepted, TimedOut, Refused], (3, 2, 2, true), Some("refused at 2"))]
    #[case::accepted_in_the_end(&[TimedOut, Accepted], (2, 1, 0, true), Some("timed_out at 0"))]
    #[case::aborted_in_the_end(&[TimedOut, Aborted], (2, 2, 0, true), Some("aborted at 1"))]
    #[case::nothing_to_send(&[Unrendered, Unrendered], (2, 2, 0, false), Some("unrendered at 1"))]
    #[case::nothing_to_send_ends_nothing(&[Refused, Unrendered, Refused], (3, 3, 2, false), Some("refused at 2"))]
    fn adds_up(#[case] verdicts: &[Verdict], #[case] sums: (u64, u64, u64, bool), #[case] last_error: Option<&str>) {
        let tally = tally(verdicts);
        assert_eq!((tally.calls, tally.errors, tally.failures, tally.succeeded), sums);
        assert_eq!(tally.last_error.as_deref(), last_error);
        assert_eq!(tally.last_at.as_second(), i64::try_from(verdicts.len()).unwrap() - 1);
    }

    #[rstest]
    #[case::all_accepted(&[Accepted], None)]
    #[case::all_failed(&[Refused, TimedOut], Some(0))]
    #[case::failed_in_the_end(&[Refused, Accepted, TimedOut, Refused], Some(2))]
    #[case::accepted_in_the_end(&[TimedOut, Accepted], None)]
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
        let mut failed = attempt(1, Refused);
        failed.outcome.error = Some(error.to_owned());
        assert_eq!(Tally::of(&mut [(&failed, false)]).unwrap().last_error.as_deref(), Some(kept));
    }

    #[test]
    fn durations_add_up() {
        let attempts = [5, 7].map(|duration_ms| {
            let mut attempt = attempt(3600, Accepted);
            attempt.outcome.duration_ms = duration_ms;
            attempt
        });
        let tally = Tally::of(&mut attempts.each_ref().map(|attempt| (attempt, false))).unwrap();
        assert_eq!((tally.hour().number(), tally.sums()), (1, Sums { calls: 2, errors: 0, duration_ms: 12 }));
    }

    #[test]
    fn a_test_does_not_count_towards_the_streak() {
        let [failed, arrived] = [attempt(1, TimedOut), attempt(2, Accepted)];
        let tally = |attempts: &mut [(&Attempt, bool)]| {
            let tally = Tally::of(attempts).unwrap();
            (tally.calls, tally.failures, tally.succeeded, tally.failing_since, tally.timeouts, tally.ended_otherwise)
        };
        assert_eq!(tally(&mut [(&failed, true)]), (1, 0, false, None, 0, false));
        assert_eq!(tally(&mut [(&failed, false), (&arrived, true)]), (2, 1, false, Some(failed.at), 1, false));
    }

    #[rstest]
    #[case::later_than_the_failures(5, 6, true)]
    #[case::before_the_last_failure(5, 4, false)]
    #[case::at_the_same_time(5, 5, false)]
    fn an_arrival_ends_the_failures_before_it(#[case] failed: i64, #[case] arrived: i64, #[case] ends: bool) {
        let [failed, arrived] = [failed, arrived].map(|second| Timestamp::from_second(second).unwrap());
        let statistics = Statistics {
            consecutive_failures: 3,
            consecutive_timeouts: 3,
            failing_since: Some(Timestamp::UNIX_EPOCH),
            last_delivery_at: Some(failed),
            last_delivery_status: Some(TimedOut),
            ..Statistics::default()
        };
        let read = statistics.clone().with_arrival(arrived);
        assert_eq!((read.is_failing(), read.is_series_over), (!ends, ends));
        assert_eq!(read.last_delivery_at, Some(failed.max(arrived)));
        assert_eq!(read.last_delivery_status, Some(if ends { Accepted } else { TimedOut }));
        // The next failure is the first of a new series.
        let next = tally(&[TimedOut]).after(&read);
        assert_eq!((next.succeeded, next.ended_otherwise, next.failures, next.timeouts), (ends, ends, 1, 1));
    }

    #[test]
    fn an_arrival_is_the_last_delivery_of_a_webhook_without_another() {
        let at = Timestamp::from_second(1).unwrap();
        let read = Statistics::default().with_arrival(at);
        let expected =
            Statistics { last_delivery_at: Some(at), last_delivery_status: Some(Accepted), ..Statistics::default() };
        assert_eq!(read, expected);
    }

    #[test]
    fn an_empty_tally_is_none() {
        assert_eq!(Tally::of(&mut []), None);
    }
}
