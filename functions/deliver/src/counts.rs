//! Counts attempts for the webhooks' statistics: at once where a decision depends on the count, and otherwise later,
//! from the ledger's stream.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use domain::attempt::Attempt;
use domain::delivery::Delivery;
use domain::delivery::breaker::Observation;
use domain::id::WebhookId;
use domain::webhook::statistics::{Statistics, Tally};
use futures::future::join_all;

use crate::App;
use crate::attempt::{Done, Settled};
use crate::reaction::observe;

/// How long outcomes wait for the statistics. Without them, every attempt is counted at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the attempts of an invocation show about one webhook's receiver.
pub(crate) struct Receiver {
    pub(crate) webhook: WebhookId,
    pub(crate) tally: Tally,
    pub(crate) seen: Observation,
}

/// Returns what the attempts show about each receiver.
pub(crate) fn receivers(done: &[Done]) -> Vec<Receiver> {
    let mut attempts: BTreeMap<WebhookId, Vec<(&Attempt, bool, bool)>> = BTreeMap::new();
    let mut marks = BTreeMap::new();
    for done in done {
        if let Done::Settled(settled) = done
            && let Some(attempt) = &settled.attempt
        {
            let Settled { message, probe, marked_until, .. } = &**settled;
            marks.extend(marked_until.map(|until| (message.webhook, until)));
            attempts.entry(message.webhook).or_default().push((attempt, *probe, message.test));
        }
    }
    let receivers = attempts.into_iter().filter_map(|(webhook, attempts)| {
        let marked_until = marks.get(&webhook).copied();
        let seen = Observation { marked_until, ..observe(attempts.iter().copied()) };
        let mut attempts: Vec<_> = attempts.iter().map(|(attempt, _, test)| (*attempt, *test)).collect();
        Some(Receiver { webhook, tally: Tally::of(&mut attempts)?, seen })
    });
    receivers.collect()
}

/// Reads what was counted before, now and not when the batch was loaded: failures that other processes counted
/// meanwhile must end with the first success. `None` if that is not known.
pub(crate) async fn read(app: &App, receivers: &[Receiver]) -> Option<HashMap<WebhookId, Statistics>> {
    if receivers.is_empty() {
        return None;
    }
    let webhooks = receivers.iter().map(|receiver| receiver.webhook);
    match tokio::time::timeout(PATIENCE, app.registry.statistics(webhooks)).await {
        Ok(Ok(statistics)) => Some(statistics),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the statistics were not read; all attempts are counted at once");
            None
        }
        Err(_) => {
            tracing::warn!("the statistics were not read in time; all attempts are counted at once");
            None
        }
    }
}

/// Returns the webhooks whose attempts are counted from the ledger's stream, and the tallies to count at once.
///
/// Attempts are counted later if each of them is the row of a delivery that arrived and no failures are counted that an
/// arrival ends.
pub(crate) fn split(
    receivers: &[Receiver],
    before: Option<&HashMap<WebhookId, Statistics>>,
    arrived: &[Delivery],
) -> (BTreeSet<WebhookId>, Vec<(WebhookId, Tally)>) {
    let (mut later, mut at_once) = (BTreeSet::new(), Vec::new());
    for Receiver { webhook, tally, seen } in receivers {
        let statistics = before.map(|before| before.get(webhook).cloned().unwrap_or_default());
        let rows = arrived.iter().filter(|row| row.webhook == *webhook && !row.test).count();
        let all_arrived = rows == seen.attempts && u64::try_from(rows) == Ok(tally.calls) && seen.probe.is_none();
        match statistics {
            Some(statistics) if all_arrived && !statistics.is_failing() => {
                later.insert(*webhook);
            }
            Some(statistics) => at_once.push((*webhook, tally.clone().after(&statistics))),
            None => at_once.push((*webhook, tally.clone())),
        }
    }
    (later, at_once)
}

/// Counts attempts at once. Losing a count loses no delivery, so it is only logged.
pub(crate) async fn count(app: &App, tallies: &[(WebhookId, Tally)]) -> BTreeMap<WebhookId, Statistics> {
    let counts = tallies.iter().map(|(webhook, tally)| async move {
        match app.registry.count(*webhook, tally).await {
            Ok(statistics) => Some((*webhook, statistics)),
            Err(error) => {
                tracing::warn!(webhook.id = %webhook, %error, "attempts are missing in the webhook's statistics; their deliveries are not affected");
                None
            }
        }
    });
    join_all(counts).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
