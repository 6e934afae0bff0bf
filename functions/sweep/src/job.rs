//! Works on jobs: a minute's worth of each, page by page.
//!
//! The run that moves a job's time owns the job for a while. The progress is written after each page. If a run dies
//! before that, the next one sends the page again, and the ledger recognizes the copies.

use std::time::{Duration, SystemTime};

use aws::StoreError;
use aws::ledger::dead::Letters;
use aws::ledger::jobs::{ClaimedJob, DueJob};
use aws::ledger::{Loaded, Written};
use aws::queue::Outgoing;
use domain::delivery::job::{CLAIMED_FOR, Cursor, Job, JobKind, JobState};
use domain::delivery::message::{MAX_INLINE_BYTES, Message};
use domain::delivery::redelivery::{Redelivery, Refusal, plan, receives};
use domain::delivery::{SWEEP_AHEAD, State as DeliveryState};
use domain::matching::subscription::Subscription;
use domain::webhook::Webhook;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;

use crate::App;
use crate::sweep::RESERVE;

/// How many jobs a run works on, those first that have waited longest.
const MAX_JOBS: i32 = 100;

/// How many jobs are processed at once.
const CONCURRENCY: usize = 4;

/// How many deliveries are sent before the progress of a job is written.
const PAGE: usize = 50;

/// How long a dry run is worked on before other jobs have their turn. One that sends is limited by its rate.
const SLICE: Duration = Duration::from_secs(3);

/// Works on the jobs that are due, and returns how many deliveries they sent. A failure of one job does not stop the
/// others. Dry runs, which no rate limits, share the time that is left.
pub(crate) async fn work(app: &App, deadline: SystemTime) -> Result<usize, StoreError> {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX) - RESERVE;
    let mut all = 0;
    let mut until = app.clock.now() + SWEEP_AHEAD;
    loop {
        let due = app.ledger.due_jobs(until, MAX_JOBS).await?;
        let runs = stream::iter(due).map(|due| async move {
            Box::pin(run(app, &due, deadline)).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "a job was interrupted; a later sweep will continue it");
                None
            })
        });
        let sent: Vec<usize> = runs.buffer_unordered(CONCURRENCY).filter_map(async |sent| sent).collect().await;
        all += sent.iter().sum::<usize>();
        until = app.clock.now();
        // The index may still show jobs that others have claimed.
        if sent.is_empty() || until >= deadline {
            return Ok(all);
        }
    }
}

/// Works on one job until its share of the minute is sent or the time is up. Returns how many deliveries it sent, or
/// `None` if there is no time, or another run works on it.
async fn run(app: &App, due: &DueJob, deadline: Timestamp) -> Result<Option<usize>, StoreError> {
    let mut now = app.clock.now();
    if now >= deadline {
        return Ok(None);
    }
    let Some(mut claimed) = app.ledger.claim_job(due, now + CLAIMED_FOR).await? else { return Ok(None) };
    let deadline = if claimed.job.dry_run { deadline.min(now + SLICE) } else { deadline };
    let before = claimed.job.progress.sent;
    loop {
        step(app, &mut claimed, now).await?;
        now = app.clock.now();
        let job = &claimed.job;
        let goes_on = job.state == JobState::Running && job.budget(now) > 0 && now < deadline;
        let written = app.ledger.store_job(&claimed, !goes_on, now).await?;
        if !goes_on || written == Written::TooLate {
            let sent = usize::try_from(job.progress.sent - before).unwrap_or(usize::MAX);
            tracing::info!(
                job.id = %job.id, tenant.id = %job.tenant, job.state = job.state.as_str(), sent,
                stopped = written == Written::TooLate, "worked on a job"
            );
            return Ok(Some(if job.dry_run { 0 } else { sent }));
        }
    }
}

/// The part of a page that must be sent.
struct Page {
    looked_at: usize,
    messages: Vec<Message>,
    /// The position after the page, unless it is the last one.
    next: Option<Cursor>,
}

/// Sends a page, and adds it to the job's progress, which the caller writes.
async fn step(app: &App, claimed: &mut ClaimedJob, now: Timestamp) -> Result<(), StoreError> {
    let job = &mut claimed.job;
    let page = match page(app, job, now).await {
        Ok(Ok(page)) => page,
        Ok(Err(refusal)) => {
            job.stop_for(refusal);
            return Ok(());
        }
        // A retry would fail in the same way.
        Err(error @ (StoreError::Inconsistent { .. } | StoreError::Missing { .. } | StoreError::Refused(_))) => {
            tracing::error!(job.id = %job.id, %error, "a job cannot continue");
            job.state = JobState::Failed;
            job.reason = Some("an item in its scope cannot be read; the operator's log has the details".to_owned());
            return Ok(());
        }
        Err(
            error @ (StoreError::Unavailable(_)
            | StoreError::Conflict { .. }
            | StoreError::Limit(_)
            | StoreError::TooHeavy { .. }),
        ) => {
            return Err(error);
        }
    };
    let count = page.messages.len();
    let turns = job.take_turns(count, now);
    if !job.dry_run {
        let outgoing = page.messages.iter().zip(turns).map(|(message, delay)| Outgoing::of(message, delay));
        // If one message of a page is not sent, the whole page is sent again. The ledger recognizes messages that were
        // sent before.
        app.retries.send(outgoing.collect()).await.into_iter().collect::<Result<(), _>>()?;
    }
    job.progress.looked_at += page.looked_at as u64;
    job.progress.sent += count as u64;
    match page.next {
        Some(cursor) => job.progress.cursor = Some(cursor),
        None => job.state = JobState::Done,
    }
    Ok(())
}

/// Returns the next page of a job, or why the job cannot continue now.
async fn page(app: &App, job: &Job, now: Timestamp) -> Result<Result<Page, Refusal>, StoreError> {
    let limit = job.budget(now).clamp(1, PAGE);
    let webhook = match job.scope.webhook {
        None => None,
        Some(id) => match app.registry.webhook(&job.tenant, id).await? {
            None => return Ok(Err(Refusal::Deleted)),
            Some(record) => Some(record.webhook),
        },
    };
    if let Some(Err(refusal)) = webhook.as_ref().map(receives) {
        return Ok(Err(refusal));
    }
    match job.kind {
        JobKind::Redrive | JobKind::Recover => letters(app, job, limit, now).await.map(Ok),
        JobKind::Replay => match webhook.as_ref().and_then(Webhook::subscription) {
            None => Ok(Err(Refusal::Disabled)),
            Some(subscription) => events(app, job, &subscription, limit, now).await.map(Ok),
        },
    }
}

async fn letters(app: &App, job: &Job, limit: usize, now: Timestamp) -> Result<Page, StoreError> {
    let after = match job.progress.cursor {
        Some(Cursor::Letter(place)) => Some(place),
        Some(Cursor::Event(_)) | None => None,
    };
    let from = job.scope.from.unwrap_or(Timestamp::UNIX_EPOCH);
    let which = Letters { tenant: &job.tenant, from, to: job.scope.to, after, newest_first: false, now };
    let wanted = app
        .ledger
        .dead_letters(which, limit, |letter| job.takes(letter.app.as_ref(), letter.webhook, &letter.event_type));
    let found = wanted.await?;
    let Loaded { rows, webhooks, .. } = app.ledger.rows(&app.registry, &job.tenant, &found.letters, now).await?;
    let key = app.registry.state_key(&job.tenant).await?;
    let mut messages = Vec::with_capacity(found.letters.len());
    for letter in &found.letters {
        let known = rows.get(&letter.place.delivery).zip(webhooks.get(&letter.webhook));
        // It may have been redriven in the meantime.
        let dead = known.filter(|(row, _)| row.progress.state == DeliveryState::Exhausted);
        let Some((row, webhook)) = dead else { continue };
        let planned = match plan(row, webhook) {
            Ok(Redelivery::Send(message) | Redelivery::Probe(message)) => Ok(message),
            Ok(Redelivery::Render(message)) if job.dry_run => Ok(message),
            Ok(Redelivery::Render(message)) => app.events.revive(message, webhook, key.as_ref(), now).await?,
            Err(refusal) => Err(refusal),
        };
        match planned {
            Ok(message) => messages.push(message),
            Err(why) => tracing::debug!(delivery.id = %row.id, %why, "a dead letter is skipped"),
        }
    }
    Ok(Page { looked_at: found.looked_at, messages, next: found.next.map(Cursor::Letter) })
}

async fn events(
    app: &App,
    job: &Job,
    subscription: &Subscription,
    limit: usize,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let after = match job.progress.cursor {
        Some(Cursor::Event(event)) => Some(event),
        Some(Cursor::Letter(_)) | None => None,
    };
    let range = (job.scope.from.unwrap_or(Timestamp::UNIX_EPOCH), job.scope.to);
    let wanted = |event: &domain::event::Event| job.replays(event, subscription).is_some();
    let found = app.events.list_oldest_first(&job.tenant, range, after, limit, now, wanted).await?;
    let key = app.registry.state_key(&job.tenant).await?;
    let mut messages = Vec::with_capacity(found.events.len());
    for event in found.events {
        let event = event.with_named_states(key.as_ref());
        let Some(message) = job.replays(&event, subscription) else { continue };
        let rendering = &subscription.rendering;
        let body = if job.dry_run {
            None
        } else {
            Some(app.bodies.render(rendering, &event, &message.event_type, MAX_INLINE_BYTES, now).await?.0)
        };
        messages.push(Message { body, ..message });
    }
    Ok(Page { looked_at: found.looked_at, messages, next: found.next.map(Cursor::Event) })
}
