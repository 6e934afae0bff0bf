//! What a month without a delivery costs: what the template has, and what the sweep does when nothing is due.

use tests::cloud::template;

use crate::functions::{Functions, Log, Name};
use crate::price::{Parts, Prices, number};

/// The name of the part that alarms cost.
pub(crate) const ALARMS: &str = "metrics of alarms";

/// The minutes of a month.
const MINUTES: f64 = 43_800.0;

/// Five polls of a queue wait 20 seconds each.
const POLLS: f64 = MINUTES * 15.0;

/// A run of the watch takes a second of 256 MB.
const WATCH_GB_SECONDS: f64 = 0.25;

/// Returns the price of a month.
pub(crate) async fn month(prices: &Prices, log: &Log) -> Parts {
    let mut functions = Functions::start(log, 1, 0).await;
    functions.start_counting();
    functions.sweep(0).await;
    let run = &functions.bills[&Name::Sweep];
    let reads: f64 = run.usage.reads.values().sum();
    let writes: f64 = run.usage.writes.values().sum();
    let sweep = prices.compute(Name::Sweep, run) + prices.units(reads, writes) + prices.log(run.log_bytes);
    let sweep_requests = number(run.usage.queue_requests) * MINUTES;
    // The free requests are taken off the price of most of them.
    let standard = number(queues(false)) * POLLS + sweep_requests - prices.free("sqs_requests");
    let polls = standard.max(0.0) * prices.of("million_sqs_requests")
        + number(queues(true)) * POLLS * prices.of("million_fifo_sqs_requests");
    let watch = prices.of("million_lambda_requests") / 1e6 + WATCH_GB_SECONDS * prices.of("lambda_gb_second");
    vec![
        (ALARMS, number(alarm_metrics()) * prices.of("alarm_metric_month")),
        ("the fingerprint key", prices.of("secret_month")),
        ("polls of queues", polls / 1e6),
        ("the sweep", sweep * MINUTES),
        ("the watch", watch * MINUTES / 5.0),
    ]
}

/// Returns how many metrics the alarms watch. CloudWatch bills each.
pub(crate) fn alarm_metrics() -> usize {
    let of = |alarm: &serde_json::Value| {
        let metrics = alarm["Properties"]["Metrics"].as_array();
        metrics.map_or(1, |metrics| metrics.iter().filter(|metric| metric["MetricStat"].is_object()).count())
    };
    resources("AWS::CloudWatch::Alarm").map(of).sum()
}

/// Returns how many queues Lambda polls, of those that keep an order or of the others.
pub(crate) fn queues(in_order: bool) -> usize {
    let is_queue = |mapping: &&serde_json::Value| {
        let source = mapping["Properties"]["EventSourceArn"].as_str().and_then(|source| source.strip_suffix(".Arn"));
        let queue = source.map(|source| &template()["Resources"][source]);
        queue.is_some_and(|queue| {
            queue["Type"] == "AWS::SQS::Queue"
                && queue["Properties"]["FifoQueue"].as_bool().unwrap_or(false) == in_order
        })
    };
    resources("AWS::Lambda::EventSourceMapping").filter(is_queue).count()
}

fn resources(kind: &str) -> impl Iterator<Item = &'static serde_json::Value> {
    let all = template()["Resources"].as_object().unwrap();
    all.values().filter(move |resource| resource["Type"] == kind)
}
