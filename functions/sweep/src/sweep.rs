//! One run: page after page of what is due, until nothing is or the time is up.

use std::time::{Duration, SystemTime};

use aws::StoreError;
use aws::ledger::{Due, Slot, Written};
use aws::queue::Outgoing;
use domain::delivery::{OVERDUE_AFTER, SWEEP_AHEAD, Wake, dead_letter, wake};
use domain::event::Event;
use domain::message::Message;
use domain::operational::exhausted_event;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;

use crate::App;

/// How many due rows of each partition are looked at in one go.
const PAGE: i32 = 50;

/// How many rows are moved at once.
const CONCURRENCY: usize = 32;

/// How much of its time a run keeps to end in peace.
const RESERVE: Duration = Duration::from_secs(10);

/// What a run did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Deliveries whose next attempt was asked for.
    pub woken: usize,
    /// Exhausted deliveries that were missing in the dead-letter queue.
    pub buried: usize,
    /// Rows that another sweep or an attempt moved first.
    pub taken: usize,
}

/// Wakes what is due; `deadline` is the end of the invocation.
///
/// # Errors
///
/// If the ledger is unavailable; the next run goes on.
#[tracing::instrument(name = "sweep.run", skip_all)]
pub async fn sweep(app: &App, deadline: SystemTime) -> Result<Swept, StoreError> {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX) - RESERVE;
    let mut swept = Swept::default();
    loop {
        let now = app.clock.now();
        let due = app.ledger.due(now + SWEEP_AHEAD, PAGE).await?;
        if due.is_empty() || now >= deadline {
            tracing::info!(woken = swept.woken, buried = swept.buried, taken = swept.taken, "sweep ended");
            return Ok(swept);
        }
        let moved: Vec<_> =
            stream::iter(due).map(|due| claim(app, due, now)).buffer_unordered(CONCURRENCY).collect().await;
        let before = swept;
        send(app, moved, &mut swept).await?;
        if (swept.woken, swept.buried) == (before.woken, before.buried) {
            // All of the page was somebody else's: another sweep is at work, or the index lags.
            tracing::info!(taken = swept.taken, "sweep leaves the rest to another");
            return Ok(swept);
        }
    }
}

/// What is to be sent for a row.
enum Claimed {
    Retry(Outgoing),
    DeadLetter(Slot, Outgoing, Option<Box<Event>>),
    Taken,
}

/// Moves a row's due time, and says what whoever moved it has to send.
async fn claim(app: &App, due: Due, now: Timestamp) -> Result<Claimed, StoreError> {
    // The index lags the table a little: what has ended meanwhile is nobody's any more.
    let Some(wake) = wake(&due.progress, now) else { return Ok(Claimed::Taken) };
    let again_at = match wake {
        Wake::Send { due_at, .. } => due_at,
        Wake::DeadLetter => now + OVERDUE_AFTER,
    };
    if app.ledger.postpone(&due, again_at).await? == Written::TooLate {
        return Ok(Claimed::Taken);
    }
    Ok(match wake {
        Wake::Send { delay, .. } => Claimed::Retry(retry(due.message, delay)),
        Wake::DeadLetter => {
            let event = exhausted_event(&due.message, due.progress.attempt, None, now);
            Claimed::DeadLetter(Slot::of(&due.message), bury(due.message), event.map(Box::new))
        }
    })
}

fn retry(message: Message, delay: Duration) -> Outgoing {
    Outgoing { body: message.to_json(), tenant: Some(message.tenant), delay, cause: None }
}

fn bury(message: Message) -> Outgoing {
    let tenant = Some(message.tenant.clone());
    let cause = Some("exhausted".to_owned());
    Outgoing { body: dead_letter(message).to_json(), tenant, delay: Duration::ZERO, cause }
}

async fn send(app: &App, claimed: Vec<Result<Claimed, StoreError>>, swept: &mut Swept) -> Result<(), StoreError> {
    let mut retries = Vec::new();
    let mut slots = Vec::new();
    let mut dead_letters = Vec::new();
    let mut events = Vec::new();
    for claimed in claimed {
        match claimed? {
            Claimed::Retry(message) => retries.push(message),
            Claimed::DeadLetter(slot, message, event) => {
                slots.push(slot);
                dead_letters.push(message);
                events.extend(event.map(|event| *event));
            }
            Claimed::Taken => swept.taken += 1,
        }
    }
    // Before the letters: once a row is buried nobody looks at it again.
    if let Err(error) = app.events.publish(&events, app.clock.now()).await {
        tracing::warn!(%error, "events of exhausted deliveries were not published; a later sweep will");
        slots.clear();
        dead_letters.clear();
    }
    for sent in app.retries.send(retries).await {
        match sent {
            Ok(()) => swept.woken += 1,
            Err(error) => tracing::warn!(%error, "a message was not sent; a later sweep will"),
        }
    }
    for (slot, sent) in slots.into_iter().zip(app.dead_letters.send(dead_letters).await) {
        match sent {
            Ok(()) => {
                app.ledger.buried(slot).await?;
                swept.buried += 1;
            }
            Err(error) => tracing::warn!(%error, "a dead letter was not sent; a later sweep will"),
        }
    }
    Ok(())
}
