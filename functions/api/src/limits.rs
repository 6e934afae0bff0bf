//! The rate limit of requests, so that no tenant uses up the API's capacity.

use std::num::NonZeroU32;

use aws::registry::Rates;
use domain::access::rate::{Exceeded, Rate, RateKey};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;

use crate::problem::Problem;

/// The length of a window, in seconds. Requests that are not used within a window are lost, so a client's burst should
/// fit into one.
const WINDOW_SECONDS: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// What is limited.
const REQUESTS: &str = "requests";

/// The number of buckets in memory above which full ones are dropped.
const MAX_BUCKETS: usize = 10_000;

/// The rate limit of each key: a bucket in this process, and then a counter for all processes. The bucket refuses a
/// flood without a call.
#[derive(Debug)]
pub(crate) struct RequestLimits {
    local: DefaultKeyedRateLimiter<RateKey>,
    shared: Rates,
    rate: Rate,
}

impl RequestLimits {
    /// Allows `per_second` requests for each key, and twice as many at once.
    pub(crate) fn new(per_second: NonZeroU32, shared: Rates) -> Self {
        let limit = per_second.saturating_mul(WINDOW_SECONDS);
        let local = RateLimiter::keyed(Quota::per_second(per_second).allow_burst(limit));
        Self { local, shared, rate: Rate { limit, window_seconds: WINDOW_SECONDS } }
    }

    /// Counts a request that costs as much as `cost` ordinary ones, or as much as is allowed at once.
    ///
    /// # Errors
    ///
    /// [`Problem::TooManyRequests`] if all callers with this key together have made too many.
    pub(crate) async fn take(&self, key: &RateKey, cost: NonZeroU32, now: Timestamp) -> Result<(), Problem> {
        let cost = cost.min(self.rate.limit);
        self.take_here(key, cost)?;
        let taken = self.shared.take_many(key, cost.get(), self.rate, now).await;
        taken.map_err(Problem::exceeds(REQUESTS))
    }

    fn take_here(&self, key: &RateKey, cost: NonZeroU32) -> Result<(), Problem> {
        if self.local.len() > MAX_BUCKETS {
            self.local.retain_recent();
        }
        // A cost above the bucket's size, which `take` rules out, would never be allowed.
        let checked = self.local.check_key_n(key, cost).unwrap_or(Ok(()));
        checked.map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let Rate { limit, window_seconds } = self.rate;
            Problem::exceeds(REQUESTS)(Exceeded { limit, window_seconds, wait_seconds: wait.as_secs() + 1 })
        })
    }
}
