//! One attempt, from the message to its outcome. The steps are separate, so that a test can stop between any two.

use std::borrow::Cow;
use std::time::Duration;

use aws::StoreError;
use aws::ledger::{AttemptKey, Loaded, Written};
use domain::attempt::Attempt;
use domain::attempt::outcome::{Outcome, Verdict};
use domain::attempt::rate_limit::Turn;
use domain::attempt::redact::{Masked, SentHeaders};
use domain::delivery::breaker::SLOW;
use domain::delivery::decide::{Admission, Decision, decide, give_up, hops, settle, to_send};
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::webhook::Webhook;
use jiff::Timestamp;
use outbound::HostSlot;
use tracing::field;

use crate::App;
use crate::authorization::{self, Authorized};
use crate::request::{Payload, Signers};
use crate::watch::Watch;

/// What an invocation keeps of its time to write outcomes.
const RESERVE: Duration = Duration::from_secs(3);

/// How long a lease outlives the invocation that took it.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// A message, and the decision about it.
#[derive(Debug)]
pub struct AttemptPlan<'a> {
    /// The message.
    pub message: &'a Message,
    /// Why it is acted upon.
    pub admission: Admission,
    /// What to do.
    pub decision: Decision,
    /// When the request may be made. If that is after this invocation ends, the message is returned to the queue.
    pub turn: Turn,
}

/// The outcome of a message, not yet written.
#[derive(Debug)]
pub enum Done {
    /// There was nothing to do.
    Nothing,
    /// It must go to the queue of slow receivers.
    Detour(Box<Message>),
    /// It must wait for a free place at its receiver.
    InLine(Box<InLine>),
    /// It was acted upon.
    Settled(Box<Settled>),
}

/// A message whose delivery must wait for a free place.
#[derive(Debug)]
pub struct InLine {
    /// The attempt that it waits for.
    pub attempt_key: AttemptKey,
    /// The row, if it is new.
    pub row: Option<Delivery>,
    /// Until when this process has its lease, if it does.
    pub lease: Option<Timestamp>,
}

/// The outcome of a message that was acted upon.
#[derive(Debug)]
pub struct Settled {
    /// The message, without its body: if that is needed once more, the row has it.
    pub message: Message,
    /// The row, if it is new; otherwise the one that waits for this attempt is updated.
    pub row: Option<Delivery>,
    /// The attempt; `None` if the delivery was cancelled, parked or put off before it.
    pub attempt: Option<Attempt>,
    /// The progress of the delivery now.
    pub progress: Progress,
    /// Whether it was the probe of its webhook's breaker.
    pub probe: bool,
    /// Whether it was put off for a fault of ours.
    pub put_off: bool,
}

/// Plans a message, given all that the tables know.
#[must_use]
pub fn plan<'a>(loaded: &Loaded, message: &'a Message, now: Timestamp) -> AttemptPlan<'a> {
    let row = loaded.rows.get(&message.delivery);
    let webhook = loaded.webhooks.get(&message.webhook);
    let breaker = loaded.breakers.get(&message.webhook);
    let (admission, decision) = decide(message, row, webhook, breaker, now);
    AttemptPlan { message, admission, decision, turn: Turn::At(now) }
}

/// Does what was planned.
///
/// # Errors
///
/// An internal fault: the message returns to the queue, and no attempt is counted.
#[tracing::instrument(name = "delivery.attempt", skip_all, fields(
    delivery.id = %plan.message.delivery, event.id = %plan.message.event, event.r#type = %plan.message.event_type,
    webhook.id = %plan.message.webhook, tenant.id = %plan.message.tenant,
    delivery.cycle = plan.message.cycle, attempt.number = plan.message.attempt,
))]
pub async fn attempt(
    app: &App,
    loaded: &Loaded,
    plan: AttemptPlan<'_>,
    deadline: Timestamp,
) -> Result<Done, StoreError> {
    let AttemptPlan { message, admission, decision, turn } = plan;
    let stopped = |state, next_at| Progress { state, cycle: message.cycle, attempt: message.attempt, next_at };
    let webhook = loaded.webhooks.get(&message.webhook);
    let (progress, attempt, probe) = match (decision, turn, webhook) {
        (Decision::Drop(why), ..) => {
            tracing::debug!(%why, "message needs no request");
            return Ok(Done::Nothing);
        }
        (Decision::RecordThenSlowQueue, ..) => (stopped(State::Pending, None), None, false),
        (Decision::SlowQueue, ..) => return Ok(Done::Detour(Box::new(Message { slow: true, ..message.clone() }))),
        (Decision::Cancel, ..) | (_, _, None) => {
            tracing::info!(delivery.state = "cancelled", "webhook is gone");
            (stopped(State::Cancelled, None), None, false)
        }
        (Decision::Park, ..) => (stopped(State::Parked, None), None, false),
        (Decision::Defer(until), ..) => {
            tracing::info!(delivery.state = "pending", delivery.next_at = %until, "delivery is over its tenant's budget");
            (stopped(State::Pending, Some(until)), None, false)
        }
        (Decision::GiveUp(verdict, why), _, Some(webhook)) => {
            let attempt = made(app, message, webhook, Outcome::unanswered(verdict, why));
            (give_up(message), Some(attempt), false)
        }
        (Decision::Attempt { .. }, Turn::Later(at), _) => (stopped(State::Pending, Some(at)), None, false),
        (Decision::Attempt { .. }, Turn::Wait, _) => {
            return wait_in_line(app, loaded, message, admission, deadline).await;
        }
        (Decision::Attempt { probe, .. }, Turn::At(at), Some(webhook)) => {
            let until = deadline + LEASE_MARGIN;
            if probe && app.ledger.claim_probe(message.webhook, until, app.clock.now()).await? == Written::TooLate {
                (stopped(State::Parked, None), None, false)
            } else {
                let wait = Duration::try_from(at.duration_since(app.clock.now())).unwrap_or_default();
                tokio::time::sleep(wait).await;
                let Some(attempt) = send(app, loaded, message, admission, webhook, deadline).await? else {
                    tracing::debug!("another process is at it");
                    return Ok(Done::Nothing);
                };
                let (policy, draw) = (&webhook.settings.retry_policy, (app.draw)());
                let progress = settle(message, &attempt.outcome, policy, app.clock.now(), draw);
                log(&attempt, &progress);
                return Ok(done(message, admission, Some(attempt), progress, probe));
            }
        }
    };
    if admission == Admission::Redriven && claim(app, loaded, admission, message, deadline).await? == Written::TooLate {
        return Ok(Done::Nothing);
    }
    if let Some(attempt) = &attempt {
        log(attempt, &progress);
    }
    Ok(done(message, admission, attempt, progress, probe))
}

/// Lets a delivery wait for a free place. One that is sent again starts its cycle first, so that no other process starts it.
async fn wait_in_line(
    app: &App,
    loaded: &Loaded,
    message: &Message,
    admission: Admission,
    deadline: Timestamp,
) -> Result<Done, StoreError> {
    let mut lease = None;
    if admission == Admission::Redriven {
        if claim(app, loaded, admission, message, deadline).await? == Written::TooLate {
            return Ok(Done::Nothing);
        }
        lease = Some(deadline + LEASE_MARGIN);
    }
    tracing::info!(delivery.state = State::Pending.as_str(), "its receiver takes no more at once");
    let Message { cycle, attempt, .. } = *message;
    let progress = Progress { state: State::Pending, cycle, attempt, next_at: None };
    let row = (admission == Admission::First).then(|| Delivery::first(message.clone(), progress));
    Ok(Done::InLine(Box::new(InLine { attempt_key: AttemptKey::of(message), row, lease })))
}

/// Makes the request; `None` if another process is at it.
///
/// What can fail for reasons of ours comes before the lease, so that the message can simply come back.
async fn send(
    app: &App,
    loaded: &Loaded,
    message: &Message,
    admission: Admission,
    webhook: &Webhook,
    deadline: Timestamp,
) -> Result<Option<Attempt>, StoreError> {
    let row = loaded.rows.get(&message.delivery);
    let signers = Signers::of(app, webhook, app.clock.now()).await?;
    let (body, content_type) = to_send(message, row);
    let body = match body {
        Some(body) => text(app, body).await?,
        None => None,
    };
    // The token first: a slow authorization server holds no place at the receiver's host, where others would wait for it.
    let timeout = time_left(app.clock.now(), deadline, webhook)?;
    let watch = Watch { app, loaded, message };
    let Authorized { header, waited } = authorization::header(app, webhook, timeout, &watch).await?;
    let waited_for_token = waited.unwrap_or_default();
    let authorized = match header {
        Ok(header) => Ok((header, place(app, &webhook.settings.url, deadline).await?)),
        Err(outcome) => Err(outcome),
    };
    let timeout = time_left(app.clock.now(), deadline, webhook)?
        .min(webhook.settings.retry_policy.timeout().saturating_sub(waited_for_token));
    if claim(app, loaded, admission, message, deadline).await? == Written::TooLate {
        return Ok(None);
    }
    // A retry would not help. An operator who redrives a dead letter after months must see why it failed again.
    let Some(body) = body else {
        let outcome = Outcome::unanswered(Verdict::Unrendered, "its payload is kept no longer");
        return Ok(Some(made(app, message, webhook, outcome)));
    };
    let at = app.clock.now();
    let mut request =
        signers.request(webhook, message, Payload { body: &body, content_type, hops: hops(message, row) }, at, timeout);
    // The request has its own, and a batch of large ones waits long.
    drop(body);
    let mut sent = Masked::of(&request.headers, &webhook.settings.headers);
    let outcome = match authorized {
        Ok((authorization, place)) => {
            if let Some(header) = &authorization {
                sent = sent.and_authorization(header);
            }
            request.authorization.clone_from(&authorization);
            let patience = SLOW.saturating_sub(waited_for_token);
            let outcome = watch.wait(patience, app.receivers.post(request, place)).await;
            authorization::answered(app, webhook, authorization.as_ref(), &outcome);
            sent.conceal(outcome)
        }
        Err(outcome) => outcome,
    };
    let outcome = match waited {
        Some(waited) => outcome.after_token(waited),
        None => outcome,
    };
    Ok(Some(Attempt { at, request_headers: sent.headers, ..made(app, message, webhook, outcome) }))
}

/// Returns the text of a body; `None` if it has expired.
async fn text<'a>(app: &App, body: &'a Body) -> Result<Option<Cow<'a, str>>, StoreError> {
    let _turn = match body {
        Body::Stored(_) => app.reads.acquire().await.ok(),
        Body::Inline(_) | Body::Failed(_) => None,
    };
    match app.bodies.text(body, app.clock.now()).await {
        Err(StoreError::Missing { .. }) => Ok(None),
        text => text.map(Some),
    }
}

/// Waits for a place at the receiver's host. The receiver does not cause the wait, so a delivery that gets no place in time
/// was not attempted, and its message comes again.
async fn place(app: &App, url: &str, deadline: Timestamp) -> Result<HostSlot, StoreError> {
    let left = Duration::try_from(deadline.duration_since(app.clock.now())).unwrap_or_default().saturating_sub(RESERVE);
    let waited = tokio::time::timeout(left, app.receivers.place(url)).await;
    waited.map_err(|_| StoreError::Unavailable("too many requests are under way to this host".to_owned()))
}

/// What the log keeps of an attempt.
fn made(app: &App, message: &Message, webhook: &Webhook, outcome: Outcome) -> Attempt {
    let (cycle, number, at) = (message.cycle, message.attempt, app.clock.now());
    let (secret_fingerprint, request_headers) = (webhook.secret.fingerprint.clone(), SentHeaders::default());
    Attempt { cycle, number, at, outcome, secret_fingerprint, request_headers }
}

/// Takes the lease that a later attempt needs. The first one needs none: its message is the only holder.
async fn claim(
    app: &App,
    loaded: &Loaded,
    admission: Admission,
    message: &Message,
    deadline: Timestamp,
) -> Result<Written, StoreError> {
    let (attempt_key, until, now) = (AttemptKey::of(message), deadline + LEASE_MARGIN, app.clock.now());
    match admission {
        Admission::First => Ok(Written::Yes),
        Admission::Again => app.ledger.lease(attempt_key, until, now).await,
        Admission::Redriven => {
            let body = message.body.as_ref().map(|body| (body, message.content_type));
            let attempts = loaded.rows.get(&message.delivery).map_or(0, |row| row.attempts.len());
            app.ledger.redrive(attempt_key, attempts, body, until).await
        }
        Admission::Stale(_) => Ok(Written::TooLate),
    }
}

/// Returns how long the attempt may take: what the webhook allows, within what the invocation has left.
fn time_left(now: Timestamp, deadline: Timestamp, webhook: &Webhook) -> Result<Duration, StoreError> {
    let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default().saturating_sub(RESERVE);
    if left < Duration::from_secs(1) {
        return Err(StoreError::Unavailable("the invocation has no time left for an attempt".to_owned()));
    }
    Ok(webhook.settings.retry_policy.timeout().min(left))
}

fn done(message: &Message, admission: Admission, attempt: Option<Attempt>, progress: Progress, probe: bool) -> Done {
    Done::Settled(Box::new(settled(message, admission, attempt, progress, probe)))
}

fn settled(
    message: &Message,
    admission: Admission,
    attempt: Option<Attempt>,
    progress: Progress,
    probe: bool,
) -> Settled {
    let row = if admission == Admission::First {
        let attempts = attempt.iter().cloned().collect();
        Some(Delivery { attempts, ..Delivery::first(message.clone(), progress) })
    } else {
        None
    };
    let message = Message { body: None, ..message.clone() };
    Settled { message, row, attempt, progress, probe, put_off: false }
}

/// Puts off a delivery that could not be attempted, unless its message has to go back to the queue.
///
/// # Errors
///
/// The fault, if it has to.
pub(crate) fn put_off(
    app: &App,
    message: &Message,
    admission: Admission,
    fault: StoreError,
) -> Result<Done, StoreError> {
    let Some(progress) = domain::delivery::fault::put_off(admission, message, app.clock.now()) else {
        return Err(fault);
    };
    let next_at = progress.next_at.map(field::display);
    tracing::error!(delivery.id = %message.delivery, delivery.next_at = next_at, error = %fault, "delivery is put off");
    let settled = settled(message, admission, None, progress, false);
    Ok(Done::Settled(Box::new(Settled { put_off: true, ..settled })))
}

/// Logs the one line of an attempt. Its fields are in the line and not in the span, which would be formatted again for each.
fn log(attempt: &Attempt, progress: &Progress) {
    let Outcome { verdict, status, duration_ms, error, .. } = &attempt.outcome;
    let (state, next_at) = (progress.state.as_str(), progress.next_at.map(field::display));
    if *verdict == Verdict::Accepted {
        tracing::info!(
            attempt.verdict = verdict.as_str(),
            attempt.duration_ms = duration_ms,
            http.response.status_code = status,
            delivery.state = state,
            "attempt succeeded"
        );
    } else {
        tracing::warn!(
            attempt.verdict = verdict.as_str(),
            attempt.duration_ms = duration_ms,
            http.response.status_code = status,
            delivery.state = state,
            delivery.next_at = next_at,
            error = error.as_deref(),
            "attempt failed"
        );
    }
}
