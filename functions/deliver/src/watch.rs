//! Waits for receivers and authorization servers. If one takes long, other processes learn that the receiver is slow.

use std::pin::pin;
use std::time::Duration;

use aws::ledger::Loaded;
use domain::delivery::breaker::is_slow;
use domain::delivery::message::Message;

use crate::App;

/// What is needed to mark the receiver of a message as slow.
pub(crate) struct Watch<'a> {
    pub(crate) app: &'a App,
    pub(crate) loaded: &'a Loaded,
    pub(crate) message: &'a Message,
}

impl Watch<'_> {
    /// Waits for a response of the receiver or its authorization server. If it takes longer than `patience`, marks the
    /// receiver as slow at once, so that its other deliveries move to the queue of slow receivers.
    ///
    /// Zero `patience` means that the wait for the token has used it up. That wait has already marked the receiver.
    pub(crate) async fn wait<T>(&self, patience: Duration, work: impl Future<Output = T>) -> T {
        let Self { app, loaded, message } = self;
        let mut work = pin!(work);
        if let Ok(done) = tokio::time::timeout(patience, &mut work).await {
            return done;
        }
        let now = app.clock.now();
        if patience.is_zero() || message.test || is_slow(loaded.breakers.get(&message.webhook), now) {
            return work.await;
        }
        let (marked, done) = tokio::join!(app.ledger.mark_slow(message.webhook, now), work);
        if let Err(error) = marked {
            tracing::warn!(%error, "a slow receiver was not marked as slow; its deliveries keep sharing a queue with others");
        }
        done
    }
}
