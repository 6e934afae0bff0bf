//! Writes the outcomes of attempts, and sends the messages that follow from them.

use std::time::Duration;

use aws::StoreError;
use aws::ledger::{AttemptKey, Loaded, Made, Released, Written};
use aws::queue::Outgoing;
use domain::attempt::outcome::Verdict;
use domain::delivery::breaker::is_slow;
use domain::delivery::chain::lets_go;
use domain::delivery::dead_letter::DeadLetter;
use domain::delivery::decide::hops;
use domain::delivery::message::Message;
use domain::delivery::{Progress, State};
use futures::future::join_all;
use jiff::Timestamp;

use crate::App;
use crate::attempt::{Done, Settled};
use crate::counts::{self, Receiver, receivers};
use crate::measure;
use crate::reaction::{apply_reactions, observe};
use crate::turns;

/// Writes outcomes, and returns a result for each, in the order of `done`. First attempts that were accepted are
/// written in one call.
///
/// The row comes first, then the message that follows from it: the sweep sends a message that is lost in between.
/// Reactions of webhooks come last.
pub async fn record(app: &App, loaded: &Loaded, done: Vec<Done>) -> Vec<Result<(), StoreError>> {
    let now = app.clock.now();
    let receivers = receivers(&done);
    let before = counts::read(app, &receivers).await;
    let mut delivered = Vec::new();
    let mut others = Vec::new();
    let mut detours = Vec::new();
    let mut in_line = Vec::new();
    let mut results = Vec::with_capacity(done.len());
    for (index, done) in done.into_iter().enumerate() {
        results.push(Ok(()));
        match done {
            Done::Nothing => {}
            Done::Detour(message) => detours.push((index, *message)),
            Done::InLine(waits) => in_line.push((index, *waits)),
            Done::Settled(settled) => match *settled {
                Settled { row: Some(row), progress, .. } if progress.state == State::Delivered => {
                    delivered.push((index, row));
                }
                settled => others.push((index, settled)),
            },
        }
    }
    let (indexes, rows): (Vec<_>, Vec<_>) = delivered.into_iter().unzip();
    let (later, at_once) = counts::split(&receivers, before.as_ref(), &rows);
    let writes =
        others.into_iter().map(|(index, settled)| async move { (index, write(app, loaded, settled, now).await) });
    let (together, one_by_one, detoured, joined, counted) = tokio::join!(
        app.ledger.record_delivered(&rows, |webhook| later.contains(&webhook), now),
        join_all(writes),
        detour(app, detours),
        turns::join_line(app, in_line, now),
        counts::count(app, &at_once)
    );
    match together {
        Ok(()) => rows.iter().for_each(measure::delivered),
        Err(error) => {
            let why = error.to_string();
            for index in indexes {
                results[index] = Err(StoreError::Unavailable(why.clone()));
            }
        }
    }
    measure::waiting(joined.iter().filter(|(_, joined)| joined.is_ok()).count());
    let mut follow_ups = Vec::new();
    for (index, written) in one_by_one {
        match written {
            Ok(follow_up) => follow_ups.extend(follow_up),
            Err(error) => results[index] = Err(error),
        }
    }
    for (index, done) in detoured.into_iter().chain(joined) {
        results[index] = done;
    }
    send(app, follow_ups).await;
    let reactions = receivers.into_iter().map(|Receiver { webhook, seen, .. }| {
        let statistics = counted.get(&webhook).cloned().unwrap_or_default();
        async move { apply_reactions(app, loaded, webhook, &statistics, seen).await }
    });
    join_all(reactions).await;
    results
}

/// Moves messages to the queue of slow receivers, so that they do not delay deliveries to other receivers.
async fn detour(app: &App, messages: Vec<(usize, Message)>) -> Vec<(usize, Result<(), StoreError>)> {
    let (indexes, messages): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
    let messages = messages.iter().map(|message| Outgoing::of(message, Duration::ZERO));
    indexes.into_iter().zip(app.slow.send(messages.collect()).await).collect()
}

/// A message to send after a row was written.
enum FollowUp {
    Retry(Outgoing),
    SlowRetry(Outgoing),
    DeadLetter(Box<DeadLetter>),
}

async fn write(app: &App, loaded: &Loaded, settled: Settled, now: Timestamp) -> Result<Vec<FollowUp>, StoreError> {
    let Settled { message, row, attempt, lease, progress, put_off, .. } = settled;
    let notice = loaded.webhooks.get(&message.webhook).is_some_and(|webhook| webhook.notice.is_some());
    let message = Message { hops: hops(&message, loaded.rows.get(&message.delivery)), notice, ..message };
    let (ledger, key) = (&app.ledger, AttemptKey::of(&message));
    let made = attempt.as_ref().map_or(Made::Nothing { lease }, Made::Attempt);
    let verdict = attempt.as_ref().map(|attempt| attempt.outcome.verdict);
    let (written, next) = match (row, &message.entity) {
        (Some(row), Some(entity)) if !goes_on(loaded, &message, &progress, verdict) => {
            (ledger.record_head(&row, entity, now).await?, None)
        }
        (Some(row), _) => (ledger.record_first(&row, now).await?, None),
        (None, _) if put_off => (ledger.put_off(key, &progress, now).await?, None),
        (None, Some(entity)) if goes_on(loaded, &message, &progress, verdict) => {
            ledger.record_end(key, entity, made, &progress, now).await?
        }
        (None, _) => (ledger.record(key, made, &progress, now).await?, None),
    };
    if written == Written::TooLate {
        // Another process made the same attempt, wrote its outcome first, and sends what follows from it.
        tracing::warn!(delivery.id = %message.delivery, attempt.number = message.attempt, "another process has written the outcome of this attempt; this outcome is dropped");
        return Ok(Vec::new());
    }
    if !put_off {
        measure::written(&app.failures, &message, attempt.as_ref(), &progress);
    }
    let slow = is_slow(loaded.breakers.get(&message.webhook), now)
        || match &attempt {
            Some(attempt) => observe(std::iter::once((attempt, false, false))).slow,
            // It waits for nothing but the queue of slow receivers.
            None => progress.state == State::Pending && progress.next_at.is_none(),
        };
    let status = attempt.and_then(|attempt| attempt.outcome.status);
    let next = next.map(|next| {
        let Released { message, delay } = *next;
        retry(&Message { slow, ..message }, delay)
    });
    Ok(follow_up(message, &progress, status, slow, now).into_iter().chain(next).collect())
}

/// Returns whether the next delivery of the entity is released.
fn goes_on(loaded: &Loaded, message: &Message, progress: &Progress, verdict: Option<Verdict>) -> bool {
    lets_go(progress.state, verdict, loaded.webhooks.get(&message.webhook))
}

fn retry(message: &Message, delay: Duration) -> FollowUp {
    let next = Outgoing::of(message, delay);
    if message.slow { FollowUp::SlowRetry(next) } else { FollowUp::Retry(next) }
}

fn follow_up(
    message: Message,
    progress: &Progress,
    status: Option<u16>,
    slow: bool,
    now: Timestamp,
) -> Option<FollowUp> {
    match (progress.state, progress.delay(now)) {
        (State::Retrying | State::Pending, Some(delay)) => {
            let next = Message { attempt: progress.attempt, body: None, slow, ..message };
            Some(retry(&next, delay))
        }
        (State::Exhausted, _) => {
            let dead_letter = DeadLetter { message, last_status: status, ended_at: now };
            Some(FollowUp::DeadLetter(Box::new(dead_letter)))
        }
        _ => None,
    }
}

/// Sends what follows. A failure is only logged: the rows are due, so the sweep sends the messages again.
async fn send(app: &App, follow_ups: Vec<FollowUp>) {
    let (mut retries, mut slow, mut dead_letters) = (Vec::new(), Vec::new(), Vec::new());
    for follow_up in follow_ups {
        match follow_up {
            FollowUp::Retry(message) => retries.push(message),
            FollowUp::SlowRetry(message) => slow.push(message),
            FollowUp::DeadLetter(dead_letter) => dead_letters.push(*dead_letter),
        }
    }
    let (sent, slowly, buried) = tokio::join!(
        app.retries.send(retries),
        app.slow.send(slow),
        app.dead_letters.send(&dead_letters, app.clock.now())
    );
    for error in sent.iter().chain(&slowly).chain(&buried).filter_map(|result| result.as_ref().err()) {
        tracing::warn!(%error, "the message of a delivery was not sent; the sweep will send it");
    }
}
