//! Registering a webhook.

use aws::StoreError;
use aws::registry::WebhookRecord;
use domain::id::WebhookId;
use domain::signing::secret::WebhookSecret;
use domain::webhook::statistics::Statistics;
use domain::webhook::{Audit, SecretReference, Webhook};

use super::input::NewWebhook;
use super::{authorization, secrets, set_by};
use crate::App;
use crate::caller::Admin;
use crate::idempotency::FirstTry;
use crate::problem::Problem;
use crate::tenant_keys;

/// Registers a webhook; returns it with its secret, which cannot be read later.
pub(crate) async fn create(
    app: &App,
    admin: Admin,
    first_try: Option<&FirstTry>,
    new: NewWebhook,
) -> Result<(WebhookRecord, WebhookSecret), Problem> {
    let NewWebhook { settings, secret, authorization: new } = new;
    let secret = secret.unwrap_or_else(|| WebhookSecret::from_random(runtime::random::bytes()));
    let (now, by) = (app.clock.now(), set_by(&admin));
    let id = match first_try {
        Some(first_try) => first_try.webhook_id(),
        None => WebhookId::from_parts(now, runtime::random::bits()),
    };
    let mut webhook = Webhook {
        id,
        secret: SecretReference {
            vault_path: app.secrets_prefixes.vault_path(settings.direction, &admin.tenant, id),
            fingerprint: app.fingerprint_key().await?.fingerprint(&secret),
            format: secret.format(),
            previous: None,
            rotation: None,
        },
        tenant: admin.tenant,
        app: admin.app,
        settings,
        authorization: None,
        notice: None,
        pause: None,
        audit: Audit::created(now, &admin.subject),
    };
    webhook.check_key_owner(None, by).map_err(|fault| Problem::Invalid(vec![fault.into()]))?;
    // Before any secret is stored, so that a refused request leaves none behind.
    app.spend_secrets(&webhook.tenant, 1 + u64::from(new.is_some())).await?;
    if let Some(owner) = webhook.key_owner() {
        tenant_keys::ensure(app, &owner).await?;
    }
    let mut authorizing = None;
    if let Some(new) = new {
        let (named, secret) = authorization::named(app, by, &webhook, new).await?;
        (webhook.authorization, authorizing) = (Some(named), Some(secret));
    }
    let webhook = store(app, webhook, &secret, authorizing.as_ref(), first_try).await?;
    tracing::info!(webhook.id = %id, tenant.id = %webhook.tenant, by = admin.subject, "webhook created");
    Ok((WebhookRecord { webhook, statistics: Statistics::default(), breaker: None }, secret))
}

/// Stores the secrets of a new webhook and then the webhook: a webhook without a secret could not be delivered to, while
/// a secret without a webhook only costs a little.
///
/// An earlier try of the same request may have died after either step. Its caller never saw the secret, so the new
/// secret replaces it.
async fn store(
    app: &App,
    webhook: Webhook,
    secret: &WebhookSecret,
    authorizing: Option<&WebhookSecret>,
    first_try: Option<&FirstTry>,
) -> Result<Webhook, Problem> {
    let now = app.clock.now();
    let limits = app.usage.limits(&webhook.tenant, now).await?;
    let (signing, again) = (&webhook.secret, first_try.is_some());
    secrets::store(app, &signing.vault_path, (&signing.fingerprint, secret), &webhook.tenant, again).await?;
    if let (Some(named), Some(secret)) = (&webhook.authorization, authorizing) {
        secrets::store(app, &named.vault_path, (&named.fingerprint, secret), &webhook.tenant, again).await?;
    }
    match app.webhooks.create(&webhook, limits.webhooks).await {
        Ok(webhooks) => {
            app.usage.webhooks_added(&webhook.tenant, webhooks, now).await;
            Ok(webhook)
        }
        Err(StoreError::Conflict { .. }) if first_try.is_some() => {
            let created = app.registry.webhook(&webhook.tenant, webhook.id).await?;
            let mut created = created.ok_or(Problem::NotFound("webhook"))?.webhook;
            created.secret = webhook.secret;
            created.touch(app.clock.now(), &webhook.audit.created_by);
            match app.webhooks.update(&created, &[]).await {
                // The outcome is unknown, so the idempotency key stays with its webhook.
                Err(StoreError::Conflict { key }) => Err(StoreError::Unavailable(format!("conflict on {key}")).into()),
                written => Ok(written.map(|()| created)?),
            }
        }
        Err(error @ (StoreError::Limit(_) | StoreError::TooHeavy { .. })) => {
            secrets::delete(app, &webhook).await?;
            if let StoreError::Limit(reached) = error {
                app.usage.webhook_refused(&webhook.tenant, reached.limit, now).await;
            }
            Err(error.into())
        }
        // The webhook may have been written: a secret without a webhook is better than a webhook without a secret.
        Err(error) => Err(error.into()),
    }
}
