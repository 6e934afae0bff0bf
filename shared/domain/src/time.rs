//! The clock, as something that is passed in.

use jiff::Timestamp;

/// Tells the time. The one port of this project: `runtime::SystemClock` is the only implementation that reads the wall
/// clock, so that a test decides what time it is.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// Returns a time as payloads show it: ISO 8601 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}
