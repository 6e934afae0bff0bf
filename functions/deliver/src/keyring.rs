//! Secrets, read once and kept while the webhook says it still signs with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws::{Secrets, StoreError};
use domain::secret::{Fingerprint, FingerprintKey, WebhookSecret};
use domain::webhook::Webhook;
use tokio::sync::OnceCell;

/// How many secrets are kept; all are forgotten when there are more.
const CAPACITY: usize = 10_000;

type Slot = Arc<OnceCell<Arc<WebhookSecret>>>;

/// A cache by path and fingerprint. It cannot be stale: a webhook whose secret was rotated names another fingerprint.
pub(crate) struct Keyring {
    secrets: Secrets,
    key_path: String,
    key: OnceCell<FingerprintKey>,
    slots: Mutex<HashMap<(String, Fingerprint), Slot>>,
}

impl Keyring {
    pub(crate) fn new(secrets: Secrets, key_path: String) -> Self {
        Self { secrets, key_path, key: OnceCell::new(), slots: Mutex::default() }
    }

    /// Returns the secret that the webhook signs with, and only that one. Deliveries that ask at once share a read.
    ///
    /// # Errors
    ///
    /// If Secrets Manager is unavailable, or what it holds is not what the webhook names: a fault of ours in any case.
    pub(crate) async fn secret(&self, webhook: &Webhook) -> Result<Arc<WebhookSecret>, StoreError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            if slots.len() >= CAPACITY {
                slots.clear();
            }
            let name = (webhook.vault_path.clone(), webhook.secret_fingerprint.clone());
            Arc::clone(slots.entry(name).or_default())
        };
        slot.get_or_try_init(|| self.read(webhook)).await.cloned()
    }

    async fn read(&self, webhook: &Webhook) -> Result<Arc<WebhookSecret>, StoreError> {
        let key = self.key.get_or_try_init(|| self.secrets.fingerprint_key(&self.key_path)).await?;
        let secret = self.secrets.webhook_secret(&webhook.vault_path).await?;
        if key.fingerprint(&secret).matches(&webhook.secret_fingerprint) {
            Ok(Arc::new(secret))
        } else {
            Err(StoreError::Inconsistent {
                key: webhook.vault_path.clone(),
                why: "it is not the secret whose fingerprint the webhook names".to_owned(),
            })
        }
    }
}
