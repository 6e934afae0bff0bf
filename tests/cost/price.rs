//! What counts cost, at the prices of `infra/prices.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::functions::{Bill, Name};
use crate::model;
use crate::scenario::{Counts, Scenario};

/// CloudWatch stores logs compressed.
const LOG_COMPRESSION: f64 = 0.15;

/// How many days logs are kept by default.
const LOG_DAYS: f64 = 30.0;

const GB: f64 = 1e9;

/// The table of prices.
#[derive(Debug, Deserialize)]
pub(crate) struct Prices {
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) architecture: String,
    dollars: BTreeMap<String, f64>,
    free_a_month: BTreeMap<String, f64>,
}

/// What something costs, by what it is for.
pub(crate) type Parts = Vec<(&'static str, f64)>;

impl Prices {
    /// Reads the table.
    pub(crate) fn read() -> Self {
        serde_json::from_str(include_str!("../../infra/prices.json")).unwrap()
    }

    pub(crate) fn of(&self, name: &str) -> f64 {
        self.dollars[name]
    }

    pub(crate) fn free(&self, name: &str) -> f64 {
        self.free_a_month[name]
    }

    /// Returns the price of a function's invocations, without what they call.
    pub(crate) fn compute(&self, name: Name, bill: &Bill) -> f64 {
        number(bill.invocations) * self.of("million_lambda_requests") / 1e6
            + milliseconds(bill) / 1000.0 * memory(name) * self.of("lambda_gb_second")
    }

    /// Returns the price of bytes of logs.
    pub(crate) fn log(&self, bytes: usize) -> f64 {
        let archived = LOG_COMPRESSION * LOG_DAYS / 30.0 * self.of("log_archived_gb_month");
        number(bytes) / GB * (self.of("log_gb") + archived)
    }

    pub(crate) fn units(&self, reads: f64, writes: f64) -> f64 {
        (reads * self.of("million_read_units") + writes * self.of("million_write_units")) / 1e6
    }

    fn stored(&self, bytes: usize, days: f64) -> f64 {
        number(bytes) / GB * (self.of("table_gb_month") + self.of("recovery_gb_month")) * days / 30.0
    }

    /// Returns the price of a million deliveries.
    pub(crate) fn million(&self, scenario: &Scenario, counts: &Counts) -> Parts {
        let bill = |name| counts.bills.get(&name).cloned().unwrap_or_default();
        let [mut fanout, render, deliver, tally] = [Name::Fanout, Name::Render, Name::Deliver, Name::Tally].map(bill);
        let made = self.compute(Name::Fanout, &fanout) + self.compute(Name::Render, &render);
        fanout.add(&render);
        let units = |bill: &Bill, is_wanted: fn(&str) -> bool| {
            let sum = |units: &BTreeMap<String, f64>| -> f64 {
                units.iter().filter(|(table, _)| is_wanted(table)).map(|(_, units)| units).sum()
            };
            (sum(&bill.usage.reads), sum(&bill.usage.writes))
        };
        let priced = |(reads, writes)| self.units(reads, writes);
        let queue = fanout.usage.queue_requests + deliver.usage.queue_requests + counts.polled;
        let secrets = fanout.usage.secrets + deliver.usage.secrets;
        assert_eq!(secrets, 0, "a warm process reads no secrets");
        let (row_reads, row_writes) = units(&deliver, |table| table == "deliveries");
        let (webhook_reads, webhook_writes) = units(&deliver, |table| table != "deliveries");
        let archive_days = f64::from(scenario.archive_days);
        let parts = [
            ("fan-out", made + priced(units(&fanout, |table| table == "registry"))),
            // Each message has a group, so that its queue is fair.
            ("queue", number(queue) * self.of("million_fair_sqs_requests") / 1e6),
            ("deliver", self.compute(Name::Deliver, &deliver)),
            ("rows: writes", self.units(0.0, row_writes)),
            ("rows: storage", self.stored(counts.row_bytes, f64::from(model::row_days()))),
            ("reads", self.units(row_reads + webhook_reads, webhook_writes)),
            ("statistics", self.compute(Name::Tally, &tally) + priced(units(&tally, |_| true))),
            ("logs", self.log(fanout.log_bytes + deliver.log_bytes + tally.log_bytes)),
            (
                "archive",
                priced(units(&fanout, |table| table == "events")) + self.stored(counts.archived_bytes, archive_days),
            ),
            ("traffic out", number(counts.sent_bytes) / GB * self.of("traffic_out_gb")),
        ];
        parts.map(|(name, price)| (name, price / number(counts.deliveries) * 1e6)).into()
    }
}

/// Returns the memory of a function, in GB: what the template says, or the default of its parameter.
fn memory(name: Name) -> f64 {
    let template = ::tests::cloud::template();
    let of = |resource: &str| &template["Resources"][resource]["Properties"]["MemorySize"];
    let set = of(match name {
        Name::Fanout => "FanoutFunction",
        Name::Render => "RenderFunction",
        Name::Deliver => "DeliverFunction",
        Name::Tally => "TallyFunction",
        Name::Sweep => "SweepFunction",
    });
    let parameter = set.as_str().map(|name| &template["Parameters"][name]["Default"]);
    let global = &template["Globals"]["Function"]["MemorySize"];
    let megabytes = parameter.unwrap_or(set).as_f64().or_else(|| global.as_f64());
    megabytes.expect("the template says how much memory a function has") / 1024.0
}

/// Returns the sum of prices.
pub(crate) fn sum(parts: &Parts) -> f64 {
    parts.iter().map(|(_, price)| price).sum()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn milliseconds(bill: &Bill) -> f64 {
    bill.milliseconds as f64
}
