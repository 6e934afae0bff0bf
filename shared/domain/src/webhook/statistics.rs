//! What deliveries add up to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::delivery::{Attempt, Verdict};

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
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When the last attempt was made.
    pub last_delivery_at: Option<Timestamp>,
    /// How it ended.
    pub last_delivery_status: Option<Verdict>,
}

/// What attempts that ended together add to a webhook's statistics: one write, however many they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Attempts.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that failed after the last one that did not, or all.
    pub failures: u64,
    /// Whether one did not fail, so that failures are counted anew.
    pub succeeded: bool,
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
        let failures = attempts.iter().rev().take_while(failed).count();
        Some(Self {
            calls: count(attempts.len()),
            errors: count(attempts.iter().filter(failed).count()),
            failures: count(failures),
            succeeded: failures < attempts.len(),
            last_error: attempts.iter().rev().find_map(|attempt| attempt.outcome.error.clone()),
            last_at: last.at,
            last_status: last.outcome.verdict,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::delivery::Outcome;
    use crate::secret::tests::fingerprint;

    fn attempt(second: i64, accepted: bool) -> Attempt {
        let verdict = if accepted { Verdict::Accepted } else { Verdict::TimedOut };
        let error = (!accepted).then(|| format!("late at {second}"));
        Attempt {
            cycle: 0,
            number: 1,
            at: Timestamp::from_second(second).unwrap(),
            outcome: Outcome { error, ..Outcome::unanswered(verdict, "") },
            secret_fingerprint: fingerprint(1),
        }
    }

    #[rstest]
    #[case::all_well(&[true, true], (2, 0, 0, true), None)]
    #[case::all_failed(&[false, false], (2, 2, 2, false), Some("late at 1"))]
    #[case::failed_in_the_end(&[true, false, false], (3, 2, 2, true), Some("late at 2"))]
    #[case::well_in_the_end(&[false, true], (2, 1, 0, true), Some("late at 0"))]
    fn adds_up(#[case] accepted: &[bool], #[case] sums: (u64, u64, u64, bool), #[case] last_error: Option<&str>) {
        let attempts: Vec<Attempt> = (0..).zip(accepted).map(|(second, accepted)| attempt(second, *accepted)).collect();
        // They end in any order.
        let mut attempts: Vec<&Attempt> = attempts.iter().rev().collect();
        let tally = Tally::of(&mut attempts).unwrap();
        assert_eq!((tally.calls, tally.errors, tally.failures, tally.succeeded), sums);
        assert_eq!(tally.last_error.as_deref(), last_error);
        assert_eq!(tally.last_at.as_second(), i64::try_from(accepted.len()).unwrap() - 1);
    }

    #[test]
    fn nothing_adds_up_to_nothing() {
        assert_eq!(Tally::of(&mut []), None);
    }
}
