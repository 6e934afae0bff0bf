//! How many requests a tenant may make, so that one tenant alone does not use all of the API.

use std::num::NonZeroU32;

use aws::registry::Rates;
use domain::access::rate::{Exceeded, Rate, RateKey};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;

use crate::problem::Problem;

/// The length of a window, in seconds: what is not used in one of them is lost, and a client's burst should fit into one.
const WINDOW_SECONDS: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// How many buckets may be in memory before full ones are dropped.
const MAX_BUCKETS: usize = 10_000;

/// A bucket for each tenant in this process, and behind it one counter for all processes. A flood ends at the first and costs no call.
#[derive(Debug)]
pub(crate) struct RequestLimits {
    local: DefaultKeyedRateLimiter<RateKey>,
    shared: Rates,
    rate: Rate,
}

impl RequestLimits {
    /// Lets a tenant make `per_second` requests, and twice as many at once.
    pub(crate) fn new(per_second: NonZeroU32, shared: Rates) -> Self {
        let limit = per_second.saturating_mul(WINDOW_SECONDS);
        let local = RateLimiter::keyed(Quota::per_second(per_second).allow_burst(limit));
        Self { local, shared, rate: Rate { limit, window_seconds: WINDOW_SECONDS } }
    }

    /// Takes one request of a caller.
    ///
    /// # Errors
    ///
    /// [`Problem::TooManyRequests`] if the caller, with all others of the key, has made too many.
    pub(crate) async fn take(&self, key: &RateKey, now: Timestamp) -> Result<(), Problem> {
        self.take_here(key)?;
        let taken = self.shared.take(key, self.rate, now).await;
        taken.map_err(|Exceeded { wait_seconds, .. }| Problem::TooManyRequests(wait_seconds))
    }

    fn take_here(&self, key: &RateKey) -> Result<(), Problem> {
        if self.local.len() > MAX_BUCKETS {
            self.local.retain_recent();
        }
        self.local.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Problem::TooManyRequests(wait.as_secs() + 1)
        })
    }
}
