//! Which webhooks fail, over all tenants. Each has a row from the report that it fails until the report that it has
//! recovered. The row is in a lane that only an operator's list reads, so it costs a delivery nothing.

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use domain::access::tenant::TenantId;
use domain::id::WebhookId;
use domain::webhook::Webhook;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::breaker_item::webhook_pk;
use super::delivery_item::DUE_SHARDS;
use super::{Ledger, within_transaction};
use crate::StoreError;
use crate::items::{IS_LIVE, Item, from_item, key, live_at, number, text};

const KIND: &str = "failing";

/// How long a webhook is listed, if it neither recovers nor is deleted: failures pause it long before.
const LISTED: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How long the row of a webhook that has recovered is kept: until the index shows that it left its lane.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

/// A webhook that fails, as the index shows it, with a short lag.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FailingWebhook {
    /// Its tenant.
    pub tenant: TenantId,
    /// The webhook.
    pub webhook: WebhookId,
    /// Since when it fails, in milliseconds since 1970.
    lane_at: i64,
}

fn row(webhook: WebhookId) -> Item {
    key(&webhook_pk(webhook), "FAILING")
}

fn lane(shard: u8) -> String {
    format!("failing#{shard}")
}

fn expires(now: Timestamp, after: SignedDuration) -> i64 {
    now.saturating_add(after).unwrap_or(Timestamp::MAX).as_second()
}

/// Returns the write that lists a webhook. It is part of the transaction that reports its failures.
pub(crate) fn listed(
    table: &str,
    webhook: &Webhook,
    since: Timestamp,
    now: Timestamp,
) -> Result<TransactWriteItem, StoreError> {
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(row(webhook.id)))
        .update_expression(
            "SET v = :v, kind = :kind, webhook = :webhook, tenant = :tenant, lane = :lane, lane_at = :since, \
             expires_at = :expires",
        )
        .expression_attribute_values(":v", number(1))
        .expression_attribute_values(":kind", text(KIND))
        .expression_attribute_values(":webhook", text(webhook.id.to_string()))
        .expression_attribute_values(":tenant", text(webhook.tenant.as_str()))
        .expression_attribute_values(":lane", text(lane(webhook.id.shard(DUE_SHARDS))))
        .expression_attribute_values(":since", number(since.as_millisecond()))
        .expression_attribute_values(":expires", number(expires(now, LISTED)));
    within_transaction(update)
}

/// Returns the write that takes a webhook off the list. It is part of the transaction that reports its recovery.
pub(crate) fn unlisted(table: &str, webhook: WebhookId, now: Timestamp) -> Result<TransactWriteItem, StoreError> {
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(row(webhook)))
        .update_expression("SET expires_at = :expires REMOVE lane, lane_at")
        .expression_attribute_values(":expires", number(expires(now, FORGOTTEN)));
    within_transaction(update)
}

impl Ledger {
    /// Lists webhooks of all tenants that fail, at most `limit`, those that began to fail last first. Also returns
    /// whether there are more.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn failing(&self, limit: usize, now: Timestamp) -> Result<(Vec<FailingWebhook>, bool), StoreError> {
        let shards = (0..DUE_SHARDS).map(|shard| async move {
            let query = self.client.query().table_name(&self.table).index_name("lanes");
            // During a large outage there are many more than anyone reads.
            let mut pages = query
                .limit(i32::try_from(limit + 1).unwrap_or(i32::MAX))
                .key_condition_expression("lane = :lane")
                .filter_expression(IS_LIVE)
                .expression_attribute_values(":lane", text(lane(shard)))
                .expression_attribute_values(":live_at", live_at(now))
                .scan_index_forward(false)
                .into_paginator()
                .items()
                .send();
            let mut found = Vec::new();
            while found.len() <= limit
                && let Some(item) = pages.next().await
            {
                found.push(from_item::<FailingWebhook>(item.map_err(|error| StoreError::unavailable(&error))?)?);
            }
            Ok::<_, StoreError>(found)
        });
        let mut all: Vec<_> = try_join_all(shards).await?.into_iter().flatten().collect();
        all.sort_by_key(|failing| std::cmp::Reverse((failing.lane_at, failing.webhook)));
        let more = all.len() > limit;
        all.truncate(limit);
        Ok((all, more))
    }
}
