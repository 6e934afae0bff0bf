//! Metrics in CloudWatch's embedded metric format: lines of the log, from which CloudWatch Logs makes metrics.
//!
//! Functions [`count`] and [`record`] values while they work, and [`flush`] writes one line for each invocation that
//! had any. A metric has no dimensions, because CloudWatch bills each combination of their values. Names of tenants
//! are in the lines of [`tenants`](crate::tenants), which make no metrics.

use std::io::{self, Write as _};
use std::sync::OnceLock;

use metrics::Unit;
use metrics_cloudwatch_embedded::{Builder, Collector};

use crate::Version;
use crate::config::environment;

/// A metric. `docs/use/metrics.md` has the same names and units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Deliveries that a receiver accepted.
    Delivered,
    /// Requests to receivers and attempts that failed before a request.
    Attempts,
    /// Attempts that failed.
    FailedAttempts,
    /// Deliveries whose last attempt failed.
    Exhausted,
    /// Deliveries that were parked because a breaker is open or the webhook is paused.
    Parked,
    /// Deliveries that wait: behind an earlier one, for a slot or turn at the receiver, or for the next day's budget.
    Waiting,
    /// The time from the commit of a change to the receiver's answer, of each accepted delivery.
    ArrivalTime,
    /// The number of the attempt with which a delivery arrived or was exhausted.
    AttemptNumber,
    /// Breakers that were opened.
    BreakersOpened,
    /// Breakers that were closed.
    BreakersClosed,
    /// Execution environments of deliver that started.
    ColdStarts,
    /// The time from the commit of the oldest event of a batch until its deliveries were sent.
    FanoutLag,
    /// Events that fan-out processed.
    Events,
    /// Deliveries that fan-out and render sent to the queues.
    DeliveriesMade,
    /// Records that went to stream-failures.
    MappingFailures,
    /// Records that fan-out returned to the stream.
    RecordsReturned,
    /// Records that were sent again, and whose stored content is gone.
    LostRecords,
    /// The age of the most overdue row that the sweep saw.
    OldestOverdue,
    /// Parked deliveries of the webhooks whose breaker was due.
    ParkedRows,
    /// Requests that the rate limit of a tenant or of an inbound webhook refused.
    ThrottledRequests,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 20] = [
        Self::Delivered,
        Self::Attempts,
        Self::FailedAttempts,
        Self::Exhausted,
        Self::Parked,
        Self::Waiting,
        Self::ArrivalTime,
        Self::AttemptNumber,
        Self::BreakersOpened,
        Self::BreakersClosed,
        Self::ColdStarts,
        Self::FanoutLag,
        Self::Events,
        Self::DeliveriesMade,
        Self::MappingFailures,
        Self::RecordsReturned,
        Self::LostRecords,
        Self::OldestOverdue,
        Self::ParkedRows,
        Self::ThrottledRequests,
    ];

    /// Returns the name in CloudWatch.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "Delivered",
            Self::Attempts => "Attempts",
            Self::FailedAttempts => "FailedAttempts",
            Self::Exhausted => "Exhausted",
            Self::Parked => "Parked",
            Self::Waiting => "Waiting",
            Self::ArrivalTime => "ArrivalTime",
            Self::AttemptNumber => "AttemptNumber",
            Self::BreakersOpened => "BreakersOpened",
            Self::BreakersClosed => "BreakersClosed",
            Self::ColdStarts => "ColdStarts",
            Self::FanoutLag => "FanoutLag",
            Self::Events => "Events",
            Self::DeliveriesMade => "DeliveriesMade",
            Self::MappingFailures => "MappingFailures",
            Self::RecordsReturned => "RecordsReturned",
            Self::LostRecords => "LostRecords",
            Self::OldestOverdue => "OldestOverdue",
            Self::ParkedRows => "ParkedRows",
            Self::ThrottledRequests => "ThrottledRequests",
        }
    }

    /// Returns the unit.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::ArrivalTime | Self::FanoutLag => Unit::Milliseconds,
            Self::OldestOverdue => Unit::Seconds,
            Self::Delivered
            | Self::Attempts
            | Self::FailedAttempts
            | Self::Exhausted
            | Self::Parked
            | Self::Waiting
            | Self::AttemptNumber
            | Self::BreakersOpened
            | Self::BreakersClosed
            | Self::ColdStarts
            | Self::Events
            | Self::DeliveriesMade
            | Self::MappingFailures
            | Self::RecordsReturned
            | Self::LostRecords
            | Self::ParkedRows
            | Self::ThrottledRequests => Unit::Count,
        }
    }
}

/// The collector of this process, and where it writes its lines.
static COLLECTOR: OnceLock<(&'static Collector, Output)> = OnceLock::new();

type Output = Box<dyn Fn(&[u8]) -> io::Result<()> + Send + Sync>;

/// Starts collecting for the namespace in `METRICS_NAMESPACE`. Without that variable nothing is collected.
pub(crate) fn init(version: Version) {
    if let Some(namespace) = environment("METRICS_NAMESPACE").filter(|namespace| !namespace.is_empty()) {
        init_into(version, &namespace, |lines| io::stdout().write_all(lines));
    }
}

/// Starts collecting for a namespace, with lines that go to `output`.
pub(crate) fn init_into(
    version: Version,
    namespace: &str,
    output: impl Fn(&[u8]) -> io::Result<()> + Send + Sync + 'static,
) {
    match Builder::new().cloudwatch_namespace(namespace.to_owned()).init() {
        Ok(collector) => {
            collector.set_property("version", version.to_string());
            describe();
            // `init` succeeds once in a process.
            COLLECTOR.set((collector, Box::new(output))).ok();
        }
        Err(error) => tracing::warn!(%error, "metrics are not collected"),
    }
}

/// Tells the collector the units.
fn describe() {
    for metric in Metric::ALL {
        metrics::describe_counter!(metric.name(), metric.unit(), "");
    }
}

/// Adds to a metric. Adding 0 does nothing.
pub fn count(metric: Metric, more: usize) {
    if more > 0 {
        metrics::counter!(metric.name()).increment(u64::try_from(more).unwrap_or(u64::MAX));
    }
}

/// Adds a value to a metric whose distribution matters. One line holds at most 100 values of a metric.
#[expect(clippy::cast_precision_loss, reason = "milliseconds and counts are far below 2^52")]
pub fn record(metric: Metric, value: u64) {
    metrics::histogram!(metric.name()).record(value as f64);
}

/// Writes the values since the last call as one line, if there are any.
pub fn flush() {
    let Some((collector, output)) = COLLECTOR.get() else { return };
    let mut line = Vec::new();
    let written = collector.flush(&mut line).and_then(|()| output(&line));
    if let Err(error) = written {
        tracing::warn!(%error, "metrics were not written");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The rows of the page's tables start with the name, the unit and the function. That of `watch` is in the template.
    #[test]
    fn the_page_has_the_same_metrics() {
        let page = include_str!("../../../docs/use/metrics.md");
        let documented: BTreeMap<&str, String> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
                let (name, unit, function) = (cells.next()?, cells.next()?, cells.next()?);
                (function != "watch").then(|| (name.trim_end_matches('`'), unit.to_lowercase()))
            })
            .collect();
        let known = Metric::ALL.into_iter().map(|metric| (metric.name(), metric.unit().as_str().to_owned()));
        let known: BTreeMap<&str, String> = known.collect();
        assert_eq!(known.len(), Metric::ALL.len(), "two metrics have the same name");
        assert_eq!(documented, known);
    }

    /// The collector of a process can be set once, so this is the one test that sets it.
    #[test]
    fn a_line_has_the_values_of_an_invocation_and_is_absent_without_any() {
        let collector = Builder::new().cloudwatch_namespace("Dynahook/test").init().unwrap();
        describe();
        let flushed = || {
            let mut line = Vec::new();
            collector.flush(&mut line).unwrap();
            String::from_utf8(line).unwrap()
        };
        count(Metric::Delivered, 0);
        assert_eq!(flushed(), "");
        count(Metric::Delivered, 2);
        count(Metric::Delivered, 1);
        (0..10).for_each(|value| record(Metric::ArrivalTime, value));
        let text = flushed();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["Delivered"], line["ArrivalTime"].as_array().unwrap().len()), (&3.into(), 10), "{text}");
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], serde_json::json!([[]]));
        let units = serde_json::json!([
            {"Name": "ArrivalTime", "Unit": "Milliseconds"}, {"Name": "Delivered", "Unit": "Count"},
        ]);
        assert_eq!(directive["Metrics"], units);
        assert_eq!(flushed(), "", "the values are gone");
    }
}
