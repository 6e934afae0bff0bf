//! The private halves of key pairs. A version's id is the public half, in hexadecimal.

use domain::access::tenant::TenantId;
use domain::signing::keys::{PublicKey, SigningKey};
use secrecy::ExposeSecret as _;

use super::{Secrets, Staged, Version};
use crate::StoreError;

impl Secrets {
    /// Stores the first key of a tenant, or of a webhook of the tenant.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is a key at the path. Otherwise, if Secrets Manager is unavailable.
    pub async fn create_signing_key(&self, path: &str, key: &SigningKey, tenant: &TenantId) -> Result<(), StoreError> {
        self.create_at(path, &key.to_text(), &key.public().to_hex(), tenant).await
    }

    /// Stores a key next to the one that the Registry names, if it names one. Promote the key once the Registry names
    /// it.
    ///
    /// # Errors
    ///
    /// If there is no key at the path, or Secrets Manager is unavailable.
    pub async fn stage_signing_key(
        &self,
        path: &str,
        named: Option<PublicKey>,
        key: &SigningKey,
    ) -> Result<Staged, StoreError> {
        let named = named.map(|named| named.to_hex());
        self.stage_at(path, named.as_deref(), &key.to_text(), &key.public().to_hex()).await
    }

    /// Reads the private half of a key, whatever label its version has.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if there is no key at the path, [`StoreError::Inconsistent`] if all keys there are other
    /// ones.
    pub(crate) async fn signing_key(&self, path: &str, key: PublicKey) -> Result<SigningKey, StoreError> {
        let id = key.to_hex();
        for version in [Version::Current, Version::Of(&id), Version::Previous] {
            let text = match self.read(path, version).await {
                // A path without a current version has no key at all.
                Err(StoreError::Missing { .. }) if version != Version::Current => continue,
                read => read?,
            };
            let private = SigningKey::parse(text.expose_secret());
            let private = private.map_err(|error| StoreError::inconsistent(path, error))?;
            if private.public() == key {
                return Ok(private);
            }
        }
        Err(StoreError::inconsistent(path, "no version of the secret is the key that the Registry names"))
    }
}
