//! API keys. Each key has two items: the authorizer finds one by the key's id, and the API lists the other by tenant.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use domain::access::api_key::{ApiKey, KeyHash};
use domain::access::tenant::TenantId;
use domain::id::ApiKeyId;
use serde::{Deserialize, Serialize};

use super::{Registry, built, hash_value, of_transaction, tenant_pk};
use crate::StoreError;
use crate::items::{from_item, key, text, to_item};

#[derive(Debug, Serialize, Deserialize)]
struct ApiKeyItem {
    pk: String,
    sk: String,
    v: u8,
    hash: KeyHash,
    /// Whether the key acts for the whole tenant. Its `app` is then [`NO_APP`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    of_tenant: bool,
    #[serde(flatten)]
    key: ApiKey,
}

/// The application in the item of a key of a whole tenant. Earlier versions require an application and do not know
/// `of_tenant`: for them the key belongs to an application that has registered nothing.
const NO_APP: &str = "=";

impl ApiKeyItem {
    fn new((pk, sk): (String, String), key: &ApiKey, hash: &KeyHash) -> Self {
        let of_tenant = key.app.is_none();
        let app = key.app.clone().or_else(|| NO_APP.parse().ok());
        Self { pk, sk, v: 1, hash: hash.clone(), of_tenant, key: ApiKey { app, ..key.clone() } }
    }

    fn key(self) -> ApiKey {
        ApiKey { app: self.key.app.filter(|_| !self.of_tenant), ..self.key }
    }
}

/// A page of API keys.
#[derive(Debug)]
pub struct ApiKeyPage {
    /// Oldest first.
    pub keys: Vec<ApiKey>,
    /// Whether more follow the last one.
    pub more: bool,
}

fn lookup_pk(id: ApiKeyId) -> String {
    format!("K#{id}")
}

fn api_key_sk(id: ApiKeyId) -> String {
    format!("APIKEY#{id}")
}

impl Registry {
    /// Writes a new key, to both items. With `before`, an earlier try of the same request wrote the key with that hash.
    /// The new one replaces it, unless the key was revoked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the key exists, or not as `before` says. Otherwise, if the table is unavailable.
    pub async fn write_api_key(
        &self,
        api_key: &ApiKey,
        hash: &KeyHash,
        before: Option<&KeyHash>,
    ) -> Result<(), StoreError> {
        let places = [(lookup_pk(api_key.id), "KEY".to_owned()), (tenant_pk(&api_key.tenant), api_key_sk(api_key.id))];
        let mut request = self.client.transact_write_items();
        for place in places {
            let item = ApiKeyItem::new(place, api_key, hash);
            let put = Put::builder().table_name(&self.table).set_item(Some(to_item(&item)?));
            let put = match before {
                None => put.condition_expression("attribute_not_exists(pk)"),
                Some(before) => put
                    .condition_expression("#hash = :before AND attribute_not_exists(revoked_at)")
                    .expression_attribute_names("#hash", "hash")
                    .expression_attribute_values(":before", hash_value(before)?),
            };
            request = request.transact_items(TransactWriteItem::builder().put(built(put.build())?).build());
        }
        request.send().await.map_err(|error| of_transaction(&error, api_key.id))?;
        Ok(())
    }

    /// Returns a key by its id alone, with the hash to compare; for the authorizer.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn find_api_key(&self, id: ApiKeyId) -> Result<Option<(ApiKey, KeyHash)>, StoreError> {
        let item = self.get(&lookup_pk(id), "KEY").await?;
        let item = item.map(from_item::<ApiKeyItem>).transpose()?;
        Ok(item.map(|item| {
            let hash = item.hash.clone();
            (item.key(), hash)
        }))
    }

    /// Returns a key of the tenant, revoked ones included.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn api_key(&self, tenant: &TenantId, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let item = self.get(&tenant_pk(tenant), &api_key_sk(id)).await?;
        Ok(item.map(from_item::<ApiKeyItem>).transpose()?.map(ApiKeyItem::key))
    }

    /// Lists up to `limit` of the tenant's keys, oldest first: those that are newer than `after`. Revoked ones are
    /// included if `revoked_too`.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn api_keys(
        &self,
        tenant: &TenantId,
        after: Option<ApiKeyId>,
        limit: usize,
        revoked_too: bool,
    ) -> Result<ApiKeyPage, StoreError> {
        let mut found = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .set_exclusive_start_key(after.map(|id| key(&tenant_pk(tenant), &api_key_sk(id))))
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", text(tenant_pk(tenant)))
            .expression_attribute_values(":prefix", text("APIKEY#"))
            .into_paginator()
            .items()
            .send();
        let mut keys = Vec::new();
        while let Some(item) = found.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            let key = from_item::<ApiKeyItem>(item)?.key();
            if key.revoked_at.is_some() && !revoked_too {
                continue;
            }
            if keys.len() == limit {
                return Ok(ApiKeyPage { keys, more: true });
            }
            keys.push(key);
        }
        Ok(ApiKeyPage { keys, more: false })
    }

    /// Marks a key as revoked, in both items.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn revoke_api_key(&self, api_key: &ApiKey) -> Result<(), StoreError> {
        let revoked_at: AttributeValue = serde_dynamo::to_attribute_value(api_key.revoked_at)
            .map_err(|error| StoreError::inconsistent(api_key.id, error))?;
        let places = [(lookup_pk(api_key.id), "KEY".to_owned()), (tenant_pk(&api_key.tenant), api_key_sk(api_key.id))];
        let mut request = self.client.transact_write_items();
        for (pk, sk) in places {
            let update = Update::builder()
                .table_name(&self.table)
                .set_key(Some(key(&pk, &sk)))
                .update_expression("SET revoked_at = :at")
                .condition_expression("attribute_exists(pk)")
                .expression_attribute_values(":at", revoked_at.clone());
            request = request.transact_items(TransactWriteItem::builder().update(built(update.build())?).build());
        }
        request.send().await.map_err(|error| StoreError::unavailable(&error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::access::api_key::KeyText;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_key_of_a_tenant_reads_as_that_of_an_unknown_application_in_earlier_versions() {
        let text = KeyText::from_random(ApiKeyId::from_parts(Timestamp::UNIX_EPOCH, 1), [1; 32]);
        for app in [None, Some("crm")] {
            let key = ApiKey {
                id: text.id(),
                tenant: "acme".parse().unwrap(),
                app: app.map(|app| app.parse().unwrap()),
                name: "n".to_owned(),
                scopes: Vec::new(),
                created_at: Timestamp::UNIX_EPOCH,
                created_by: "anna".to_owned(),
                expires_at: None,
                revoked_at: None,
            };
            let places = ("T#acme".to_owned(), api_key_sk(key.id));
            let item = to_item(&ApiKeyItem::new(places, &key, &text.hash())).unwrap();
            assert_eq!(item["app"], self::text(app.unwrap_or("=")));
            assert_eq!(item.contains_key("of_tenant"), app.is_none());
            assert_eq!(from_item::<ApiKeyItem>(item).unwrap().key(), key);
        }
    }
}
