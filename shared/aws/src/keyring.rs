//! A cache of webhooks' secrets and signing keys.
//!
//! Each secret is read once from its store, so cached secrets stay usable during an outage of it.

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

use crate::{Registry, Secrets, StoreError};

/// The most entries in each cache. A cache that is full is cleared.
const CAPACITY: usize = 10_000;

/// How long the list of an owner's signing keys is cached. A rotation takes effect that much later; until then the old
/// key signs.
const KEYS_KNOWN_FOR: Duration = Duration::from_mins(1);

type Slot<T> = Arc<OnceCell<Arc<T>>>;

/// A cache, cleared as a whole when it is full.
type Slots<K, V> = Mutex<HashMap<K, V>>;

/// The signing keys of an owner, and when they were read. The lock is held during a read, so that concurrent deliveries
/// share it.
type Known = Arc<AsyncMutex<Option<(Timestamp, SigningKeys)>>>;

/// A cache of secrets by path and fingerprint. It cannot be stale, because a webhook whose secret was rotated or
/// replaced names another fingerprint.
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
    /// Returns an empty cache. `key_arn` is the ARN of the deployment's fingerprint key.
    #[must_use]
    pub fn new(secrets: Secrets, key_arn: String) -> Self {
        let (slots, signing, owners) = Default::default();
        Self { secrets, key_arn, key: OnceCell::new(), slots, signing, owners }
    }

    /// Returns the secrets that the webhook signs with, the current one first. During the overlap after a rotation
    /// there are two.
    ///
    /// # Errors
    ///
    /// If the store of secrets is unavailable, or does not contain the secret that the webhook names. Both are faults
    /// of ours.
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
                // A second rotation replaced it, so the overlap has ended early. The current one still signs.
                Err(StoreError::Inconsistent { .. } | StoreError::Missing { .. }) => {
                    tracing::warn!(webhook.id = %webhook.id, "the previous secret was removed before its overlap ended");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(secrets)
    }

    /// Returns the secret of a webhook's authorization: the credential itself, or the client secret that buys a token.
    ///
    /// # Errors
    ///
    /// As for [`secrets`](Self::secrets).
    pub async fn authorizing(&self, authorization: &Authorization) -> Result<Arc<WebhookSecret>, StoreError> {
        self.secret(&authorization.vault_path, &authorization.fingerprint).await
    }

    /// Returns the secret with that fingerprint. Concurrent deliveries share one read.
    async fn secret(&self, path: &str, fingerprint: &Fingerprint) -> Result<Arc<WebhookSecret>, StoreError> {
        let slot = slot(&self.slots, (path.to_owned(), fingerprint.clone()));
        slot.get_or_try_init(|| Box::pin(self.read(path, fingerprint))).await.cloned()
    }

    async fn read(&self, path: &str, fingerprint: &Fingerprint) -> Result<Arc<WebhookSecret>, StoreError> {
        let key = self.fingerprint_key().await?;
        // Boxed, because the type of the nested futures is too deep for the compiler.
        Box::pin(self.secrets.webhook_secret(path, fingerprint, key)).await.map(Arc::new)
    }

    /// Returns the deployment's key for digests. It is read once.
    ///
    /// # Errors
    ///
    /// If Secrets Manager is unavailable.
    pub async fn fingerprint_key(&self) -> Result<&FingerprintKey, StoreError> {
        self.key.get_or_try_init(|| self.secrets.fingerprint_key(&self.key_arn)).await
    }

    /// Returns the keys that sign the deliveries of a webhook or a tenant, the current one first. During the overlap
    /// after a rotation there are two.
    ///
    /// # Errors
    ///
    /// If the store of secrets or the Registry is unavailable, or the owner has no keys. Callers create them first.
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
                    let keys =
                        keys.ok_or_else(|| StoreError::Missing { key: format!("the signing keys of {owner}") })?;
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
                // A second rotation replaced it, so the overlap has ended early. The current one still signs.
                Err(StoreError::Inconsistent { .. }) if key != keys.current => {
                    tracing::warn!(key.owner = %owner, "the previous key was removed before its overlap ended");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(signing)
    }
}
