//! Decides how long a process waits for a receiver before the other deliveries to it change queues, and before the
//! process stops waiting itself.
//!
//! An invocation lasts as long as its slowest request, so a receiver that hangs would soon occupy every process. The
//! first process whose request waits longer than the receiver's patience marks the receiver as slow and keeps waiting.
//! From then on, other processes move deliveries to this receiver to the queue of slow receivers without a request.
//! Processes whose requests already wait go on for [`GRACE`]. If the mark is still there then, they leave their requests
//! and move the deliveries, too. So one process waits to the end, whose request shows what has become of the receiver:
//!
//! - It answers: the mark is removed, and the receiver's patience grows, so that such an answer marks it no more.
//! - It does not: the receiver stays marked for [`SLOW_FOR`].
//!
//! A hang therefore occupies other processes for about twice as long as usual answers do, and for a second at least.

use std::time::Duration;

use jiff::Timestamp;

use crate::time::after;

/// Response time above which a receiver counts as slow. Its deliveries then use a queue of their own.
pub const SLOW: Duration = Duration::from_secs(5);

/// How long a receiver stays marked as slow.
pub const SLOW_FOR: Duration = Duration::from_mins(10);

/// The patience with a receiver whose answers have never taken longer. It is a trade: a longer one lets more processes
/// send requests to a receiver that hangs, and a shorter one marks more receivers that answer after all.
pub const FIRST_PATIENCE: Duration = Duration::from_millis(250);

/// How long a request goes on after another process has marked its receiver. Leaving a request can make the receiver
/// process an event twice, so the receiver gets at least a second in all.
pub const GRACE: Duration = Duration::from_millis(750);

/// How long a learned patience is kept after an answer that shows that it is needed. While it is not known, a slow
/// receiver of several events at once may get one of them twice, so it is kept from one day's events to the next.
pub const PATIENT_FOR: Duration = Duration::from_hours(36);

/// How long a patience is kept at least before answers that need much less of it reduce it.
const SETTLED: Duration = Duration::from_hours(1);

/// How much the patience may grow at once, so that a single slow answer does not raise it to its limit.
const GROWTH: u32 = 4;

/// The patience that a receiver's answers have shown to be needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long a request waits before its process marks the receiver.
    pub wait: Duration,
    /// Until when this is kept.
    pub until: Timestamp,
}

/// What a request does after its process could not mark the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It goes on until it has waited that long. Then its process tries again.
    Wait(Duration),
    /// It ends, and its delivery moves to the queue of slow receivers.
    Leave,
}

/// Returns how long a request waits before its process marks the receiver.
#[must_use]
pub fn patience(learned: Option<Patience>, now: Timestamp) -> Duration {
    let current = learned.filter(|learned| learned.until > now);
    current.map_or(FIRST_PATIENCE, |learned| learned.wait).clamp(FIRST_PATIENCE, SLOW)
}

/// Returns what a request does that has `waited` so long and whose process could not mark the receiver, given what the
/// row says: another process has marked the receiver, or has learned more patience.
#[must_use]
pub fn after_refusal(
    learned: Option<Patience>,
    slow_until: Option<Timestamp>,
    waited: Duration,
    now: Timestamp,
) -> Refused {
    let patience = patience(learned, now);
    let is_marked = slow_until.is_some_and(|until| until > now);
    match if is_marked { patience + GRACE } else { patience } {
        until if waited < until => Refused::Wait(until),
        _ if is_marked => Refused::Leave,
        // The row explains no refusal, so the next try should succeed.
        _ => Refused::Wait(waited + GRACE),
    }
}

/// Returns the patience after a response that `took` longer than the patience so far: twice that time, within limits.
#[must_use]
pub fn learn(learned: Option<Patience>, took: Duration, now: Timestamp) -> Patience {
    let before = patience(learned, now);
    let wait = took.saturating_mul(2).min(before * GROWTH).clamp(before, SLOW);
    Patience { wait, until: after(now, PATIENT_FOR) }
}

/// Returns the patience to keep if it would end soon and a response that `took` so long shows that it is still needed, or
/// if less than a quarter of it was needed. It falls by half at most, so that it follows a receiver that becomes faster.
#[must_use]
pub fn renew(learned: Option<Patience>, took: Duration, now: Timestamp) -> Option<Patience> {
    let learned = learned.filter(|learned| learned.until > now)?;
    let is_older_than = |age| learned.until <= after(now, PATIENT_FOR.saturating_sub(age));
    let is_needed = took >= FIRST_PATIENCE && is_older_than(PATIENT_FOR / 2);
    let is_too_much = took.saturating_mul(4) < learned.wait && learned.wait > FIRST_PATIENCE && is_older_than(SETTLED);
    let wait = took.saturating_mul(2).clamp(learned.wait / 2, learned.wait).max(FIRST_PATIENCE);
    (is_needed || is_too_much).then(|| Patience { wait, until: after(now, PATIENT_FOR) })
}

#[cfg(test)]
mod tests;
