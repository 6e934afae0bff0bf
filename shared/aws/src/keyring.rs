//! Secrets, read once and kept while the webhook names them. What is kept needs no Secrets Manager: an outage does not show.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::authorization::Authorization;
use domain::secret::{Fingerprint, FingerprintKey, WebhookSecret};
use domain::webhook::Webhook;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use crate::secrets::Version;
use crate::{Secrets, StoreError};

/// How many secrets are kept; all are forgotten when there are more.
const CAPACITY: usize = 10_000;

type Slot = Arc<OnceCell<Arc<WebhookSecret>>>;

/// A cache by path and fingerprint. It cannot be stale: a webhook whose secret was rotated or replaced names another fingerprint.
#[derive(Debug)]
pub struct Keyring {
    secrets: Secrets,
    key_path: String,
    key: OnceCell<FingerprintKey>,
    slots: Mutex<HashMap<(String, Fingerprint), Slot>>,
}

impl Keyring {
    /// Reads nothing yet; `key_path` is where the deployment's fingerprint key is.
    #[must_use]
    pub fn new(secrets: Secrets, key_path: String) -> Self {
        Self { secrets, key_path, key: OnceCell::new(), slots: Mutex::default() }
    }

    /// Returns the secrets that the webhook signs with, the current one first; for a while after a rotation these are two.
    ///
    /// # Errors
    ///
    /// If Secrets Manager is unavailable, or what it holds is not what the webhook names: a fault of ours in any case.
    pub async fn secrets(&self, webhook: &Webhook, now: Timestamp) -> Result<Vec<Arc<WebhookSecret>>, StoreError> {
        let path = &webhook.secret.vault_path;
        let mut signing = webhook.secret.signing(now);
        let mut secrets = Vec::new();
        if let Some(current) = signing.next() {
            secrets.push(self.secret(path, current).await?);
        }
        for previous in signing {
            match self.secret(path, previous).await {
                Ok(secret) => secrets.push(secret),
                // A second rotation took its place: the overlap has ended early, and the current one still signs.
                Err(StoreError::Inconsistent { .. } | StoreError::Missing { .. }) => {
                    tracing::warn!(webhook.id = %webhook.id, "the previous secret is gone before its time");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(secrets)
    }

    /// Returns the secret that authorizes a webhook's requests, or buys the token that does.
    ///
    /// # Errors
    ///
    /// As for those that sign.
    pub async fn authorizing(&self, authorization: &Authorization) -> Result<Arc<WebhookSecret>, StoreError> {
        self.secret(&authorization.vault_path, &authorization.fingerprint).await
    }

    /// Returns the secret with that fingerprint. Deliveries that ask at once share a read.
    async fn secret(&self, path: &str, fingerprint: &Fingerprint) -> Result<Arc<WebhookSecret>, StoreError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            if slots.len() >= CAPACITY {
                slots.clear();
            }
            Arc::clone(slots.entry((path.to_owned(), fingerprint.clone())).or_default())
        };
        slot.get_or_try_init(|| self.read(path, fingerprint)).await.cloned()
    }

    /// The webhook says which secret signs, and that need not be the current one: it may be the one before, or wait to be promoted.
    async fn read(&self, path: &str, fingerprint: &Fingerprint) -> Result<Arc<WebhookSecret>, StoreError> {
        let key = self.key.get_or_try_init(|| self.secrets.fingerprint_key(&self.key_path)).await?;
        for version in [Version::Current, Version::Of(fingerprint), Version::Previous] {
            let secret = match self.secrets.webhook_secret(path, version).await {
                // Without a current one there is none at all.
                Err(StoreError::Missing { .. }) if version != Version::Current => continue,
                read => read?,
            };
            if key.fingerprint(&secret).matches(fingerprint) {
                return Ok(Arc::new(secret));
            }
        }
        let why = "none of its secrets is the one whose fingerprint the webhook names".to_owned();
        Err(StoreError::Inconsistent { key: path.to_owned(), why })
    }
}
