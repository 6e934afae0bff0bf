//! A webhook's breaker, in the Deliveries table: it is read together with deliveries, and the sweep finds it in the
//! same lanes.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValue, TransactWriteItem, Update};
use domain::delivery::breaker::{Breaker, BreakerState, next_probe};
use domain::id::WebhookId;
use domain::webhook::Webhook;
use jiff::Timestamp;
use serde::Deserialize;

use super::breaker_item::{KIND, breaker_key, read};
use super::delivery_item::{DUE_SHARDS, due_lane};
use super::{Ledger, Written, within_transaction, written};
use crate::StoreError;
use crate::error::is_conflict;
use crate::items::{Item, from_item, number, text};

/// A breaker that is due for the sweep, as the index shows it: with a short lag, and without the breaker itself, of which
/// the index has only some attributes.
#[derive(Debug, Clone)]
pub struct DueBreaker {
    /// The webhook.
    pub webhook: WebhookId,
    /// When it is due.
    pub at: Timestamp,
}

/// The attributes of a due breaker that are read from the index. The time is in milliseconds since 1970.
#[derive(Debug, Deserialize)]
struct IndexedBreaker {
    webhook: WebhookId,
    lane_at: i64,
}

impl DueBreaker {
    pub(super) fn from_item(item: Item) -> Result<Self, StoreError> {
        let IndexedBreaker { webhook, lane_at } = from_item(item)?;
        let at = Timestamp::from_millisecond(lane_at).map_err(|error| StoreError::inconsistent(webhook, error))?;
        Ok(Self { webhook, at })
    }
}

/// Returns the write that releases a webhook's parked deliveries. It is part of the transaction with the write that
/// causes it, so both happen or neither.
pub(crate) fn draining(table: &str, webhook: &Webhook, now: Timestamp) -> Result<TransactWriteItem, StoreError> {
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(breaker_key(webhook.id)))
        .update_expression(
            "SET kind = :kind, webhook = :webhook, tenant = :tenant, breaker_state = :draining, since = :now, \
             failed_probes = :zero, drained = :zero, lane = :lane, lane_at = :now \
             REMOVE probe_at, probe_until, slow_until, patience_ms, patience_until",
        )
        .expression_attribute_values(":kind", text(KIND))
        .expression_attribute_values(":webhook", text(webhook.id.to_string()))
        .expression_attribute_values(":tenant", text(webhook.tenant.as_str()))
        .expression_attribute_values(":draining", state(BreakerState::Draining))
        .expression_attribute_values(":now", number(now.as_millisecond()))
        .expression_attribute_values(":zero", number(0))
        .expression_attribute_values(":lane", text(lane(webhook.id)));
    within_transaction(update)
}

/// Returns the write that notes that failures since `since` are reported; unless failures have been reported already. It
/// is part of the transaction that publishes the report.
pub(crate) fn failing(
    table: &str,
    webhook: &Webhook,
    since: Timestamp,
    now: Timestamp,
) -> Result<TransactWriteItem, StoreError> {
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(breaker_key(webhook.id)))
        .update_expression(
            "SET kind = :kind, webhook = :webhook, tenant = :tenant, failing_since = :failing, since = if_not_exists(since, :now), \
             breaker_state = if_not_exists(breaker_state, :closed)",
        )
        .condition_expression("attribute_not_exists(failing_since)")
        .expression_attribute_values(":kind", text(KIND))
        .expression_attribute_values(":webhook", text(webhook.id.to_string()))
        .expression_attribute_values(":tenant", text(webhook.tenant.as_str()))
        .expression_attribute_values(":failing", number(since.as_millisecond()))
        .expression_attribute_values(":closed", state(BreakerState::Closed))
        .expression_attribute_values(":now", number(now.as_millisecond()));
    within_transaction(update)
}

/// Returns the write that notes that the failures since `since` have ended; unless that is noted already. It is part of
/// the transaction that publishes it.
pub(crate) fn recovered(table: &str, webhook: WebhookId, since: Timestamp) -> Result<TransactWriteItem, StoreError> {
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(breaker_key(webhook)))
        .update_expression("REMOVE failing_since")
        .condition_expression("failing_since = :failing")
        .expression_attribute_values(":failing", number(since.as_millisecond()));
    within_transaction(update)
}

fn lane(webhook: WebhookId) -> String {
    due_lane(webhook.shard(DUE_SHARDS))
}

impl Ledger {
    /// Opens a webhook's breaker, unless it is open already.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn open_breaker(&self, webhook: &Webhook, now: Timestamp) -> Result<Written, StoreError> {
        let probe_at = number(next_probe(0, now).as_millisecond());
        let update = self
            .update_breaker(webhook.id)
            .update_expression(
                "SET kind = :kind, webhook = :webhook, tenant = :tenant, breaker_state = :open, since = :now, failed_probes = :zero, \
                 probe_at = :probe_at, lane = :lane, lane_at = :probe_at, drained = :zero REMOVE probe_until",
            )
            .condition_expression("attribute_not_exists(breaker_state) OR breaker_state <> :open")
            .expression_attribute_values(":probe_at", probe_at)
            .expression_attribute_values(":zero", number(0));
        written(of_webhook(update, webhook, now)).await
    }

    /// Claims a webhook's probe for this process until `until`, if a probe is due and no other process has claimed it.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn claim_probe(
        &self,
        webhook: &Webhook,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        // A webhook that failures paused is probed even if the write that should have opened its breaker failed.
        let paused = webhook.pause.is_some_and(|pause| pause.by_failures);
        let closed = if paused { "breaker_state <> :open" } else { "attribute_not_exists(breaker_state)" };
        let update = self
            .update_breaker(webhook.id)
            .update_expression(
                "SET kind = :kind, webhook = :webhook, tenant = :tenant, breaker_state = :open, since = if_not_exists(since, :now), \
                 probe_until = :until, lane = :lane, lane_at = :until",
            )
            .condition_expression(format!(
                "{closed} OR (breaker_state = :open \
                 AND (attribute_not_exists(probe_at) OR probe_at <= :now) \
                 AND (attribute_not_exists(probe_until) OR probe_until <= :now))",
            ))
            .expression_attribute_values(":until", number(until.as_millisecond()));
        written(of_webhook(update, webhook, now)).await
    }

    /// Makes a probe of an open breaker due now, unless a process is probing. Returns `TooLate` if the breaker is not
    /// open.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn make_probe_due(&self, webhook: WebhookId, now: Timestamp) -> Result<Written, StoreError> {
        let update = self
            .update_breaker(webhook)
            .update_expression("SET probe_at = :now")
            .condition_expression("breaker_state = :open AND probe_at > :now")
            .expression_attribute_values(":open", state(BreakerState::Open))
            .expression_attribute_values(":now", number(now.as_millisecond()));
        written(update).await
    }

    /// Keeps a webhook's breaker open after a failed probe, and sets the time of the next one.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn keep_open(&self, webhook: WebhookId, failed: u32, now: Timestamp) -> Result<Written, StoreError> {
        let update = self
            .update_breaker(webhook)
            .update_expression("SET failed_probes = :failed, probe_at = :at, lane_at = :at REMOVE probe_until")
            .condition_expression("breaker_state = :open")
            .expression_attribute_values(":open", state(BreakerState::Open))
            .expression_attribute_values(":failed", number(failed))
            .expression_attribute_values(":at", number(next_probe(failed, now).as_millisecond()));
        written(update).await
    }

    /// Closes a webhook's breaker. The sweep then releases the parked deliveries.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn close_breaker(&self, webhook: WebhookId, now: Timestamp) -> Result<Written, StoreError> {
        let update = self
            .update_breaker(webhook)
            .update_expression(
                "SET breaker_state = :draining, since = :now, drained = :zero, lane = :lane, lane_at = :now \
                 REMOVE probe_until, probe_at",
            )
            .condition_expression("breaker_state = :open")
            .expression_attribute_values(":draining", state(BreakerState::Draining))
            .expression_attribute_values(":open", state(BreakerState::Open))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":lane", text(lane(webhook)));
        written(update).await
    }

    /// Moves the due time of a breaker, unless another sweep or an attempt came first. `drained` counts the runs that
    /// release parked deliveries. Returns the breaker as it is now, or `None` if the write came too late.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn postpone_breaker(
        &self,
        due: &DueBreaker,
        until: Timestamp,
        drained: u32,
    ) -> Result<Option<Breaker>, StoreError> {
        let update = self
            .update_breaker(due.webhook)
            .update_expression("SET lane_at = :until, drained = :drained")
            .condition_expression("lane_at = :seen")
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":drained", number(drained))
            .expression_attribute_values(":seen", number(due.at.as_millisecond()))
            .return_values(ReturnValue::AllNew);
        match update.send().await {
            Ok(answer) => Ok(Some(read(answer.attributes.unwrap_or_default())?.1)),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(StoreError::unavailable(&error)),
        }
    }

    /// Writes the state, the next look and the runs of a breaker, unless it has changed since [`postpone_breaker`]
    /// returned it. Without a next look, the sweep does not look again.
    ///
    /// [`postpone_breaker`]: Self::postpone_breaker
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn rest_breaker(
        &self,
        webhook: WebhookId,
        before: &Breaker,
        after: &Breaker,
    ) -> Result<Written, StoreError> {
        let update = self.update_breaker(webhook).expression_attribute_values(":to", state(after.state));
        let update = update.expression_attribute_values(":drained", number(after.drained));
        let update = match after.look_at {
            Some(at) => update
                .update_expression("SET breaker_state = :to, drained = :drained, lane_at = :at")
                .expression_attribute_values(":at", number(at.as_millisecond())),
            None => update.update_expression("SET breaker_state = :to, drained = :drained REMOVE lane, lane_at"),
        };
        let update = update
            .condition_expression("breaker_state = :from AND lane_at = :seen")
            .expression_attribute_values(":from", state(before.state))
            .expression_attribute_values(":seen", number(before.look_at.unwrap_or_default().as_millisecond()));
        written(update).await
    }

    pub(super) fn update_breaker(&self, webhook: WebhookId) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(breaker_key(webhook)))
    }
}

/// Adds the values that the writes that may create the row have in common.
fn of_webhook(update: UpdateItemFluentBuilder, webhook: &Webhook, now: Timestamp) -> UpdateItemFluentBuilder {
    update
        .expression_attribute_values(":kind", text(KIND))
        .expression_attribute_values(":webhook", text(webhook.id.to_string()))
        .expression_attribute_values(":tenant", text(webhook.tenant.as_str()))
        .expression_attribute_values(":open", state(BreakerState::Open))
        .expression_attribute_values(":now", number(now.as_millisecond()))
        .expression_attribute_values(":lane", text(lane(webhook.id)))
}

pub(super) fn state(state: BreakerState) -> aws_sdk_dynamodb::types::AttributeValue {
    text(match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::Draining => "draining",
    })
}
