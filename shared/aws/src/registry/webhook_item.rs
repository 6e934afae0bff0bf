//! A webhook, as the table knows it.

use domain::event::EventType;
use domain::id::WebhookId;
use domain::retry::RetryPolicy;
use domain::secret::Fingerprint;
use domain::signature::SignatureScheme;
use domain::tenant::{AppId, TenantId};
use domain::webhook::{Audit, Webhook};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Renaming a field here is a migration.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WebhookItem {
    pk: String,
    sk: String,
    v: u8,
    id: WebhookId,
    tenant: TenantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<AppId>,
    name: String,
    url: String,
    event_types: Vec<EventType>,
    signature_scheme: SignatureScheme,
    vault_path: String,
    secret_fingerprint: Fingerprint,
    enabled: bool,
    retry_policy: RetryPolicy,
    version: u64,
    created_at: Timestamp,
    created_by: String,
    updated_at: Timestamp,
    updated_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_by: Option<String>,
}

impl WebhookItem {
    pub(super) fn new(webhook: &Webhook, pk: String, sk: String) -> Self {
        let Webhook { id, tenant, app, name, url, event_types, signature_scheme, .. } = webhook.clone();
        let Webhook { vault_path, secret_fingerprint, enabled, retry_policy, audit, .. } = webhook.clone();
        let Audit { version, created_at, created_by, updated_at, updated_by, deleted_at, deleted_by } = audit;
        Self {
            pk,
            sk,
            v: 1,
            id,
            tenant,
            app,
            name,
            url,
            event_types,
            signature_scheme,
            vault_path,
            secret_fingerprint,
            enabled,
            retry_policy,
            version,
            created_at,
            created_by,
            updated_at,
            updated_by,
            deleted_at,
            deleted_by,
        }
    }
}

impl From<WebhookItem> for Webhook {
    fn from(item: WebhookItem) -> Self {
        let audit = Audit {
            version: item.version,
            created_at: item.created_at,
            created_by: item.created_by,
            updated_at: item.updated_at,
            updated_by: item.updated_by,
            deleted_at: item.deleted_at,
            deleted_by: item.deleted_by,
        };
        Self {
            id: item.id,
            tenant: item.tenant,
            app: item.app,
            name: item.name,
            url: item.url,
            event_types: item.event_types,
            signature_scheme: item.signature_scheme,
            vault_path: item.vault_path,
            secret_fingerprint: item.secret_fingerprint,
            enabled: item.enabled,
            retry_policy: item.retry_policy,
            audit,
        }
    }
}
