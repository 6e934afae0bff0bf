//! Rate limits: how often something may happen within a window of time, counted by all processes together.

use std::collections::HashMap;
use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};

use crate::joined;

/// The largest number of keys that [`Spent`] remembers. Other keys cost a call each time, and are still limited.
const MAX_REMEMBERED: usize = 10_000;

/// A rate limit: `limit` times in each window of `window_seconds`. Windows start at multiples of their length since
/// 1970, so that every process uses the same ones.
///
/// Around the border of two windows, up to twice the limit may happen within the length of one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The limit per window.
    pub limit: NonZeroU32,
    /// The length of a window, in seconds.
    pub window_seconds: NonZeroU32,
}

/// The key of a counter, such as the requests of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RateKey(String);

/// A window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first second since 1970.
    pub start: i64,
    /// The first second after it.
    pub end: i64,
}

/// The limit is reached until the window ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {limit} within {window_seconds} s is reached; try again in {wait_seconds} s")]
pub struct Exceeded {
    /// The limit per window.
    pub limit: NonZeroU32,
    /// The length of a window, in seconds.
    pub window_seconds: NonZeroU32,
    /// How long to wait, in whole seconds, at least one.
    pub wait_seconds: u64,
}

impl Rate {
    /// Returns the window of a time.
    #[must_use]
    pub fn window(self, now: Timestamp) -> Window {
        let length = i64::from(self.window_seconds.get());
        let start = now.as_second().div_euclid(length) * length;
        Window { start, end: start + length }
    }

    /// Returns the error at a time within a window.
    fn exceeded(self, window: Window, now: Timestamp) -> Exceeded {
        let ends = Timestamp::from_second(window.end).unwrap_or(now);
        let wait = ends.duration_since(now).max(SignedDuration::ZERO);
        let partial = u64::from(wait.subsec_nanos() > 0);
        let wait_seconds = (wait.unsigned_abs().as_secs() + partial).max(1);
        Exceeded { limit: self.limit, window_seconds: self.window_seconds, wait_seconds }
    }
}

impl RateKey {
    /// Creates a key from its kind, such as `api` or `inbound`, and what it belongs to. Different parts give different
    /// keys.
    ///
    /// The first part after the kind should be a tenant: each key is a partition of its own, so that a hot one
    /// throttles only itself.
    #[must_use]
    pub fn new(kind: &str, parts: &[&str]) -> Self {
        let all: Vec<&str> = ["RATE", kind].into_iter().chain(parts.iter().copied()).collect();
        Self(joined::key(&all))
    }

    /// Returns the text, which begins with `RATE#` and the kind.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Limits of shared counters that this process knows to be reached, so that it need not ask again.
#[derive(Debug, Default)]
pub struct Spent(HashMap<RateKey, (Rate, Window)>);

impl Spent {
    /// Refuses if the limit is known to be reached. Costs no call.
    ///
    /// # Errors
    ///
    /// If the limit of the current window is reached.
    pub fn check(&self, key: &RateKey, rate: Rate, now: Timestamp) -> Result<(), Exceeded> {
        match self.0.get(key) {
            Some((of, window)) if *of == rate && *window == rate.window(now) => Err(rate.exceeded(*window, now)),
            _ => Ok(()),
        }
    }

    /// Records the value of a shared counter after this request was counted.
    ///
    /// # Errors
    ///
    /// If the request exceeds the limit.
    pub fn counted(&mut self, key: &RateKey, rate: Rate, count: u64, now: Timestamp) -> Result<(), Exceeded> {
        let limit = u64::from(rate.limit.get());
        if count >= limit {
            self.remember(key, rate, now);
        }
        if count > limit { Err(rate.exceeded(rate.window(now), now)) } else { Ok(()) }
    }

    fn remember(&mut self, key: &RateKey, rate: Rate, now: Timestamp) {
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, (_, window)| window.end > now.as_second());
        }
        if self.0.len() < MAX_REMEMBERED || self.0.contains_key(key) {
            self.0.insert(key.clone(), (rate, rate.window(now)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn rate(limit: u32, window_seconds: u32) -> Rate {
        let [limit, window_seconds] = [limit, window_seconds].map(|number| NonZeroU32::new(number).unwrap());
        Rate { limit, window_seconds }
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[rstest]
    #[case::in_the_first(1, 0, (0, 1))]
    #[case::late_in_a_second(1, 1_999, (1, 2))]
    #[case::two_seconds(2, 3_999, (2, 4))]
    #[case::a_minute(60, 119_999, (60, 120))]
    fn windows_are_the_same_in_every_process(#[case] seconds: u32, #[case] now: i64, #[case] window: (i64, i64)) {
        let Window { start, end } = rate(1, seconds).window(at(now));
        assert_eq!((start, end), window);
    }

    #[test]
    fn requests_over_the_limit_wait_for_the_next_window() {
        let (mut spent, key, rate) = (Spent::default(), RateKey::new("api", &["acme"]), rate(2, 10));
        assert_eq!(spent.counted(&key, rate, 1, at(1_000)), Ok(()));
        assert_eq!(spent.check(&key, rate, at(1_000)), Ok(()));
        assert_eq!(spent.counted(&key, rate, 2, at(1_000)), Ok(()), "the last one that there may be");
        let refused = spent.check(&key, rate, at(1_500)).unwrap_err();
        assert_eq!(refused.wait_seconds, 9, "and the next one is refused without a call");
        assert_eq!(spent.counted(&key, rate, 3, at(9_999)).unwrap_err().wait_seconds, 1);
        assert_eq!(spent.check(&RateKey::new("api", &["globex"]), rate, at(1_500)), Ok(()));
        assert_eq!(spent.check(&key, rate, at(10_000)), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_expired_windows_make_room() {
        let (mut spent, rate) = (Spent::default(), rate(1, 1));
        let key = |number: usize| RateKey::new("api", &[&number.to_string()]);
        for number in 0..MAX_REMEMBERED + 5 {
            assert_eq!(spent.counted(&key(number), rate, 1, at(0)), Ok(()));
        }
        assert_eq!(spent.0.len(), MAX_REMEMBERED);
        assert!(spent.counted(&key(0), rate, 2, at(1_000)).is_err());
        assert_eq!(spent.0.len(), 1);
    }

    proptest! {
        /// Processes that share a counter together do not exceed the limit in a window.
        #[test]
        fn processes_together_keep_the_limit(
            limit in 1_u32..20,
            seconds in 1_u32..5,
            requests in prop::collection::vec((0..4_usize, 0_i64..400), 1..200),
        ) {
            let (key, rate) = (RateKey::new("api", &["acme"]), rate(limit, seconds));
            let mut processes: [Spent; 4] = Default::default();
            let (mut counters, mut allowed) = (HashMap::<i64, u64>::new(), HashMap::<i64, u32>::new());
            let (mut now, mut calls_after) = (0, HashMap::<(usize, i64), u32>::new());
            for (process, later) in requests {
                now += later;
                let window = rate.window(at(now)).start;
                if processes[process].check(&key, rate, at(now)).is_err() {
                    prop_assert!(counters[&window] >= u64::from(limit), "nothing is refused early");
                    continue;
                }
                let count = counters.entry(window).or_default();
                *count += 1;
                match processes[process].counted(&key, rate, *count, at(now)) {
                    Ok(()) => *allowed.entry(window).or_default() += 1,
                    Err(_) => *calls_after.entry((process, window)).or_default() += 1,
                }
            }
            prop_assert!(allowed.values().all(|allowed| *allowed <= limit));
            prop_assert!(calls_after.values().all(|calls| *calls == 1), "a process asks once too often at most");
        }
    }
}
