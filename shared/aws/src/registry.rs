//! The Registry table: webhooks, the subscriptions that fan-out loads, sources, event types, API keys, portal links,
//! tenants' signing keys, usage and rates, and idempotency keys.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason};
use domain::access::api_key::KeyHash;
use domain::access::tenant::TenantId;
use domain::event::state::StateKey;
use domain::id::WebhookId;
use domain::matching::matcher::SubscriptionChange;
use domain::matching::subscription::Subscription;
use domain::source::Source;
use serde::{Deserialize, Serialize};

use crate::items::{Item, from_item, json_text, key, number, text};
use crate::probe::probe;
use crate::{StoreError, batch};

mod api_keys;
mod event_types;
mod idempotency;
mod latency;
mod portal_links;
mod rates;
mod signing_keys;
mod sources;
pub(crate) mod statistics;
mod tests_running;
mod usage;
mod webhook_item;
mod webhook_writer;
pub(crate) mod webhooks;

pub use api_keys::ApiKeyPage;
pub use event_types::CatalogPage;
pub use idempotency::{Claim, IdempotencyKey, StoredResponse};
pub use portal_links::PortalLinkPage;
pub use rates::Rates;
pub use tests_running::{RunningTest, TEST_PLACES};
pub use usage::{Counted, UsageRows};
pub use webhook_writer::WebhookWriter;
pub use webhooks::{WebhookOwner, WebhookPage, WebhookRecord};

/// The Registry table.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    table: String,
}

/// What fan-out reads from the Registry for every batch, in one call.
#[derive(Debug)]
pub struct Versions {
    /// How items of the table map to events; `None` if the table is not registered.
    pub source: Option<Source>,
    /// For each tenant, the number of its webhook writes so far.
    pub generations: HashMap<TenantId, u64>,
    /// For each tenant that has or had a webhook, the key of its state ids.
    pub state_keys: HashMap<TenantId, StateKey>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct MetaItem {
    generation: u64,
    /// How many webhooks the tenant has, without deleted ones.
    #[serde(default)]
    webhooks: u64,
    /// How many notices the tenant has, without deleted ones.
    #[serde(default)]
    notices: u64,
    /// How much memory the subscriptions of its webhooks take in fan-out at most, in bytes. Subscriptions written
    /// before this was counted add nothing.
    #[serde(default)]
    weight: u64,
    /// Drawn when the first webhook is written.
    #[serde(default)]
    state_key: Option<StateKey>,
}

/// A subscription as an item; `None` in `subscription` means that the webhook gets no more events.
#[derive(Debug, Serialize, Deserialize)]
struct SubscriptionItem {
    pk: String,
    sk: String,
    v: u8,
    generation: u64,
    webhook: WebhookId,
    #[serde(with = "json_text")]
    subscription: Option<Subscription>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourceItem {
    pk: String,
    sk: String,
    v: u8,
    source: Source,
}

const SOURCES: &str = "SOURCES";

fn tenant_pk(tenant: &TenantId) -> String {
    format!("T#{tenant}")
}

fn subscriptions_pk(tenant: &TenantId) -> String {
    format!("S#{tenant}")
}

fn webhook_sk(webhook: WebhookId) -> String {
    format!("WEBHOOK#{webhook}")
}

fn source_sk(table: &str) -> String {
    format!("TABLE#{table}")
}

impl Registry {
    pub(crate) fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Checks that the table can be read.
    ///
    /// # Errors
    ///
    /// If it cannot, or does not answer within two seconds.
    pub async fn probe(&self) -> Result<(), StoreError> {
        probe(&self.client, &self.table).await
    }

    async fn meta(&self, tenant: &TenantId) -> Result<MetaItem, StoreError> {
        let item = self.get(&tenant_pk(tenant), "META").await?;
        Ok(item.map(from_item).transpose()?.unwrap_or_default())
    }

    async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(key(pk, sk))).consistent_read(true);
        Ok(request.send().await.map_err(|error| StoreError::unavailable(&error))?.item)
    }

    /// Returns how the tenant's subscriptions changed since a generation.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn subscriptions_since(
        &self,
        tenant: &TenantId,
        generation: u64,
    ) -> Result<Vec<SubscriptionChange>, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_generation")
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND generation > :seen")
            .expression_attribute_values(":pk", text(subscriptions_pk(tenant)))
            .expression_attribute_values(":seen", number(generation))
            .into_paginator()
            .items()
            .send();
        let mut changes = Vec::new();
        while let Some(item) = pages.next().await {
            let item: SubscriptionItem = from_item(item.map_err(|error| StoreError::unavailable(&error))?)?;
            changes.push(match item.subscription {
                Some(subscription) => SubscriptionChange::Wants(Box::new(subscription)),
                None => SubscriptionChange::Ended(item.webhook),
            });
        }
        Ok(changes)
    }

    /// Reads a table's source and the generations of tenants, consistently and in one call.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn read_versions(
        &self,
        table: &str,
        tenants: impl IntoIterator<Item = &TenantId>,
    ) -> Result<Versions, StoreError> {
        let metas: HashMap<String, &TenantId> = tenants.into_iter().map(|tenant| (tenant_pk(tenant), tenant)).collect();
        let mut keys = vec![(self.table.clone(), key(SOURCES, &source_sk(table)))];
        keys.extend(metas.keys().map(|pk| (self.table.clone(), key(pk, "META"))));
        let found = batch::get(&self.client, keys).await?.remove(&self.table).unwrap_or_default();
        let generations = metas.values().map(|tenant| ((*tenant).clone(), 0)).collect();
        let mut versions = Versions { source: None, generations, state_keys: HashMap::new() };
        for item in found {
            let pk = item.get("pk").and_then(|pk| pk.as_s().ok()).cloned().unwrap_or_default();
            if let Some(tenant) = metas.get(&pk) {
                let MetaItem { generation, state_key, .. } = from_item(item)?;
                versions.generations.insert((*tenant).clone(), generation);
                versions.state_keys.extend(state_key.map(|key| ((*tenant).clone(), key)));
            } else {
                versions.source = Some(from_item::<SourceItem>(item)?.source);
            }
        }
        Ok(versions)
    }
}

/// Returns the error of a transaction. It is a conflict if a condition did not hold.
fn of_transaction(error: &SdkError<TransactWriteItemsError>, key: impl fmt::Display) -> StoreError {
    let is_refused = |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
            if cancelled.cancellation_reasons().iter().any(is_refused) =>
        {
            StoreError::Conflict { key: key.to_string() }
        }
        _ => StoreError::unavailable(error),
    }
}

/// Converts the error of an SDK builder, which fails if a required field is missing; callers here set all of them.
fn built<T>(result: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::inconsistent("a request", error))
}

/// Returns the attribute value of a key's hash, for conditions.
fn hash_value(hash: &KeyHash) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(hash).map_err(|error| StoreError::inconsistent("the hash of a key", error))
}
