//! Archives events in parallel with the deliveries, so that a slow or throttled archive does not delay them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use aws::events::Archiving;
use domain::event::Event;
use domain::event::operational::{OPERATIONAL, PUBLISHED};
use futures::future::{Either, select};
use tokio::time::Instant;

use crate::App;
use crate::cache::{Cache, PATIENCE};
use crate::route::Mapped;

/// The shortest time that a batch may wait, used while the archive does not keep up.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);

/// Returns the events to archive: those of tenants that have or had webhooks. Published events are in the table
/// already.
pub(crate) fn wanted<'a>(app: &App, cache: &Cache, mapped: &'a BTreeMap<usize, Mapped>) -> Archiving<'a> {
    let has_webhooks = |event: &Event| cache.generations.get(&event.tenant).is_some_and(|generation| *generation > 0);
    let is_published = |event: &Event| event.source == PUBLISHED || event.source == OPERATIONAL;
    let events = mapped.values().flatten().flatten();
    Archiving::new(events.filter(|event| app.retention.is_some() && has_webhooks(event) && !is_published(event)))
}

/// How long a batch may still wait for its archive. The groups of a batch share this time.
#[derive(Debug)]
pub(crate) struct Patience {
    /// The time that the batch had at its start.
    whole: Duration,
    left: Duration,
    /// How many events are not archived. `None` if no group had any to archive.
    not_archived: Option<usize>,
}

impl Patience {
    pub(crate) fn new(whole: Duration) -> Self {
        Self { whole, left: whole, not_archived: None }
    }

    fn spend(&mut self, waited: Duration, not_archived: usize) {
        self.left = self.left.saturating_sub(waited);
        self.not_archived = Some(self.not_archived.unwrap_or_default() + not_archived);
    }

    /// Returns how long the next batch may wait.
    pub(crate) fn of_next_batch(&self) -> Duration {
        self.not_archived.map_or(self.whole, |left| next_patience(self.whole, left))
    }
}

/// Does the work and archives events in parallel, then waits for the archive as long as the batch still may. Returns
/// the result of the work.
///
/// Events that are not archived by then are missing from the archive only, because deliveries carry their bodies.
pub(crate) async fn alongside<T>(
    app: &App,
    mut archiving: Archiving<'_>,
    patience: &mut Patience,
    work: impl Future<Output = T>,
) -> T {
    let Some(retention) = app.retention.filter(|_| archiving.left() > 0) else { return work.await };
    let (now, events) = (app.clock.now(), archiving.left());
    let (done, waited) = {
        let archive = pin!(app.events.archive(&mut archiving, now, now + retention));
        match select(archive, pin!(work)).await {
            Either::Left(((), work)) => (work.await, Duration::ZERO),
            Either::Right((done, archive)) => {
                let waits_from = Instant::now();
                // A timeout shows in the number of events that are left.
                tokio::time::timeout(patience.left, archive).await.ok();
                (done, waits_from.elapsed())
            }
        }
    };
    let left = archiving.left();
    if left > 0 {
        let error = archiving.fault().map(ToString::to_string);
        tracing::error!(not_archived = left, events, error, "events were not archived; no delivery is affected");
    }
    patience.spend(waited, left);
    done
}

/// Returns how long the next batch may wait. A tenant whose partition of the archive is throttled has events in batch
/// after batch. If each of them waited long, the shard would fall behind, so the time shrinks quickly and grows again
/// slowly.
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

    /// Groups share the time of their batch. An event that is missing in any of them shortens the time of the next
    /// batch.
    #[test]
    fn the_groups_of_a_batch_have_one_patience() {
        let mut patience = Patience::new(PATIENCE);
        assert_eq!(patience.of_next_batch(), PATIENCE, "there was nothing to archive");
        let mut waited = Duration::ZERO;
        for not_archived in [0, 3, 0, 0] {
            // An archive that takes longer is not waited for.
            let waits = Duration::from_millis(1500).min(patience.left);
            waited += waits;
            patience.spend(waits, not_archived);
        }
        assert_eq!(waited, PATIENCE);
        assert_eq!(patience.of_next_batch(), PATIENCE / 4, "one step for the batch, however many groups it has");
        let mut patience = Patience::new(PATIENCE / 4);
        patience.spend(Duration::ZERO, 0);
        assert_eq!(patience.of_next_batch(), PATIENCE / 2);
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
