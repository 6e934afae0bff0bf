//! Measures attempts and outcomes, once they are written.

use std::sync::{Mutex, PoisonError};

use domain::attempt::Attempt;
use domain::attempt::outcome::Verdict;
use domain::delivery::message::Message;
use domain::delivery::{Delivery, Progress, State};
use jiff::Timestamp;
use runtime::metrics::{self, Metric};
use runtime::tenants::TenantCounts;

/// Failed attempts by tenant.
pub(crate) type Failures = Mutex<TenantCounts>;

/// Measures a delivery that its first attempt ended.
pub(crate) fn delivered(row: &Delivery) {
    let (event, last) = (row.event.timestamp(), row.attempts.last());
    let measured = Measured { event, tenant: row.tenant.as_str(), test: row.test, cycle: row.progress.cycle };
    if let Some(attempt) = last {
        measured.settled(None, Some(attempt), &row.progress);
    }
}

/// Measures what was written for a message. A delivery that was put off because of a fault of ours is not measured: its
/// line in the log has the level `ERROR`, which has a metric of its own.
pub(crate) fn written(failures: &Failures, message: &Message, attempt: Option<&Attempt>, progress: &Progress) {
    let Message { tenant, test, cycle, .. } = message;
    let measured = Measured { event: message.event.timestamp(), tenant: tenant.as_str(), test: *test, cycle: *cycle };
    measured.settled(Some(failures), attempt, progress);
}

/// Measures deliveries that wait for a free slot or behind an earlier one of their entity.
pub(crate) fn waiting(deliveries: usize) {
    metrics::count(Metric::Waiting, deliveries);
}

/// Logs the tenants whose attempts failed, and writes the metrics of the invocation.
pub(crate) fn flush(failures: &Failures, now: Timestamp) {
    for (tenant, failed_attempts) in failures.lock().unwrap_or_else(PoisonError::into_inner).due(now) {
        tracing::info!(tenant, failed_attempts, "attempts of a tenant failed");
    }
    metrics::flush();
}

/// What is known about a delivery that was attempted.
struct Measured<'a> {
    /// When the change was committed, or the event published.
    event: Timestamp,
    tenant: &'a str,
    test: bool,
    cycle: u32,
}

impl Measured<'_> {
    /// Tests are not measured: they say nothing about whether events arrive.
    fn settled(&self, failures: Option<&Failures>, attempt: Option<&Attempt>, progress: &Progress) {
        if self.test {
            return;
        }
        if let Some(attempt) = attempt {
            self.attempted(failures, attempt);
        }
        match progress.state {
            State::Delivered => metrics::count(Metric::Delivered, 1),
            State::Exhausted => metrics::count(Metric::Exhausted, 1),
            State::Parked => metrics::count(Metric::Parked, 1),
            State::Pending | State::Held => metrics::count(Metric::Waiting, 1),
            State::Retrying | State::Cancelled | State::Failed => {}
        }
        if let Some(attempt) = attempt
            && matches!(progress.state, State::Delivered | State::Exhausted)
        {
            metrics::record(Metric::AttemptNumber, u64::from(attempt.number));
        }
    }

    fn attempted(&self, failures: Option<&Failures>, attempt: &Attempt) {
        let outcome = &attempt.outcome;
        metrics::count(Metric::Attempts, 1);
        if outcome.arrived() && self.cycle == 0 {
            let arrived = attempt.at.as_millisecond() + i64::from(outcome.duration_ms);
            let late = arrived - self.event.as_millisecond();
            // The clocks that measure the two may differ.
            metrics::record(Metric::ArrivalTime, u64::try_from(late).unwrap_or(0));
        }
        if outcome.verdict != Verdict::Accepted {
            metrics::count(Metric::FailedAttempts, 1);
            if let Some(failures) = failures {
                failures.lock().unwrap_or_else(PoisonError::into_inner).add(self.tenant, 1);
            }
        }
    }
}
