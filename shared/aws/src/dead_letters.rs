//! The dead letter queue: a letter for each exhausted delivery, with the event and the row that go with it.

use domain::delivery::dead_letter::DeadLetter;
use domain::delivery::message::Message;
use domain::event::Event;
use futures::future::join_all;
use jiff::Timestamp;
use std::time::Duration;

use crate::ledger::AttemptKey;
use crate::queue::{Outgoing, Receipt};
use crate::{Events, Ledger, Queue, StoreError};

/// The queue of exhausted deliveries, and where it is written that one is there.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    queue: Queue,
    events: Events,
    ledger: Ledger,
}

/// A letter that was received.
#[derive(Debug)]
pub struct Letter {
    /// The message that starts the next cycle of its delivery.
    pub message: Message,
    receipt: Receipt,
}

impl DeadLetters {
    pub(crate) fn new(queue: Queue, events: Events, ledger: Ledger) -> Self {
        Self { queue, events, ledger }
    }

    /// Buries exhausted deliveries and returns what became of each, in the same order. A failure leaves the row
    /// due: the sweep does it again, and at worst there are two letters.
    ///
    /// The event first, then the letter, and the row last: once the row says that its letter is there, no process looks at it again.
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

    /// Receives some letters, up to ten, and hides them for a while; none if the queue has none to give now. What is no letter is
    /// left there, and logged.
    ///
    /// # Errors
    ///
    /// If the queue is unavailable.
    pub async fn receive(&self, hidden_for: Duration) -> Result<Vec<Letter>, StoreError> {
        let received = self.queue.receive(hidden_for).await?.into_iter();
        let letters = received.filter_map(|received| match Message::from_json(&received.body) {
            Ok(message) => Some(Letter { message, receipt: received.receipt }),
            Err(error) => {
                tracing::error!(%error, "a message in the queue of exhausted deliveries is no letter");
                None
            }
        });
        Ok(letters.collect())
    }

    /// Removes letters, and returns how many are removed. One that is not comes again.
    pub async fn remove(&self, letters: Vec<Letter>) -> usize {
        let removed = self.queue.delete(letters.into_iter().map(|letter| letter.receipt).collect()).await;
        for error in removed.iter().filter_map(|result| result.as_ref().err()) {
            tracing::warn!(%error, "a letter was not removed; a later sweep will");
        }
        removed.iter().filter(|result| result.is_ok()).count()
    }
}
