//! What can be done to a webhook beyond changing its settings: pause, resume, enable, delete, restore, and rotate its
//! secret.

use aws::StoreError;
use aws::ledger::Written;
use aws::registry::WebhookRecord;
use aws::rounds::{self, ROUNDS};
use domain::delivery::breaker::{Breaker, BreakerState};
use domain::signing::secret::WebhookSecret;
use domain::value::Value;
use domain::webhook::settings::Direction;
use domain::webhook::{Pause, SecretReference, Webhook};

use super::{Write, change, contended, input, reset_failures, secrets, visible, visible_even_deleted};
use crate::App;
use crate::caller::Admin;
use crate::etag::IfMatch;
use crate::idempotency::FirstTry;
use crate::problem::Problem;
use crate::tenant_keys;

/// Pauses a webhook; a paused one stays as it is.
pub(crate) async fn pause(app: &App, admin: &Admin, id: &str, if_match: IfMatch) -> Result<WebhookRecord, Problem> {
    let record = change(app, admin, id, if_match, |record, app| {
        if record.webhook.settings.direction == Direction::Inbound {
            return Err(Problem::Conflict("an inbound webhook cannot be paused; disable it".to_owned()));
        }
        if record.webhook.pause.is_some() {
            return Ok(Write::Nothing);
        }
        record.webhook.pause = Some(Pause { at: app.clock.now(), by_failures: false });
        Ok(Write::Webhook)
    });
    record.await
}

/// Resumes a webhook that an admin or too many failures paused. Its circuit breaker closes, its failures are forgotten,
/// and its parked deliveries are released; also if it is not paused but its breaker is open.
pub(crate) async fn resume(app: &App, admin: &Admin, id: &str, if_match: IfMatch) -> Result<WebhookRecord, Problem> {
    let record = change(app, admin, id, if_match, |record, _| match record.webhook.pause.take() {
        Some(_) => Ok(Write::Webhook),
        None => Ok(Write::Nothing),
    });
    let mut record = record.await?;
    // The write of a webhook that was paused has done both. The failures first: with them, the next one would open the
    // breaker again.
    reset_failures(app, &mut record).await?;
    let now = app.clock.now();
    if app.ledger.close_breaker(record.webhook.id, now).await? == Written::Yes {
        record.breaker = Some(Breaker::new(BreakerState::Draining, now));
    }
    Ok(record)
}

/// Enables or disables a webhook.
pub(crate) async fn set_enabled(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    to: bool,
) -> Result<WebhookRecord, Problem> {
    let record = change(app, admin, id, if_match, |record, _| {
        let settings = &mut record.webhook.settings;
        if to && settings.direction == Direction::Outbound && settings.url.is_empty() {
            return Err(Problem::Conflict("the webhook has no `url`; set it first".to_owned()));
        }
        let enabled = &mut settings.enabled;
        Ok(if std::mem::replace(enabled, to) == to { Write::Nothing } else { Write::Webhook })
    });
    record.await
}

/// Deletes a webhook and its secrets.
pub(crate) async fn delete(app: &App, admin: &Admin, id: &str, if_match: IfMatch) -> Result<(), Problem> {
    let salt = runtime::random::bits().to_string();
    for round in 0..ROUNDS {
        rounds::pause(round, &salt).await;
        let mut webhook = visible_even_deleted(app, admin, id).await?.webhook;
        if webhook.is_deleted() {
            // The request that deleted it may have died before it deleted the secrets.
            secrets::delete_of_deleted(app, &webhook).await?;
            return Err(Problem::NotFound("webhook"));
        }
        if_match.check(webhook.audit.version)?;
        webhook.delete(app.clock.now(), &admin.subject);
        match app.webhooks.delete(&webhook).await {
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                secrets::delete_of_deleted(app, &webhook).await?;
                tracing::info!(webhook.id = %webhook.id, tenant.id = %webhook.tenant, by = admin.subject, "webhook deleted");
                return Ok(());
            }
        }
    }
    Err(contended())
}

/// Restores a deleted webhook; returns it with its new secret if the old one is gone. A webhook that is not deleted
/// stays as it is.
pub(crate) async fn restore(
    app: &App,
    admin: &Admin,
    id: &str,
) -> Result<(WebhookRecord, Option<WebhookSecret>), Problem> {
    let mut record = visible_even_deleted(app, admin, id).await?;
    let deleted_at = record.webhook.audit.deleted_at;
    if let Some(authorization) = &record.webhook.authorization {
        match app.secrets.restore(&authorization.vault_path, deleted_at).await {
            // The credential came from the caller, so only the caller can set it again.
            Err(StoreError::Missing { .. }) if deleted_at.is_some() => record.webhook.authorization = None,
            restored => restored?,
        }
    }
    tenant_keys::restore(app, &record.webhook).await?;
    let made = match app.secrets.restore(&record.webhook.secret.vault_path, deleted_at).await {
        // A delete and a restore at the same time may have left the secret in the recovery window.
        Ok(()) if deleted_at.is_none() => return Ok((record, None)),
        Ok(()) => None,
        Err(StoreError::Missing { .. }) if deleted_at.is_some() => Some(make_secret(app, &mut record.webhook).await?),
        Err(error) => return Err(error.into()),
    };
    record.webhook.restore(app.clock.now(), &admin.subject);
    reset_failures(app, &mut record).await?;
    let now = app.clock.now();
    let limits = app.usage.limits(&record.webhook.tenant, now).await?;
    match app.webhooks.restore(&record.webhook, limits.webhooks).await {
        Ok(webhooks) => app.usage.webhooks_added(&record.webhook.tenant, webhooks, now).await,
        Err(StoreError::Conflict { .. }) => return Err(contended()),
        Err(error) => {
            if let StoreError::Limit(_) | StoreError::TooHeavy { .. } = error {
                // With these errors the webhook certainly stays deleted, so its secrets are deleted too. After any
                // other error it may have been restored.
                secrets::delete_of_deleted(app, &record.webhook).await?;
            }
            if let StoreError::Limit(reached) = error {
                app.usage.webhook_refused(&record.webhook.tenant, reached.limit, now).await;
            }
            return Err(error.into());
        }
    }
    // A concurrent request that deletes the webhook may have deleted the secrets just now.
    secrets::restore(app, &record.webhook).await?;
    tracing::info!(webhook.id = %record.webhook.id, tenant.id = %record.webhook.tenant, by = admin.subject, "webhook restored");
    Ok((record, made))
}

/// Creates a secret for a webhook whose secret was permanently deleted.
async fn make_secret(app: &App, webhook: &mut Webhook) -> Result<WebhookSecret, Problem> {
    app.spend_secrets(&webhook.tenant, 1).await?;
    let secret = WebhookSecret::from_random(runtime::random::bytes());
    let reference = &mut webhook.secret;
    reference.fingerprint = app.fingerprint_key().await?.fingerprint(&secret);
    reference.format = secret.format();
    (reference.previous, reference.rotation) = (None, None);
    // An earlier try may have stored one already.
    let stored = (&reference.fingerprint, &secret);
    secrets::store(app, &reference.vault_path, stored, &webhook.tenant, true).await?;
    Ok(secret)
}

/// Rotates the secret of a webhook to `given`, or to a generated one; returns the webhook and the new secret.
///
/// A later try of a request finds what an earlier one did. The secret that an earlier try made was never shown. A new
/// one replaces it, and the secret that the receiver has stays the previous one.
pub(crate) async fn rotate(
    app: &App,
    admin: &Admin,
    id: &str,
    mut if_match: IfMatch,
    given: Option<Value>,
    overlap_seconds: Option<u64>,
    first_try: Option<&FirstTry>,
) -> Result<(WebhookRecord, WebhookSecret), Problem> {
    let overlap = tenant_keys::overlap(overlap_seconds)?;
    let record = visible(app, admin, id).await?;
    let rotation = first_try.map(FirstTry::rotation);
    let rotation = rotation.as_deref();
    let is_later = first_try.is_some_and(FirstTry::is_later);
    let is_done = is_later && record.webhook.secret.is_of(rotation);
    if is_done {
        // The earlier try increased the version. It wrote only because the one before was expected.
        if_match = IfMatch::Any { given: false };
    }
    if_match.check(record.webhook.audit.version)?;
    let secret = match given.filter(|text| !text.is_null()) {
        Some(text) => input::read_secret(&text, &mut record.webhook.settings.clone(), true)
            .map_err(|fault| Problem::from(vec![fault]))?,
        None => WebhookSecret::from_random(runtime::random::bytes()),
    };
    let fingerprint = app.fingerprint_key().await?.fingerprint(&secret);
    let SecretReference { vault_path, fingerprint: named, previous, .. } = &record.webhook.secret;
    if named.matches(&fingerprint) {
        return Ok((record, secret));
    }
    app.spend_secrets(&admin.tenant, 1).await?;
    let kept = previous.as_ref().filter(|previous| is_done && previous.until > app.clock.now());
    let new = (&fingerprint, &secret);
    // The secret is staged first, next to those that sign, so that whichever secret the webhook names exists.
    let staged = match kept {
        Some(kept) => app.secrets.stage_again(vault_path, (named, &kept.fingerprint), new).await?,
        None => app.secrets.stage(vault_path, Some(named), new).await?,
    };
    let record = change(app, admin, id, if_match, |record, app| {
        let reference = &mut record.webhook.secret;
        if reference.is_of(rotation) && !is_later && !reference.fingerprint.matches(&fingerprint) {
            // A later try has taken over, and shows its own secret.
            return Err(Problem::KeyInUse);
        }
        let changed = reference.rotate((&fingerprint, secret.format()), rotation, overlap, app.clock.now());
        Ok(if changed { Write::Webhook } else { Write::Nothing })
    });
    let record = record.await?;
    if let Err(error) = app.secrets.promote(staged).await {
        // The rotation succeeded: `deliver` finds the secret among the staged values, the caller needs the response,
        // and the next rotation promotes it first.
        tracing::warn!(webhook.id = %record.webhook.id, %error, "a new secret is stored but not yet marked as the current one; deliveries use it, and the next rotation marks it");
    }
    Ok((record, secret))
}
