//! The use cases of webhooks, without HTTP: which webhooks a caller may see, and how one is created and changed.
//!
//! Routes read a request, call a function here and make a response of what it returns. This file contains what all use
//! cases share; [`create`] registers a webhook, [`update`] changes its settings, [`lifecycle`] deletes, restores and
//! rotates, [`authorization`] sets the credential of its requests. [`input`] reads what callers send,
//! [`representation`] is what responses show.

use aws::StoreError;
use aws::registry::WebhookRecord;
use aws::rounds::{ROUNDS, pause};
use domain::delivery::notices::lifecycle_events;
use domain::webhook::Webhook;
use domain::webhook::authorization::origin::SetBy;

use crate::App;
use crate::caller::Admin;
use crate::etag::IfMatch;
use crate::problem::Problem;
use crate::tenant_keys;

pub(crate) mod authorization;
pub(crate) mod create;
mod field_names;
pub(crate) mod input;
pub(crate) mod lifecycle;
pub(crate) mod other_names;
pub(crate) mod representation;
pub(crate) mod schemas;
mod secrets;
pub(crate) mod update;
pub(crate) mod warnings;

/// What a change did to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// Nothing. The webhook already is in the requested state and is not written.
    Nothing,
    /// It changed the webhook, which must be written.
    Webhook,
}

/// Reads a webhook, changes it and writes it. If another request wrote the webhook in the meantime, the change is
/// applied again to the new version, so that neither is lost. With `If-Match` the second round fails instead.
pub(crate) async fn change(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    apply: impl Fn(&mut WebhookRecord, &App) -> Result<Write, Problem>,
) -> Result<WebhookRecord, Problem> {
    let salt = runtime::random::bits().to_string();
    for round in 0..ROUNDS {
        pause(round, &salt).await;
        let mut record = visible(app, admin, id).await?;
        if_match.check(record.webhook.audit.version)?;
        let before = record.webhook.clone();
        if apply(&mut record, app)? == Write::Nothing {
            return Ok(record);
        }
        let kept = record.webhook.keep_credentials(&before, set_by(admin));
        kept.map_err(|fault| Problem::Invalid(vec![fault.into()]))?;
        let checked = record.webhook.check_key_owner(Some(&before), set_by(admin));
        checked.map_err(|fault| Problem::Invalid(vec![fault.into()]))?;
        if let Some(owner) = record.webhook.key_owner().filter(|owner| before.key_owner().as_ref() != Some(owner)) {
            tenant_keys::ensure(app, &owner).await?;
        }
        record.webhook.touch(app.clock.now(), &admin.subject);
        let happened = lifecycle_events(&before, &record.webhook);
        reset_failures(app, &mut record).await?;
        match app.webhooks.update(&record.webhook, &happened).await {
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                let Webhook { id, tenant, .. } = &record.webhook;
                tracing::info!(webhook.id = %id, tenant.id = %tenant, by = admin.subject, "webhook changed");
                return Ok(record);
            }
        }
    }
    Err(contended())
}

/// Resets the failure counters of a webhook that is not paused, so that old failures do not pause the new configuration
/// at its first failure. Done before the webhook is written: if the process dies in between, nothing is left to do.
async fn reset_failures(app: &App, record: &mut WebhookRecord) -> Result<(), Problem> {
    if record.webhook.pause.is_none() && record.statistics.consecutive_failures > 0 {
        app.registry.reset_failures(record.webhook.id).await?;
        record.statistics.reset_failures();
    }
    Ok(())
}

/// Whether the caller may see the webhook: an application sees its own, an admin of the tenant sees all.
pub(crate) fn is_visible(admin: &Admin, webhook: &Webhook) -> bool {
    admin.app.is_none() || webhook.app == admin.app
}

/// Returns the webhook if the caller may see it. A malformed id, a deleted webhook, and a webhook of another tenant or
/// application all answer "not found".
pub(crate) async fn visible(app: &App, admin: &Admin, id: &str) -> Result<WebhookRecord, Problem> {
    let record = visible_even_deleted(app, admin, id).await?;
    if record.webhook.is_deleted() { Err(Problem::NotFound("webhook")) } else { Ok(record) }
}

async fn visible_even_deleted(app: &App, admin: &Admin, id: &str) -> Result<WebhookRecord, Problem> {
    let not_found = || Problem::NotFound("webhook");
    let id = id.parse().map_err(|_| not_found())?;
    let record = app.registry.webhook(&admin.tenant, id).await?.ok_or_else(not_found)?;
    if record.webhook.notice.is_none() && is_visible(admin, &record.webhook) { Ok(record) } else { Err(not_found()) }
}

fn contended() -> Problem {
    Problem::Conflict("the webhook was changed concurrently; try again".to_owned())
}

/// Returns whether a credential that the caller sends comes from an application or from the tenant.
fn set_by(admin: &Admin) -> SetBy {
    if admin.app.is_some() { SetBy::Application } else { SetBy::Tenant }
}
