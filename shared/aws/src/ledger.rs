//! The ledger, in the Deliveries table: the truth about every delivery that was attempted, held, deferred or parked.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use domain::access::tenant::TenantId;
use domain::delivery::breaker::Breaker;
use domain::delivery::message::Message;
use domain::delivery::{Delivery, KEPT, State};
use domain::id::{DeliveryId, WebhookId};
use domain::webhook::Webhook;
use jiff::Timestamp;

use crate::error::is_conflict;
use crate::items::{IS_NEW, Item, from_item, is_live, live_at, number, text, to_item};
use crate::probe::probe;
use crate::{Registry, StoreError, batch};

mod arrived;
pub(crate) mod breaker;
mod breaker_item;
mod chain;
mod chain_item;
mod counts;
pub mod dead;
mod delivery_item;
mod due_index;
pub(crate) mod failing;
mod flow;
pub mod jobs;
mod list;
mod outcome;
mod patience;
mod release;
mod webhooks;

pub use arrived::{Arrived, arrived};
pub use breaker::DueBreaker;
pub use chain::{Advance, Released};
pub use counts::StateCounts;
pub use due_index::{Due, DueDelivery, LaneRows, Unreadable};
pub use failing::FailingWebhook;
pub use flow::{DueFlow, Receiver, Woken};
pub use list::{DeliveryPage, Range};
pub use outcome::Made;

use breaker_item::{breaker_key, is_breaker};
pub(crate) use delivery_item::SHARDS;
use delivery_item::{DUE_SHARDS, DeliveryItem, due_lane, expires_at, item_key};

/// The condition that a row still waits for the attempt.
const WAITS: &str =
    "delivery_cycle = :cycle AND next_attempt = :attempt AND delivery_state IN (:pending, :retrying, :parked)";

/// The condition that no other process has the lease.
const NO_OTHER_LEASE: &str = "(attribute_not_exists(lease_until) OR lease_until <= :now OR lease_until = :lease)";

/// How many rows of delivered deliveries one call writes.
pub const ROWS_A_CALL: usize = batch::MAX_WRITES;

/// The ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    client: Client,
    table: String,
    /// How long a delivery is kept after it has arrived.
    arrived_kept: Duration,
}

/// The stored state of a batch of messages.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The rows of those deliveries that have one.
    pub rows: HashMap<DeliveryId, Delivery>,
    /// The webhooks, deleted ones included.
    pub webhooks: HashMap<WebhookId, Webhook>,
    /// The breakers of the webhooks that have a breaker row. Without a row, the breaker is closed.
    pub breakers: HashMap<WebhookId, Breaker>,
}

/// The attempt that a write is about. The write happens only if the row still waits for this attempt.
#[derive(Debug, Clone, Copy)]
pub struct AttemptKey {
    /// The webhook.
    pub webhook: WebhookId,
    /// The delivery.
    pub delivery: DeliveryId,
    /// The cycle.
    pub cycle: u32,
    /// The attempt's number.
    pub attempt: u32,
}

impl AttemptKey {
    /// Returns the attempt that a message asks for.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let Message { webhook, delivery, cycle, attempt, .. } = message;
        Self { webhook: *webhook, delivery: *delivery, cycle: *cycle, attempt: *attempt }
    }
}

/// Whether a conditional write happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It happened.
    Yes,
    /// The condition did not hold, so nothing was written. Another writer came first, or the request was stale from the
    /// start, such as a late copy of a message.
    TooLate,
}

impl Ledger {
    pub(crate) fn new(client: Client, table: String) -> Self {
        Self { client, table, arrived_kept: KEPT }
    }

    /// Keeps deliveries that arrive only so long, and all others for [`KEPT`].
    #[must_use]
    pub fn keeping_arrived(self, arrived_kept: Duration) -> Self {
        Self { arrived_kept, ..self }
    }

    /// Returns the item of a delivery that is written for the first time.
    fn first_item(&self, delivery: &Delivery, now: Timestamp) -> Result<DeliveryItem, StoreError> {
        Ok(DeliveryItem::new(delivery, now)?.expiring_at(self.expires_at(delivery.progress.state, now)))
    }

    /// Returns when a row expires that is written now, in seconds since 1970.
    fn expires_at(&self, state: State, now: Timestamp) -> i64 {
        if state == State::Delivered { (now + self.arrived_kept).as_second() } else { expires_at(now) }
    }

    /// Checks that the table can be read.
    ///
    /// # Errors
    ///
    /// If it cannot, or does not answer within two seconds.
    pub async fn probe(&self) -> Result<(), StoreError> {
        probe(&self.client, &self.table).await
    }

    /// Reads, consistently and in one batch, the rows, webhooks and breakers of a batch of messages.
    ///
    /// # Errors
    ///
    /// If a table is unavailable or an item cannot be read.
    pub async fn load(&self, registry: &Registry, messages: &[&Message], now: Timestamp) -> Result<Loaded, StoreError> {
        let deliveries = messages.iter().map(|message| (&message.tenant, message.webhook, message.delivery));
        self.read(registry, deliveries, now).await
    }

    async fn read(
        &self,
        registry: &Registry,
        deliveries: impl Iterator<Item = (&TenantId, WebhookId, DeliveryId)>,
        now: Timestamp,
    ) -> Result<Loaded, StoreError> {
        let (mut rows, mut webhooks) = (HashMap::new(), HashMap::new());
        for (tenant, webhook, delivery) in deliveries {
            rows.insert(delivery, item_key(webhook, delivery));
            webhooks.insert(webhook, registry.webhook_key(tenant, webhook));
        }
        let breakers = webhooks.keys().copied().map(breaker_key);
        let keys = rows.into_values().chain(breakers).map(|key| (self.table.clone(), key));
        let keys = keys.chain(webhooks.values().cloned());
        let mut found = batch::get(&self.client, keys.collect()).await?;
        let webhooks = registry.webhooks_in(&mut found)?.into_iter().map(|webhook| (webhook.id, webhook)).collect();
        let (breakers, rows): (Vec<_>, Vec<_>) =
            found.remove(&self.table).unwrap_or_default().into_iter().partition(is_breaker);
        let rows = rows.into_iter().filter(|row| is_live(row, now)).map(|item| {
            let row = Delivery::try_from(from_item::<DeliveryItem>(item)?)?;
            Ok((row.id, row))
        });
        let rows = rows.collect::<Result<_, StoreError>>()?;
        let breakers = breakers.into_iter().map(breaker_item::read).collect::<Result<_, _>>()?;
        Ok(Loaded { rows, webhooks, breakers })
    }

    /// Writes the rows of deliveries that ended with their first attempt, overwriting existing rows. Those of webhooks
    /// that `is_later` names are counted from the stream.
    ///
    /// The writes are unconditional, so one call writes many rows. Overwriting is right because the receiver has
    /// accepted the delivery, whatever other processes attempted.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn record_delivered(
        &self,
        deliveries: &[Delivery],
        is_later: impl Fn(WebhookId) -> bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let items = deliveries.iter().map(|delivery| {
            let item = self.first_item(delivery, now)?;
            to_item(&if is_later(delivery.webhook) { item.counted_later() } else { item })
        });
        batch::put(&self.client, &self.table, items.collect::<Result<_, _>>()?).await
    }

    /// Writes the first row of a delivery, unless it has a row already.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn record_first(&self, delivery: &Delivery, now: Timestamp) -> Result<Written, StoreError> {
        self.put_first(&self.first_item(delivery, now)?, now).await
    }

    async fn put_first(&self, row: &DeliveryItem, now: Timestamp) -> Result<Written, StoreError> {
        let item = to_item(row)?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item.clone()));
        let put = put.condition_expression(IS_NEW).expression_attribute_values(":live_at", live_at(now));
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = Box::pin(put.send()).await else { return Ok(Written::Yes) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => Ok(repeated(failed, |old| *old == item)),
            _ => Err(StoreError::unavailable(&error)),
        }
    }

    /// Takes the lease for an attempt, so that no other process makes it until `until`.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn lease(
        &self,
        attempt_key: AttemptKey,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let update = self
            .update(attempt_key)
            .update_expression("SET lease_until = :until, lane_at = :until, lane = :lane, expires_at = :expires")
            .condition_expression(format!("{WAITS} AND (attribute_not_exists(lease_until) OR lease_until <= :now)"))
            .expression_attribute_values(":attempt", number(attempt_key.attempt))
            .expression_attribute_values(":pending", state(State::Pending))
            .expression_attribute_values(":retrying", state(State::Retrying))
            .expression_attribute_values(":parked", state(State::Parked));
        let update = update.expression_attribute_values(":now", number(now.as_millisecond()));
        written(with_lease(update, attempt_key, until)).await
    }

    /// Returns a delivery of a webhook, if it has a row that has not expired.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn delivery(
        &self,
        webhook: WebhookId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<Delivery>, StoreError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(item_key(webhook, id)));
        let item = request.consistent_read(true).send().await.map_err(|error| StoreError::unavailable(&error))?.item;
        item.filter(|item| is_live(item, now)).map(|item| from_item::<DeliveryItem>(item)?.try_into()).transpose()
    }

    fn update(&self, attempt_key: AttemptKey) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item_key(attempt_key.webhook, attempt_key.delivery)))
    }
}

/// Returns an update as a part of a transaction.
fn within_transaction(update: UpdateBuilder) -> Result<TransactWriteItem, StoreError> {
    let update = update.build().map_err(|error| StoreError::inconsistent("a request", error))?;
    Ok(TransactWriteItem::builder().update(update).build())
}

fn with_lease(update: UpdateItemFluentBuilder, attempt_key: AttemptKey, until: Timestamp) -> UpdateItemFluentBuilder {
    update
        .expression_attribute_values(":cycle", number(attempt_key.cycle))
        .expression_attribute_values(":until", number(until.as_millisecond()))
        // Otherwise the row could expire during the attempt.
        .expression_attribute_values(":expires", number(expires_at(until)))
        .expression_attribute_values(":lane", text(due_lane(attempt_key.delivery.shard(DUE_SHARDS))))
}

fn state(state: State) -> AttributeValue {
    text(state.as_str())
}

/// Returns what became of a write whose condition did not hold. The SDK repeats a write whose answer was lost: then the
/// condition fails on the row that the first try wrote, and `is_ours` recognizes it.
///
/// Two processes may write the same row without an attempt in the same second, so both take it for theirs. Both send the
/// message of the next attempt then, and the lease lets only one of them make it.
fn repeated(failed: &ConditionalCheckFailedException, is_ours: impl FnOnce(&Item) -> bool) -> Written {
    if failed.item().is_some_and(is_ours) { Written::Yes } else { Written::TooLate }
}

/// Boxed, because a call has several kilobytes of state, and most attempts make no such call.
async fn written(update: UpdateItemFluentBuilder) -> Result<Written, StoreError> {
    match Box::pin(update.send()).await {
        Ok(_) => Ok(Written::Yes),
        Err(error) if is_conflict(&error) => Ok(Written::TooLate),
        Err(error) => Err(StoreError::unavailable(&error)),
    }
}
