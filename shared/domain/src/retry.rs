//! When to try again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the waits of a [`RetryPolicy`] grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// Up to 10 s after the first attempt, four times as much after each further one, at most 12 h; see [`wait_after`].
    ///
    /// [`wait_after`]: RetryPolicy::wait_after
    #[default]
    Exponential,
}

/// A webhook's retry policy: how often, how far apart, and how long one attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// How many attempts a delivery gets, the first included: 1 to 25.
    #[schema(minimum = 1, maximum = 25, default = 10)]
    pub max_attempts: u32,
    /// How the waits between them grow.
    #[schema(value_type = String, pattern = "^exponential$", default = "exponential")]
    pub backoff: Backoff,
    /// How long one attempt may take, in milliseconds, from the connection to the last byte of the answer: 1,000 to 30,000.
    #[schema(minimum = 1000, maximum = 30000, default = 15000)]
    pub timeout_ms: u32,
}

/// Ten attempts over about a day, 15 s each.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 10, backoff: Backoff::Exponential, timeout_ms: 15_000 }
    }
}

/// What is wrong with a retry policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetryPolicyError {
    /// Too few or too many attempts.
    #[error("must be 1 to 25")]
    MaxAttempts,
    /// Too short or too long a timeout.
    #[error("must be 1000 to 30000 milliseconds")]
    TimeoutMs,
}

const FIRST_WAIT: Duration = Duration::from_secs(10);
const FACTOR: u32 = 4;
const LONGEST_WAIT: Duration = Duration::from_hours(12);

impl RetryPolicy {
    /// Checks the limits.
    ///
    /// # Errors
    ///
    /// The first limit that does not hold.
    pub fn validate(&self) -> Result<(), RetryPolicyError> {
        if !(1..=25).contains(&self.max_attempts) {
            return Err(RetryPolicyError::MaxAttempts);
        }
        if !(1_000..=30_000).contains(&self.timeout_ms) {
            return Err(RetryPolicyError::TimeoutMs);
        }
        Ok(())
    }

    /// Returns how long one attempt may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }

    /// Returns how long to wait after attempt number `attempt` failed, or `None` if that was the last one.
    ///
    /// `draw` is a uniform draw from `0.0..1.0`, the caller's, so that the schedule can be tested exactly. The whole wait is
    /// random and not just its end ([full jitter][1]): receivers that failed together are not called again together.
    ///
    /// [1]: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    #[must_use]
    pub fn wait_after(&self, attempt: u32, draw: f64) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let Backoff::Exponential = self.backoff;
        let ceiling = FACTOR
            .checked_pow(attempt.saturating_sub(1))
            .and_then(|factor| FIRST_WAIT.checked_mul(factor))
            .map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT));
        Some(ceiling.mul_f64(draw.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::first(1, Some(5))]
    #[case::four_times(2, Some(20))]
    #[case::again(3, Some(80))]
    #[case::capped(9, Some(6 * 3600))]
    #[case::last_attempt_gives_up(10, None)]
    fn half_draw_schedule(#[case] attempt: u32, #[case] seconds: Option<u64>) {
        assert_eq!(RetryPolicy::default().wait_after(attempt, 0.5), seconds.map(Duration::from_secs));
    }

    #[rstest]
    #[case::default(RetryPolicy::default(), Ok(()))]
    #[case::no_attempt(RetryPolicy { max_attempts: 0, ..RetryPolicy::default() }, Err(RetryPolicyError::MaxAttempts))]
    #[case::too_many(RetryPolicy { max_attempts: 26, ..RetryPolicy::default() }, Err(RetryPolicyError::MaxAttempts))]
    #[case::hasty(RetryPolicy { timeout_ms: 999, ..RetryPolicy::default() }, Err(RetryPolicyError::TimeoutMs))]
    #[case::patient(RetryPolicy { timeout_ms: 30_001, ..RetryPolicy::default() }, Err(RetryPolicyError::TimeoutMs))]
    fn limits(#[case] policy: RetryPolicy, #[case] expected: Result<(), RetryPolicyError>) {
        assert_eq!(policy.validate(), expected);
    }

    proptest! {
        #[test]
        fn waits_are_bounded_and_end(max_attempts in 1_u32..=25, attempt in 1_u32..100, draw in 0.0_f64..1.0) {
            let policy = RetryPolicy { max_attempts, ..RetryPolicy::default() };
            let wait = policy.wait_after(attempt, draw);
            prop_assert_eq!(wait.is_some(), attempt < max_attempts);
            prop_assert!(wait.unwrap_or_default() <= LONGEST_WAIT);
        }
    }
}
