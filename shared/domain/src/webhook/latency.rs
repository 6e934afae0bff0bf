//! How long deliveries take: histograms from which percentiles are estimated.
//!
//! A histogram counts times in buckets whose width grows with the time, eight for each power of two. Counts can be
//! added up in any order, in memory and in the store, and a percentile of the sum is off by at most 6.25 %.

use histogram::{Config, Histogram};
use jiff::Timestamp;

use super::hours::Hour;

/// Eight buckets for each power of two, up to 2³² milliseconds, which are 49 days. Changing it is a migration: the
/// numbers of the buckets are stored.
const CONFIG: Config = match Config::new(3, 32) {
    Ok(config) => config,
    Err(_) => panic!("an invalid configuration"),
};

/// The longest time that is distinguished, in milliseconds. Longer ones are counted with it.
const LONGEST_MS: u64 = u32::MAX as u64;

/// How many times there were, by their length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times(Histogram);

/// Percentiles of times, in milliseconds, off by at most 6.25 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// Half of the times are shorter, or as long.
    pub p50: u64,
    /// 90 % of the times are shorter, or as long.
    pub p90: u64,
    /// 99 % of the times are shorter, or as long.
    pub p99: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::with_config(&CONFIG))
    }
}

impl Times {
    /// Counts a time, in milliseconds.
    pub fn record(&mut self, milliseconds: u64) {
        // A time of at most the longest has a bucket.
        let _ = self.0.increment(milliseconds.min(LONGEST_MS));
    }

    /// Adds the count of a bucket. A bucket that does not exist is ignored.
    pub fn add(&mut self, bucket: usize, count: u64) {
        if let Some(before) = self.0.as_mut_slice().get_mut(bucket) {
            *before = before.saturating_add(count);
        }
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.buckets() {
            self.add(bucket, count);
        }
    }

    /// Returns the buckets that have counts, with these.
    pub fn buckets(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.0.as_slice().iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// Returns how many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets().fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// Returns percentiles: the middle of the bucket that each is in. `None` if nothing was counted.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let middle = |quantile| {
            let bucket = self.0.quantile_bucket(quantile).ok().flatten()?;
            Some(bucket.start() + (bucket.end() - bucket.start()) / 2)
        };
        Some(Percentiles { p50: middle(0.5)?, p90: middle(0.9)?, p99: middle(0.99)? })
    }
}

/// How long a delivery took that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// When the attempt that arrived was made.
    pub at: Timestamp,
    /// The time from the event to its arrival, in milliseconds.
    pub lateness_ms: u64,
    /// How long that attempt took, in milliseconds.
    pub duration_ms: u64,
}

impl Latency {
    /// Returns the hour that it is counted in.
    #[must_use]
    pub fn hour(&self) -> Hour {
        Hour::of(self.at)
    }
}

/// How long deliveries took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// The times from the event to its arrival.
    pub lateness: Times,
    /// The durations of the attempts that arrived.
    pub duration: Times,
}

impl Latencies {
    /// Counts a delivery.
    pub fn record(&mut self, latency: &Latency) {
        self.lateness.record(latency.lateness_ms);
        self.duration.record(latency.duration_ms);
    }

    /// Adds the counts of others.
    pub fn merge(&mut self, other: &Self) {
        self.lateness.merge(&other.lateness);
        self.duration.merge(&other.duration);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[u64]) -> Times {
        let mut all = Times::default();
        for time in times {
            all.record(*time);
        }
        all
    }

    /// Returns the time that this share of them does not exceed.
    fn exact(times: &[u64], percent: usize) -> u64 {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted[(times.len() * percent).div_ceil(100).max(1) - 1]
    }

    /// Times of all magnitudes, up to 30 days.
    fn time() -> impl Strategy<Value = u64> {
        (0_u32..32, any::<u64>()).prop_map(|(bits, noise)| (noise & ((1 << bits) - 1)).min(30 * 86_400_000))
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!((Times::default().percentiles(), Times::default().count()), (None, 0));
    }

    #[test]
    fn short_times_are_exact() {
        let times: Vec<u64> = (0..16).collect();
        assert_eq!(of(&times).percentiles(), Some(Percentiles { p50: 7, p90: 14, p99: 15 }));
    }

    #[test]
    fn the_longest_time_has_a_bucket_and_an_unknown_bucket_none() {
        let mut times = of(&[u64::MAX, LONGEST_MS]);
        assert_eq!(times.buckets().collect::<Vec<_>>(), [(239, 2)]);
        times.add(240, 5);
        assert_eq!(times.count(), 2);
    }

    #[test]
    fn buckets_are_those_that_are_stored() {
        let numbers = |times: &[u64]| of(times).buckets().map(|(bucket, _)| bucket).collect::<Vec<_>>();
        assert_eq!(numbers(&[0, 15, 16, 18, 300, 86_400_000]), [0, 15, 16, 17, 49, 194]);
    }

    proptest! {
        #[test]
        fn percentiles_are_off_by_a_sixteenth_at_most(times in proptest::collection::vec(time(), 1..200)) {
            let found = of(&times).percentiles().unwrap();
            for (estimate, percent) in [(found.p50, 50), (found.p90, 90), (found.p99, 99)] {
                let exact = exact(&times, percent);
                prop_assert!(estimate.abs_diff(exact) * 16 <= exact, "p{percent}: {estimate} for {exact}");
            }
        }

        #[test]
        fn merged_is_as_if_all_were_counted_together(
            one in proptest::collection::vec(time(), 0..50),
            other in proptest::collection::vec(time(), 0..50),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(merged.count(), u64::try_from(one.len() + other.len()).unwrap());
            prop_assert_eq!(merged, of(&[one, other].concat()));
        }

        #[test]
        fn buckets_are_the_whole_of_it(times in proptest::collection::vec(time(), 0..50)) {
            let mut read = Times::default();
            for (bucket, count) in of(&times).buckets() {
                read.add(bucket, count);
            }
            prop_assert_eq!(read, of(&times));
        }
    }
}
