//! The private halves of key pairs: a version's id is the public half, in hexadecimal.

use domain::access::tenant::TenantId;
use domain::signing::keys::{PublicKey, SigningKey};
use secrecy::ExposeSecret as _;

use super::{Secrets, Staged, Version};
use crate::StoreError;

impl Secrets {
    /// Keeps the first key of a tenant, or of a webhook of the tenant.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is one at the path, or Secrets Manager is unavailable.
    pub async fn create_signing_key(&self, path: &str, key: &SigningKey, tenant: &TenantId) -> Result<(), StoreError> {
        self.create_at(path, &key.to_text(), &key.public().to_hex(), tenant).await
    }

    /// Stores a key next to the one that the Registry names, if any. Promote it once the Registry names it.
    ///
    /// # Errors
    ///
    /// If there is none at the path, or Secrets Manager is unavailable.
    pub async fn stage_signing_key(
        &self,
        path: &str,
        named: Option<PublicKey>,
        key: &SigningKey,
    ) -> Result<Staged, StoreError> {
        let named = named.map(|named| named.to_hex());
        self.stage_at(path, named.as_deref(), &key.to_text(), &key.public().to_hex()).await
    }

    /// Reads the private half of a key, whichever label it has.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if there is no key at the path, [`StoreError::Inconsistent`] if there are only others.
    pub(crate) async fn signing_key(&self, path: &str, key: PublicKey) -> Result<SigningKey, StoreError> {
        let id = key.to_hex();
        for version in [Version::Current, Version::Of(&id), Version::Previous] {
            let text = match self.read(path, version).await {
                // Without a current one there is none at all.
                Err(StoreError::Missing { .. }) if version != Version::Current => continue,
                read => read?,
            };
            let private = SigningKey::parse(text.expose_secret());
            let private = private.map_err(|error| StoreError::inconsistent(path, error))?;
            if private.public() == key {
                return Ok(private);
            }
        }
        Err(StoreError::inconsistent(path, "none of its keys is the one that the Registry names"))
    }
}
