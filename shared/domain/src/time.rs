//! Time is passed in, so that decisions can be tested.

use jiff::Timestamp;

/// The clock. `runtime::SystemClock` is the only implementation that reads the wall clock; tests use
/// their own.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// Formats a time for payloads: ISO 8601 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}
