//! The sparse index `lanes`, in which the sweep and others find rows without knowing their keys.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::Select;
use domain::delivery::message::Message;
use domain::delivery::{Delivery, Progress};
use domain::id::WebhookId;
use futures::future::try_join_all;
use jiff::Timestamp;

use super::breaker::DueBreaker;
use super::breaker_item::is_breaker;
use super::delivery_item::{DUE_SHARDS, DeliveryItem, PARKED_SHARDS, due_lane, held_lane, parked_lane};
use super::flow::{DueFlow, is_flow};
use super::{AttemptKey, Ledger, Written, written};
use crate::StoreError;
use crate::items::{IS_LIVE, Item, from_item, live_at, number, text};

/// Up to this many deliveries, each shard is read for all of them.
const FEW: usize = 1_000;

/// How many items of a lane a call reads while it skips expired ones. The index contains no bodies, so this is less
/// than a page.
const MANY: usize = 500;

/// Behind so many rows that cannot be read, a lane is not read on.
const MOST_UNREADABLE: usize = 10_000;

/// How many pages a count reads at most.
const COUNT_PAGES: usize = 3;

/// A row for the sweep to process.
#[derive(Debug)]
pub enum Due {
    /// A delivery that must be attempted, or whose dead letter must be sent.
    Delivery(Box<DueDelivery>),
    /// A breaker that needs a probe, or whose parked deliveries must be released.
    Breaker(DueBreaker),
    /// A receiver whose free slots must be offered to waiting deliveries.
    Flow(DueFlow),
}

/// The rows of one lane or several.
#[derive(Debug)]
pub struct LaneRows<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Rows that were skipped before the last of them.
    pub unreadable: Unreadable,
}

/// Rows that this version cannot read, for example because a version that was rolled back wrote them. There may be
/// thousands of them, so only the first one is named.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// How many there are.
    pub count: usize,
    /// Why the first one cannot be read.
    pub first: Option<StoreError>,
}

/// A delivery that waits in a lane.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// The message that asks for the next attempt, without a body.
    pub message: Message,
    /// Its progress.
    pub progress: Progress,
    /// When the delivery was exhausted, if it is.
    pub ended_at: Option<Timestamp>,
    /// The lane and the time at which it was found there.
    seen: (Option<String>, i64),
}

impl Ledger {
    /// Lists the rows that are due by `until`, the longest overdue first: at most `limit` of each partition.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn due(&self, until: Timestamp, limit: usize, now: Timestamp) -> Result<LaneRows<Due>, StoreError> {
        let lanes = (0..DUE_SHARDS).map(|shard| self.lane(due_lane(shard), Some(until), limit, now, Due::from_item));
        Ok(joined(try_join_all(lanes).await?))
    }

    /// Lists at most `limit` of a webhook's parked deliveries, oldest first. Rows that cannot be read are left out, and one
    /// line is logged about them.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn parked(
        &self,
        webhook: WebhookId,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        self.oldest(|shard| parked_lane(webhook, shard), limit, now).await
    }

    /// Returns the oldest `limit` deliveries of a webhook's lanes, of which there is one for each shard.
    pub(super) async fn oldest(
        &self,
        lane: impl Fn(u8) -> String,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        // Deliveries are spread evenly, so for a high limit twice a shard's share is enough and takes less memory.
        let each = if limit > FEW { 2 * limit / usize::from(PARKED_SHARDS) } else { limit };
        let lanes = (0..PARKED_SHARDS).map(|shard| self.lane(lane(shard), None, each, now, DueDelivery::from_item));
        let LaneRows { rows: mut oldest, unreadable } = joined(try_join_all(lanes).await?);
        if let Unreadable { count, first: Some(error) } = unreadable {
            tracing::warn!(count, %error, "waiting rows cannot be read; the others go on");
        }
        oldest.sort_by_key(|due: &DueDelivery| due.message.delivery);
        oldest.truncate(limit);
        Ok(oldest)
    }

    /// Counts a webhook's parked deliveries, up to `most`.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn count_parked(&self, webhook: WebhookId, most: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.count_in(|shard| parked_lane(webhook, shard), most, now).await
    }

    /// Counts a webhook's held deliveries, up to `most`.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn count_held(&self, webhook: WebhookId, most: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.count_in(|shard| held_lane(webhook, shard), most, now).await
    }

    /// Counts the deliveries in a webhook's lanes, of which there is one for each shard. They are spread evenly, so
    /// twice a shard's share of `most` is enough.
    async fn count_in(&self, lane: impl Fn(u8) -> String, most: usize, now: Timestamp) -> Result<usize, StoreError> {
        let each = 2 * most / usize::from(PARKED_SHARDS);
        let counts = (0..PARKED_SHARDS).map(|shard| {
            let query = self.client.query().table_name(&self.table).index_name("lanes");
            let query = query
                .key_condition_expression("lane = :lane")
                .filter_expression(IS_LIVE)
                .expression_attribute_values(":live_at", live_at(now))
                .expression_attribute_values(":lane", text(lane(shard)))
                .select(Select::Count);
            count_up_to(query, each)
        });
        let total: usize = try_join_all(counts).await?.into_iter().sum();
        Ok(total.min(most))
    }

    /// Returns the first `limit` rows of a lane that have not expired and that `read` can read.
    ///
    /// DynamoDB deletes expired items late, so there may be thousands of them at the head of a lane, and a version that
    /// was rolled back may leave as many rows that this one cannot read. The first call reads no more than `limit`
    /// items; if too few of these count, further calls read larger pages.
    async fn lane<T>(
        &self,
        lane: String,
        until: Option<Timestamp>,
        limit: usize,
        now: Timestamp,
        read: impl Fn(Item) -> Result<T, StoreError>,
    ) -> Result<LaneRows<T>, StoreError> {
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
        let mut found = LaneRows { rows: Vec::new(), unreadable: Unreadable::default() };
        let (mut page, mut from) = (limit, None);
        loop {
            let call = query.clone().limit(i32::try_from(page).unwrap_or(i32::MAX)).set_exclusive_start_key(from);
            let answer = call.send().await.map_err(|error| StoreError::unavailable(&error))?;
            for item in answer.items.unwrap_or_default() {
                match read(item) {
                    Ok(row) => found.rows.push(row),
                    Err(error) => found.unreadable.add(1, Some(error)),
                }
            }
            from = answer.last_evaluated_key;
            page = limit.max(MANY);
            if from.is_none() || found.rows.len() >= limit || found.unreadable.count >= MOST_UNREADABLE {
                found.rows.truncate(limit);
                return Ok(found);
            }
        }
    }

    /// Moves a due or parked delivery to the due lane at `until`, unless another sweep or an attempt came first. The
    /// process that moved it sends the message.
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

/// Counts what a query finds, up to about `most`. The first call reads no more items than that; if too few of them are
/// live, a few further calls read larger pages. Behind thousands of expired items the count is too low.
async fn count_up_to(query: QueryFluentBuilder, most: usize) -> Result<usize, StoreError> {
    let (mut count, mut page, mut from) = (0, most, None);
    for _ in 0..COUNT_PAGES {
        let call = query.clone().limit(i32::try_from(page).unwrap_or(i32::MAX)).set_exclusive_start_key(from);
        let answer = call.send().await.map_err(|error| StoreError::unavailable(&error))?;
        count += usize::try_from(answer.count).unwrap_or_default();
        from = answer.last_evaluated_key;
        page = most.max(MANY);
        if from.is_none() || count >= most {
            break;
        }
    }
    Ok(count)
}

/// Joins what was found in several lanes.
fn joined<T>(lanes: Vec<LaneRows<T>>) -> LaneRows<T> {
    let mut all = LaneRows { rows: Vec::new(), unreadable: Unreadable::default() };
    for LaneRows { rows, unreadable } in lanes {
        all.rows.extend(rows);
        all.unreadable.add(unreadable.count, unreadable.first);
    }
    all
}

impl Unreadable {
    pub(super) fn add(&mut self, count: usize, first: Option<StoreError>) {
        self.count += count;
        self.first = self.first.take().or(first);
    }
}

impl Due {
    fn from_item(item: Item) -> Result<Self, StoreError> {
        if is_breaker(&item) {
            DueBreaker::from_item(item).map(Self::Breaker)
        } else if is_flow(&item) {
            DueFlow::from_item(item).map(Self::Flow)
        } else if let Some(kind) = item.get("kind") {
            Err(StoreError::inconsistent("a due row", format!("its kind is unknown: {kind:?}")))
        } else {
            DueDelivery::from_item(item).map(|due| Self::Delivery(Box::new(due)))
        }
    }
}

impl DueDelivery {
    /// Returns when it was due.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.seen.1).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn from_item(item: Item) -> Result<Self, StoreError> {
        let item: DeliveryItem = from_item(item)?;
        let (seen, ended_at) = (item.place(), item.ended_at());
        let row = Delivery::try_from(item)?;
        let ended_at = ended_at.map(Timestamp::from_millisecond).transpose();
        let ended_at = ended_at.map_err(|error| StoreError::inconsistent(row.id, error))?;
        Ok(Self { progress: row.progress, message: row.next_message(), ended_at, seen })
    }
}
