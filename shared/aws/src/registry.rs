//! The Registry table: webhooks, the subscriptions that fan-out loads, and sources.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use domain::id::WebhookId;
use domain::matcher::{Subscription, SubscriptionChange};
use domain::source::Source;
use domain::tenant::{AppId, TenantId};
use domain::webhook::Webhook;
use serde::{Deserialize, Serialize};

use crate::error::is_conflict;
use crate::items::{Item, from_item, key, number, text, to_item};
use crate::{StoreError, batch};

mod webhook_item;
use webhook_item::WebhookItem;

/// How often a write is tried again when other writers of the tenant come first.
const WRITE_ROUNDS: u32 = 8;

/// The Registry table.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    table: String,
}

/// What fan-out reads of the Registry for every batch, in one call.
#[derive(Debug)]
pub struct Glance {
    /// How items of the table map to events; `None` if nobody registered the table.
    pub source: Option<Source>,
    /// For each tenant, the count of its webhook writes.
    pub generations: HashMap<TenantId, u64>,
}

/// A page of webhooks.
#[derive(Debug)]
pub struct WebhookPage {
    /// Oldest first.
    pub webhooks: Vec<Webhook>,
    /// Whether more follow the last one.
    pub more: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct MetaItem {
    generation: u64,
}

/// A subscription, as the table knows it: what fan-out needs, or that there is nothing more to send.
#[derive(Debug, Serialize, Deserialize)]
struct SubscriptionItem {
    pk: String,
    sk: String,
    v: u8,
    generation: u64,
    webhook: WebhookId,
    subscription: Option<Subscription>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourceItem {
    pk: String,
    sk: String,
    v: u8,
    #[serde(flatten)]
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

    /// Writes a webhook that is new, or that was read at the version before.
    ///
    /// One transaction writes the webhook, its subscription and the tenant's generation, so that whoever sees the generation
    /// sees the subscription.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the webhook was written since it was read.
    pub async fn write_webhook(&self, webhook: &Webhook) -> Result<(), StoreError> {
        for _ in 0..WRITE_ROUNDS {
            let generation = self.generation(&webhook.tenant).await?;
            let request = self
                .client
                .transact_write_items()
                .transact_items(self.put_webhook(webhook)?)
                .transact_items(self.put_subscription(webhook, generation + 1)?)
                .transact_items(self.raise_generation(&webhook.tenant, generation)?);
            let Err(error) = request.send().await else { return Ok(()) };
            match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    let webhook_reason = cancelled.cancellation_reasons().first().and_then(|reason| reason.code());
                    if webhook_reason == Some("ConditionalCheckFailed") {
                        return Err(StoreError::Conflict { key: webhook.id.to_string() });
                    }
                    // Another writer of the tenant came first: read its generation and try again.
                }
                _ => return Err(StoreError::unavailable(&error)),
            }
        }
        Err(StoreError::Unavailable(format!("too many writers at once for tenant {}", webhook.tenant)))
    }

    fn put_webhook(&self, webhook: &Webhook) -> Result<TransactWriteItem, StoreError> {
        let (pk, sk) = (tenant_pk(&webhook.tenant), webhook_sk(webhook.id));
        let put = Put::builder().table_name(&self.table).set_item(Some(to_item(&WebhookItem::new(webhook, pk, sk))?));
        let put = if webhook.audit.version == 1 {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            put.condition_expression("version = :read")
                .expression_attribute_values(":read", number(webhook.audit.version - 1))
        };
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    fn put_subscription(&self, webhook: &Webhook, generation: u64) -> Result<TransactWriteItem, StoreError> {
        let item = SubscriptionItem {
            pk: subscriptions_pk(&webhook.tenant),
            sk: webhook_sk(webhook.id),
            v: 1,
            generation,
            webhook: webhook.id,
            subscription: webhook.subscription(),
        };
        let put = Put::builder().table_name(&self.table).set_item(Some(to_item(&item)?)).build();
        Ok(TransactWriteItem::builder().put(built(put)?).build())
    }

    fn raise_generation(&self, tenant: &TenantId, from: u64) -> Result<TransactWriteItem, StoreError> {
        let condition = if from == 0 { "attribute_not_exists(generation)" } else { "generation = :from" };
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(&tenant_pk(tenant), "META")))
            .update_expression("SET generation = :to")
            .condition_expression(condition)
            .set_expression_attribute_values(Some(
                [(":to", from + 1), (":from", from)]
                    .into_iter()
                    .filter(|(name, _)| from > 0 || *name == ":to")
                    .map(|(name, value)| (name.to_owned(), number(value)))
                    .collect(),
            ))
            .build();
        Ok(TransactWriteItem::builder().update(built(update)?).build())
    }

    async fn generation(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let item = self.get(&tenant_pk(tenant), "META").await?;
        Ok(item.map(from_item::<MetaItem>).transpose()?.map_or(0, |meta| meta.generation))
    }

    async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(key(pk, sk))).consistent_read(true);
        Ok(request.send().await.map_err(|error| StoreError::unavailable(&error))?.item)
    }

    /// Returns a webhook of the tenant, deleted ones included, or `None` if the tenant has none with that id.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn webhook(&self, tenant: &TenantId, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        let item = self.get(&tenant_pk(tenant), &webhook_sk(id)).await?;
        item.map(|item| Ok(from_item::<WebhookItem>(item)?.into())).transpose()
    }

    /// Returns the key and table of a webhook, for a batched read together with other tables.
    pub(crate) fn webhook_key(&self, tenant: &TenantId, id: WebhookId) -> (String, Item) {
        (self.table.clone(), key(&tenant_pk(tenant), &webhook_sk(id)))
    }

    /// Reads webhooks that a batched read of [`webhook_key`](Self::webhook_key) found.
    pub(crate) fn webhooks_in(&self, found: &mut HashMap<String, Vec<Item>>) -> Result<Vec<Webhook>, StoreError> {
        let items = found.remove(&self.table).unwrap_or_default();
        items.into_iter().map(|item| Ok(from_item::<WebhookItem>(item)?.into())).collect()
    }

    /// Lists the tenant's webhooks that are not deleted, oldest first; with `app`, only those of that application.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn webhooks(
        &self,
        tenant: &TenantId,
        app: Option<&AppId>,
        after: Option<WebhookId>,
        limit: usize,
    ) -> Result<WebhookPage, StoreError> {
        let mut filter = vec!["attribute_not_exists(deleted_at)"];
        let mut values =
            HashMap::from([(":pk".to_owned(), text(tenant_pk(tenant))), (":prefix".to_owned(), text("WEBHOOK#"))]);
        if let Some(app) = app {
            filter.push("app = :app");
            values.insert(":app".to_owned(), text(app.as_str()));
        }
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .filter_expression(filter.join(" AND "))
            .set_expression_attribute_values(Some(values))
            .set_exclusive_start_key(after.map(|id| key(&tenant_pk(tenant), &webhook_sk(id))))
            .into_paginator()
            .items()
            .send();
        let mut webhooks = Vec::new();
        while let Some(item) = pages.next().await {
            if webhooks.len() == limit {
                return Ok(WebhookPage { webhooks, more: true });
            }
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            webhooks.push(from_item::<WebhookItem>(item)?.into());
        }
        Ok(WebhookPage { webhooks, more: false })
    }

    /// Returns what became of the tenant's subscriptions since the generation.
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
                Some(subscription) => SubscriptionChange::Wants(subscription),
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
    pub async fn glance(
        &self,
        table: &str,
        tenants: impl IntoIterator<Item = &TenantId>,
    ) -> Result<Glance, StoreError> {
        let metas: HashMap<String, &TenantId> = tenants.into_iter().map(|tenant| (tenant_pk(tenant), tenant)).collect();
        let mut keys = vec![(self.table.clone(), key(SOURCES, &source_sk(table)))];
        keys.extend(metas.keys().map(|pk| (self.table.clone(), key(pk, "META"))));
        let found = batch::get(&self.client, keys).await?.remove(&self.table).unwrap_or_default();
        let mut glance =
            Glance { source: None, generations: metas.values().map(|tenant| ((*tenant).clone(), 0)).collect() };
        for item in found {
            let pk = item.get("pk").and_then(|pk| pk.as_s().ok()).cloned().unwrap_or_default();
            if let Some(tenant) = metas.get(&pk) {
                glance.generations.insert((*tenant).clone(), from_item::<MetaItem>(item)?.generation);
            } else {
                glance.source = Some(from_item::<SourceItem>(item)?.source);
            }
        }
        Ok(glance)
    }

    /// Registers a table.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if it is registered already.
    pub async fn create_source(&self, source: &Source) -> Result<(), StoreError> {
        let sk = source_sk(&source.table);
        let item = SourceItem { pk: SOURCES.to_owned(), sk, v: 1, source: source.clone() };
        let put = self.client.put_item().table_name(&self.table).set_item(Some(to_item(&item)?));
        put.condition_expression("attribute_not_exists(pk)").send().await.map_err(|error| {
            if is_conflict(&error) {
                StoreError::Conflict { key: source.table.clone() }
            } else {
                StoreError::unavailable(&error)
            }
        })?;
        Ok(())
    }

    /// Lists all registered tables, by name.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn sources(&self) -> Result<Vec<Source>, StoreError> {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", text(SOURCES));
        let mut pages = query.into_paginator().items().send();
        let mut sources = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            sources.push(from_item::<SourceItem>(item)?.source);
        }
        Ok(sources)
    }

    /// Forgets a table; returns whether it was registered.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn remove_source(&self, table: &str) -> Result<bool, StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key(SOURCES, &source_sk(table))));
        let answer = delete
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
            .send()
            .await
            .map_err(|error| StoreError::unavailable(&error))?;
        Ok(answer.attributes.is_some())
    }
}

/// The builders of the SDK fail if a required part is missing; here all are there.
fn built<T>(result: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::inconsistent("a request", error))
}
