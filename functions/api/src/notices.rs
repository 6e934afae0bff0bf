//! The use cases of notices, without HTTP. A notice is stored as a webhook with the same ULID; see
//! [`domain::webhook::notice`].

use std::num::NonZeroU32;
use std::time::Duration;

use aws::StoreError;
use aws::queue::Outgoing;
use aws::registry::WebhookRecord;
use domain::access::rate::{Rate, RateKey};
use domain::delivery::message::{Body, Message};
use domain::delivery::notice_text::{CONFIRMATION, Facts, TEST};
use domain::delivery::{Delivery, State};
use domain::event::types::EventType;
use domain::fault::FieldError;
use domain::id::{EventId, NoticeId, WebhookId};
use domain::signing::secret::{Fingerprint, SecretFormat};
use domain::value::merge::merge;
use domain::value::{Map, Value};
use domain::webhook::notice::{MAX_NOTICES, Notice, NoticeSettings};
use domain::webhook::statistics::Statistics;
use domain::webhook::{Audit, SecretReference, Webhook};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::caller::Admin;
use crate::etag::IfMatch;
use crate::idempotency::FirstTry;
use crate::problem::Problem;
use crate::read::read;

mod representation;

pub(crate) use representation::NoticeBody;

/// How many times a change is tried if other requests change the notice concurrently.
const ROUNDS: usize = 5;

/// How many confirmation mails and tests a tenant may send, so that Dynahook cannot be used to flood an address.
const MAILS: Rate = Rate { limit: NonZeroU32::new(50).unwrap(), window_seconds: NonZeroU32::new(86_400).unwrap() };
const TESTS: Rate = Rate { limit: NonZeroU32::new(20).unwrap(), window_seconds: NonZeroU32::new(3_600).unwrap() };

/// How many notices a tenant may create in a day, because fan-out reads the rows of deleted ones too.
const CREATES: Rate = Rate { limit: NonZeroU32::new(100).unwrap(), window_seconds: NonZeroU32::new(86_400).unwrap() };

/// How long a test waits for its outcome, and how often the ledger is read.
const MAX_WAIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

/// The outcome of a test.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NoticeTest)]
pub(crate) struct TestBody {
    /// `delivered` or `failed`; `pending` if there is no outcome after two seconds.
    pub(crate) state: State,
    /// Why it failed.
    error: Option<String>,
}

/// A webhook that is a notice.
struct Found {
    webhook: Webhook,
    notice: Notice,
    statistics: Statistics,
}

impl Found {
    fn of(record: WebhookRecord) -> Option<Self> {
        let WebhookRecord { webhook, statistics, .. } = record;
        let notice = webhook.notice.clone().filter(|_| !webhook.is_deleted())?;
        Some(Self { webhook, notice, statistics })
    }

    fn body(self) -> NoticeBody {
        NoticeBody::new(self.webhook, &self.notice, self.statistics)
    }
}

/// Creates a notice. Each address gets a mail with a code.
pub(crate) async fn create(
    app: &App,
    admin: &Admin,
    first_try: Option<&FirstTry>,
    settings: NoticeSettings,
) -> Result<NoticeBody, Problem> {
    check(app, admin, &settings, None).await?;
    let now = app.clock.now();
    let key = RateKey::new("notice-creates", &[admin.tenant.as_str()]);
    app.rates.take(&key, CREATES, now).await.map_err(Problem::exceeds("new notices"))?;
    let id = match first_try {
        Some(first_try) => first_try.webhook_id(),
        None => WebhookId::from_parts(now, runtime::random::bits()),
    };
    let (settings, notice) = settings.into_webhook(None, now);
    let webhook = Webhook {
        id,
        tenant: admin.tenant.clone(),
        app: None,
        settings,
        secret: SecretReference {
            vault_path: String::new(),
            fingerprint: Fingerprint::none(),
            format: SecretFormat::Plain,
            previous: None,
            rotation: None,
        },
        authorization: None,
        notice: Some(notice.clone()),
        pause: None,
        audit: Audit::created(now, &admin.subject),
    };
    spend_mails(app, admin, notice.recipients.len()).await?;
    let found = match app.webhooks.create(&webhook, MAX_NOTICES).await {
        Ok(_) => Found { webhook, notice, statistics: Statistics::default() },
        // An earlier try of the same request wrote it, and may have died before it sent the mails.
        Err(StoreError::Conflict { .. }) if first_try.is_some() => visible(app, admin, id).await?,
        Err(error) => return Err(error.into()),
    };
    ask(app, &found.webhook, &found.notice.channel.to).await?;
    tracing::info!(notice.id = %NoticeId::from(id), tenant.id = %admin.tenant, by = admin.subject, "notice created");
    Ok(found.body())
}

/// Lists the tenant's notices, oldest first.
pub(crate) async fn list(app: &App, admin: &Admin) -> Result<Vec<NoticeBody>, Problem> {
    let limit = usize::try_from(MAX_NOTICES).unwrap_or(usize::MAX);
    let is_notice = |webhook: &Webhook| webhook.notice.is_some() && !webhook.is_deleted();
    let page = app.ledger.webhooks(&app.registry, &admin.tenant, None, limit, is_notice).await?;
    let found = page.webhooks.into_iter().filter_map(Found::of);
    Ok(found.map(|found| found.body().shown_to(admin)).collect())
}

/// Returns a notice of the tenant.
pub(crate) async fn get(app: &App, admin: &Admin, id: &str) -> Result<NoticeBody, Problem> {
    Ok(visible(app, admin, parse(id)?).await?.body().shown_to(admin))
}

fn parse(id: &str) -> Result<WebhookId, Problem> {
    id.parse::<NoticeId>().map(WebhookId::from).map_err(|_| Problem::NotFound("notice"))
}

async fn visible(app: &App, admin: &Admin, id: WebhookId) -> Result<Found, Problem> {
    let record = app.registry.webhook(&admin.tenant, id).await?;
    record.and_then(Found::of).ok_or(Problem::NotFound("notice"))
}

/// Merges a change into the settings of a notice. A channel is replaced as a whole. New addresses get a mail.
pub(crate) async fn merge_settings(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: &IfMatch,
    patch: Map,
) -> Result<NoticeBody, Problem> {
    for _ in 0..ROUNDS {
        let mut found = visible(app, admin, parse(id)?).await?;
        if_match.check(found.webhook.audit.version)?;
        let before = NoticeSettings::of(&found.webhook.settings, &found.notice);
        let settings = merged(&before, patch.clone())?;
        check(app, admin, &settings, Some(&before)).await?;
        let known = found.notice.clone();
        (found.webhook.settings, found.notice) = settings.into_webhook(Some(&known), app.clock.now());
        let is_new = |address: &String| known.recipients.iter().all(|known| known.address != *address);
        let addresses = found.notice.recipients.iter().map(|recipient| recipient.address.clone());
        let asked: Vec<_> = addresses.filter(is_new).collect();
        // A channel that was mended is tried at once.
        found.webhook.pause = None;
        spend_mails(app, admin, asked.len()).await?;
        if write(app, admin, &mut found).await? {
            ask(app, &found.webhook, &asked).await?;
            return Ok(found.body());
        }
    }
    Err(contended())
}

fn merged(before: &NoticeSettings, patch: Map) -> Result<NoticeSettings, Problem> {
    let mut merged = if let Value::Map(map) = Value::of(before) { map } else { Map::new() };
    if patch.contains_key("channel") {
        merged.remove("channel");
    }
    merge(&mut merged, patch);
    read(Value::Map(merged)).finish()
}

/// Confirms the address to which a code was sent. Without a code, sends one again to each address that has not confirmed.
pub(crate) async fn confirm(app: &App, admin: &Admin, id: &str, code: Option<&str>) -> Result<NoticeBody, Problem> {
    let key = app.fingerprint_key().await?;
    for _ in 0..ROUNDS {
        let (mut found, now) = (visible(app, admin, parse(id)?).await?, app.clock.now());
        let mut asked = Vec::new();
        match code {
            Some(code) => {
                let Found { webhook, notice, .. } = &mut found;
                if !notice.confirm(key, &webhook.tenant, webhook.id, code, now) {
                    let detail = "is not the code of an address of this notice, or is older than 7 days; send {} to get a new one";
                    return Err(vec![FieldError::new("/code", detail)].into());
                }
            }
            None => {
                for recipient in found.notice.recipients.iter_mut().filter(|one| one.confirmed_at.is_none()) {
                    recipient.asked_at = now;
                    asked.push(recipient.address.clone());
                }
            }
        }
        spend_mails(app, admin, asked.len()).await?;
        if write(app, admin, &mut found).await? {
            ask(app, &found.webhook, &asked).await?;
            return Ok(found.body());
        }
    }
    Err(contended())
}

/// Deletes a notice. What is on its way is not sent.
pub(crate) async fn delete(app: &App, admin: &Admin, id: &str, if_match: &IfMatch) -> Result<(), Problem> {
    for _ in 0..ROUNDS {
        let mut webhook = visible(app, admin, parse(id)?).await?.webhook;
        if_match.check(webhook.audit.version)?;
        webhook.delete(app.clock.now(), &admin.subject);
        match app.webhooks.delete(&webhook).await {
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                tracing::info!(notice.id = id, tenant.id = %admin.tenant, by = admin.subject, "notice deleted");
                return Ok(());
            }
        }
    }
    Err(contended())
}

/// Sends a test, and waits a moment for its outcome.
pub(crate) async fn test(app: &App, admin: &Admin, id: &str) -> Result<TestBody, Problem> {
    let found = visible(app, admin, parse(id)?).await?;
    if !found.notice.reaches_people() {
        return Err(Problem::Conflict("no address of the notice is confirmed; confirm one first".to_owned()));
    }
    let now = app.clock.now();
    let key = RateKey::new("notice-tests", &[admin.tenant.as_str()]);
    app.rates.take(&key, TESTS, now).await.map_err(Problem::exceeds("tests of notices"))?;
    let message = message(&found.webhook, TEST, None, now)?;
    app.deliveries.send(vec![Outgoing::of(&message, Duration::ZERO)]).await.remove(0)?;
    let deadline = now + MAX_WAIT;
    while app.clock.now() < deadline {
        let delivery = app.ledger.delivery(message.webhook, message.delivery, app.clock.now()).await?;
        if let Some(ended) = delivery.filter(|delivery| delivery.progress.state.is_terminal()) {
            return Ok(outcome(&ended));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(TestBody { state: State::Pending, error: None })
}

fn outcome(delivery: &Delivery) -> TestBody {
    let last = delivery.attempts.last().and_then(|attempt| attempt.outcome.error.clone());
    TestBody { state: delivery.progress.state, error: last }
}

/// Writes a changed notice. Returns whether it was written: if not, another request came first.
async fn write(app: &App, admin: &Admin, found: &mut Found) -> Result<bool, Problem> {
    found.webhook.notice = Some(found.notice.clone());
    found.webhook.touch(app.clock.now(), &admin.subject);
    match app.webhooks.update(&found.webhook, &[]).await {
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(()) => {
            let id = NoticeId::from(found.webhook.id);
            tracing::info!(notice.id = %id, tenant.id = %admin.tenant, by = admin.subject, "notice changed");
            Ok(true)
        }
    }
}

fn contended() -> Problem {
    Problem::Conflict("the notice was changed concurrently; try again".to_owned())
}

/// Checks settings, and that the tenant has the webhooks that they name. Webhooks that `before` named may be gone.
async fn check(
    app: &App,
    admin: &Admin,
    settings: &NoticeSettings,
    before: Option<&NoticeSettings>,
) -> Result<(), Problem> {
    let mut faults = settings.check(&app.targets, &app.notices);
    if faults.is_empty() {
        let known = before.map(|before| before.webhook_ids.as_slice()).unwrap_or_default();
        for (index, id) in settings.webhook_ids.iter().enumerate().filter(|(_, id)| !known.contains(id)) {
            let webhook = app.registry.webhook(&admin.tenant, *id).await?.map(|record| record.webhook);
            if webhook.is_none_or(|webhook| webhook.is_deleted() || webhook.notice.is_some()) {
                let detail = "must be a webhook of this tenant; GET /webhooks lists them";
                faults.push(FieldError::new(&format!("/webhook_ids/{index}"), detail));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.into()) }
}

/// Counts confirmation mails that are about to be sent.
async fn spend_mails(app: &App, admin: &Admin, mails: usize) -> Result<(), Problem> {
    let key = RateKey::new("notice-mails", &[admin.tenant.as_str()]);
    for _ in 0..mails {
        let taken = app.rates.take(&key, MAILS, app.clock.now()).await;
        taken.map_err(Problem::exceeds("mails that ask an address for confirmation"))?;
    }
    Ok(())
}

/// Sends each address a mail with its code. `deliver` writes the mail; the message contains no code.
async fn ask(app: &App, webhook: &Webhook, addresses: &[String]) -> Result<(), Problem> {
    let now = app.clock.now();
    let mut messages = Vec::new();
    for address in addresses {
        messages.push(Outgoing::of(&message(webhook, CONFIRMATION, Some(address), now)?, Duration::ZERO));
    }
    for sent in app.deliveries.send(messages).await {
        sent?;
    }
    Ok(())
}

/// Returns the message of a mail or a message that no event led to. It is attempted once, even if the notice is
/// disabled, like the test of a webhook.
fn message(webhook: &Webhook, event_type: &str, address: Option<&str>, now: Timestamp) -> Result<Message, Problem> {
    let event = EventId::from_parts(now, runtime::random::bits());
    let body = Body::Inline(Facts::body(event_type, &now.to_string(), address));
    let event_type: EventType = event_type.parse().map_err(|_| Problem::NotFound("event type"))?;
    let first = Message::first(event, event_type, webhook.id, webhook.tenant.clone(), body);
    Ok(Message { test: true, ..first })
}
