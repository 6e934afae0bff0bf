//! API keys. Each key has two items: the authorizer finds one by the key's id, and the API lists the other by tenant.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use domain::access::api_key::{ApiKey, KeyHash};
use domain::access::tenant::TenantId;
use domain::id::ApiKeyId;
use serde::{Deserialize, Serialize};

use super::{Registry, built, tenant_pk};
use crate::StoreError;
use crate::items::{from_item, key, text, to_item};

#[derive(Debug, Serialize, Deserialize)]
struct ApiKeyItem {
    pk: String,
    sk: String,
    v: u8,
    hash: KeyHash,
    #[serde(flatten)]
    key: ApiKey,
}

fn lookup_pk(id: ApiKeyId) -> String {
    format!("K#{id}")
}

fn api_key_sk(id: ApiKeyId) -> String {
    format!("APIKEY#{id}")
}

impl Registry {
    /// Writes a new key, to both items.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn create_api_key(&self, api_key: &ApiKey, hash: &KeyHash) -> Result<(), StoreError> {
        let places = [(lookup_pk(api_key.id), "KEY".to_owned()), (tenant_pk(&api_key.tenant), api_key_sk(api_key.id))];
        let mut request = self.client.transact_write_items();
        for (pk, sk) in places {
            let item = ApiKeyItem { pk, sk, v: 1, hash: hash.clone(), key: api_key.clone() };
            let put = Put::builder().table_name(&self.table).set_item(Some(to_item(&item)?));
            let put = put.condition_expression("attribute_not_exists(pk)").build();
            request = request.transact_items(TransactWriteItem::builder().put(built(put)?).build());
        }
        request.send().await.map_err(|error| StoreError::unavailable(&error))?;
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
        Ok(item.map(|item| (item.key, item.hash)))
    }

    /// Returns a key of the tenant, revoked ones included.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn api_key(&self, tenant: &TenantId, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let item = self.get(&tenant_pk(tenant), &api_key_sk(id)).await?;
        Ok(item.map(from_item::<ApiKeyItem>).transpose()?.map(|item| item.key))
    }

    /// Lists the tenant's keys, oldest first, revoked ones included.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", text(tenant_pk(tenant)))
            .expression_attribute_values(":prefix", text("APIKEY#"))
            .into_paginator()
            .items()
            .send();
        let mut keys = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            keys.push(from_item::<ApiKeyItem>(item)?.key);
        }
        Ok(keys)
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
