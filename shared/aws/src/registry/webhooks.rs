//! Reads of webhooks.

use std::collections::HashMap;

use domain::access::tenant::{AppId, TenantId};
use domain::delivery::breaker::Breaker;
use domain::id::WebhookId;
use domain::webhook::Webhook;
use domain::webhook::statistics::Statistics;
use jiff::Timestamp;
use serde::Deserialize;

use super::webhook_item::WebhookItem;
use super::{Registry, tenant_pk, webhook_sk};
use crate::items::{Item, from_item, key, text};
use crate::{StoreError, batch};

/// A webhook with its statistics.
#[derive(Debug, Clone)]
pub struct WebhookRecord {
    /// The webhook.
    pub webhook: Webhook,
    /// The sums over its deliveries.
    pub statistics: Statistics,
    /// Its breaker, if it has a row. Only reads of the ledger contain it: [`Ledger::webhook`](crate::Ledger::webhook)
    /// and [`Ledger::webhooks`](crate::Ledger::webhooks).
    pub breaker: Option<Breaker>,
}

/// Whose a webhook is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WebhookOwner {
    /// The webhook.
    #[serde(rename = "id")]
    pub webhook: WebhookId,
    /// The application that registered it, if any.
    #[serde(default)]
    pub app: Option<AppId>,
    /// When it was deleted, if it was.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
}

/// A page of webhooks.
#[derive(Debug)]
pub struct WebhookPage {
    /// The webhooks, oldest first.
    pub webhooks: Vec<WebhookRecord>,
    /// Whether more follow the last one.
    pub more: bool,
}

impl Registry {
    /// Returns a webhook of the tenant, deleted ones included, or `None` if the tenant has none with that id.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn webhook(&self, tenant: &TenantId, id: WebhookId) -> Result<Option<WebhookRecord>, StoreError> {
        let found = batch::get(&self.client, self.record_keys(tenant, id).into()).await?;
        record_in(found.into_values().flatten())
    }

    /// Returns the tables and the keys of a webhook and its statistics.
    pub(crate) fn record_keys(&self, tenant: &TenantId, id: WebhookId) -> [(String, Item); 2] {
        [self.webhook_key(tenant, id), self.statistics_key(id)]
    }

    /// Removes what belongs to this table from the items of a batched read.
    pub(crate) fn take_items(&self, found: &mut HashMap<String, Vec<Item>>) -> Vec<Item> {
        found.remove(&self.table).unwrap_or_default()
    }

    /// Lists all of the tenant's webhooks, deleted ones included and notices not, with what says whose they are.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn owners(&self, tenant: &TenantId) -> Result<Vec<WebhookOwner>, StoreError> {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", text(tenant_pk(tenant)))
            .expression_attribute_values(":prefix", text("WEBHOOK#"))
            .projection_expression("#id, #app, deleted_at, #notice")
            .expression_attribute_names("#id", "id")
            .expression_attribute_names("#app", "app")
            .expression_attribute_names("#notice", "notice");
        let mut items = query.into_paginator().items().send();
        let mut owners = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            if !item.contains_key("notice") {
                owners.push(from_item(item)?);
            }
        }
        Ok(owners)
    }

    /// Lists the tenant's webhooks that match `wanted` with their statistics, oldest first.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn records(
        &self,
        tenant: &TenantId,
        wanted: impl Fn(&Webhook) -> bool,
    ) -> Result<Vec<WebhookRecord>, StoreError> {
        let (webhooks, _) = self.some_webhooks(tenant, None, usize::MAX, wanted).await?;
        let mut statistics = self.statistics(webhooks.iter().map(|webhook| webhook.id)).await?;
        let record = |webhook: Webhook| {
            let statistics = statistics.remove(&webhook.id).unwrap_or_default();
            WebhookRecord { webhook, statistics, breaker: None }
        };
        Ok(webhooks.into_iter().map(record).collect())
    }

    /// Returns the table and the key of a webhook, for a batched read together with other tables.
    pub(crate) fn webhook_key(&self, tenant: &TenantId, id: WebhookId) -> (String, Item) {
        (self.table.clone(), key(&tenant_pk(tenant), &webhook_sk(id)))
    }

    /// Reads the webhooks that a batched read of [`webhook_key`](Self::webhook_key) found.
    pub(crate) fn webhooks_in(&self, found: &mut HashMap<String, Vec<Item>>) -> Result<Vec<Webhook>, StoreError> {
        self.take_items(found).into_iter().map(read_webhook).collect()
    }

    /// Lists the tenant's webhooks that match `wanted`, notices included, oldest first, and says whether more follow.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn some_webhooks(
        &self,
        tenant: &TenantId,
        after: Option<WebhookId>,
        limit: usize,
        wanted: impl Fn(&Webhook) -> bool,
    ) -> Result<(Vec<Webhook>, bool), StoreError> {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query.expression_attribute_values(":pk", text(tenant_pk(tenant)));
        let query = match after {
            // `#` after the id sorts after that webhook and before the next one; `WEBHOOK$` sorts after all webhooks.
            Some(after) => query
                .key_condition_expression("pk = :pk AND sk BETWEEN :after AND :end")
                .expression_attribute_values(":after", text(format!("{}#", webhook_sk(after))))
                .expression_attribute_values(":end", text("WEBHOOK$")),
            None => query
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", text("WEBHOOK#")),
        };
        let mut pages = query.into_paginator().items().send();
        let mut webhooks: Vec<Webhook> = Vec::new();
        let mut more = false;
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            let webhook = read_webhook(item)?;
            if wanted(&webhook) {
                if webhooks.len() == limit {
                    more = true;
                    break;
                }
                webhooks.push(webhook);
            }
        }
        Ok((webhooks, more))
    }
}

/// Reads a webhook.
fn read_webhook(item: Item) -> Result<Webhook, StoreError> {
    Ok(from_item::<WebhookItem>(item)?.into())
}

/// Combines a webhook with its statistics, which the items contain in any order.
pub(crate) fn record_in(items: impl Iterator<Item = Item>) -> Result<Option<WebhookRecord>, StoreError> {
    Ok(records_in(items)?.into_iter().next())
}

/// Reads webhooks and their statistics, in any order.
pub(crate) fn records_in(items: impl Iterator<Item = Item>) -> Result<Vec<WebhookRecord>, StoreError> {
    let (statistics, webhooks): (Vec<_>, Vec<_>) = items.partition(super::statistics::is_statistics);
    let mut statistics = super::statistics::by_webhook(statistics.into_iter())?;
    let record = |item| {
        let webhook = read_webhook(item)?;
        let statistics = statistics.remove(&webhook.id).unwrap_or_default();
        Ok(WebhookRecord { webhook, statistics, breaker: None })
    };
    webhooks.into_iter().map(record).collect()
}
