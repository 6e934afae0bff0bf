//! How many requests a tenant may make of one execution environment, so that one tenant alone does not use all of it.

use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::problem::Problem;

/// A bucket for each tenant, in this execution environment; API Gateway's own throttle counts all of them.
#[derive(Debug)]
pub(crate) struct Limits(DefaultKeyedRateLimiter<String>);

impl Limits {
    /// Lets a tenant make `per_second` requests, and twice as many at once.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(per_second.saturating_add(per_second.get()));
        Self(RateLimiter::keyed(quota))
    }

    /// Takes one request of a tenant's.
    pub(crate) fn take(&self, tenant: &str) -> Result<(), Problem> {
        self.0.check_key(&tenant.to_owned()).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Problem::TooManyRequests(wait.as_secs() + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_asks_too_often_waits_and_the_others_do_not() {
        let limits = Limits::new(NonZeroU32::MIN);
        assert!(limits.take("acme").is_ok());
        assert!(limits.take("acme").is_ok());
        assert!(matches!(limits.take("acme"), Err(Problem::TooManyRequests(1 | 2))));
        assert!(limits.take("globex").is_ok());
    }
}
