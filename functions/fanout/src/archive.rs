//! Archives events in parallel with the deliveries: the archive may be slow or throttled, and no delivery waits for it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use aws::events::Archiving;
use domain::event::Event;
use domain::event::operational::{OPERATIONAL, PUBLISHED};
use futures::future::{Either, select};

use crate::App;
use crate::cache::{Cache, PATIENCE};
use crate::route::Mapped;

/// How long it may wait while the archive does not keep up.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);

/// Returns the events that are archived: those of tenants that have, or had, webhooks. A published one is in the table already.
pub(crate) fn wanted<'a>(app: &App, cache: &Cache, mapped: &'a BTreeMap<usize, Mapped>) -> Archiving<'a> {
    let has_webhooks = |event: &Event| cache.generations.get(&event.tenant).is_some_and(|generation| *generation > 0);
    let is_published = |event: &Event| event.source == PUBLISHED || event.source == OPERATIONAL;
    let events = mapped.values().flatten().flatten();
    Archiving::new(events.filter(|event| app.retention.is_some() && has_webhooks(event) && !is_published(event)))
}

/// Does the work and archives events in parallel, and for `patience` afterwards. Returns the result of the work, and the patience
/// for the next batch.
///
/// What is not archived then is missing in the archive, and nowhere else: deliveries have their bodies with them.
pub(crate) async fn alongside<T>(
    app: &App,
    mut archiving: Archiving<'_>,
    patience: Duration,
    work: impl Future<Output = T>,
) -> (T, Duration) {
    let Some(retention) = app.retention.filter(|_| archiving.left() > 0) else { return (work.await, patience) };
    let (now, events) = (app.clock.now(), archiving.left());
    let done = {
        let archive = pin!(app.events.archive(&mut archiving, now, now + retention));
        match select(archive, pin!(work)).await {
            Either::Left(((), work)) => work.await,
            Either::Right((done, archive)) => {
                // Whether it took longer shows in what is left.
                tokio::time::timeout(patience, archive).await.ok();
                done
            }
        }
    };
    let left = archiving.left();
    if left > 0 {
        let error = archiving.fault().map(ToString::to_string);
        tracing::error!(not_archived = left, events, error, "events are missing in the archive; no delivery is");
    }
    (done, next_patience(patience, left))
}

/// Returns how long the next batch may wait. A tenant whose partition of the archive is throttled has events in batch after
/// batch, and if each of them waited long the shard would fall behind: then patience ends quickly, and comes back slowly.
fn next_patience(patience: Duration, left: usize) -> Duration {
    if left > 0 { (patience / 4).max(LEAST_PATIENCE) } else { (patience * 2).min(PATIENCE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_within_four_batches_and_comes_back() {
        let mut patience = PATIENCE;
        let mut waited = Vec::new();
        for _ in 0..5 {
            waited.push(patience.as_millis());
            patience = next_patience(patience, 1);
        }
        assert_eq!(waited, [2000, 500, 125, 50, 50]);
        let back = (0..10).scan(patience, |patience, _| {
            *patience = next_patience(*patience, 0);
            Some(patience.as_millis())
        });
        assert_eq!(back.last(), Some(2000));
    }

    #[test]
    fn an_archive_that_fails_now_and_then_does_not_get_all_the_patience() {
        let mut patience = PATIENCE;
        let waits: Duration = (0..100)
            .map(|batch| {
                let waited = patience;
                patience = next_patience(patience, batch % 2);
                waited
            })
            .sum();
        assert!(waits < Duration::from_secs(20), "{waits:?} of 200 s");
    }
}
