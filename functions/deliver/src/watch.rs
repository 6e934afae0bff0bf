//! Waiting for those outside: while it takes long, other processes learn of it.

use std::pin::pin;
use std::time::Duration;

use aws::ledger::Loaded;
use domain::delivery::breaker::is_slow;
use domain::delivery::message::Message;

use crate::App;

/// What is needed to say that the receiver of a message is slow.
pub(crate) struct Watch<'a> {
    pub(crate) app: &'a App,
    pub(crate) loaded: &'a Loaded,
    pub(crate) message: &'a Message,
}

impl Watch<'_> {
    /// Waits for an answer, of the receiver or of its authorization server. If that takes longer than `patience`, other processes
    /// learn at once that the receiver is slow: none of its other deliveries shall wait behind this one.
    ///
    /// Without patience that was noted before: the wait for the token has used it up.
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
            tracing::warn!(%error, "a slow receiver was not noted");
        }
        done
    }
}
