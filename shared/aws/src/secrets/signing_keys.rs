//! The private halves of key pairs. A version's id is the public half, in hexadecimal.

use domain::access::tenant::TenantId;
use domain::signing::keys::{PublicKey, SigningKey};
use secrecy::ExposeSecret as _;

use super::Secrets;
use super::staged::{Staged, Text};
use crate::StoreError;

impl Secrets {
    /// Stores the first key of a tenant, or of a webhook of the tenant.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is a key at the path. Otherwise, if the store is unavailable.
    pub async fn create_signing_key(&self, path: &str, key: &SigningKey, tenant: &TenantId) -> Result<(), StoreError> {
        self.create_at(path, Text { id: &key.public().to_hex(), text: &key.to_text() }, tenant).await
    }

    /// Stores a key next to the one that the Registry names, if it names one. Promote the key once the Registry names
    /// it.
    ///
    /// # Errors
    ///
    /// If there is no key at the path, or a store is unavailable.
    pub async fn stage_signing_key(
        &self,
        path: &str,
        named: Option<PublicKey>,
        key: &SigningKey,
    ) -> Result<Staged, StoreError> {
        let named = named.map(|named| named.to_hex());
        self.stage_at(path, named.as_deref(), Text { id: &key.public().to_hex(), text: &key.to_text() }).await
    }

    /// Reads the private half of a key, whether it is the current one or not.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if there is no key at the path, [`StoreError::Inconsistent`] if all keys there are other
    /// ones.
    pub async fn signing_key(&self, path: &str, key: PublicKey) -> Result<SigningKey, StoreError> {
        let id = key.to_hex();
        let found = self.find(path, &id, |text| {
            let private = SigningKey::parse(text.expose_secret());
            let private = private.map_err(|error| StoreError::inconsistent(path, error))?;
            Ok((private.public() == key).then_some(private))
        });
        let why = "no version of the secret is the key that the Registry names";
        found.await?.ok_or_else(|| StoreError::inconsistent(path, why))
    }
}
