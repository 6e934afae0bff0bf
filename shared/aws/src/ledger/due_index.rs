//! What waits to be found by something else than its key: the sparse index `lanes`.

use domain::delivery::message::Message;
use domain::delivery::{Delivery, Progress};
use domain::id::WebhookId;
use futures::future::try_join_all;
use jiff::Timestamp;

use super::breaker::DueBreaker;
use super::breaker_item::is_breaker;
use super::delivery_item::{DUE_SHARDS, DeliveryItem, PARKED_SHARDS, due_lane, parked_lane};
use super::flow::{DueFlow, is_flow};
use super::{AttemptKey, Ledger, Written, written};
use crate::StoreError;
use crate::items::{IS_LIVE, Item, from_item, live_at, number, text};

/// Up to how many deliveries each shard is asked for all of them.
const FEW: usize = 1_000;

/// How many items of a lane a call reads when it passes over expired ones. They have no bodies, so this is less than a page.
const MANY: usize = 500;

/// What the sweep should look at.
#[derive(Debug, Clone)]
pub enum Due {
    /// A delivery that must be attempted, or sent to the dead letters.
    Delivery(Box<DueDelivery>),
    /// A breaker that needs a probe, or whose parked deliveries must be released.
    Breaker(DueBreaker),
    /// A receiver whose free places must be offered to waiting deliveries.
    Flow(DueFlow),
}

/// A delivery that waits in a lane.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// The message that asks for its next attempt; without a body.
    pub message: Message,
    /// Its progress.
    pub progress: Progress,
    /// When it was exhausted, if it is.
    pub ended_at: Option<Timestamp>,
    /// Where it was seen.
    seen: (Option<String>, i64),
}

impl Ledger {
    /// Lists what is due until `until`, at most `limit` of each partition, the longest overdue first.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn due(&self, until: Timestamp, limit: usize, now: Timestamp) -> Result<Vec<Due>, StoreError> {
        let lanes = (0..DUE_SHARDS).map(|shard| self.lane(due_lane(shard), Some(until), limit, now));
        let is_known = |item: &Item| {
            let known = !item.contains_key("kind") || is_breaker(item) || is_flow(item);
            if !known {
                tracing::warn!(kind = ?item.get("kind"), "a row that another version has written waits for it");
            }
            known
        };
        let read = |item| {
            if is_breaker(&item) {
                DueBreaker::from_item(item).map(Due::Breaker)
            } else if is_flow(&item) {
                DueFlow::from_item(item).map(Due::Flow)
            } else {
                DueDelivery::from_item(item).map(|due| Due::Delivery(Box::new(due)))
            }
        };
        try_join_all(lanes).await?.into_iter().flatten().filter(is_known).map(read).collect()
    }

    /// Lists a webhook's parked deliveries, at most `limit`, the oldest first.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn parked(
        &self,
        webhook: WebhookId,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        self.oldest(|shard| parked_lane(webhook, shard), limit, now).await
    }

    /// Returns the oldest `limit` deliveries of the lanes of a webhook, one for each shard.
    pub(super) async fn oldest(
        &self,
        lane: impl Fn(u8) -> String,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        // Deliveries spread evenly: of many, twice a shard's share is enough, and takes less memory.
        let each = if limit > FEW { 2 * limit / usize::from(PARKED_SHARDS) } else { limit };
        let lanes = (0..PARKED_SHARDS).map(|shard| self.lane(lane(shard), None, each, now));
        let found = try_join_all(lanes).await?.into_iter().flatten().map(DueDelivery::from_item);
        let mut oldest = found.collect::<Result<Vec<_>, _>>()?;
        oldest.sort_by_key(|due| due.message.delivery);
        oldest.truncate(limit);
        Ok(oldest)
    }

    /// Returns the first `limit` live items of a lane. Expired ones would otherwise stand in front of the others, for as long as
    /// DynamoDB takes to delete them. The first call reads no more than is wanted; if expired items leave too few, further calls read
    /// many at a time, as there may be thousands of them.
    pub(super) async fn lane(
        &self,
        lane: String,
        until: Option<Timestamp>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Item>, StoreError> {
        let query = self.client.query().table_name(&self.table).index_name("lanes");
        let query = query
            .filter_expression(IS_LIVE)
            .expression_attribute_values(":live_at", live_at(now))
            .expression_attribute_values(":lane", text(lane));
        let query = match until {
            Some(until) => query
                .key_condition_expression("lane = :lane AND lane_at <= :until")
                .expression_attribute_values(":until", number(until.as_millisecond())),
            None => query.key_condition_expression("lane = :lane"),
        };
        let (mut items, mut page, mut from) = (Vec::new(), limit, None);
        loop {
            let call = query.clone().limit(i32::try_from(page).unwrap_or(i32::MAX)).set_exclusive_start_key(from);
            let answer = call.send().await.map_err(|error| StoreError::unavailable(&error))?;
            items.extend(answer.items.unwrap_or_default());
            from = answer.last_evaluated_key;
            page = limit.max(MANY);
            if from.is_none() || items.len() >= limit {
                items.truncate(limit);
                return Ok(items);
            }
        }
    }

    /// Moves a waiting delivery, due or parked, to what is due at `until`, unless another sweep or an attempt came first. Who
    /// moved it sends the message.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn postpone(&self, due: &DueDelivery, until: Timestamp, now: Timestamp) -> Result<Written, StoreError> {
        let (lane, at) = due.seen.clone();
        let update = self
            .update(AttemptKey::of(&due.message))
            .update_expression("SET lane = :due, lane_at = :until")
            .condition_expression(format!("lane = :seen AND lane_at = :seen_at AND {IS_LIVE}"))
            .expression_attribute_values(":live_at", live_at(now))
            .expression_attribute_values(":due", text(due_lane(due.message.delivery.shard(DUE_SHARDS))))
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":seen", text(lane.unwrap_or_default()))
            .expression_attribute_values(":seen_at", number(at));
        written(update).await
    }
}

impl DueDelivery {
    pub(super) fn from_item(item: Item) -> Result<Self, StoreError> {
        let item: DeliveryItem = from_item(item)?;
        let (seen, ended_at) = (item.place(), item.ended_at());
        let row = Delivery::try_from(item)?;
        let ended_at = ended_at.map(Timestamp::from_millisecond).transpose();
        let ended_at = ended_at.map_err(|error| StoreError::inconsistent(row.id, error))?;
        Ok(Self { progress: row.progress, message: row.next_message(), ended_at, seen })
    }
}
