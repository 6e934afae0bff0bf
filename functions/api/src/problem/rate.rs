//! Which rate limit a request exceeds.

use std::fmt;

use domain::access::rate::Exceeded;

/// A rate limit that a request exceeds, and what it limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateExceeded {
    /// In the plural.
    what: &'static str,
    exceeded: Exceeded,
}

impl RateExceeded {
    /// Returns the limit of `what`, which must be in the plural.
    pub(super) const fn new(what: &'static str, exceeded: Exceeded) -> Self {
        Self { what, exceeded }
    }

    /// Returns after how many seconds the request may be sent again.
    pub(super) const fn wait_seconds(&self) -> u64 {
        self.exceeded.wait_seconds
    }
}

impl fmt::Display for RateExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, exceeded: Exceeded { limit, window_seconds, wait_seconds } } = self;
        let (limit, per) = match window_seconds.get() {
            86_400 => (limit.get(), "a day"),
            3_600 => (limit.get(), "an hour"),
            seconds => (limit.get() / seconds, "a second"),
        };
        write!(f, "the limit of {limit} {what} {per} is reached; try again in {wait_seconds} s")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU32;

    use rstest::rstest;

    use super::*;

    pub(crate) fn exceeded(limit: u32, window_seconds: u32) -> Exceeded {
        let [limit, window_seconds] = [limit, window_seconds].map(|number| NonZeroU32::new(number).unwrap());
        Exceeded { limit, window_seconds, wait_seconds: 7 }
    }

    #[rstest]
    #[case::day(100, 86_400, "the limit of 100 new notices a day is reached; try again in 7 s")]
    #[case::hour(20, 3_600, "the limit of 20 new notices an hour is reached; try again in 7 s")]
    #[case::two_seconds(100, 2, "the limit of 50 new notices a second is reached; try again in 7 s")]
    fn says_what_is_limited_and_how_often(#[case] limit: u32, #[case] window_seconds: u32, #[case] text: &str) {
        assert_eq!(RateExceeded::new("new notices", exceeded(limit, window_seconds)).to_string(), text);
    }
}
