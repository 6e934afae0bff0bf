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
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use crate::{App, Swept};

/// How many rows are moved at once.
const CONCURRENCY: usize = 32;

/// The step at which a line without a limit is released: 80 deliveries per second.
const STEP: u32 = 3;

/// Processes a line: wakes as many deliveries as its receiver has free slots. An empty line is looked at more and more
/// rarely. Returns `None` if another sweep has processed it.
pub(crate) async fn wake(app: &App, due: &DueFlow, now: Timestamp) -> Result<Option<Swept>, StoreError> {
    let mut swept = Swept::default();
    let again_at = now + RUN;
    if app.ledger.postpone_flow(due, again_at).await? == Written::TooLate {
        return Ok(None);
    }
    let webhook = app.registry.webhook(&due.tenant, due.webhook).await?.map(|record| record.webhook);
    let sends = webhook.filter(|webhook| webhook.wants_events() && webhook.pause.is_none());
    let limits = sends.map(|webhook| webhook.settings.limits()).filter(|limits| limits.concurrency.is_some());
    let (many, apart) = pace(STEP, None);
    let count = if limits.is_some() { 2 * MOST_WOKEN } else { many };
    let line = app.ledger.line(due.webhook, count, now).await?;
    if line.is_empty() {
        app.ledger.rest_flow(due.webhook, again_at, now).await?;
        return Ok(Some(swept));
    }
    let outgoing = match limits {
        Some(limits) => {
            let receiver = Receiver { webhook: due.webhook, tenant: &due.tenant, limits };
            let Woken { messages, fault, .. } = app.ledger.wake(receiver, &[], &line, now).await?;
            if let Some(error) = fault {
                swept.failed("waking a delivery that waits for a free slot", &error);
            }
            messages.iter().map(|message| Outgoing::of(message, Duration::ZERO)).collect()
        }
        // Concurrency is no longer limited, or the deliveries must be parked or cancelled.
        None => let_go(app, line, apart, now, &mut swept).await,
    };
    for sent in app.retries.send(outgoing).await {
        match sent {
            Ok(()) => swept.released += 1,
            Err(error) => swept.failed("sending the message of a delivery", &error),
        }
    }
    Ok(Some(swept))
}

async fn let_go(app: &App, line: Vec<Message>, apart: Duration, now: Timestamp, swept: &mut Swept) -> Vec<Outgoing> {
    let delays = (0_u32..).map(|number| apart * number);
    let moved: Vec<Result<Option<Outgoing>, StoreError>> = stream::iter(line.into_iter().zip(delays))
        .map(|(message, delay)| async move {
            let moved = app.ledger.leave_line(AttemptKey::of(&message), now + delay + OVERDUE_AFTER, now).await?;
            Ok((moved == Written::Yes).then(|| Outgoing::of(&message, delay)))
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
