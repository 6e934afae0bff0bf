//! Webhooks and their secrets in a [`Cloud`], written by the same code as in the API.

use std::sync::Arc;

use aws::registry::WebhookWriter;
use aws::{Registry, Secrets};
use domain::access::tenant::TenantId;
use domain::id::WebhookId;
use domain::signing::secret::{FingerprintKey, WebhookSecret};
use domain::time::Clock;
use domain::webhook::settings::Settings;
use domain::webhook::{Audit, SecretReference, SecretsTable, Webhook};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cloud::{Cloud, Faults};

const KEY: &str = "a key of fingerprints";

/// The webhooks of a cloud.
#[derive(Debug)]
pub struct Hooks {
    registry: Registry,
    writer: WebhookWriter,
    secrets: Secrets,
}

/// The time at which all webhooks are created.
struct Past;

impl Clock for Past {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

impl Hooks {
    /// Creates the deployment's fingerprint key, but no webhook. Secrets will be in Secrets Manager.
    pub async fn new(cloud: &Arc<Cloud>) -> Self {
        Self::of(cloud, None).await
    }

    /// Creates the deployment's fingerprint key, but no webhook. Secrets will be in the table if there is one.
    pub async fn of(cloud: &Arc<Cloud>, table: Option<SecretsTable>) -> Self {
        cloud.secrets.put("/test/fingerprint-key", "1", KEY);
        let aws = cloud.line(Arc::new(|_, _| Faults::default())).aws().await;
        let registry = aws.registry("registry".to_owned());
        let writer = WebhookWriter::new(registry.clone(), "events".to_owned(), "deliveries".to_owned(), || 1);
        Self { registry, writer, secrets: aws.secrets_in(table, Arc::new(Past)) }
    }

    /// Creates the webhook with that number and these settings.
    pub async fn create(&self, tenant: &str, number: u128, settings: Value) -> Webhook {
        let at = Timestamp::UNIX_EPOCH;
        let mut all = json!({"name": format!("webhook {number}")});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(all).unwrap();
        let secret = secret(number);
        let fingerprint = FingerprintKey::new(KEY.to_owned().into()).fingerprint(&secret);
        let id = WebhookId::from_parts(at, number);
        let vault_path = format!("/test/webhooks/{tenant}/{id}");
        self.secrets.create(&vault_path, &fingerprint, &secret, &tenant.parse().unwrap()).await.unwrap();
        let secret =
            SecretReference { vault_path, fingerprint, format: secret.format(), previous: None, rotation: None };
        let (tenant, audit) = (tenant.parse().unwrap(), Audit::created(at, "test"));
        let webhook =
            Webhook { id, tenant, app: None, settings, secret, authorization: None, notice: None, pause: None, audit };
        self.writer.create(&webhook, u64::MAX).await.unwrap();
        webhook
    }

    /// Returns the current state of a webhook.
    pub async fn read(&self, tenant: &TenantId, id: WebhookId) -> Webhook {
        self.registry.webhook(tenant, id).await.unwrap().unwrap().webhook
    }

    /// Applies a change to the current state of a webhook, at the time `now`.
    pub async fn change(&self, tenant: &TenantId, id: WebhookId, now: Timestamp, change: impl FnOnce(&mut Webhook)) {
        let mut webhook = self.read(tenant, id).await;
        webhook.touch(now, "test");
        change(&mut webhook);
        self.writer.update(&webhook, &[]).await.unwrap();
    }

    /// Gives a webhook an OAuth authorization with that token URL.
    pub async fn authorize(&self, tenant: &TenantId, id: WebhookId, token_url: &str) {
        let secret = secret(7);
        let fingerprint = FingerprintKey::new(KEY.to_owned().into()).fingerprint(&secret);
        let vault_path = self.read(tenant, id).await.secret.authorization_path();
        self.secrets.create(&vault_path, &fingerprint, &secret, tenant).await.unwrap();
        self.change(tenant, id, Timestamp::UNIX_EPOCH, |webhook| {
            let stored = json!({
                "type": "oauth2", "token_url": token_url, "client_id": "c", "vault_path": vault_path, "fingerprint": fingerprint,
            });
            webhook.authorization = Some(serde_json::from_value(stored).unwrap());
        })
        .await;
    }

    /// Deletes a webhook.
    pub async fn delete(&self, tenant: &TenantId, id: WebhookId, now: Timestamp) {
        let mut webhook = self.read(tenant, id).await;
        webhook.delete(now, "test");
        self.writer.delete(&webhook).await.unwrap();
    }
}

fn secret(number: u128) -> WebhookSecret {
    WebhookSecret::from_random([u8::try_from(number % 251).unwrap_or_default(); 32])
}
