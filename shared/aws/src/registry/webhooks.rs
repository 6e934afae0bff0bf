//! Reads of webhooks.

use std::collections::HashMap;

use domain::access::tenant::{AppId, TenantId};
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
        let webhook = self.webhook_key(tenant, id);
        let found = batch::get(&self.client, vec![webhook, self.statistics_key(id)]).await?;
        Ok(records(found.into_values().flatten())?.pop())
    }

    /// Lists all of the tenant's webhooks, deleted ones included, with what says whose they are.
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
            .projection_expression("#id, #app, deleted_at")
            .expression_attribute_names("#id", "id")
            .expression_attribute_names("#app", "app");
        let mut items = query.into_paginator().items().send();
        let mut owners = Vec::new();
        while let Some(item) = items.next().await {
            owners.push(from_item(item.map_err(|error| StoreError::unavailable(&error))?)?);
        }
        Ok(owners)
    }

    /// Returns the table and the key of a webhook, for a batched read together with other tables.
    pub(crate) fn webhook_key(&self, tenant: &TenantId, id: WebhookId) -> (String, Item) {
        (self.table.clone(), key(&tenant_pk(tenant), &webhook_sk(id)))
    }

    /// Reads the webhooks that a batched read of [`webhook_key`](Self::webhook_key) found.
    pub(crate) fn webhooks_in(&self, found: &mut HashMap<String, Vec<Item>>) -> Result<Vec<Webhook>, StoreError> {
        let items = found.remove(&self.table).unwrap_or_default();
        items.into_iter().map(|item| Ok(from_item::<WebhookItem>(item)?.into())).collect()
    }

    /// Lists the tenant's webhooks that match `wanted`, oldest first.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn webhooks(
        &self,
        tenant: &TenantId,
        after: Option<WebhookId>,
        limit: usize,
        wanted: impl Fn(&Webhook) -> bool,
    ) -> Result<WebhookPage, StoreError> {
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
            let webhook = Webhook::from(from_item::<WebhookItem>(item)?);
            if wanted(&webhook) {
                if webhooks.len() == limit {
                    more = true;
                    break;
                }
                webhooks.push(webhook);
            }
        }
        let keys = webhooks.iter().map(|webhook| self.statistics_key(webhook.id)).collect();
        let found = batch::get(&self.client, keys).await?;
        let mut statistics = super::statistics::by_webhook(found.into_values().flatten())?;
        let record = |webhook: Webhook| WebhookRecord {
            statistics: statistics.remove(&webhook.id).unwrap_or_default(),
            webhook,
        };
        Ok(WebhookPage { webhooks: webhooks.into_iter().map(record).collect(), more })
    }
}

/// Combines webhooks with their statistics.
fn records(items: impl Iterator<Item = Item>) -> Result<Vec<WebhookRecord>, StoreError> {
    let (statistics, webhooks): (Vec<_>, Vec<_>) = items.partition(super::statistics::is_statistics);
    let mut statistics = super::statistics::by_webhook(statistics.into_iter())?;
    let record = |item| {
        let webhook = Webhook::from(from_item::<WebhookItem>(item)?);
        Ok(WebhookRecord { statistics: statistics.remove(&webhook.id).unwrap_or_default(), webhook })
    };
    webhooks.into_iter().map(record).collect()
}
