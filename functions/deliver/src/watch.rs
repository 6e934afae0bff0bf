//! Waits for receivers and authorization servers. If one takes long, other processes learn that the receiver is slow,
//! and at most one process waits until the timeout. The decisions are in [`domain::delivery::patience`].

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws::StoreError;
use domain::delivery::breaker::Breaker;
use domain::delivery::decide::Waiting;
use domain::delivery::message::Message;
use domain::delivery::patience::{Refused, after_refusal};
use futures::future::{Either, FutureExt as _, select};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::App;

/// Watches the waits of an attempt.
pub(crate) struct Watch<'a> {
    app: &'a App,
    message: &'a Message,
    waiting: Option<Waiting>,
    /// When a mark ends that is neither removed nor replaced. This process has ended by then. All attempts of an
    /// invocation have the same end, so that they share one mark.
    until: Timestamp,
    marked: AtomicBool,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(app: &'a App, message: &'a Message, waiting: Option<Waiting>, until: Timestamp) -> Self {
        Self { app, message, waiting, until, marked: AtomicBool::new(false) }
    }

    /// Returns the end of the mark that this process has set for the attempt.
    pub(crate) fn marked_until(&self) -> Option<Timestamp> {
        self.marked.load(Ordering::Relaxed).then_some(self.until)
    }

    /// Waits for a response of the authorization server, and marks the receiver as slow if that takes long.
    pub(crate) async fn token<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let Some(Waiting { mark_after, .. }) = self.waiting else { return work.await };
        if let Ok(done) = timeout_at(Instant::now() + mark_after, &mut work).await {
            return done;
        }
        match select(pin!(self.mark(mark_after)), work).await {
            Either::Left((_, work)) => work.await,
            Either::Right((done, mark)) => {
                mark.await;
                done
            }
        }
    }

    /// Waits for a response of the receiver, and marks it as slow if that takes long. Returns `None` if another process
    /// has marked the receiver, so that this one leaves the request.
    ///
    /// After a long wait for the token, the response has a whole patience of its own: another attempt may have waited for
    /// the token, or the mark may have been refused.
    pub(crate) async fn response<T>(&self, waited_for_token: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let started = Instant::now();
        let Some(Waiting { mark_after, may_leave }) = self.waiting else { return Some(work.await) };
        let waited_before = if waited_for_token < mark_after { waited_for_token } else { Duration::ZERO };
        let mut mark_after = mark_after.saturating_sub(waited_before);
        loop {
            if let Ok(done) = timeout_at(started + mark_after, &mut work).await {
                return Some(done);
            }
            let waited = waited_before + started.elapsed();
            let refused = match select(pin!(self.mark(waited)), work.as_mut()).await {
                Either::Left((refused, _)) => refused.filter(|_| may_leave),
                Either::Right((done, mark)) => {
                    mark.await;
                    return Some(done);
                }
            };
            let Some(Breaker { patience, slow_until, .. }) = refused else { return Some(work.await) };
            match after_refusal(patience, slow_until, waited, self.app.clock.now()) {
                Refused::Wait(until) => mark_after = until.saturating_sub(waited_before),
                // The answer may have come with the refusal.
                Refused::Leave => return work.now_or_never(),
            }
        }
    }

    /// Marks the receiver as slow. Returns the row if it refuses the mark.
    async fn mark(&self, waited: Duration) -> Option<Breaker> {
        let Self { app, message, until, .. } = self;
        match Box::pin(app.ledger.mark_waiting(message.webhook, *until, waited, app.clock.now())).await {
            Ok(None) => {
                self.marked.store(true, Ordering::Relaxed);
                None
            }
            Ok(refused) => refused,
            Err(error) => {
                // The write may have succeeded, and removing a mark that is not there does nothing.
                self.marked.store(true, Ordering::Relaxed);
                self.not_marked(&error);
                None
            }
        }
    }

    fn not_marked(&self, error: &StoreError) {
        tracing::warn!(webhook.id = %self.message.webhook, %error, "a slow receiver was not marked as slow; its deliveries keep sharing a queue with others");
    }
}
