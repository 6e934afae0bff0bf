//! One attempt, from the message to its outcome. The steps are separate, so that a test can stop between any two.

use std::time::Duration;

use aws::StoreError;
use aws::ledger::{Loaded, Slot, Written};
use domain::delivery::{Admission, Attempt, Delivery, Outcome, Progress, State, Verdict, admit, settle};
use domain::message::{Body, Message};
use domain::signature::sign;
use domain::webhook::Webhook;
use jiff::Timestamp;
use tracing::{Span, field};

use crate::App;

/// What an invocation keeps of its time to write outcomes.
const RESERVE: Duration = Duration::from_secs(3);

/// How long a lease outlives the invocation that took it.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// What came of a message, not yet written.
#[derive(Debug)]
pub enum Done {
    /// Nothing was to do.
    Nothing,
    /// The first attempt was made, or the delivery cancelled or parked before it: this is its row.
    First(Delivery),
    /// A later attempt was made (`None`: the delivery was cancelled or parked before it).
    Later {
        /// The message that asked for it.
        message: Message,
        /// The attempt.
        attempt: Option<Attempt>,
        /// Where the delivery stands now.
        progress: Progress,
    },
}

/// Does what a message asks for, unless the ledger says that it is done already.
///
/// # Errors
///
/// A fault of ours: the message goes back to the queue, and no attempt is counted.
#[tracing::instrument(name = "delivery.attempt", skip_all, fields(
    delivery.id = %message.delivery, event.id = %message.event, event.r#type = %message.event_type,
    webhook.id = %message.webhook, tenant.id = %message.tenant,
    delivery.cycle = message.cycle, attempt.number = message.attempt,
    attempt.verdict = field::Empty, attempt.duration_ms = field::Empty, http.response.status_code = field::Empty,
    delivery.state = field::Empty, delivery.next_at = field::Empty,
))]
pub async fn attempt(app: &App, loaded: &Loaded, message: &Message, deadline: Timestamp) -> Result<Done, StoreError> {
    let row = loaded.rows.get(&message.delivery);
    let admission = admit(message, row, app.clock.now());
    if let Admission::Stale(why) = admission {
        tracing::debug!(%why, "message needs no request");
        return Ok(Done::Nothing);
    }
    let wanted = |webhook: &&Webhook| if message.test { !webhook.is_deleted() } else { webhook.wants_events() };
    let Some(webhook) = loaded.webhooks.get(&message.webhook).filter(wanted) else {
        tracing::info!(delivery.state = "cancelled", "webhook is gone");
        return stop(app, message, admission, State::Cancelled, deadline).await;
    };
    let body = row.map_or(&message.body, |row| &row.body);
    if let Some(why) = never_made(body.as_ref(), row) {
        if admission == Admission::Redriven && claim(app, admission, message, deadline).await? == Written::TooLate {
            return Ok(Done::Nothing);
        }
        return Ok(unrendered(app, message, admission, webhook, why));
    }
    if webhook.pause.is_some() && !message.test {
        tracing::debug!(delivery.state = "parked", "webhook is paused");
        return stop(app, message, admission, State::Parked, deadline).await;
    }
    // What can fail for reasons of ours comes before the lease, so that the message can simply come back.
    let secrets = app.keyring.secrets(webhook, app.clock.now()).await?;
    let body = match body {
        Some(body) => app.bodies.text(body.clone()).await?,
        None => return Err(StoreError::Missing { key: format!("the body of {}", message.delivery) }),
    };
    let timeout = time_left(app.clock.now(), deadline, webhook)?;
    if claim(app, admission, message, deadline).await? == Written::TooLate {
        tracing::debug!("another process is at it");
        return Ok(Done::Nothing);
    }
    let at = app.clock.now();
    let secrets: Vec<_> = secrets.iter().map(AsRef::as_ref).collect();
    let settings = &webhook.settings;
    let signed = sign(settings.signature_scheme, &secrets, &message.event.to_string(), at, body.as_bytes());
    let headers = settings.headers.clone().into_iter();
    let headers = headers.chain(signed.into_iter().map(|(name, value)| (name.to_owned(), value))).collect();
    let content_type = row.map_or(message.content_type, |row| row.content_type);
    let request =
        outbound::Request { url: settings.url.clone(), headers, content_type: content_type.as_str(), body, timeout };
    let outcome = app.receivers.post(request).await;
    let (cycle, number) = (message.cycle, message.attempt);
    let attempt = Attempt { cycle, number, at, outcome, secret_fingerprint: webhook.secret.fingerprint.clone() };
    let verdict = attempt.outcome.verdict;
    let progress = match (message.test, verdict) {
        (true, verdict) if verdict != Verdict::Accepted => stopped(message, State::Failed),
        _ => settle(cycle, number, verdict, &settings.retry_policy, app.clock.now(), runtime::random::draw()),
    };
    log(&attempt, &progress);
    Ok(done(message, admission, Some(attempt), progress))
}

/// Says why there is nothing to send, if there is nothing: a redrive finds it in the log of attempts.
fn never_made(body: Option<&Body>, row: Option<&Delivery>) -> Option<String> {
    match body {
        Some(Body::Failed(why)) => Some(format!("the template made no payload: {why}")),
        Some(Body::Inline(_) | Body::Stored(_)) => None,
        None => {
            let last = &row?.attempts.last()?.outcome;
            last.error.clone().filter(|_| last.verdict == Verdict::Unrendered)
        }
    }
}

/// Ends a delivery that there is nothing to send for: the log of its attempts says why.
fn unrendered(app: &App, message: &Message, admission: Admission, webhook: &Webhook, why: String) -> Done {
    let verdict = Verdict::Unrendered;
    let outcome = Outcome::unanswered(verdict, why);
    let (cycle, number, at) = (message.cycle, message.attempt, app.clock.now());
    let attempt = Attempt { cycle, number, at, outcome, secret_fingerprint: webhook.secret.fingerprint.clone() };
    let progress = stopped(message, if message.test { State::Failed } else { State::Exhausted });
    log(&attempt, &progress);
    done(message, admission, Some(attempt), progress)
}

/// Ends or parks a delivery before an attempt. A redriven one first begins its cycle, or its row would not take the outcome.
async fn stop(
    app: &App,
    message: &Message,
    admission: Admission,
    state: State,
    deadline: Timestamp,
) -> Result<Done, StoreError> {
    if admission == Admission::Redriven && claim(app, admission, message, deadline).await? == Written::TooLate {
        return Ok(Done::Nothing);
    }
    Ok(done(message, admission, None, stopped(message, state)))
}

/// Takes the lease that a later attempt needs. The first one needs none: its message is the only holder.
async fn claim(app: &App, admission: Admission, message: &Message, deadline: Timestamp) -> Result<Written, StoreError> {
    let (slot, until, now) = (Slot::of(message), deadline + LEASE_MARGIN, app.clock.now());
    match admission {
        Admission::First => Ok(Written::Yes),
        Admission::Again => app.ledger.lease(slot, until, now).await,
        Admission::Redriven => app.ledger.redrive(slot, until).await,
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

/// Where a delivery stands that is not attempted, or not again.
fn stopped(message: &Message, state: State) -> Progress {
    Progress { state, cycle: message.cycle, attempt: message.attempt, next_at: None }
}

fn done(message: &Message, admission: Admission, attempt: Option<Attempt>, progress: Progress) -> Done {
    if admission != Admission::First {
        return Done::Later { message: message.clone(), attempt, progress };
    }
    let Message { delivery, event, event_type, webhook, tenant, app, sequence, body, content_type, .. } =
        message.clone();
    Done::First(Delivery {
        id: delivery,
        event,
        event_type,
        webhook,
        tenant,
        app,
        sequence,
        progress,
        lease_until: None,
        // Kept while there may be another attempt.
        body: body.filter(|_| !progress.state.is_terminal() || progress.state == State::Exhausted),
        content_type,
        attempts: attempt.into_iter().collect(),
    })
}

/// The one line of an attempt.
fn log(attempt: &Attempt, progress: &Progress) {
    let span = Span::current();
    span.record("attempt.verdict", attempt.outcome.verdict.as_str());
    span.record("attempt.duration_ms", attempt.outcome.duration_ms);
    span.record("delivery.state", progress.state.as_str());
    if let Some(status) = attempt.outcome.status {
        span.record("http.response.status_code", status);
    }
    if let Some(next_at) = progress.next_at {
        span.record("delivery.next_at", field::display(next_at));
    }
    if attempt.outcome.verdict == Verdict::Accepted {
        tracing::info!("attempt succeeded");
    } else {
        tracing::warn!(error = attempt.outcome.error.as_deref(), "attempt failed");
    }
}
