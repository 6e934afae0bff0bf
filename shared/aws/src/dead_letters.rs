//! The exhausted queue: a dead letter for each exhausted delivery, and the event and the row that belong to it.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::access::tenant::TenantId;
use domain::delivery::dead_letter::DeadLetter;
use domain::delivery::message::Message;
use domain::event::Event;
use futures::future::join_all;
use jiff::Timestamp;

use crate::ledger::AttemptKey;
use crate::queue::{Outgoing, Receipt};
use crate::{Events, Ledger, Queue, StoreError};

/// The exhausted queue, with the tables that record that a dead letter was sent.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    queue: Queue,
    events: Events,
    ledger: Ledger,
}

/// A dead letter that was received.
#[derive(Debug)]
pub struct Letter {
    /// The message that starts the next cycle of the delivery.
    pub message: Message,
    receipt: Receipt,
}

impl DeadLetters {
    pub(crate) fn new(queue: Queue, events: Events, ledger: Ledger) -> Self {
        Self { queue, events, ledger }
    }

    /// Sends exhausted deliveries to the exhausted queue, and returns the result of each, in the same order. After a
    /// failure the row stays due and the sweep tries again; at worst there are two letters.
    ///
    /// The event is published first, then the letter is sent, and the row is written last: after that, no process looks
    /// at the delivery again. If the events of a tenant cannot be published, for example because its partitions are
    /// throttled, only its letters wait.
    pub async fn send(&self, dead_letters: &[DeadLetter], now: Timestamp) -> Vec<Result<(), StoreError>> {
        let mut of_tenants: BTreeMap<&TenantId, Vec<Event>> = BTreeMap::new();
        for dead_letter in dead_letters {
            of_tenants.entry(&dead_letter.message.tenant).or_default().extend(dead_letter.event());
        }
        let published = of_tenants.into_iter().map(|(tenant, events)| async move {
            let failed = self.events.publish(&events, now).await.err();
            Some((tenant, failed?.to_string()))
        });
        let failed: BTreeMap<_, _> = join_all(published).await.into_iter().flatten().collect();
        let why = |dead_letter: &DeadLetter| failed.get(&dead_letter.message.tenant);
        let (waiting, ready): (Vec<_>, Vec<_>) =
            dead_letters.iter().enumerate().partition(|(_, dead_letter)| why(dead_letter).is_some());
        let letters = ready.iter().map(|(_, dead_letter)| Outgoing {
            cause: Some(dead_letter.cause()),
            ..Outgoing::of(&dead_letter.letter(), Duration::ZERO)
        });
        let sent = self.queue.send(letters.collect()).await;
        let rows = ready.into_iter().zip(sent).map(|((index, dead_letter), sent)| async move {
            let DeadLetter { message, ended_at, .. } = dead_letter;
            let slot = AttemptKey::of(message);
            let written = match sent {
                Ok(()) => self.ledger.dead_letter_sent(slot, &message.tenant, *ended_at).await.map(|_| ()),
                Err(error) => Err(error),
            };
            (index, written)
        });
        let mut results: BTreeMap<usize, Result<(), StoreError>> = join_all(rows).await.into_iter().collect();
        results.extend(waiting.into_iter().map(|(index, dead_letter)| {
            (index, Err(StoreError::Unavailable(why(dead_letter).cloned().unwrap_or_default())))
        }));
        results.into_values().collect()
    }

    /// Receives up to ten letters and hides them for `hidden_for`. An empty result means that the queue has none to
    /// give now. A message that is not a letter is logged and stays in the queue.
    ///
    /// # Errors
    ///
    /// If the queue is unavailable.
    pub async fn receive(&self, hidden_for: Duration) -> Result<Vec<Letter>, StoreError> {
        let received = self.queue.receive(hidden_for).await?.into_iter();
        let letters = received.filter_map(|received| match Message::from_json(&received.body) {
            Ok(message) => Some(Letter { message, receipt: received.receipt }),
            Err(error) => {
                tracing::error!(%error, "a message in the exhausted queue is not a dead letter; it stays there");
                None
            }
        });
        Ok(letters.collect())
    }

    /// Deletes letters, and returns how many were deleted. The others are received again later.
    pub async fn remove(&self, letters: Vec<Letter>) -> usize {
        let removed = self.queue.delete(letters.into_iter().map(|letter| letter.receipt).collect()).await;
        for error in removed.iter().filter_map(|result| result.as_ref().err()) {
            tracing::warn!(%error, "a dead letter was not deleted; a later sweep tries again");
        }
        removed.iter().filter(|result| result.is_ok()).count()
    }
}
