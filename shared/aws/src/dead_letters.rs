//! The exhausted queue: a dead letter for each exhausted delivery, and the event and the row that belong to it.

use domain::delivery::dead_letter::DeadLetter;
use domain::delivery::message::Message;
use domain::event::Event;
use futures::future::join_all;
use jiff::Timestamp;
use std::time::Duration;

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
    /// at the delivery again.
    pub async fn send(&self, dead_letters: &[DeadLetter], now: Timestamp) -> Vec<Result<(), StoreError>> {
        let events: Vec<Event> = dead_letters.iter().filter_map(DeadLetter::event).collect();
        if let Err(error) = self.events.publish(&events, now).await {
            let why = error.to_string();
            return dead_letters.iter().map(|_| Err(StoreError::Unavailable(why.clone()))).collect();
        }
        let letters = dead_letters.iter().map(|dead_letter| Outgoing {
            cause: Some(dead_letter.cause()),
            ..Outgoing::of(&dead_letter.letter(), Duration::ZERO)
        });
        let sent = self.queue.send(letters.collect()).await;
        let rows = dead_letters.iter().zip(sent).map(|(dead_letter, sent)| async move {
            sent?;
            let DeadLetter { message, ended_at, .. } = dead_letter;
            self.ledger.dead_letter_sent(AttemptKey::of(message), &message.tenant, *ended_at).await.map(|_| ())
        });
        join_all(rows).await
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
