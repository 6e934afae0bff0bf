//! Sends a notice: a delivery that tells people, by e-mail, SNS, Slack or Teams.

use std::num::NonZeroU32;
use std::time::Duration;

use aws::StoreError;
use aws::ledger::Written;
use domain::access::rate::{Rate, RateKey};
use domain::attempt::outcome::{Outcome, Verdict};
use domain::delivery::decide::Admission;
use domain::delivery::message::Message;
use domain::delivery::notice_text::{Facts, NoticeText, confirmation};
use domain::delivery::{Delivery, Progress, State};
use domain::id::NoticeId;
use domain::webhook::Webhook;
use domain::webhook::notice::{ChannelKind, Notice};
use jiff::Timestamp;

use crate::App;
use crate::allowance::{LEASE_MARGIN, place, time_left};

/// How many notices a tenant may have sent by e-mail and SNS in an hour.
const SENT: Rate = Rate { limit: NonZeroU32::new(200).unwrap(), window_seconds: NonZeroU32::new(3_600).unwrap() };

/// Writes the row of a notice before its first attempt, so that processes with the same notice, made from different
/// events of an hour, send it once. Returns how to continue, or `None` if the notice has a row already.
///
/// Other deliveries need no such write, because only copies of one message share a delivery.
///
/// # Errors
///
/// If the ledger is unavailable.
pub(crate) async fn hold(
    app: &App,
    message: &Message,
    admission: Admission,
    webhook: &Webhook,
    deadline: Timestamp,
) -> Result<Option<Admission>, StoreError> {
    if admission != Admission::First || webhook.notice.is_none() {
        return Ok(Some(admission));
    }
    let Message { cycle, attempt, .. } = *message;
    let progress = Progress { state: State::Pending, cycle, attempt, next_at: Some(deadline + LEASE_MARGIN) };
    let row = Delivery::first(message.clone(), progress);
    let written = app.ledger.record_first(&row, app.clock.now()).await?;
    Ok((written == Written::Yes).then_some(Admission::Again))
}

/// Sends a notice and returns the outcome. The text says how the webhook that it is about does now.
///
/// # Errors
///
/// If a table or a secret cannot be read, or the invocation has no time left.
pub(crate) async fn send(
    app: &App,
    message: &Message,
    webhook: &Webhook,
    notice: &Notice,
    body: &str,
    deadline: Timestamp,
) -> Result<Outcome, StoreError> {
    let timeout = time_left(app.clock.now(), deadline, webhook)?;
    let facts = Facts::read(body);
    if let Some(address) = facts.address() {
        return confirm(app, message, notice, address, timeout).await;
    }
    let about = match facts.webhook() {
        Some(id) => app.registry.webhook(&message.tenant, id).await?,
        None => None,
    };
    let text = facts.compose(about.as_ref().map(|about| (&about.webhook, &about.statistics)));
    let channel = &notice.channel;
    // SES and SNS have quotas that all tenants share.
    if matches!(channel.kind, ChannelKind::Email | ChannelKind::Sns) {
        let key = RateKey::new("notice", &[message.tenant.as_str()]);
        if app.rates.take(&key, SENT, app.clock.now()).await.is_err() {
            let why = format!("the tenant has had {} notices by e-mail and SNS in this hour", SENT.limit);
            return Ok(Outcome::unanswered(Verdict::Aborted, why));
        }
    }
    match channel.kind {
        ChannelKind::Email => {
            let to: Vec<&str> = notice.confirmed().collect();
            Ok(mail(app, &to, &text, timeout).await)
        }
        ChannelKind::Sns => {
            // The operator may have forbidden the topic since the notice was written.
            let allowed = app.notices.topics.iter().find(|topic| Some(*topic) == channel.topic_arn.as_ref());
            let Some(topic) = allowed else {
                let why = "NoticeTopicArns does not allow the topic (any more)";
                return Ok(Outcome::unanswered(Verdict::Forbidden, why));
            };
            Ok(app.people.publish(topic, (&text.ascii_subject(), &text.text()), timeout).await)
        }
        ChannelKind::Slack => post(app, message, webhook, text.slack(), deadline).await,
        ChannelKind::Teams => post(app, message, webhook, text.teams(), deadline).await,
    }
}

/// Asks an address for its confirmation, unless it was confirmed or removed meanwhile.
async fn confirm(
    app: &App,
    message: &Message,
    notice: &Notice,
    address: &str,
    timeout: Duration,
) -> Result<Outcome, StoreError> {
    let waits = notice.recipients.iter().find(|one| one.address == address && one.confirmed_at.is_none());
    let Some(recipient) = waits else {
        return Ok(Outcome::unanswered(Verdict::Aborted, "the address needs no confirmation (any more)"));
    };
    let key = app.keyring.fingerprint_key().await?;
    let code = recipient.code(key, &message.tenant, message.webhook);
    let id = NoticeId::from(message.webhook).to_string();
    Ok(mail(app, &[address], &confirmation(message.tenant.as_str(), &id, &code), timeout).await)
}

async fn mail(app: &App, to: &[&str], text: &NoticeText, timeout: Duration) -> Outcome {
    let Some(sender) = &app.notices.sender else {
        return Outcome::unanswered(Verdict::Forbidden, "the deployment has no NoticeSender (any more)");
    };
    if to.is_empty() {
        return Outcome::unanswered(Verdict::Aborted, "no address is confirmed (any more)");
    }
    app.people.mail(sender, to, (text.subject(), &text.text()), timeout).await
}

/// Posts a message to Slack or Teams. It is not signed: they know no signature.
async fn post(
    app: &App,
    message: &Message,
    webhook: &Webhook,
    body: String,
    deadline: Timestamp,
) -> Result<Outcome, StoreError> {
    let place = place(app, &webhook.settings.url, deadline).await?;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let request = outbound::Request {
        url: webhook.settings.url.clone(),
        headers: vec![header("content-type", "application/json"), header("webhook-id", &message.delivery.to_string())],
        authorization: None,
        body: body.into_bytes(),
        timeout: time_left(app.clock.now(), deadline, webhook)?,
        success: Vec::new(),
        at: app.clock.now(),
    };
    Ok(app.receivers.post(request, place).await)
}
