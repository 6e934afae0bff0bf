//! When to retry.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::outcome::{Outcome, Verdict};

/// How the wait grows from attempt to attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// Up to `baseMs` after the first attempt, `factor` times as much after each further one, at most `capMs`.
    #[default]
    Exponential,
    /// The waits of `scheduleSeconds`, one after another. The last one is repeated if there are more attempts.
    Fixed,
    /// `baseMs` after the first attempt, twice as much after the second, and so on, at most `capMs`.
    Linear,
}

/// A webhook's retry policy: how often, how far apart, and how long one attempt may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// How many attempts a delivery gets, the first included: 1 to 25.
    #[schema(minimum = 1, maximum = 25, default = 10)]
    pub max_attempts: u32,
    /// How the waits grow: `exponential` (fully randomized), `fixed` or `linear`.
    pub backoff: Backoff,
    /// How long one attempt may take, in milliseconds, from the connection to the last byte of the response: 1,000 to
    /// 30,000.
    #[schema(minimum = 1000, maximum = 30000, default = 15000)]
    pub timeout_ms: u32,
    /// The first wait of `exponential` and `linear`, in milliseconds: 100 to 3,600,000.
    #[schema(minimum = 100, maximum = 3_600_000, default = 10_000)]
    pub base_ms: u32,
    /// The factor between the waits of `exponential`: 1 to 10.
    #[schema(minimum = 1, maximum = 10, default = 4)]
    pub factor: u32,
    /// The longest wait of `exponential` and `linear`, in milliseconds: 1,000 to 86,400,000.
    #[schema(minimum = 1000, maximum = 86_400_000, default = 43_200_000)]
    pub cap_ms: u32,
    /// The waits of `fixed`, in seconds: 1 to 24 waits of 1 to 86,400 each. Default: those of Standard Webhooks.
    #[schema(min_items = 1, max_items = 24, default = json!([5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]))]
    pub schedule_seconds: Vec<u32>,
}

/// Ten attempts over about a day, 15 s each.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            backoff: Backoff::Exponential,
            timeout_ms: 15_000,
            base_ms: 10_000,
            factor: 4,
            cap_ms: 12 * 3_600_000,
            schedule_seconds: STANDARD_SCHEDULE.to_vec(),
        }
    }
}

/// The schedule recommended by [Standard Webhooks][1]: ten attempts over three days.
///
/// [1]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
const STANDARD_SCHEDULE: [u32; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// The longest wait, in seconds: a day.
const LONGEST_SECONDS: u32 = 86_400;

/// The largest number of waits in a schedule: one after each attempt except the last.
const MAX_SCHEDULE: usize = 24;

/// The largest extension of a wait that is not random anyway, as a fraction of the wait.
const JITTER: f64 = 0.1;

/// The shortest exponential wait after a response that reports overload and after a timeout. An earlier retry would
/// make the overload worse.
const BREATHER: Duration = Duration::from_secs(30);

/// The bounds of a random wait between two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The number of the attempt before the wait.
    pub after_attempt: u32,
    /// The shortest wait.
    pub shortest: Duration,
    /// The longest wait.
    pub longest: Duration,
}

/// A fault in a retry policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct RetryPolicyError {
    /// The wire name of the field.
    pub field: &'static str,
    /// What the value must be.
    pub detail: &'static str,
}

impl RetryPolicy {
    /// Checks the limits.
    ///
    /// # Errors
    ///
    /// The first violated limit.
    pub fn validate(&self) -> Result<(), RetryPolicyError> {
        let schedule = &self.schedule_seconds;
        let waits = schedule.iter().all(|seconds| (1..=LONGEST_SECONDS).contains(seconds));
        let limits = [
            ("maxAttempts", (1..=25).contains(&self.max_attempts), "must be 1 to 25"),
            ("timeoutMs", (1_000..=30_000).contains(&self.timeout_ms), "must be 1000 to 30000 milliseconds"),
            ("baseMs", (100..=3_600_000).contains(&self.base_ms), "must be 100 to 3600000 milliseconds"),
            ("factor", (1..=10).contains(&self.factor), "must be 1 to 10"),
            ("capMs", (1_000..=86_400_000).contains(&self.cap_ms), "must be 1000 to 86400000 milliseconds"),
            (
                "scheduleSeconds",
                waits && (1..=MAX_SCHEDULE).contains(&schedule.len()),
                "must be 1 to 24 waits of 1 to 86400 seconds",
            ),
        ];
        match limits.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, detail)) => Err(RetryPolicyError { field, detail }),
            None => Ok(()),
        }
    }

    /// Returns the timeout of an attempt.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }

    /// Returns how long to wait after attempt number `attempt` had this outcome, or `None` if no other attempt follows.
    ///
    /// The wait is at least the receiver's `Retry-After`, and with exponential backoff at least 30 seconds if the
    /// receiver is overloaded. `draw` is a uniform random number in `0.0..1.0`, passed in by the caller so that the
    /// schedule can be tested exactly.
    #[must_use]
    pub fn wait(&self, attempt: u32, outcome: &Outcome, draw: f64) -> Option<Duration> {
        let least = match outcome.verdict {
            // The receiver wants no retry, or there is nothing to send. A retry would change neither.
            Verdict::Gone | Verdict::Aborted | Verdict::Unrendered | Verdict::Looped | Verdict::OverBudget => {
                return None;
            }
            Verdict::Throttled | Verdict::Unavailable | Verdict::TimedOut if self.backoff == Backoff::Exponential => {
                BREATHER.min(Duration::from_millis(self.cap_ms.into()))
            }
            Verdict::Throttled
            | Verdict::Unavailable
            | Verdict::TimedOut
            | Verdict::Accepted
            | Verdict::Refused
            | Verdict::ServerFailed
            | Verdict::Redirected
            | Verdict::DnsFailed
            | Verdict::ConnectFailed
            | Verdict::TlsFailed
            | Verdict::ProtocolFailed
            | Verdict::Forbidden
            | Verdict::Unauthorized => Duration::ZERO,
        };
        let asked = Duration::from_secs(outcome.retry_after_s.unwrap_or(0).min(LONGEST_SECONDS).into());
        Some(self.scheduled(attempt, draw)?.max(least).max(asked))
    }

    /// Returns the waits after the attempts that fail, in order, if the receiver asks for no other.
    #[must_use]
    pub fn waits(&self) -> Vec<Wait> {
        let wait = |after_attempt| {
            let shortest = self.scheduled(after_attempt, 0.0)?;
            Some(Wait { after_attempt, shortest, longest: self.scheduled(after_attempt, 1.0)? })
        };
        (1..self.max_attempts).map_while(wait).collect()
    }

    /// Returns the wait of the schedule after attempt number `attempt`, or `None` if that was the last one.
    ///
    /// Exponential waits are random from zero on ([full jitter][1]), so that receivers that failed together are not
    /// retried together. Other waits are extended by a small random amount.
    ///
    /// [1]: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    fn scheduled(&self, attempt: u32, draw: f64) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let draw = draw.clamp(0.0, 1.0);
        let (base, cap) = (Duration::from_millis(self.base_ms.into()), Duration::from_millis(self.cap_ms.into()));
        let capped =
            |times: Option<u32>| times.and_then(|times| base.checked_mul(times)).map_or(cap, |wait| wait.min(cap));
        Some(match self.backoff {
            Backoff::Exponential => capped(self.factor.checked_pow(attempt.saturating_sub(1))).mul_f64(draw),
            Backoff::Linear => capped(Some(attempt)).mul_f64(1.0 + JITTER * draw),
            Backoff::Fixed => {
                let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
                let seconds = self.schedule_seconds.get(index).or(self.schedule_seconds.last());
                Duration::from_secs(seconds.copied().unwrap_or(LONGEST_SECONDS).into()).mul_f64(1.0 + JITTER * draw)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn policy(backoff: Backoff) -> RetryPolicy {
        RetryPolicy { backoff, ..RetryPolicy::default() }
    }

    #[rstest]
    #[case::exponential(Backoff::Exponential, &[(0, 10_000), (0, 40_000), (0, 160_000)])]
    #[case::linear(Backoff::Linear, &[(10_000, 11_000), (20_000, 22_000), (30_000, 33_000)])]
    #[case::fixed(Backoff::Fixed, &[(5_000, 5_500), (300_000, 330_000), (1_800_000, 1_980_000)])]
    fn a_policy_tells_its_waits(#[case] backoff: Backoff, #[case] expected: &[(u128, u128)]) {
        let waits = RetryPolicy { max_attempts: 4, ..policy(backoff) }.waits();
        let bounds: Vec<_> = waits.iter().map(|wait| (wait.shortest.as_millis(), wait.longest.as_millis())).collect();
        assert_eq!(bounds, expected);
        assert_eq!(waits.iter().map(|wait| wait.after_attempt).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(RetryPolicy { max_attempts: 1, ..policy(backoff) }.waits(), []);
    }

    fn failed(verdict: Verdict) -> Outcome {
        Outcome::unanswered(verdict, "failed")
    }

    #[rstest]
    #[case::first(Backoff::Exponential, 1, Some(5_000))]
    #[case::four_times(Backoff::Exponential, 2, Some(20_000))]
    #[case::again(Backoff::Exponential, 3, Some(80_000))]
    #[case::capped(Backoff::Exponential, 9, Some(6 * 3_600_000))]
    #[case::last_attempt_gives_up(Backoff::Exponential, 10, None)]
    #[case::standard(Backoff::Fixed, 1, Some(5_250))]
    #[case::standard_s_last(Backoff::Fixed, 9, Some(90_720_000))]
    #[case::fixed_gives_up(Backoff::Fixed, 10, None)]
    #[case::linear(Backoff::Linear, 3, Some(31_500))]
    fn half_draw_schedule(#[case] backoff: Backoff, #[case] attempt: u32, #[case] milliseconds: Option<u64>) {
        let wait = policy(backoff).wait(attempt, &failed(Verdict::ServerFailed), 0.5);
        assert_eq!(wait, milliseconds.map(Duration::from_millis));
    }

    #[test]
    fn the_last_fixed_wait_comes_again() {
        let policy = RetryPolicy { schedule_seconds: vec![5, 60], ..policy(Backoff::Fixed) };
        let waits: Vec<_> =
            (1..=4).filter_map(|attempt| policy.wait(attempt, &failed(Verdict::Refused), 0.0)).collect();
        assert_eq!(waits, [5, 60, 60, 60].map(Duration::from_secs));
    }

    #[rstest]
    #[case::throttled(Verdict::Throttled, Backoff::Exponential, None, Some(30))]
    #[case::unavailable(Verdict::Unavailable, Backoff::Exponential, None, Some(30))]
    #[case::timed_out(Verdict::TimedOut, Backoff::Exponential, None, Some(30))]
    #[case::as_it_asked(Verdict::Throttled, Backoff::Exponential, Some(120), Some(120))]
    #[case::its_schedule_is_its_owner_s_word(Verdict::TimedOut, Backoff::Fixed, None, Some(5))]
    #[case::but_not_against_the_receiver_s(Verdict::Unavailable, Backoff::Fixed, Some(7), Some(7))]
    #[case::no_longer_than_a_day(Verdict::Unavailable, Backoff::Fixed, Some(999_999), Some(86_400))]
    #[case::server_failed(Verdict::ServerFailed, Backoff::Exponential, None, Some(0))]
    #[case::gone(Verdict::Gone, Backoff::Fixed, None, None)]
    #[case::aborted(Verdict::Aborted, Backoff::Fixed, Some(1), None)]
    #[case::unrendered(Verdict::Unrendered, Backoff::Linear, None, None)]
    fn each_end_has_its_rule(
        #[case] verdict: Verdict,
        #[case] backoff: Backoff,
        #[case] retry_after_s: Option<u32>,
        #[case] seconds: Option<u64>,
    ) {
        let outcome = Outcome { retry_after_s, ..failed(verdict) };
        assert_eq!(policy(backoff).wait(1, &outcome, 0.0), seconds.map(Duration::from_secs));
    }

    #[rstest]
    #[case::default(RetryPolicy::default(), None)]
    #[case::no_attempt(RetryPolicy { max_attempts: 0, ..RetryPolicy::default() }, Some("maxAttempts"))]
    #[case::too_many(RetryPolicy { max_attempts: 26, ..RetryPolicy::default() }, Some("maxAttempts"))]
    #[case::hasty(RetryPolicy { timeout_ms: 999, ..RetryPolicy::default() }, Some("timeoutMs"))]
    #[case::patient(RetryPolicy { timeout_ms: 30_001, ..RetryPolicy::default() }, Some("timeoutMs"))]
    #[case::busy(RetryPolicy { base_ms: 99, ..RetryPolicy::default() }, Some("baseMs"))]
    #[case::shrinking(RetryPolicy { factor: 0, ..RetryPolicy::default() }, Some("factor"))]
    #[case::endless(RetryPolicy { cap_ms: 86_400_001, ..RetryPolicy::default() }, Some("capMs"))]
    #[case::no_waits(RetryPolicy { schedule_seconds: vec![], ..RetryPolicy::default() }, Some("scheduleSeconds"))]
    #[case::no_wait(RetryPolicy { schedule_seconds: vec![5, 0], ..RetryPolicy::default() }, Some("scheduleSeconds"))]
    fn limits(#[case] policy: RetryPolicy, #[case] field: Option<&str>) {
        assert_eq!(policy.validate().err().map(|error| error.field), field);
    }

    proptest! {
        #[test]
        fn waits_are_bounded_and_end(
            max_attempts in 1_u32..=25, attempt in 1_u32..100, draw in 0.0_f64..1.0,
            backoff in prop::sample::select(vec![Backoff::Exponential, Backoff::Fixed, Backoff::Linear]),
            retry_after_s in prop::option::of(any::<u32>()),
        ) {
            let policy = RetryPolicy { max_attempts, ..policy(backoff) };
            let wait = policy.wait(attempt, &Outcome { retry_after_s, ..failed(Verdict::Throttled) }, draw);
            prop_assert_eq!(wait.is_some(), attempt < max_attempts);
            prop_assert!(wait.unwrap_or_default() <= Duration::from_hours(24).mul_f64(1.0 + JITTER));
        }
    }
}
