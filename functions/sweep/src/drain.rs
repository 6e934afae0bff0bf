//! Processes due breakers: sends the probe of an open one, and releases what is parked behind one that has closed.

use std::time::Duration;

use aws::StoreError;
use aws::ledger::{DueBreaker, DueDelivery, Written};
use aws::queue::Outgoing;
use domain::delivery::OVERDUE_AFTER;
use domain::delivery::breaker::{Breaker, BreakerState, RUN, after_look, is_slow, pace, step};
use domain::delivery::message::Message;
use domain::id::WebhookId;
use domain::webhook::Webhook;
use futures::channel::mpsc::UnboundedReceiver;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use runtime::metrics::{self, Metric};
use tokio::sync::OnceCell;

use crate::{App, Swept};

/// How many breakers are processed at once.
const CONCURRENT_BREAKERS: usize = 4;

/// How many parked rows are read at once. A run that releases more reads again, so that they fit into memory.
const CHUNK: usize = 1200;

/// How many of them are moved and sent before the time is looked at.
const PART: usize = 100;

/// How long, of the time that a run reserves, it notes which breakers it had no time for. The others are due in a
/// minute.
const NOTES: Duration = Duration::from_secs(5);

/// How many parked deliveries of a webhook are counted.
const MOST_COUNTED: usize = 1_000;

/// How many rows are moved at once.
const CONCURRENCY: usize = 32;

/// How many messages wait in the queues of released deliveries. Each queue is asked once in a run.
#[derive(Default)]
pub(crate) struct Backlogs {
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

/// A due breaker that this sweep processes.
pub(crate) struct Claimed {
    webhook: WebhookId,
    breaker: Breaker,
    /// The step at which deliveries are released, unless the breaker is open.
    step: Option<u32>,
}

/// Moves the next look of a due breaker, unless another sweep or an attempt came first.
pub(crate) async fn claim(
    app: &App,
    backlogs: &Backlogs,
    due: DueBreaker,
    now: Timestamp,
) -> Result<Option<Claimed>, StoreError> {
    // The index has only some of its attributes.
    let Some(breaker) = app.ledger.breaker(due.webhook).await? else { return Ok(None) };
    let step = match breaker.state {
        BreakerState::Open => None,
        BreakerState::Closed | BreakerState::Draining => {
            Some(step(breaker.drained, backlogs.of(app, &breaker, now).await))
        }
    };
    let (again_at, drained) = match step {
        Some(step) => (now + RUN, step + 1),
        None => (now + OVERDUE_AFTER, breaker.drained),
    };
    let breaker = app.ledger.postpone_breaker(&due, again_at, drained).await?;
    Ok(breaker.map(|breaker| Claimed { webhook: due.webhook, breaker, step }))
}

/// Processes breakers as they come, until no more will come and all are done.
pub(crate) async fn advance_all(app: &App, claimed: UnboundedReceiver<Claimed>, deadline: Timestamp) -> Swept {
    let advanced = claimed.map(|breaker| async move {
        let mut swept = Swept::default();
        if let Err(error) = advance(app, breaker, deadline, &mut swept).await {
            swept.failed("processing a breaker", &error);
        }
        swept
    });
    advanced.buffer_unordered(CONCURRENT_BREAKERS).fold(Swept::default(), async |sum, swept| sum.and(swept)).await
}

/// Processes a breaker. If it is open, sends one parked delivery as its probe. If it has closed, releases parked
/// deliveries, oldest first, spread over the time until the next run, and notes when none is left.
async fn advance(app: &App, claimed: Claimed, deadline: Timestamp, swept: &mut Swept) -> Result<(), StoreError> {
    let Claimed { webhook: id, breaker, step } = claimed;
    let now = app.clock.now();
    // Due at once, so it comes before those that had their turn. Its pace does not grow without a release.
    let missed =
        |breaker: &Breaker| Breaker { look_at: Some(now), drained: step.unwrap_or(breaker.drained), ..*breaker };
    if now >= deadline {
        if now < deadline + NOTES {
            app.ledger.rest_breaker(id, &breaker, &missed(&breaker)).await?;
        }
        return Ok(());
    }
    let most = step.map_or(1, |step| pace(step, None).0);
    let parked = app.ledger.parked(id, most.min(CHUNK), now).await?;
    let webhook = match parked.first() {
        Some(first) => webhook(app, first).await?,
        None => None,
    };
    if webhook.as_ref().is_some_and(is_paused_by_hand) {
        // They would be parked again, minute after minute. The write that resumes the webhook makes the breaker due.
        let rests = Breaker { look_at: None, ..breaker };
        app.ledger.rest_breaker(id, &breaker, &rests).await?;
        return Ok(());
    }
    let after = after_look(&breaker, !parked.is_empty(), now);
    if after != breaker {
        app.ledger.rest_breaker(id, &breaker, &after).await?;
    }
    let rate = webhook.and_then(|webhook| webhook.settings.limits().rate);
    let (count, apart) = step.map_or((1, Duration::ZERO), |step| pace(step, rate));
    let is_empty = parked.is_empty();
    let released = release(app, id, parked, Portion { count, apart, now, deadline }, swept).await?;
    if released == 0 && !is_empty {
        app.ledger.rest_breaker(id, &after, &missed(&after)).await?;
    }
    match app.ledger.count_parked(id, MOST_COUNTED, now).await {
        Ok(parked) => metrics::count(Metric::ParkedRows, parked),
        Err(error) => tracing::warn!(webhook.id = %id, %error, "parked deliveries are not counted"),
    }
    Ok(())
}

/// What a run releases.
struct Portion {
    count: usize,
    apart: Duration,
    now: Timestamp,
    deadline: Timestamp,
}

/// Releases parked deliveries, of which the first have been read. What the time does not suffice for stays parked.
/// Returns how many had their turn.
async fn release(
    app: &App,
    webhook: WebhookId,
    mut parked: Vec<DueDelivery>,
    portion: Portion,
    swept: &mut Swept,
) -> Result<usize, StoreError> {
    let Portion { count, apart, now, deadline } = portion;
    let mut released = 0;
    loop {
        parked.truncate(count - released);
        let is_full = parked.len() == CHUNK;
        // In parts, so that each row that was moved has its message before the time is up.
        while !parked.is_empty() {
            if app.clock.now() >= deadline {
                return Ok(released);
            }
            let rest = parked.split_off(parked.len().min(PART));
            let part = std::mem::replace(&mut parked, rest);
            let delay = apart * u32::try_from(released).unwrap_or(u32::MAX);
            released += part.len();
            release_part(app, part, Spread { now, delay, apart }, swept).await;
        }
        if released >= count || !is_full {
            return Ok(released);
        }
        parked = app.ledger.parked(webhook, (count - released).min(CHUNK), now).await?;
    }
}

/// The times of released deliveries: the first comes after `delay`, and each further one `apart` from the one before.
struct Spread {
    now: Timestamp,
    delay: Duration,
    apart: Duration,
}

async fn release_part(app: &App, part: Vec<DueDelivery>, spread: Spread, swept: &mut Swept) {
    let Spread { now, delay, apart } = spread;
    let delays = (0_u32..).map(|number| delay + apart * number);
    let moved: Vec<Result<Option<Outgoing>, StoreError>> = stream::iter(part.into_iter().zip(delays))
        .map(|(due, delay)| async move {
            let moved = app.ledger.postpone(&due, now + delay + OVERDUE_AFTER, now).await?;
            Ok((moved == Written::Yes).then(|| Outgoing::of(&due.message, delay)))
        })
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let mut outgoing = Vec::new();
    for moved in moved {
        match moved {
            Ok(Some(message)) => outgoing.push(message),
            Ok(None) => swept.taken += 1,
            Err(error) => swept.failed("moving a parked delivery", &error),
        }
    }
    for sent in app.retries.send(outgoing).await {
        match sent {
            Ok(()) => swept.released += 1,
            Err(error) => swept.failed("sending the message of a parked delivery", &error),
        }
    }
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
