//! What deliveries cost: changes run through the real functions, which are metered and priced.
//!
//! `make cost` writes the result into `docs/use/cost.md`, and `make test` compares it with that page. The counts rest on
//! assumptions about time and about Lambda, which are in [`model`].
#![expect(clippy::unwrap_used, reason = "a test that cannot continue panics")]
#![expect(clippy::disallowed_methods, reason = "the tests read the environment themselves")]

mod functions;
mod idle;
mod model;
mod page;
mod price;
mod scenario;

use functions::Log;
use model::Pace;
use page::Case;
use price::Prices;
use scenario::Scenario;

/// For how many days events are archived, where they are.
const ARCHIVE_DAYS: u8 = 30;

/// The scenarios. As many changes fill the largest batches of tally in each shard; more change no count.
const SCENARIOS: [(Pace, u128, usize); 8] = [
    (Pace::Full, 1, 4_500),
    (Pace::Full, 10, 100),
    (Pace::TenASecond, 1, 600),
    (Pace::TenASecond, 10, 60),
    (Pace::Collected, 1, 600),
    (Pace::Collected, 10, 60),
    (Pace::OneAMinute, 1, 60),
    (Pace::OneAMinute, 10, 30),
];

#[tokio::test(start_paused = true)]
async fn the_page_shows_what_deliveries_cost() {
    let log = Log::default();
    let version = runtime::Version { number: "0.1.0", commit: "0123456789ab" };
    runtime::telemetry::init_into(version, "Dynahook/dynahook", log.clone());
    let prices = Prices::read();
    let mut cases = Vec::new();
    for (pace, webhooks, changes) in SCENARIOS {
        let scenario = Scenario { pace, webhooks, archive_days: ARCHIVE_DAYS, changes };
        let counts = Box::pin(scenario.run(&log)).await;
        let parts = prices.million(&scenario, &counts);
        cases.push(Case { scenario, counts, parts });
    }
    let tables = page::tables(&prices, &cases, &Box::pin(idle::month(&prices, &log)).await);
    if std::env::var("COST").is_ok_and(|mode| mode == "write") {
        page::write(&tables);
    } else {
        page::check(&tables);
    }
    Box::pin(the_archive_changes_nothing_else(&prices, &log)).await;
}

/// The page shows the price of the archive as an addition.
async fn the_archive_changes_nothing_else(prices: &Prices, log: &Log) {
    let mut others = Vec::new();
    for archive_days in [0, ARCHIVE_DAYS] {
        let scenario = Scenario { pace: Pace::Full, webhooks: 1, archive_days, changes: 100 };
        let parts = prices.million(&scenario, &Box::pin(scenario.run(log)).await);
        let is_other =
            |(name, price): &(&'static str, f64)| (*name != "archive").then(|| (*name, (price * 1e3).round()));
        others.push(parts.iter().filter_map(is_other).collect::<Vec<_>>());
    }
    assert_eq!(others[0], others[1]);
}
