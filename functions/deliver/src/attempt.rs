//! Makes one attempt, from the message to its outcome. The steps are separate functions, so that a test can stop
//! between any two.

use std::borrow::Cow;
use std::time::Duration;

use aws::StoreError;
use aws::ledger::{AttemptKey, Loaded, Written};
use domain::attempt::outcome::{Outcome, Verdict};
use domain::attempt::rate_limit::Turn;
use domain::attempt::redact::{Masked, SentHeaders};
use domain::attempt::{Attempt, logged_url};
use domain::delivery::decide::{Admission, Decision, decide, give_up, hops, settle, to_send, waiting};
use domain::delivery::message::{Body, Message};
use domain::delivery::{Delivery, Progress, State};
use domain::webhook::Webhook;
use jiff::Timestamp;
use tracing::field;

use crate::App;
use crate::allowance::{LEASE_MARGIN, place, time_left};
use crate::authorization::{self, Authorized};
use crate::request::{Payload, Signers};
use crate::trace;
use crate::watch::Watch;
use crate::{log, notice};

/// A message and the decision about it.
#[derive(Debug)]
pub struct AttemptPlan<'a> {
    /// The message.
    pub message: &'a Message,
    /// Whether to act on the message.
    pub admission: Admission,
    /// What to do.
    pub decision: Decision,
    /// When the request may be made. If that is too late for this invocation, the delivery becomes a row that waits for
    /// its turn.
    pub turn: Turn,
}

/// The outcome of a message, not yet written.
#[derive(Debug)]
pub enum Done {
    /// There was nothing to do.
    Nothing,
    /// It must move to the queue of slow receivers.
    Detour(Box<Message>),
    /// It must wait for a free slot at its receiver.
    InLine(Box<InLine>),
    /// It was processed, and its delivery has new progress.
    Settled(Box<Settled>),
}

/// A message whose delivery must wait for a free slot.
#[derive(Debug)]
pub struct InLine {
    /// The attempt that it waits for.
    pub attempt_key: AttemptKey,
    /// The row, if it is new.
    pub row: Option<Delivery>,
    /// When this process's lease on it ends, if this process has one.
    pub lease: Option<Timestamp>,
}

/// The outcome of a message that was processed.
#[derive(Debug)]
pub struct Settled {
    /// The message without its body. If the body is needed again, the row has it.
    pub message: Message,
    /// The row to create. `None` updates the existing row, if it still waits for this attempt.
    pub row: Option<Delivery>,
    /// The attempt. `None` if no attempt was made: the delivery was cancelled, parked, deferred or put off, or it waits
    /// for a rate-limit turn or for the queue of slow receivers.
    pub attempt: Option<Attempt>,
    /// When this process's lease ends, if it has one.
    pub lease: Option<Timestamp>,
    /// The new progress of the delivery.
    pub progress: Progress,
    /// Whether it was the probe of its webhook's breaker.
    pub probe: bool,
    /// The end of the mark that this process set on the receiver while the request waited.
    pub marked_until: Option<Timestamp>,
    /// Whether it was put off because of an internal fault.
    pub put_off: bool,
}

/// Returns the plan for a message, given what was loaded from the tables.
#[must_use]
pub fn plan<'a>(loaded: &Loaded, message: &'a Message, now: Timestamp) -> AttemptPlan<'a> {
    let row = loaded.rows.get(&message.delivery);
    let webhook = loaded.webhooks.get(&message.webhook);
    let breaker = loaded.breakers.get(&message.webhook);
    let (admission, decision) = decide(message, row, webhook, breaker, now);
    AttemptPlan { message, admission, decision, turn: Turn::At(now) }
}

/// Carries out a plan.
///
/// # Errors
///
/// Returns an internal fault. No attempt is counted: the caller puts the delivery off or returns its message to the
/// queue.
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
            let why = "a delivery is cancelled: its webhook was deleted or disabled";
            tracing::info!(delivery.state = "cancelled", "{why}");
            (stopped(State::Cancelled, None), None, false)
        }
        (Decision::Park, ..) => (stopped(State::Parked, None), None, false),
        (Decision::Defer(until), ..) => {
            tracing::info!(delivery.state = "pending", delivery.next_at = %until, "a delivery waits: its tenant has used up the day's budget");
            (stopped(State::Pending, Some(until)), None, false)
        }
        (Decision::GiveUp(verdict, why), _, Some(webhook)) => {
            let row = loaded.rows.get(&message.delivery);
            let attempt = made(app, message, row, webhook, Outcome::unanswered(verdict, why));
            (give_up(message), Some(attempt), false)
        }
        (Decision::Attempt { .. }, Turn::Later(at), _) => (stopped(State::Pending, Some(at)), None, false),
        (Decision::Attempt { .. }, Turn::Wait, _) => {
            return Box::pin(wait_in_line(app, loaded, message, admission, deadline)).await;
        }
        (Decision::Attempt { probe, .. }, Turn::At(at), Some(webhook)) => {
            let until = deadline + LEASE_MARGIN;
            if probe && Box::pin(app.ledger.claim_probe(webhook, until, app.clock.now())).await? == Written::TooLate {
                (stopped(State::Parked, None), None, false)
            } else {
                let Some(admission) = notice::hold(app, message, admission, webhook, deadline).await? else {
                    tracing::debug!("the notice has a row already");
                    return Ok(Done::Nothing);
                };
                let wait = Duration::try_from(at.duration_since(app.clock.now())).unwrap_or_default();
                // A sleep ends with a tick of a millisecond, even if its time is over when it begins.
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                let waiting = waiting(message, probe, loaded.breakers.get(&message.webhook), app.clock.now());
                let watch = Watch::new(app, message, waiting, deadline + LEASE_MARGIN);
                let attempt = match send(app, loaded, message, admission, webhook, deadline, &watch).await? {
                    Sent::Answered(attempt) => *attempt,
                    Sent::Nothing => {
                        tracing::debug!("another process is making the attempt or has made it");
                        return Ok(Done::Nothing);
                    }
                    Sent::Left => return Ok(left(message, admission, deadline)),
                };
                let (policy, draw) = (&webhook.settings.retry_policy, (app.draw)());
                let progress = settle(message, &attempt.outcome, policy, app.clock.now(), draw);
                log::attempted(&app.successes, message, &attempt, &progress);
                trace::record(app, message, loaded.rows.get(&message.delivery), webhook, &attempt, &progress);
                let settled = settled(message, admission, Some(attempt), progress, probe);
                return Ok(Done::Settled(Box::new(Settled { marked_until: watch.marked_until(), ..settled })));
            }
        }
    };
    if admission == Admission::Redriven && claim(app, loaded, admission, message, deadline).await? == Written::TooLate {
        return Ok(Done::Nothing);
    }
    if let Some(attempt) = &attempt {
        log::attempted(&app.successes, message, attempt, &progress);
    }
    let lease = (admission == Admission::Redriven).then(|| deadline + LEASE_MARGIN);
    Ok(Done::Settled(Box::new(Settled { lease, ..settled(message, admission, attempt, progress, probe) })))
}

/// Makes a delivery wait for a free slot. A redriven delivery starts its cycle first, so that no other process starts
/// it.
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
    tracing::info!(
        delivery.state = State::Pending.as_str(),
        "a delivery waits: its receiver already has as many requests as `max_concurrency` allows"
    );
    let Message { cycle, attempt, .. } = *message;
    let progress = Progress { state: State::Pending, cycle, attempt, next_at: None };
    let row = (admission == Admission::First).then(|| Delivery::first(message.clone(), progress));
    Ok(Done::InLine(Box::new(InLine { attempt_key: AttemptKey::of(message), row, lease })))
}

/// What became of a request.
enum Sent {
    /// There is an outcome.
    Answered(Box<Attempt>),
    /// There was no request: another process has the lease or has already made the attempt.
    Nothing,
    /// It was left while it waited for a receiver that another process has marked as slow.
    Left,
}

/// Moves a delivery whose request was left to the queue of slow receivers. The attempt is not counted, because it will
/// be made there. A delivery that holds its entity or has a row waits in its row, without a lease.
fn left(message: &Message, admission: Admission, deadline: Timestamp) -> Done {
    tracing::info!(
        "the request of a delivery is left, because its receiver does not answer; it moves to the queue of slow receivers"
    );
    if admission == Admission::First && message.entity.is_none() {
        return Done::Detour(Box::new(Message { slow: true, ..message.clone() }));
    }
    let Message { cycle, attempt, .. } = *message;
    let progress = Progress { state: State::Pending, cycle, attempt, next_at: None };
    let settled = settled(message, admission, None, progress, false);
    Done::Settled(Box::new(Settled { lease: Some(deadline + LEASE_MARGIN), ..settled }))
}

/// Makes the request.
///
/// Calls that few attempts make are boxed here and in what this calls: each has kilobytes of state, and a batch moves
/// the state of all of its attempts.
///
/// Steps in which an internal fault can occur come before the lease, so that the message can simply be received again.
async fn send(
    app: &App,
    loaded: &Loaded,
    message: &Message,
    admission: Admission,
    webhook: &Webhook,
    deadline: Timestamp,
    watch: &Watch<'_>,
) -> Result<Sent, StoreError> {
    let answered = |attempt| Ok(Sent::Answered(Box::new(attempt)));
    let row = loaded.rows.get(&message.delivery);
    if let Some(notice) = &webhook.notice {
        let (body, _) = to_send(message, row);
        let body = match body {
            Some(body) => text(app, body).await?.unwrap_or_default(),
            None => Cow::Borrowed(""),
        };
        if claim(app, loaded, admission, message, deadline).await? == Written::TooLate {
            return Ok(Sent::Nothing);
        }
        let outcome = Box::pin(notice::send(app, message, webhook, notice, &body, deadline)).await?;
        return answered(made(app, message, row, webhook, outcome));
    }
    let signers = Signers::of(app, webhook, app.clock.now()).await?;
    let (body, content_type) = to_send(message, row);
    let body = match body {
        Some(body) => text(app, body).await?,
        None => None,
    };
    // The token comes first, so that a delivery that waits for a slow authorization server does not occupy a slot at
    // the receiver's host.
    let timeout = time_left(app.clock.now(), deadline, webhook)?;
    let Authorized { header, waited } = authorization::header(app, webhook, timeout, watch).await?;
    let waited_for_token = waited.unwrap_or_default();
    let authorized = match header {
        Ok(header) => Ok((header, place(app, &webhook.settings.url, deadline).await?)),
        Err(outcome) => Err(outcome),
    };
    let timeout = time_left(app.clock.now(), deadline, webhook)?
        .min(webhook.settings.retry_policy.timeout().saturating_sub(waited_for_token));
    if claim(app, loaded, admission, message, deadline).await? == Written::TooLate {
        return Ok(Sent::Nothing);
    }
    // A retry would not help. An operator who redrives a dead letter after months must see why it failed again.
    let Some(body) = body else {
        let outcome = Outcome::unanswered(Verdict::Unrendered, "its payload has expired");
        return answered(made(app, message, row, webhook, outcome));
    };
    let at = app.clock.now();
    let (hops, traceparent) = (hops(message, row), trace::context(app, message, row));
    let payload = Payload { body: &body, content_type, hops, traceparent };
    let mut request = signers.request(webhook, message, payload, at, timeout);
    // The request has its own copy, and large requests may wait for a long time.
    drop(body);
    let mut sent = Masked::of(&request.headers, &webhook.settings.headers);
    let outcome = match authorized {
        Ok((authorization, place)) => {
            if let Some(header) = &authorization {
                sent = sent.and_authorization(header);
            }
            request.authorization.clone_from(&authorization);
            let request = app.receivers.post(request, place);
            let Some(outcome) = watch.response(waited_for_token, request).await else { return Ok(Sent::Left) };
            authorization::answered(app, webhook, authorization.as_ref(), &outcome);
            sent.conceal(outcome)
        }
        Err(outcome) => outcome,
    };
    let outcome = match waited {
        Some(waited) => outcome.after_token(waited),
        None => outcome,
    };
    answered(Attempt { at, request_headers: sent.headers, ..made(app, message, row, webhook, outcome) })
}

/// Returns the text of a body, or `None` if it has expired.
async fn text<'a>(app: &App, body: &'a Body) -> Result<Option<Cow<'a, str>>, StoreError> {
    let _turn = match body {
        Body::Inline(text) => return Ok(Some(Cow::Borrowed(text))),
        Body::Stored(_) => app.reads.acquire().await.ok(),
        Body::Failed(_) => None,
    };
    match Box::pin(app.bodies.text(body, app.clock.now())).await {
        Err(StoreError::Missing { .. }) => Ok(None),
        text => text.map(Some),
    }
}

/// Returns an attempt with this outcome, as the ledger records it.
fn made(app: &App, message: &Message, row: Option<&Delivery>, webhook: &Webhook, outcome: Outcome) -> Attempt {
    let (cycle, number, at) = (message.cycle, message.attempt, app.clock.now());
    let (secret_fingerprint, request_headers) = (webhook.secret.fingerprint.clone(), SentHeaders::default());
    // The target of a notice may be a secret, such as the URL of a chat's hook.
    let called = webhook.notice.is_none().then_some(&webhook.settings.url);
    let url = called.and_then(|url| logged_url(url, row.map_or(&[], |row| &row.attempts), number));
    Attempt { cycle, number, at, outcome, secret_fingerprint, request_headers, url }
}

/// Takes the lease that a later attempt needs. A first attempt needs none, because its message is the delivery's only
/// holder.
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
        Admission::Again => Box::pin(app.ledger.lease(attempt_key, until, now)).await,
        Admission::Redriven => {
            let body = message.body.as_ref().map(|body| (body, message.content_type));
            let attempts = loaded.rows.get(&message.delivery).map_or(0, |row| row.attempts.len());
            Box::pin(app.ledger.redrive(attempt_key, attempts, body, until)).await
        }
        Admission::Stale(_) => Ok(Written::TooLate),
    }
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
    Settled { message, row, attempt, lease: None, progress, probe, marked_until: None, put_off: false }
}

/// Puts off a delivery that could not be attempted, unless its message must return to the queue.
///
/// # Errors
///
/// Returns the fault if the message must return to the queue.
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
    tracing::error!(delivery.id = %message.delivery, delivery.next_at = next_at, error = %fault, "a delivery was not attempted because of a fault of ours; it is attempted later");
    let settled = settled(message, admission, None, progress, false);
    Ok(Done::Settled(Box::new(Settled { put_off: true, ..settled })))
}
