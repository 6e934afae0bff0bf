//! The tables of `docs/use/cost.md`.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::functions::Name;
use crate::idle;
use crate::model::Pace;
use crate::price::{Parts, Prices, number, sum};
use crate::scenario::{Counts, Scenario};

const BEGIN: &str = "<!-- Written by `make cost`: do not edit. -->\n";
const END: &str = "<!-- The end of what `make cost` writes. -->\n";

/// How much the numbers of the page may differ from those that are counted, as a share and in absolute terms.
const TOLERANCE: (f64, f64) = (0.01, 0.011);

/// What is not the deployment's own: prices without it are shown too.
const TRAFFIC: &str = "traffic out";
const ARCHIVE: &str = "archive";

/// A scenario with its counts and prices.
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) counts: Counts,
    pub(crate) parts: Parts,
}

impl Case {
    fn part(&self, name: &str) -> f64 {
        self.parts.iter().filter(|(part, _)| *part == name).map(|(_, price)| price).sum()
    }

    fn own(&self) -> f64 {
        sum(&self.parts) - self.part(TRAFFIC) - self.part(ARCHIVE)
    }

    fn each(&self, count: impl Fn(&Counts) -> f64) -> f64 {
        count(&self.counts) / number(self.counts.deliveries)
    }
}

fn pace(pace: Pace) -> &'static str {
    match pace {
        Pace::Full => "full batches",
        Pace::TenASecond => "ten changes a second",
        Pace::Collected => "the same, collected for 1 s",
        Pace::OneAMinute => "one change a minute",
    }
}

/// Returns the tables.
pub(crate) fn tables(prices: &Prices, cases: &[Case], idle: &Parts) -> String {
    let Prices { date, region, architecture, .. } = prices;
    let kilobytes = cases[0].each(|counts| number(counts.body_bytes)) / 1000.0;
    let mut text = format!(
        "A million deliveries of {kilobytes:.1} KB, in US dollars at the list prices of {region} ({architecture}) on \
         {date}:\n\n"
    );
    text += "| | webhooks | total | traffic out | with traffic out | 30 days of archive |\n|---|---|---|---|---|---|\n";
    for case in cases {
        let (own, traffic) = (case.own(), case.part(TRAFFIC));
        let name = pace(case.scenario.pace);
        let all = own + traffic;
        let archive = case.part(ARCHIVE);
        writeln!(text, "| {name} | {} | {own:.2} | {traffic:.2} | {all:.2} | +{archive:.2} |", case.scenario.webhooks)
            .unwrap();
    }
    let single: Vec<&Case> = cases.iter().filter(|case| case.scenario.webhooks == 1).collect();
    let head: Vec<&str> = single.iter().map(|case| pace(case.scenario.pace)).collect();
    let lines = "---|".repeat(head.len() + 1);
    let head = head.join(" | ");
    writeln!(text, "\nThe parts, to one webhook:\n\n| | {head} |\n|{lines}").unwrap();
    for (name, _) in &single[0].parts {
        let row: Vec<String> = single.iter().map(|case| format!("{:.2}", case.part(name))).collect();
        writeln!(text, "| {name} | {} |", row.join(" | ")).unwrap();
    }
    writeln!(text, "\nWhat was counted for a delivery to one webhook, without the archive:\n\n| | {head} |\n|{lines}")
        .unwrap();
    for (name, count) in counted() {
        let row: Vec<String> = single.iter().map(|case| format!("{:.2}", case.each(count))).collect();
        writeln!(text, "| {name} | {} |", row.join(" | ")).unwrap();
    }
    let (metrics, queues) = (idle::alarm_metrics(), idle::queues(false) + idle::queues(true));
    writeln!(
        text,
        "\nA month without a delivery, with {metrics} metrics of alarms and {queues} queues:\n\n| | |\n|---|---|"
    )
    .unwrap();
    for (name, price) in idle {
        writeln!(text, "| {name} | {price:.2} |").unwrap();
    }
    writeln!(text, "| total | {:.2} |", sum(idle)).unwrap();
    let alarms = idle.iter().filter(|(name, _)| *name == idle::ALARMS).map(|(_, price)| price).sum::<f64>();
    writeln!(text, "| total without `AlarmTopicArn`, and so without alarms | {:.2} |", sum(idle) - alarms).unwrap();
    let free = prices.free("alarm_metrics") * prices.of("alarm_metric_month");
    writeln!(text, "| total, if no other alarm of the account uses the ten that are free | {:.2} |", sum(idle) - free)
        .unwrap();
    text
}

/// A count of something.
type Count = fn(&Counts) -> f64;

/// Returns what the page shows of a delivery, with its name.
fn counted() -> Vec<(&'static str, Count)> {
    fn bill<T>(counts: &Counts, of: impl Fn(&crate::functions::Bill) -> T) -> impl Iterator<Item = T> {
        [Name::Fanout, Name::Render, Name::Deliver, Name::Tally]
            .into_iter()
            .filter_map(move |name| counts.bills.get(&name).map(&of))
    }
    vec![
        ("invocations of fan-out", |counts| number(counts.bills[&Name::Fanout].invocations)),
        ("invocations of deliver", |counts| number(counts.bills[&Name::Deliver].invocations)),
        ("invocations of tally", |counts| number(counts.bills[&Name::Tally].invocations)),
        ("billed milliseconds", |counts| {
            bill(counts, |bill| number(usize::try_from(bill.milliseconds).unwrap())).sum()
        }),
        ("write units", |counts| {
            bill(counts, |bill| {
                let units = bill.usage.writes.iter().filter(|(table, _)| *table != "events");
                units.map(|(_, units)| units).sum::<f64>()
            })
            .sum()
        }),
        ("read units", |counts| bill(counts, |bill| bill.usage.reads.values().sum::<f64>()).sum()),
        ("requests to queues", |counts| {
            number(bill(counts, |bill| bill.usage.queue_requests).sum::<usize>() + counts.polled)
        }),
        ("bytes of logs", |counts| number(bill(counts, |bill| bill.log_bytes).sum::<usize>())),
        ("bytes of its row", |counts| number(counts.row_bytes)),
        ("bytes sent to the receiver", |counts| number(counts.sent_bytes)),
    ]
}

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/use/cost.md"))
}

/// Returns the page before its tables, the tables, and the rest.
fn split(page: &str) -> (&str, &str, &str) {
    let (before, rest) = page.split_once(BEGIN).expect("the page has the line with which its tables begin");
    let (tables, after) = rest.split_once(END).expect("the page has the line with which its tables end");
    (before, tables, after)
}

/// Writes the tables into the page.
pub(crate) fn write(tables: &str) {
    let page = std::fs::read_to_string(path()).unwrap();
    let (before, _, after) = split(&page);
    std::fs::write(path(), format!("{before}{BEGIN}\n{tables}\n{END}{after}")).unwrap();
}

/// Compares the tables with those of the page.
///
/// # Panics
///
/// If a number differs by more than the tolerance, or anything else differs.
pub(crate) fn check(tables: &str) {
    let page = std::fs::read_to_string(path()).unwrap();
    let differing = differences(split(&page).1.trim(), tables.trim());
    assert!(differing.is_empty(), "run `make cost`: docs/use/cost.md differs from what was counted:\n{differing}");
}

/// Returns the lines that differ.
fn differences(shown: &str, counted: &str) -> String {
    if shown.lines().count() != counted.lines().count() {
        return format!("the tables have other lines: {counted}");
    }
    let differ = |(shown, counted): &(&str, &str)| {
        let cells = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (shown, counted) = (cells(shown), cells(counted));
        shown.len() != counted.len() || shown.iter().zip(&counted).any(|(shown, counted)| !is_close(shown, counted))
    };
    let lines = shown.lines().zip(counted.lines()).filter(differ);
    lines.flat_map(|(shown, counted)| ["shown   ", shown, "\ncounted ", counted, "\n"]).collect()
}

fn is_close(shown: &str, counted: &str) -> bool {
    match (shown.parse::<f64>(), counted.parse::<f64>()) {
        (Ok(shown), Ok(counted)) => (shown - counted).abs() <= (counted * TOLERANCE.0).max(TOLERANCE.1),
        _ => shown == counted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_differ_by_a_percent_and_nothing_else_may() {
        assert_eq!(differences("| row | 1.00 | 400.00 |", "| row | 1.01 | 403.00 |"), "");
        for counted in
            ["| row | 1.02 | 400.00 |", "| row | 1.00 | 405.00 |", "| rows | 1.00 | 400.00 |", "| row | 1.00 |"]
        {
            assert_ne!(differences("| row | 1.00 | 400.00 |", counted), "", "{counted}");
        }
        assert_ne!(differences("a", "a\nb"), "");
    }
}
