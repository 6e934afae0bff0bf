//! Processes the lines of deliveries that wait for a free slot at their receiver. Processes that return slots usually
//! wake them. The sweep wakes those that no process woke, because it died or the index did not show them in time, and
//! releases a line to which no limit applies any more.

use std::time::Duration;

use aws::StoreError;
use aws::ledger::{AttemptKey, DueFlow, Receiver, Woken, Written};
use aws::queue::Outgoing;
use domain::attempt::rate_limit::MOST_WOKEN;
use domain::delivery::OVERDUE_AFTER;
use domain::delivery::breaker::{RUN, pace};
use domain::delivery::message::Message;
use domain::id::WebhookId;
use futures::channel::mpsc::UnboundedReceiver;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use crate::{App, Swept};

/// How many lines are processed at once.
const CONCURRENT_LINES: usize = 8;

/// How many deliveries of a line without a limit are read at once. A run that releases more reads again, so that they
/// fit into memory.
const CHUNK: usize = 1200;

/// How many of them are moved and sent before the time is looked at.
const PART: usize = 100;

/// How many rows are moved at once.
const CONCURRENCY: usize = 32;

/// The step at which a line without a limit is released: 80 deliveries per second.
const STEP: u32 = 3;

/// A due line that this sweep processes.
pub(crate) struct Claimed {
    due: DueFlow,
    again_at: Timestamp,
}

/// Moves the next look at a line, unless another sweep came first.
pub(crate) async fn claim(app: &App, due: DueFlow, now: Timestamp) -> Result<Option<Claimed>, StoreError> {
    let again_at = now + RUN;
    let is_ours = app.ledger.postpone_flow(&due, again_at).await? == Written::Yes;
    Ok(is_ours.then_some(Claimed { due, again_at }))
}

/// Processes lines as they come, until no more will come and all are done. A failure of one does not stop the others.
pub(crate) async fn wake_all(app: &App, claimed: UnboundedReceiver<Claimed>, deadline: Timestamp) -> Swept {
    let woken = claimed.map(|line| async move {
        let mut swept = Swept::default();
        if let Err(error) = wake(app, line, deadline, &mut swept).await {
            swept.failed("waking deliveries that wait for a free slot", &error);
        }
        swept
    });
    woken.buffer_unordered(CONCURRENT_LINES).fold(Swept::default(), async |sum, swept| sum.and(swept)).await
}

/// Processes a line: wakes as many deliveries as its receiver has free slots. An empty line is looked at more and more
/// rarely.
async fn wake(app: &App, claimed: Claimed, deadline: Timestamp, swept: &mut Swept) -> Result<(), StoreError> {
    let Claimed { due, again_at } = claimed;
    let now = app.clock.now();
    if now >= deadline {
        // Its next look is in a minute.
        return Ok(());
    }
    let webhook = app.registry.webhook(&due.tenant, due.webhook).await?.map(|record| record.webhook);
    let sends = webhook.filter(|webhook| webhook.wants_events() && webhook.pause.is_none());
    let limits = sends.map(|webhook| webhook.settings.limits()).filter(|limits| limits.concurrency.is_some());
    let count = if limits.is_some() { 2 * MOST_WOKEN } else { CHUNK };
    let line = app.ledger.line(due.webhook, count, now).await?;
    if line.is_empty() {
        app.ledger.rest_flow(due.webhook, again_at, now).await?;
        return Ok(());
    }
    let Some(limits) = limits else {
        // Concurrency is no longer limited, or the deliveries must be parked or cancelled.
        return let_go(app, due.webhook, line, deadline, swept).await;
    };
    let receiver = Receiver { webhook: due.webhook, tenant: &due.tenant, limits };
    let Woken { messages, fault, .. } = app.ledger.wake(receiver, &[], &line, now).await?;
    if let Some(error) = fault {
        swept.failed("waking a delivery that waits for a free slot", &error);
    }
    send(app, messages.iter().map(|message| Outgoing::of(message, Duration::ZERO)).collect(), swept).await;
    Ok(())
}

/// Releases a line without a limit, of which the first deliveries have been read: as many as a minute's share, spread
/// over the time until the next run. What the time does not suffice for stays in line.
async fn let_go(
    app: &App,
    webhook: WebhookId,
    mut line: Vec<Message>,
    deadline: Timestamp,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let (most, apart) = pace(STEP, None);
    let now = app.clock.now();
    let mut looked_at = 0;
    loop {
        let is_full = line.len() == CHUNK;
        for part in line.chunks(PART) {
            if app.clock.now() >= deadline {
                return Ok(());
            }
            let delay = apart * u32::try_from(looked_at).unwrap_or(u32::MAX);
            let outgoing = leave(app, part, (delay, apart), now, swept).await;
            send(app, outgoing, swept).await;
            looked_at += part.len();
        }
        if looked_at >= most || !is_full {
            return Ok(());
        }
        line = app.ledger.line(webhook, (most - looked_at).min(CHUNK), now).await?;
    }
}

/// Moves deliveries out of their line. The first is sent after `delay`, and each further one `apart` from the one
/// before.
async fn leave(
    app: &App,
    part: &[Message],
    (delay, apart): (Duration, Duration),
    now: Timestamp,
    swept: &mut Swept,
) -> Vec<Outgoing> {
    let delays = (0_u32..).map(|number| delay + apart * number);
    let moved: Vec<Result<Option<Outgoing>, StoreError>> = stream::iter(part.iter().zip(delays))
        .map(|(message, delay)| async move {
            let moved = app.ledger.leave_line(AttemptKey::of(message), now + delay + OVERDUE_AFTER, now).await?;
            Ok((moved == Written::Yes).then(|| Outgoing::of(message, delay)))
        })
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let of_moved = |moved: Result<Option<Outgoing>, StoreError>| {
        moved.unwrap_or_else(|error| {
            swept.failed("moving a delivery that waits for a free slot", &error);
            None
        })
    };
    moved.into_iter().filter_map(of_moved).collect()
}

async fn send(app: &App, outgoing: Vec<Outgoing>, swept: &mut Swept) {
    for sent in app.retries.send(outgoing).await {
        match sent {
            Ok(()) => swept.released += 1,
            Err(error) => swept.failed("sending the message of a delivery", &error),
        }
    }
}
