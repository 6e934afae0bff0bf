//! The public halves of signing keys of webhooks and tenants, and which of them sign. The private halves are in Secrets
//! Manager.

use domain::signing::keys::{KeyOwner, PreviousKey, PublicKey, SigningKeys};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Registry, tenant_pk};
use crate::error::is_conflict;
use crate::items::{from_item, key, number, to_item};
use crate::{StoreError, batch};

const SK: &str = "SIGNINGKEYS";

fn key_of(owner: &KeyOwner) -> (String, String) {
    let sk = owner.webhook.map_or_else(|| SK.to_owned(), |webhook| format!("{SK}#{webhook}"));
    (tenant_pk(&owner.tenant), sk)
}

#[derive(Debug, Serialize, Deserialize)]
struct SigningKeysItem {
    pk: String,
    sk: String,
    v: u8,
    version: u64,
    vault_path: String,
    current: PublicKey,
    since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<PreviousKey>,
    /// Absent if an earlier version wrote the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<String>,
}

impl From<SigningKeysItem> for SigningKeys {
    fn from(item: SigningKeysItem) -> Self {
        let SigningKeysItem { version, vault_path, current, since, previous, rotation, .. } = item;
        Self { vault_path, version, current, since, previous, rotation }
    }
}

impl Registry {
    /// Returns an owner's keys, if it has any.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn signing_keys(&self, owner: &KeyOwner) -> Result<Option<SigningKeys>, StoreError> {
        // Batched, because the role of deliver only allows `BatchGetItem` on this table.
        let (pk, sk) = key_of(owner);
        let found = batch::get(&self.client, vec![(self.table.clone(), key(&pk, &sk))]).await?;
        let item = found.into_values().flatten().next();
        Ok(item.map(from_item::<SigningKeysItem>).transpose()?.map(SigningKeys::from))
    }

    /// Writes an owner's first keys, or the next version of the keys that were read.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if another process wrote them meanwhile.
    pub async fn write_signing_keys(&self, owner: &KeyOwner, keys: &SigningKeys) -> Result<(), StoreError> {
        let SigningKeys { vault_path, version, current, since, previous, rotation } = keys.clone();
        let (pk, sk) = key_of(owner);
        let item = SigningKeysItem { pk, sk, v: 1, version, vault_path, current, since, previous, rotation };
        let put = self.client.put_item().table_name(&self.table).set_item(Some(to_item(&item)?));
        let put = match version {
            1 => put.condition_expression("attribute_not_exists(pk)"),
            _ => put.condition_expression("version = :read").expression_attribute_values(":read", number(version - 1)),
        };
        put.send().await.map_err(|error| {
            if is_conflict(&error) {
                StoreError::Conflict { key: format!("the signing keys of {owner}") }
            } else {
                StoreError::unavailable(&error)
            }
        })?;
        Ok(())
    }
}
