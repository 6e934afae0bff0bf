//! Tenants' keys: which sign, and which are shown. The private halves live in Secrets Manager.

use domain::signature::keys::{PreviousKey, PublicKey, SigningKeys};
use domain::tenant::TenantId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Registry, tenant_pk};
use crate::error::is_conflict;
use crate::items::{from_item, key, number, to_item};
use crate::{StoreError, batch};

const SK: &str = "SIGNINGKEYS";

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
}

impl From<SigningKeysItem> for SigningKeys {
    fn from(item: SigningKeysItem) -> Self {
        let SigningKeysItem { version, vault_path, current, since, previous, .. } = item;
        Self { vault_path, version, current, since, previous }
    }
}

impl Registry {
    /// Returns a tenant's keys, if it has any.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn signing_keys(&self, tenant: &TenantId) -> Result<Option<SigningKeys>, StoreError> {
        // Batched, as deliver's role reads nothing of the table in another way.
        let found = batch::get(&self.client, vec![(self.table.clone(), key(&tenant_pk(tenant), SK))]).await?;
        let item = found.into_values().flatten().next();
        Ok(item.map(from_item::<SigningKeysItem>).transpose()?.map(SigningKeys::from))
    }

    /// Writes a tenant's first keys, or those that follow from what was read.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if somebody else wrote them meanwhile.
    pub async fn write_signing_keys(&self, tenant: &TenantId, keys: &SigningKeys) -> Result<(), StoreError> {
        let SigningKeys { vault_path, version, current, since, previous } = keys.clone();
        let (pk, sk) = (tenant_pk(tenant), SK.to_owned());
        let item = SigningKeysItem { pk, sk, v: 1, version, vault_path, current, since, previous };
        let put = self.client.put_item().table_name(&self.table).set_item(Some(to_item(&item)?));
        let put = match version {
            1 => put.condition_expression("attribute_not_exists(pk)"),
            _ => put.condition_expression("version = :read").expression_attribute_values(":read", number(version - 1)),
        };
        put.send().await.map_err(|error| {
            if is_conflict(&error) {
                StoreError::Conflict { key: format!("the keys of {tenant}") }
            } else {
                StoreError::unavailable(&error)
            }
        })?;
        Ok(())
    }
}
