//! Secrets, read once and kept while the webhook names them, and the keys of tenants. What is kept needs no Secrets Manager: an
//! outage does not show.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::signing::keys::{KeyOwner, PublicKey, SigningKey, SigningKeys};
use domain::signing::secret::{Fingerprint, FingerprintKey, WebhookSecret};
use domain::webhook::Webhook;
use domain::webhook::authorization::Authorization;
use jiff::Timestamp;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::secrets::Version;
use crate::{Registry, Secrets, StoreError};

/// How many secrets are kept; all are forgotten when there are more.
const CAPACITY: usize = 10_000;

/// For how long it is not asked again which keys sign. A rotation is seen that much later; until then the old key signs.
const KEYS_KNOWN_FOR: Duration = Duration::from_mins(1);

type Slot<T> = Arc<OnceCell<Arc<T>>>;

/// What is kept, and forgotten as a whole when it is too much.
type Slots<K, V> = Mutex<HashMap<K, V>>;

/// Which keys of an owner sign, and when that was read. Locked while it is read, so that deliveries that ask at once share it.
type Known = Arc<AsyncMutex<Option<(Timestamp, SigningKeys)>>>;

/// A cache by path and fingerprint. It cannot be stale: a webhook whose secret was rotated or replaced names another fingerprint.
#[derive(Debug)]
pub struct Keyring {
    secrets: Secrets,
    key_arn: String,
    key: OnceCell<FingerprintKey>,
    slots: Slots<(String, Fingerprint), Slot<WebhookSecret>>,
    signing: Slots<PublicKey, Slot<SigningKey>>,
    owners: Slots<KeyOwner, Known>,
}

fn slot<K: Eq + Hash, V: Clone + Default>(slots: &Slots<K, V>, key: K) -> V {
    let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
    if slots.len() >= CAPACITY {
        slots.clear();
    }
    slots.entry(key).or_default().clone()
}

impl Keyring {
    /// Reads nothing yet; `key_arn` is the ARN of the deployment's fingerprint key.
    #[must_use]
    pub fn new(secrets: Secrets, key_arn: String) -> Self {
        let (slots, signing, owners) = Default::default();
        Self { secrets, key_arn, key: OnceCell::new(), slots, signing, owners }
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
        let slot = slot(&self.slots, (path.to_owned(), fingerprint.clone()));
        slot.get_or_try_init(|| self.read(path, fingerprint)).await.cloned()
    }

    /// The webhook says which secret signs, and that need not be the current one: it may be the one before, or wait to be promoted.
    async fn read(&self, path: &str, fingerprint: &Fingerprint) -> Result<Arc<WebhookSecret>, StoreError> {
        let key = self.key.get_or_try_init(|| self.secrets.fingerprint_key(&self.key_arn)).await?;
        for version in [Version::Current, Version::Of(fingerprint.as_str()), Version::Previous] {
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

    /// Returns the keys that a webhook's or a tenant's deliveries are signed with, the current one first; for a while after a rotation these are two.
    ///
    /// # Errors
    ///
    /// If Secrets Manager or the Registry is unavailable, or there are no keys; callers make them first.
    pub async fn signing_keys(
        &self,
        registry: &Registry,
        owner: &KeyOwner,
        now: Timestamp,
    ) -> Result<Vec<Arc<SigningKey>>, StoreError> {
        let known = slot(&self.owners, owner.clone());
        let keys = {
            let mut known = known.lock().await;
            match &*known {
                Some((read_at, keys)) if now < *read_at + KEYS_KNOWN_FOR => keys.clone(),
                Some(_) | None => {
                    let keys = registry.signing_keys(owner).await?;
                    let keys = keys.ok_or_else(|| StoreError::Missing { key: format!("the key of {owner}") })?;
                    *known = Some((now, keys.clone()));
                    keys
                }
            }
        };
        let mut signing = Vec::new();
        for key in keys.signing(now) {
            let slot = slot(&self.signing, key);
            let read =
                slot.get_or_try_init(|| async { self.secrets.signing_key(&keys.vault_path, key).await.map(Arc::new) });
            match read.await {
                Ok(private) => signing.push(Arc::clone(private)),
                // A second rotation took its place: the overlap has ended early, and the current one still signs.
                Err(StoreError::Inconsistent { .. }) if key != keys.current => {
                    tracing::warn!(key.owner = %owner, "the previous key is gone before its time");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(signing)
    }
}
