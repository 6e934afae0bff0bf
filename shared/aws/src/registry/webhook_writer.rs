//! Writes of webhooks. Each write is one transaction.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder;
use aws_sdk_dynamodb::types::{CancellationReason, Put, TransactWriteItem, Update};
use domain::delivery::breaker::is_released_by_write;
use domain::event::Event;
use domain::event::state::StateKey;
use domain::matching::matcher::{MAX_TENANT_BYTES, heaviest, weight};
use domain::webhook::Webhook;
use jiff::Timestamp;

use super::webhook_item::WebhookItem;
use super::{MetaItem, Registry, SubscriptionItem, built, subscriptions_pk, tenant_pk, webhook_sk};
use crate::events::publication;
use crate::items::{Item, from_item, key, number, text, to_item};
use crate::ledger::breaker::{draining, failing, recovered};
use crate::ledger::failing::{listed, unlisted};
use crate::rounds::{ROUNDS, pause};
use crate::{LimitReached, Limited, StoreError, batch};

/// The most bytes that the subscriptions of a tenant may take in fan-out's memory.
const LIMIT: u64 = MAX_TENANT_BYTES as u64;

/// Returns how many bytes a webhook adds to its tenant's weight. A webhook that gets no events adds none.
fn weight_of(webhook: &Webhook) -> u64 {
    webhook.subscription().map_or(0, |subscription| u64::try_from(weight(&subscription)).unwrap_or(u64::MAX))
}

/// How a write changes the number of a tenant's webhooks, or of its notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    /// Adds one, if the number is below this limit.
    Add(u64),
    Same,
    Remove,
}

impl Count {
    const fn after(self, before: u64) -> u64 {
        match self {
            Self::Add(_) => before + 1,
            Self::Same => before,
            Self::Remove => before.saturating_sub(1),
        }
    }
}

impl MetaItem {
    /// Returns how many the tenant has of the kind: webhooks or notices.
    const fn counted(&self, webhook: &Webhook) -> u64 {
        if webhook.notice.is_some() { self.notices } else { self.webhooks }
    }
}

/// Writes webhooks. A write also publishes the operational events of the change, and releases the webhook's parked
/// deliveries.
#[derive(Debug, Clone)]
pub struct WebhookWriter {
    registry: Registry,
    events_table: String,
    deliveries_table: String,
    draw: fn() -> u128,
}

impl WebhookWriter {
    /// Returns a writer that publishes events to `events_table` and releases parked deliveries in `deliveries_table`.
    /// `draw` returns random bits, for the key of a new tenant's state ids and the pauses between tries.
    #[must_use]
    pub const fn new(registry: Registry, events_table: String, deliveries_table: String, draw: fn() -> u128) -> Self {
        Self { registry, events_table, deliveries_table, draw }
    }

    /// Writes a new webhook, unless the tenant has `limit` already. Returns how many webhooks the tenant has
    /// afterwards.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is a webhook with that id, [`StoreError::Limit`] if the tenant has too many,
    /// [`StoreError::TooHeavy`] if its webhooks would take too much memory in fan-out.
    pub async fn create(&self, webhook: &Webhook, limit: u64) -> Result<u64, StoreError> {
        self.write(webhook, Count::Add(limit), &[]).await
    }

    /// Writes a webhook that was read at the previous version, and publishes the operational events of the change in
    /// the same transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the webhook was written since it was read, [`StoreError::TooHeavy`] if it grew and
    /// the tenant's webhooks would take too much memory in fan-out.
    pub async fn update(&self, webhook: &Webhook, events: &[Event]) -> Result<(), StoreError> {
        self.write(webhook, Count::Same, events).await.map(drop)
    }

    /// Writes a webhook that is being deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the webhook was written since it was read.
    pub async fn delete(&self, webhook: &Webhook) -> Result<(), StoreError> {
        self.write(webhook, Count::Remove, &[]).await.map(drop)
    }

    /// Writes a deleted webhook that is being restored, unless the tenant has `limit` others. Returns how many webhooks
    /// the tenant has afterwards.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the webhook was written since it was read, [`StoreError::Limit`] if the tenant has
    /// too many, [`StoreError::TooHeavy`] if its webhooks would take too much memory in fan-out.
    pub async fn restore(&self, webhook: &Webhook, limit: u64) -> Result<u64, StoreError> {
        self.write(webhook, Count::Add(limit), &[]).await
    }

    /// Notes that the webhook's deliveries have failed since `since`, and publishes the event that reports it, both or
    /// neither; unless failures have been reported already.
    ///
    /// # Errors
    ///
    /// If a table is unavailable.
    pub async fn report_failing(
        &self,
        webhook: &Webhook,
        since: Timestamp,
        event: &Event,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let table = &self.deliveries_table;
        let noted = [failing(table, webhook, since, now)?, listed(table, webhook, since, now)?];
        self.report(noted, event, now).await
    }

    /// Notes that the failures that were reported have ended, and publishes the event that says so, both or neither;
    /// unless that was published already.
    ///
    /// # Errors
    ///
    /// If a table is unavailable.
    pub async fn report_recovered(
        &self,
        webhook: &Webhook,
        since: Timestamp,
        event: &Event,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let table = &self.deliveries_table;
        let noted = [recovered(table, webhook.id, since)?, unlisted(table, webhook.id, now)?];
        self.report(noted, event, now).await
    }

    /// Writes what is noted and publishes the event. The first of the writes decides whether it was noted already.
    async fn report(&self, noted: [TransactWriteItem; 2], event: &Event, now: Timestamp) -> Result<(), StoreError> {
        let [first, second] = noted;
        let request = self.registry.client.transact_write_items().transact_items(first).transact_items(second);
        let request = request.transact_items(publication(&self.events_table, event, now)?);
        let Err(error) = request.send().await else { return Ok(()) };
        match error.as_service_error() {
            // Another process came first.
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                if is_refused(cancelled.cancellation_reasons().first()) =>
            {
                Ok(())
            }
            _ => Err(StoreError::unavailable(&error)),
        }
    }

    /// Writes the webhook, its subscription and the tenant's generation in one transaction, so that a reader who sees
    /// the generation sees the subscription. The transaction also publishes the events. Returns how many webhooks the
    /// tenant has afterwards.
    async fn write(&self, webhook: &Webhook, count: Count, events: &[Event]) -> Result<u64, StoreError> {
        let publish = |event| publication(&self.events_table, event, webhook.audit.updated_at);
        let mut others = events.iter().map(publish).collect::<Result<Vec<_>, _>>()?;
        if is_released_by_write(webhook) {
            others.push(draining(&self.deliveries_table, webhook, webhook.audit.updated_at)?);
        }
        let salt = (self.draw)().to_string();
        for round in 0..ROUNDS {
            pause(round, &salt).await;
            let (meta, before) = self.meta_and_webhook(webhook).await?;
            // If the webhook exists already, the transaction reports a conflict: an earlier try created it, and its
            // secrets must be kept.
            if let Count::Add(limit) = count
                && meta.counted(webhook) >= limit
                && before.as_ref().is_none_or(WebhookItem::is_deleted)
            {
                let what = if webhook.notice.is_some() { Limited::Notices } else { Limited::Webhooks };
                return Err(StoreError::Limit(LimitReached { limit, what }));
            }
            let counted = count.after(meta.counted(webhook));
            let own = weight_of(webhook);
            let weight =
                meta.weight.saturating_sub(before.as_ref().map_or(0, WebhookItem::counted)).saturating_add(own);
            // A webhook that does not grow is always written, so that a tenant over its limit can pause one.
            let grows = before.is_none_or(|before| own > weight_of(&before.into()));
            if let Some(subscription) = webhook.subscription().filter(|_| grows && weight > LIMIT) {
                return Err(StoreError::TooHeavy { field: heaviest(&subscription), bytes: weight, limit: LIMIT });
            }
            let request = self
                .registry
                .client
                .transact_write_items()
                .transact_items(self.put_webhook(webhook, own)?)
                .transact_items(self.put_subscription(webhook, meta.generation + 1)?)
                .transact_items(self.raise_generation(webhook, &meta, counted, weight)?);
            let request = others.iter().cloned().fold(request, TransactWriteItemsFluentBuilder::transact_items);
            let Err(error) = request.send().await else { return Ok(counted) };
            match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    if is_refused(cancelled.cancellation_reasons().first()) {
                        return Err(StoreError::Conflict { key: webhook.id.to_string() });
                    }
                    // Another writer of the tenant came first: read the generation again and retry.
                }
                _ => return Err(StoreError::unavailable(&error)),
            }
        }
        Err(StoreError::Unavailable(format!("too many processes write webhooks of tenant {} at once", webhook.tenant)))
    }

    /// Reads what every write of a webhook depends on: the tenant's counts, and the webhook before the write. Every
    /// writer of either raises the generation, so the transaction only has to check the generation.
    async fn meta_and_webhook(&self, webhook: &Webhook) -> Result<(MetaItem, Option<WebhookItem>), StoreError> {
        let meta = (self.registry.table.clone(), key(&tenant_pk(&webhook.tenant), "META"));
        let found =
            batch::get(&self.registry.client, vec![meta, self.registry.webhook_key(&webhook.tenant, webhook.id)])
                .await?;
        let is_meta = |item: &Item| item.get("sk").and_then(|sk| sk.as_s().ok()).is_some_and(|sk| sk == "META");
        let (metas, webhooks): (Vec<_>, Vec<_>) = found.into_values().flatten().partition(is_meta);
        let meta = metas.into_iter().next().map(from_item).transpose()?.unwrap_or_default();
        Ok((meta, webhooks.into_iter().next().map(from_item).transpose()?))
    }

    fn put_webhook(&self, webhook: &Webhook, weight: u64) -> Result<TransactWriteItem, StoreError> {
        let (pk, sk) = (tenant_pk(&webhook.tenant), webhook_sk(webhook.id));
        let put = Put::builder()
            .table_name(&self.registry.table)
            .set_item(Some(to_item(&WebhookItem::new(webhook, weight, pk, sk))?));
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
            v: 2,
            generation,
            webhook: webhook.id,
            subscription: webhook.subscription(),
        };
        let put = Put::builder().table_name(&self.registry.table).set_item(Some(to_item(&item)?)).build();
        Ok(TransactWriteItem::builder().put(built(put)?).build())
    }

    fn raise_generation(
        &self,
        webhook: &Webhook,
        read: &MetaItem,
        counted: u64,
        weight: u64,
    ) -> Result<TransactWriteItem, StoreError> {
        let name = if webhook.notice.is_some() { "notices" } else { "webhooks" };
        let update = Update::builder()
            .table_name(&self.registry.table)
            .set_key(Some(key(&tenant_pk(&webhook.tenant), "META")))
            .update_expression(
                "SET generation = :to, #counted = :counted, weight = :weight, state_key = if_not_exists(state_key, :key)",
            )
            .expression_attribute_names("#counted", name)
            .expression_attribute_values(":weight", number(weight))
            .expression_attribute_values(":key", text(StateKey::new((self.draw)()).as_str()))
            .expression_attribute_values(":to", number(read.generation + 1))
            .expression_attribute_values(":counted", number(counted));
        let update = if read.generation == 0 {
            update.condition_expression("attribute_not_exists(generation)")
        } else {
            update
                .condition_expression("generation = :from")
                .expression_attribute_values(":from", number(read.generation))
        };
        Ok(TransactWriteItem::builder().update(built(update.build())?).build())
    }
}

/// Returns whether a write's condition did not hold.
fn is_refused(reason: Option<&CancellationReason>) -> bool {
    reason.and_then(CancellationReason::code) == Some("ConditionalCheckFailed")
}
