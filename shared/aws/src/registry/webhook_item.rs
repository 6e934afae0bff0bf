//! A webhook as an item of the Registry table.

use domain::access::tenant::{AppId, TenantId};
use domain::id::WebhookId;
use domain::signing::secret::{Fingerprint, SecretFormat};
use domain::webhook::authorization::Authorization;
use domain::webhook::notice::Notice;
use domain::webhook::settings::Settings;
use domain::webhook::{Audit, Pause, PreviousSecret, SecretReference, Webhook};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::items::json_text;

/// Renaming a field here is a migration. The settings are stored with their wire names.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WebhookItem {
    pk: String,
    sk: String,
    v: u8,
    id: WebhookId,
    tenant: TenantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<AppId>,
    #[serde(with = "json_text")]
    settings: Settings,
    vault_path: String,
    secret_fingerprint: Fingerprint,
    secret_format: SecretFormat,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret: Option<PreviousSecret>,
    /// Absent if an earlier version wrote the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_rotation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authorization: Option<Authorization>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "json_text")]
    notice: Option<Notice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<Pause>,
    version: u64,
    created_at: Timestamp,
    created_by: String,
    updated_at: Timestamp,
    updated_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_by: Option<String>,
    /// How many bytes it adds to the tenant's `weight`; absent if an earlier version wrote the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u64>,
}

impl WebhookItem {
    /// Returns whether the webhook is deleted.
    pub(super) const fn is_deleted(&self) -> bool {
        self.deleted_at.is_some()
    }

    pub(super) fn new(webhook: &Webhook, weight: u64, pk: String, sk: String) -> Self {
        let Webhook { id, tenant, app, settings, secret, authorization, notice, pause, audit } = webhook.clone();
        let SecretReference { vault_path, fingerprint, format, previous, rotation } = secret;
        let Audit { version, created_at, created_by, updated_at, updated_by, deleted_at, deleted_by } = audit;
        Self {
            pk,
            sk,
            v: 2,
            id,
            tenant,
            app,
            settings,
            vault_path,
            secret_fingerprint: fingerprint,
            secret_format: format,
            previous_secret: previous,
            secret_rotation: rotation,
            authorization,
            notice,
            pause,
            version,
            created_at,
            created_by,
            updated_at,
            updated_by,
            deleted_at,
            deleted_by,
            weight: Some(weight),
        }
    }

    /// Returns how many bytes it adds to the tenant's weight.
    pub(super) fn counted(&self) -> u64 {
        self.weight.unwrap_or(0)
    }
}

impl From<WebhookItem> for Webhook {
    fn from(item: WebhookItem) -> Self {
        Self {
            id: item.id,
            tenant: item.tenant,
            app: item.app,
            settings: item.settings,
            secret: SecretReference {
                vault_path: item.vault_path,
                fingerprint: item.secret_fingerprint,
                format: item.secret_format,
                previous: item.previous_secret,
                rotation: item.secret_rotation,
            },
            authorization: item.authorization,
            notice: item.notice,
            pause: item.pause,
            audit: Audit {
                version: item.version,
                created_at: item.created_at,
                created_by: item.created_by,
                updated_at: item.updated_at,
                updated_by: item.updated_by,
                deleted_at: item.deleted_at,
                deleted_by: item.deleted_by,
            },
        }
    }
}
