//! Where the API stores and deletes the secrets of a webhook.

use aws::StoreError;
use domain::access::tenant::TenantId;
use domain::signing::secret::{Fingerprint, WebhookSecret};
use domain::webhook::Webhook;
use domain::webhook::settings::Direction;

use crate::App;
use crate::tenant_keys;

/// Stores the first secret at a path of a webhook. With `again`, an earlier try of the same request may have stored a
/// secret before it died. The new one replaces it.
pub(crate) async fn store(
    app: &App,
    path: &str,
    (fingerprint, secret): (&Fingerprint, &WebhookSecret),
    tenant: &TenantId,
    again: bool,
) -> Result<(), StoreError> {
    match app.secrets.create(path, fingerprint, secret, tenant).await {
        Err(StoreError::Conflict { .. }) if again => app.secrets.replace(path, fingerprint, secret).await,
        created => created,
    }
}

/// Deletes the secrets of a webhook that was deleted. If another request has restored the webhook in the meantime, its
/// secrets are restored too. A request that restores the webhook later restores them after it wrote the webhook.
pub(super) async fn delete_of_deleted(app: &App, webhook: &Webhook) -> Result<(), StoreError> {
    delete(app, webhook).await?;
    let now = app.registry.webhook(&webhook.tenant, webhook.id).await?.map(|record| record.webhook);
    match now.filter(|now| !now.is_deleted()) {
        Some(now) => restore(app, &now).await,
        None => Ok(()),
    }
}

/// Takes all secrets of a webhook that is not deleted out of their recovery window.
pub(super) async fn restore(app: &App, webhook: &Webhook) -> Result<(), StoreError> {
    app.secrets.restore(&webhook.secret.vault_path, None).await?;
    tenant_keys::restore(app, webhook).await?;
    match &webhook.authorization {
        Some(authorization) => app.secrets.restore(&authorization.vault_path, None).await,
        None => Ok(()),
    }
}

/// Deletes the secrets of a webhook: the signing secrets, and the credential of its authorization.
pub(crate) async fn delete(app: &App, webhook: &Webhook) -> Result<(), StoreError> {
    app.secrets.delete(&webhook.secret.vault_path).await?;
    if webhook.settings.direction == Direction::Outbound {
        // The webhook may have a key pair from an earlier signature scheme.
        app.secrets.delete(&tenant_keys::own_path(app, webhook)).await?;
    }
    match &webhook.authorization {
        Some(authorization) => app.secrets.delete(&authorization.vault_path).await,
        None => Ok(()),
    }
}
