//! Works through what is due, page by page, until nothing is due or the time is up.

use std::time::{Duration, SystemTime};

use aws::StoreError;
use aws::ledger::{Due, DueBreaker, DueDelivery, DueFlow, Written};
use aws::queue::Outgoing;
use domain::delivery::breaker::{Breaker, BreakerState, RUN, after_look, pace};
use domain::delivery::dead_letter::DeadLetter;
use domain::delivery::decide::{Wake, wake};
use domain::delivery::message::Message;
use domain::delivery::{OVERDUE_AFTER, SWEEP_AHEAD};
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use runtime::metrics::{self, Metric};
use serde::Serialize;

use crate::App;
use crate::line::{self, LineResult};

/// How many due rows of each partition are read at once.
const PAGE: usize = 50;

/// How many rows are moved at once.
const CONCURRENCY: usize = 32;

/// How many lines are processed at once.
const CONCURRENT_LINES: usize = 8;

/// How many parked deliveries of a webhook are counted.
const MOST_COUNTED: usize = 1_000;

/// The time that a run reserves, to end before Lambda stops it.
pub(crate) const RESERVE: Duration = Duration::from_secs(10);

/// What a run did with due rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Deliveries whose message was sent, except for released ones.
    pub woken: usize,
    /// Exhausted deliveries whose missing dead letter was sent.
    pub buried: usize,
    /// Breakers and lines that were processed.
    pub attended: usize,
    /// Parked deliveries that were released, including probes, and deliveries that waited for a free slot.
    pub released: usize,
    /// Rows that another sweep or an attempt moved first.
    pub taken: usize,
}

/// Wakes what is due. `deadline` is the end of the invocation.
///
/// # Errors
///
/// If the ledger is unavailable. The next run continues.
#[tracing::instrument(name = "sweep.run", skip_all)]
pub(crate) async fn sweep(app: &App, deadline: SystemTime) -> Result<Swept, StoreError> {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX) - RESERVE;
    let mut swept = Swept::default();
    let mut measured = false;
    loop {
        let now = app.clock.now();
        let due = app.ledger.due(now + SWEEP_AHEAD, PAGE, now).await?;
        if !measured {
            measure(&due, now);
            measured = true;
        }
        if due.is_empty() || now >= deadline {
            let Swept { woken, buried, attended: breakers, released, taken } = swept;
            tracing::info!(woken, buried, breakers, released, taken, "the sweep has looked at all that was due");
            return Ok(swept);
        }
        let (mut deliveries, mut breakers, mut flows) = (Vec::new(), Vec::new(), Vec::new());
        for due in due {
            match due {
                Due::Delivery(delivery) => deliveries.push(*delivery),
                // Not early: unlike a delivery's message, a breaker or a line cannot wait for its time in a queue.
                Due::Breaker(breaker) if breaker.at <= now => breakers.push(breaker),
                Due::Flow(flow) if flow.at() <= now => flows.push(flow),
                Due::Breaker(_) | Due::Flow(_) => {}
            }
        }
        let before = swept;
        wake_lines(app, &flows, now, &mut swept).await;
        for breaker in breakers {
            advance_breaker(app, breaker, now, &mut swept).await?;
        }
        let moved: Vec<_> =
            stream::iter(deliveries).map(|due| claim(app, due, now)).buffer_unordered(CONCURRENCY).collect().await;
        send(app, moved, &mut swept).await?;
        if (swept.woken, swept.buried, swept.attended) == (before.woken, before.buried, before.attended) {
            // Nothing on this page was moved: another sweep took it, the index lags, or it is not due yet.
            tracing::info!(
                taken = swept.taken,
                "the sweep ended early, because it could move nothing of the last page; the next one continues"
            );
            return Ok(swept);
        }
    }
}

/// Measures how late the most overdue delivery is. Each partition lists its longest overdue rows first, so the first
/// page has it.
fn measure(due: &[Due], now: Timestamp) {
    let since = due.iter().filter_map(|due| match due {
        Due::Delivery(delivery) => Some(delivery.due_at()),
        Due::Breaker(_) | Due::Flow(_) => None,
    });
    let oldest = since.min().map(|oldest| now.duration_since(oldest).as_secs());
    if let Some(seconds) = oldest.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0) {
        metrics::record(Metric::OldestOverdue, seconds);
    }
}

/// Processes a due breaker. If it is open, sends one parked delivery as its probe. If it has closed, releases parked
/// deliveries, oldest first, spread over the time until the next run, and notes when none is left.
async fn advance_breaker(app: &App, due: DueBreaker, now: Timestamp, swept: &mut Swept) -> Result<(), StoreError> {
    let releases = due.breaker.state != BreakerState::Open;
    let (count, apart) = if releases { pace(due.breaker.drained) } else { (1, Duration::ZERO) };
    let again_at = now + if releases { RUN } else { OVERDUE_AFTER };
    let drained = due.breaker.drained + u32::from(releases);
    let Some(breaker) = app.ledger.postpone_breaker(&due, again_at, drained).await? else {
        swept.taken += 1;
        return Ok(());
    };
    swept.attended += 1;
    metrics::count(Metric::ParkedRows, app.ledger.count_parked(due.webhook, MOST_COUNTED, now).await?);
    let parked = app.ledger.parked(due.webhook, count, now).await?;
    if let Some(first) = parked.first()
        && is_paused_by_hand(app, first).await?
    {
        // They would be parked again, minute after minute. The write that resumes the webhook makes the breaker due.
        let rests = Breaker { look_at: None, ..breaker };
        app.ledger.rest_breaker(due.webhook, &breaker, &rests).await?;
        return Ok(());
    }
    let after = after_look(&breaker, !parked.is_empty(), now);
    if after != breaker {
        app.ledger.rest_breaker(due.webhook, &breaker, &after).await?;
    }
    if parked.is_empty() {
        return Ok(());
    }
    let delays = (0_u32..).map(|number| apart * number);
    let moved = stream::iter(parked.into_iter().zip(delays))
        .map(|(due, delay)| async move {
            match app.ledger.postpone(&due, now + delay + OVERDUE_AFTER, now).await? {
                Written::Yes => Ok(Claimed::Retry(Outgoing::of(&due.message, delay))),
                Written::TooLate => Ok(Claimed::Taken),
            }
        })
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let before = swept.woken;
    send(app, moved, swept).await?;
    swept.released += swept.woken - before;
    swept.woken = before;
    Ok(())
}

/// Returns whether a parked delivery waits for someone to resume its webhook. The deliveries of a disabled or deleted
/// webhook do not wait: they are sent, and cancelled.
async fn is_paused_by_hand(app: &App, parked: &DueDelivery) -> Result<bool, StoreError> {
    let Message { tenant, webhook, .. } = &parked.message;
    let webhook = app.registry.webhook(tenant, *webhook).await?.map(|record| record.webhook);
    Ok(webhook.is_some_and(|webhook| webhook.wants_events() && webhook.pause.is_some_and(|pause| !pause.by_failures)))
}

/// Processes lines. A failure of one does not stop the others.
async fn wake_lines(app: &App, flows: &[DueFlow], now: Timestamp, swept: &mut Swept) {
    let attended = stream::iter(flows).map(|flow| async move { (flow.webhook, line::wake(app, flow, now).await) });
    let attended: Vec<_> = attended.buffer_unordered(CONCURRENT_LINES).collect().await;
    for (webhook, result) in attended {
        match result {
            Ok(LineResult::Released(count)) => {
                swept.attended += 1;
                swept.released += count;
            }
            Ok(LineResult::Taken) => swept.taken += 1,
            Err(error) => {
                tracing::warn!(webhook.id = %webhook, %error, "deliveries that wait for a free slot of this webhook's receiver were not sent; a later sweep sends them");
            }
        }
    }
}

/// What must be sent for a row.
enum Claimed {
    Retry(Outgoing),
    DeadLetter(Box<DeadLetter>),
    Taken,
}

/// Moves a row's due time, and returns what must be sent for it.
async fn claim(app: &App, due: DueDelivery, now: Timestamp) -> Result<Claimed, StoreError> {
    // The index lags behind the table. A delivery that has ended in the meantime needs nothing.
    let Some(wake) = wake(&due.progress, now) else { return Ok(Claimed::Taken) };
    let again_at = match wake {
        Wake::Send { due_at, .. } => due_at,
        Wake::DeadLetter => now + OVERDUE_AFTER,
    };
    if app.ledger.postpone(&due, again_at, now).await? == Written::TooLate {
        return Ok(Claimed::Taken);
    }
    Ok(match wake {
        Wake::Send { delay, .. } => Claimed::Retry(Outgoing::of(&due.message, delay)),
        Wake::DeadLetter => {
            let ended_at = due.ended_at.unwrap_or(now);
            Claimed::DeadLetter(Box::new(DeadLetter { message: due.message, last_status: None, ended_at }))
        }
    })
}

/// Adds to dead letters what only their rows contain, and the index does not.
async fn complete(app: &App, dead_letters: Vec<DeadLetter>) -> Result<Vec<DeadLetter>, StoreError> {
    if dead_letters.is_empty() {
        return Ok(dead_letters);
    }
    let rows =
        app.ledger.standings(dead_letters.iter().map(|dead_letter| &dead_letter.message), app.clock.now()).await?;
    let row = |dead_letter: &DeadLetter| rows.get(&dead_letter.message.delivery).copied();
    Ok(dead_letters
        .into_iter()
        .map(|dead_letter| (row(&dead_letter), dead_letter))
        .map(|(row, dead_letter)| dead_letter.completed(row))
        .collect())
}

async fn send(app: &App, claimed: Vec<Result<Claimed, StoreError>>, swept: &mut Swept) -> Result<(), StoreError> {
    let (mut retries, mut dead_letters) = (Vec::new(), Vec::new());
    for claimed in claimed {
        match claimed? {
            Claimed::Retry(message) => retries.push(message),
            Claimed::DeadLetter(dead_letter) => dead_letters.push(*dead_letter),
            Claimed::Taken => swept.taken += 1,
        }
    }
    for sent in app.retries.send(retries).await {
        match sent {
            Ok(()) => swept.woken += 1,
            Err(error) => tracing::warn!(%error, "the message of a delivery was not sent; a later sweep will send it"),
        }
    }
    let dead_letters = complete(app, dead_letters).await?;
    for buried in app.dead_letters.send(&dead_letters, app.clock.now()).await {
        match buried {
            Ok(()) => swept.buried += 1,
            Err(error) => tracing::warn!(%error, "a dead letter was not sent; a later sweep will send it"),
        }
    }
    Ok(())
}
