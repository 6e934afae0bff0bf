//! Reads of webhooks together with their breakers, for the API.

use std::collections::HashMap;

use domain::access::tenant::TenantId;
use domain::delivery::breaker::Breaker;
use domain::id::WebhookId;
use domain::webhook::Webhook;

use super::Ledger;
use super::breaker_item::{self, breaker_key};
use crate::items::Item;
use crate::registry::statistics::by_webhook;
use crate::registry::webhooks::{record_in, records_in};
use crate::registry::{WebhookPage, WebhookRecord};
use crate::{Registry, StoreError, batch};

impl Ledger {
    /// Returns a webhook of the tenant with its breaker, deleted ones included, or `None` if the tenant has none with
    /// that id. Takes one call.
    ///
    /// # Errors
    ///
    /// If a table is unavailable or an item cannot be read.
    pub async fn webhook(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        id: WebhookId,
    ) -> Result<Option<WebhookRecord>, StoreError> {
        let keys = registry.record_keys(tenant, id).into_iter().chain([self.breaker_place(id)]);
        let mut found = batch::get(&self.client, keys.collect()).await?;
        let record = record_in(registry.take_items(&mut found).into_iter())?;
        let breaker = self.breakers_in(&mut found)?.remove(&id);
        Ok(record.map(|record| WebhookRecord { breaker, ..record }))
    }

    /// Lists the tenant's webhooks that match `wanted`, oldest first, with their statistics and breakers.
    ///
    /// # Errors
    ///
    /// If a table is unavailable or an item cannot be read.
    pub async fn webhooks(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        after: Option<WebhookId>,
        limit: usize,
        wanted: impl Fn(&Webhook) -> bool,
    ) -> Result<WebhookPage, StoreError> {
        let (webhooks, more) = registry.some_webhooks(tenant, after, limit, wanted).await?;
        let ids = webhooks.iter().map(|webhook| webhook.id);
        let keys = ids.flat_map(|id| [(registry.statistics_key(id)), self.breaker_place(id)]);
        let mut found = batch::get(&self.client, keys.collect()).await?;
        let mut statistics = by_webhook(registry.take_items(&mut found).into_iter())?;
        let mut breakers = self.breakers_in(&mut found)?;
        let record = |webhook: Webhook| WebhookRecord {
            statistics: statistics.remove(&webhook.id).unwrap_or_default(),
            breaker: breakers.remove(&webhook.id),
            webhook,
        };
        Ok(WebhookPage { webhooks: webhooks.into_iter().map(record).collect(), more })
    }

    /// Returns the webhooks with their statistics and breakers, in the same order. Those that do not exist are left
    /// out.
    ///
    /// # Errors
    ///
    /// If a table is unavailable or an item cannot be read.
    pub async fn records(
        &self,
        registry: &Registry,
        webhooks: &[(TenantId, WebhookId)],
    ) -> Result<Vec<WebhookRecord>, StoreError> {
        let keys = webhooks.iter().flat_map(|(tenant, webhook)| {
            registry.record_keys(tenant, *webhook).into_iter().chain([self.breaker_place(*webhook)])
        });
        let mut found = batch::get(&self.client, keys.collect()).await?;
        let mut breakers = self.breakers_in(&mut found)?;
        let mut records = records_in(registry.take_items(&mut found).into_iter())?;
        let order = |record: &WebhookRecord| webhooks.iter().position(|one| one.1 == record.webhook.id);
        records.sort_by_key(order);
        Ok(records
            .into_iter()
            .map(|record| WebhookRecord { breaker: breakers.remove(&record.webhook.id), ..record })
            .collect())
    }

    /// Returns a webhook's breaker, if it has a row.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn breaker(&self, webhook: WebhookId) -> Result<Option<Breaker>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(breaker_key(webhook)));
        let item = get.consistent_read(true).send().await.map_err(|error| StoreError::unavailable(&error))?.item;
        Ok(item.map(breaker_item::read).transpose()?.map(|(_, breaker)| breaker))
    }

    /// Returns the table and the key of a webhook's breaker.
    fn breaker_place(&self, webhook: WebhookId) -> (String, Item) {
        (self.table.clone(), breaker_key(webhook))
    }

    fn breakers_in(&self, found: &mut HashMap<String, Vec<Item>>) -> Result<HashMap<WebhookId, Breaker>, StoreError> {
        found.remove(&self.table).unwrap_or_default().into_iter().map(breaker_item::read).collect()
    }
}
