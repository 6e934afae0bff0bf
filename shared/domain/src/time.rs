//! Time is passed in, so that decisions can be tested.

use std::time::Duration;

use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

/// The clock. `runtime::SystemClock` is the only implementation that reads the wall clock; tests use
/// their own.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// Returns the time after a wait, in whole milliseconds, as tables keep it: rounded up, so that it is not before the wait
/// has passed.
#[must_use]
pub fn after(now: Timestamp, wait: Duration) -> Timestamp {
    let milliseconds = TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Ceil);
    let at = now + wait;
    // Fails only at the end of all time.
    at.round(milliseconds).unwrap_or(at)
}

/// Returns whole seconds, rounded up: so long that a wait of that many is not too short.
#[must_use]
pub fn seconds_up(wait: SignedDuration) -> i64 {
    wait.as_secs().saturating_add(i64::from(wait.subsec_nanos() > 0))
}

/// Formats a time for payloads: ISO 8601 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_is_never_too_short(now in 0..4_000_000_000_000_000_000_i128, nanoseconds in 0..100_000_000_000_000_u64) {
            let (now, wait) = (Timestamp::from_nanosecond(now).unwrap(), Duration::from_nanos(nanoseconds));
            let at = after(now, wait);
            prop_assert!(at >= now + wait && at < now + wait + Duration::from_millis(1));
            prop_assert_eq!(Timestamp::from_millisecond(at.as_millisecond()).unwrap(), at);
            let seconds = Duration::from_secs(seconds_up(wait.try_into().unwrap()).try_into().unwrap());
            prop_assert!(seconds >= wait && seconds < wait + Duration::from_secs(1));
        }
    }
}
