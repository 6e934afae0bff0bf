//! Processes due breakers: sends the probe of an open one, and releases what is parked behind one that has closed.

use std::time::Duration;

use aws::StoreError;
use aws::ledger::{DueBreaker, DueDelivery, Written};
use aws::queue::Outgoing;
use domain::delivery::OVERDUE_AFTER;
use domain::delivery::breaker::{Breaker, BreakerState, RUN, after_look, is_slow, pace, step};
use domain::delivery::message::Message;
use domain::webhook::Webhook;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use runtime::metrics::{self, Metric};
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{App, Swept};

/// How many breakers are processed at once.
const CONCURRENT_BREAKERS: usize = 4;

/// How many parked rows are read at once. A run that releases more reads again, so that they fit into memory.
const CHUNK: usize = 1200;

/// How many parked deliveries of a webhook are counted.
const MOST_COUNTED: usize = 1_000;

/// How many rows are moved at once.
const CONCURRENCY: usize = 32;

/// How many messages wait in the queues of released deliveries. Each queue is asked once in a run.
#[derive(Default)]
struct Backlogs {
    retries: OnceCell<Option<usize>>,
    slow: OnceCell<Option<usize>>,
}

impl Backlogs {
    /// Returns how many messages wait in the queue that deliveries to this receiver go through, if SQS says so.
    async fn of(&self, app: &App, breaker: &Breaker, now: Timestamp) -> Option<usize> {
        let (backlog, queue) =
            if is_slow(Some(breaker), now) { (&self.slow, &app.slow) } else { (&self.retries, &app.retries) };
        let ask = || async {
            queue
                .backlog()
                .await
                .inspect_err(|error| tracing::warn!(%error, "a queue's backlog is unknown; drains keep their pace"))
                .ok()
        };
        *backlog.get_or_init(ask).await
    }
}

/// Processes breakers as they come, until no more will come and all are done.
pub(crate) async fn advance_all(
    app: &App,
    due: UnboundedReceiver<DueBreaker>,
    deadline: Timestamp,
) -> Result<Swept, StoreError> {
    let backlogs = Backlogs::default();
    let due = stream::unfold(due, |mut due| async move { due.recv().await.map(|breaker| (breaker, due)) });
    let advanced: Vec<Result<Swept, StoreError>> = due
        .map(|breaker| advance(app, &backlogs, breaker, deadline))
        .buffer_unordered(CONCURRENT_BREAKERS)
        .collect()
        .await;
    advanced.into_iter().try_fold(Swept::default(), |sum, advanced| Ok(sum.and(advanced?)))
}

/// Processes a due breaker. If it is open, sends one parked delivery as its probe. If it has closed, releases parked
/// deliveries, oldest first, spread over the time until the next run, and notes when none is left.
async fn advance(app: &App, backlogs: &Backlogs, due: DueBreaker, deadline: Timestamp) -> Result<Swept, StoreError> {
    let now = app.clock.now();
    let releases = due.breaker.state != BreakerState::Open;
    let (step, drained, again_at) = if releases {
        let step = step(due.breaker.drained, backlogs.of(app, &due.breaker, now).await);
        (step, step + 1, now + RUN)
    } else {
        (0, due.breaker.drained, now + OVERDUE_AFTER)
    };
    let Some(breaker) = app.ledger.postpone_breaker(&due, again_at, drained).await? else {
        return Ok(Swept { taken: 1, ..Swept::default() });
    };
    let mut swept = Swept { attended: 1, ..Swept::default() };
    metrics::count(Metric::ParkedRows, app.ledger.count_parked(due.webhook, MOST_COUNTED, now).await?);
    let most = if releases { pace(step, None).0 } else { 1 };
    let parked = app.ledger.parked(due.webhook, most.min(CHUNK), now).await?;
    let webhook = match parked.first() {
        Some(first) => webhook(app, first).await?,
        None => None,
    };
    if webhook.as_ref().is_some_and(is_paused_by_hand) {
        // They would be parked again, minute after minute. The write that resumes the webhook makes the breaker due.
        let rests = Breaker { look_at: None, ..breaker };
        app.ledger.rest_breaker(due.webhook, &breaker, &rests).await?;
        return Ok(swept);
    }
    let after = after_look(&breaker, !parked.is_empty(), now);
    if after != breaker {
        app.ledger.rest_breaker(due.webhook, &breaker, &after).await?;
    }
    let rate = webhook.and_then(|webhook| webhook.settings.limits().rate);
    let (count, apart) = if releases { pace(step, rate) } else { (1, Duration::ZERO) };
    release(app, &due, parked, Portion { count, apart, now, deadline }, &mut swept).await?;
    Ok(swept)
}

/// What a run releases.
struct Portion {
    count: usize,
    apart: Duration,
    now: Timestamp,
    deadline: Timestamp,
}

/// Releases parked deliveries, of which the first have been read. What the time does not suffice for stays parked.
async fn release(
    app: &App,
    due: &DueBreaker,
    mut parked: Vec<DueDelivery>,
    portion: Portion,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let Portion { count, apart, now, deadline } = portion;
    let mut released = 0;
    while !parked.is_empty() {
        parked.truncate(count - released);
        let read = parked.len();
        let delays = (u32::try_from(released).unwrap_or(u32::MAX)..).map(|number| apart * number);
        let moved: Vec<Result<Option<Outgoing>, StoreError>> = stream::iter(parked.into_iter().zip(delays))
            .map(|(due, delay)| async move {
                let moved = app.ledger.postpone(&due, now + delay + OVERDUE_AFTER, now).await?;
                Ok((moved == Written::Yes).then(|| Outgoing::of(&due.message, delay)))
            })
            .buffered(CONCURRENCY)
            .collect()
            .await;
        let outgoing = moved.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        swept.taken += read - outgoing.len();
        for sent in app.retries.send(outgoing).await {
            match sent {
                Ok(()) => swept.released += 1,
                Err(error) => {
                    tracing::warn!(%error, "the message of a delivery was not sent; a later sweep will send it");
                }
            }
        }
        released += read;
        if released >= count || read < CHUNK || app.clock.now() >= deadline {
            break;
        }
        parked = app.ledger.parked(due.webhook, (count - released).min(CHUNK), now).await?;
    }
    Ok(())
}

/// Returns the webhook of a parked delivery.
async fn webhook(app: &App, parked: &DueDelivery) -> Result<Option<Webhook>, StoreError> {
    let Message { tenant, webhook, .. } = &parked.message;
    Ok(app.registry.webhook(tenant, *webhook).await?.map(|record| record.webhook))
}

/// Returns whether a webhook's parked deliveries wait for someone to resume it. The deliveries of a disabled or deleted
/// webhook do not wait: they are sent, and cancelled.
fn is_paused_by_hand(webhook: &Webhook) -> bool {
    webhook.wants_events() && webhook.pause.is_some_and(|pause| !pause.by_failures)
}
