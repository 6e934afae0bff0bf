//! Writing what came of attempts, and sending what follows.

use std::collections::BTreeMap;
use std::time::Duration;

use aws::StoreError;
use aws::ledger::{Slot, Written};
use aws::queue::Outgoing;
use domain::delivery::{Attempt, Delivery, Progress, State, dead_letter, is_short};
use domain::event::Event;
use domain::id::WebhookId;
use domain::message::Message;
use domain::operational::exhausted_event;
use domain::webhook::Tally;
use futures::future::join_all;
use jiff::Timestamp;

use crate::App;
use crate::attempt::Done;

/// Writes outcomes; the result is in the order of `done`. First attempts that were accepted take one call for all.
///
/// The row first, then the message that follows from it: a message that is lost in between is sent by the sweep.
pub async fn record(app: &App, done: Vec<Done>) -> Vec<Result<(), StoreError>> {
    let now = app.clock.now();
    let tallies = tallies(&done);
    let mut delivered = Vec::new();
    let mut others = Vec::new();
    let mut results = Vec::with_capacity(done.len());
    for (index, done) in done.into_iter().enumerate() {
        results.push(Ok(()));
        match done {
            Done::Nothing => {}
            Done::First(row) if row.progress.state == State::Delivered => delivered.push((index, row)),
            other @ (Done::First(_) | Done::Later { .. }) => others.push((index, other)),
        }
    }
    let (indexes, rows): (Vec<_>, Vec<_>) = delivered.into_iter().unzip();
    let writes = others.into_iter().map(|(index, done)| async move { (index, write(app, done, now).await) });
    let (together, one_by_one, ()) =
        tokio::join!(app.ledger.record_delivered(&rows, now), join_all(writes), count(app, tallies));
    if let Err(error) = together {
        let why = error.to_string();
        for index in indexes {
            results[index] = Err(StoreError::Unavailable(why.clone()));
        }
    }
    let mut follow_ups = Vec::new();
    for (index, written) in one_by_one {
        match written {
            Ok(follow_up) => follow_ups.extend(follow_up),
            Err(error) => results[index] = Err(error),
        }
    }
    send(app, follow_ups).await;
    results
}

/// Adds up the attempts, webhook by webhook.
fn tallies(done: &[Done]) -> Vec<(WebhookId, Tally)> {
    let mut attempts: BTreeMap<WebhookId, Vec<&Attempt>> = BTreeMap::new();
    for done in done {
        match done {
            Done::First(row) => attempts.entry(row.webhook).or_default().extend(&row.attempts),
            Done::Later { message, attempt, .. } => attempts.entry(message.webhook).or_default().extend(attempt),
            Done::Nothing => {}
        }
    }
    attempts.into_iter().filter_map(|(webhook, mut attempts)| Some((webhook, Tally::of(&mut attempts)?))).collect()
}

/// Counts. A count that is lost is no delivery that is lost: it is logged and no more.
async fn count(app: &App, tallies: Vec<(WebhookId, Tally)>) {
    let counts = tallies.into_iter().map(|(webhook, tally)| async move {
        if let Err(error) = app.registry.count(webhook, &tally).await {
            tracing::warn!(webhook.id = %webhook, %error, "attempts were not counted");
        }
    });
    join_all(counts).await;
}

/// What follows from a row that was written.
enum FollowUp {
    Retry(Outgoing),
    /// A dead letter, and the event that there is one.
    Bury(Slot, Outgoing, Option<Box<Event>>),
}

async fn write(app: &App, done: Done, now: Timestamp) -> Result<Option<FollowUp>, StoreError> {
    let (written, message, progress, status) = match done {
        Done::Nothing => return Ok(None),
        Done::First(row) => {
            let written = app.ledger.record_first(&row, now).await?;
            let status = row.attempts.last().and_then(|attempt| attempt.outcome.status);
            (written, message_of(&row), row.progress, status)
        }
        Done::Later { message, attempt, progress } => {
            let written = app.ledger.record(Slot::of(&message), attempt.as_ref(), &progress, now).await?;
            (written, message, progress, attempt.and_then(|attempt| attempt.outcome.status))
        }
    };
    if written == Written::TooLate {
        // Another process made the same attempt and wrote first; what follows is its to send.
        tracing::warn!(delivery.id = %message.delivery, attempt.number = message.attempt, "outcome was written by another");
        return Ok(None);
    }
    Ok(follow_up(message, &progress, status, now))
}

fn message_of(row: &Delivery) -> Message {
    let Delivery { id, event, event_type, webhook, tenant, app, sequence, progress, content_type, .. } = row.clone();
    let Progress { cycle, .. } = progress;
    let (attempt, body, test) = (1, None, false);
    Message {
        delivery: id,
        event,
        event_type,
        webhook,
        tenant,
        app,
        sequence,
        cycle,
        attempt,
        body,
        content_type,
        test,
    }
}

fn follow_up(message: Message, progress: &Progress, status: Option<u16>, now: Timestamp) -> Option<FollowUp> {
    let tenant = Some(message.tenant.clone());
    match (progress.state, progress.next_at) {
        (State::Retrying, Some(next_at)) if is_short(now, next_at) => {
            let next = Message { attempt: progress.attempt, body: None, ..message };
            let delay = Duration::try_from(next_at.duration_since(now)).unwrap_or_default();
            Some(FollowUp::Retry(Outgoing { body: next.to_json(), tenant, delay, cause: None }))
        }
        (State::Exhausted, _) => {
            let (slot, event) = (Slot::of(&message), exhausted_event(&message, progress.attempt, status, now));
            let status = status.map_or_else(|| "no answer".to_owned(), |status| format!("status {status}"));
            let cause = format!("exhausted after {} attempts; the last got {status}", progress.attempt);
            let body = dead_letter(message).to_json();
            Some(FollowUp::Bury(
                slot,
                Outgoing { body, tenant, delay: Duration::ZERO, cause: Some(cause) },
                event.map(Box::new),
            ))
        }
        _ => None,
    }
}

/// Sends what follows. A failure is logged and no more: the rows are due, and the sweep sends it again.
async fn send(app: &App, follow_ups: Vec<FollowUp>) {
    let mut retries = Vec::new();
    let mut buried = Vec::new();
    let mut dead_letters = Vec::new();
    let mut events = Vec::new();
    for follow_up in follow_ups {
        match follow_up {
            FollowUp::Retry(message) => retries.push(message),
            FollowUp::Bury(slot, message, event) => {
                buried.push(slot);
                dead_letters.push(message);
                events.extend(event.map(|event| *event));
            }
        }
    }
    // The event first: once a row is buried nobody looks at it again.
    if let Err(error) = app.events.publish(&events, app.clock.now()).await {
        tracing::warn!(%error, "events of exhausted deliveries were not published; the sweep will");
        buried.clear();
        dead_letters.clear();
    }
    let (sent, dead) = tokio::join!(app.retries.send(retries), app.dead_letters.send(dead_letters));
    for error in sent.iter().chain(&dead).filter_map(|result| result.as_ref().err()) {
        tracing::warn!(%error, "a message was not sent; the sweep will");
    }
    let in_queue = buried.into_iter().zip(dead).filter(|(_, result)| result.is_ok());
    for result in join_all(in_queue.map(|(slot, _)| app.ledger.buried(slot))).await {
        if let Err(error) = result {
            tracing::warn!(%error, "a dead letter may be sent twice");
        }
    }
}
