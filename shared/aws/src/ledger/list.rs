//! Lists the deliveries of webhooks, newest first by their events' time, with bounded work.

use std::cmp::Reverse;
use std::collections::HashMap;

use domain::delivery::Delivery;
use domain::id::{DeliveryId, WebhookId};
use futures::future::try_join_all;
use jiff::Timestamp;

use super::Ledger;
use super::delivery_item::{DeliveryItem, SHARDS, item_key, shard_pk};
use super::due_index::Unreadable;
use crate::items::{from_item, is_live, text};
use crate::{StoreError, batch};

/// How many deliveries are read for a page at most: an equal part in each partition, but at least [`LEAST`]. A page may
/// therefore be short or empty without being the last one.
const MAX_LOOKED_AT: usize = 1000;

/// How many deliveries are read in each partition at least.
const LEAST: usize = 3;

/// How many partitions are read at a time.
const AT_A_TIME: usize = 64;

/// The deliveries to list.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The earliest time of an event, inclusive.
    pub from: Timestamp,
    /// The latest time of an event, exclusive.
    pub to: Timestamp,
    /// Only deliveries with lower ids.
    pub below: Option<DeliveryId>,
    /// The current time; deliveries that have expired by then are not listed.
    pub now: Timestamp,
}

impl Range {
    /// Returns the range of all deliveries that have not expired at `now`.
    #[must_use]
    pub const fn all(now: Timestamp) -> Self {
        Self { from: Timestamp::UNIX_EPOCH, to: Timestamp::MAX, below: None, now }
    }
}

/// Some of the deliveries of webhooks.
#[derive(Debug)]
pub struct DeliveryPage {
    /// Newest first.
    pub deliveries: Vec<Delivery>,
    /// The id below which the next page starts, if there is one.
    pub next: Option<DeliveryId>,
}

/// How much of a shard is read.
#[derive(Debug, Clone, Copy)]
struct Part {
    from: DeliveryId,
    below: DeliveryId,
    now: Timestamp,
    /// The most wanted deliveries that the page needs.
    limit: usize,
    /// The most deliveries that are read.
    most: usize,
}

/// The result of reading a shard.
#[derive(Debug)]
struct Found<T> {
    /// Newest first.
    wanted: Vec<T>,
    /// The last delivery that was read, if there may be more.
    stopped_at: Option<DeliveryId>,
    /// Rows that were skipped.
    unreadable: Unreadable,
}

impl Ledger {
    /// Lists the deliveries of webhooks that match `wanted`, newest first. Rows that cannot be read are left out, and one
    /// line is logged about them.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn deliveries(
        &self,
        webhooks: &[WebhookId],
        range: Range,
        limit: usize,
        wanted: impl Fn(&Delivery) -> bool,
    ) -> Result<DeliveryPage, StoreError> {
        let end = DeliveryId::from_parts(range.to, 0);
        let below = range.below.map_or(end, |below| below.min(end));
        let from = DeliveryId::from_parts(range.from, 0);
        // DynamoDB rejects a range whose end is before its start.
        if below <= from {
            return Ok(DeliveryPage { deliveries: Vec::new(), next: None });
        }
        let shards = webhooks.iter().flat_map(|webhook| (0..SHARDS).map(|shard| shard_pk(*webhook, shard)));
        let shards: Vec<String> = shards.collect();
        let most = (MAX_LOOKED_AT / shards.len().max(1)).max(LEAST);
        let part = Part { from, below, now: range.now, limit, most };
        let mut found = Vec::with_capacity(shards.len());
        for some in shards.chunks(AT_A_TIME) {
            let some = some.iter().map(|pk| self.shard(pk.clone(), part, &wanted));
            found.extend(try_join_all(some).await?);
        }
        let mut unreadable = Unreadable::default();
        for Found { unreadable: skipped, .. } in &mut found {
            unreadable.add(skipped.count, skipped.first.take());
        }
        if let Unreadable { count, first: Some(error) } = unreadable {
            tracing::warn!(count, %error, "rows of a list cannot be read; it shows the others");
        }
        let (deliveries, next) = page(found, limit, |delivery| delivery.id);
        Ok(DeliveryPage { deliveries, next })
    }

    /// Reads the rows of deliveries by their keys, consistently and without their bodies. A delivery without a row that
    /// has not expired is absent.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn rows_of(
        &self,
        keys: &[(DeliveryId, WebhookId)],
        now: Timestamp,
    ) -> Result<HashMap<DeliveryId, Delivery>, StoreError> {
        let keys = keys.iter().map(|(delivery, webhook)| (self.table.clone(), item_key(*webhook, *delivery)));
        let mut found = batch::get(&self.client, keys.collect()).await?;
        let rows = found.remove(&self.table).unwrap_or_default().into_iter().filter(|row| is_live(row, now));
        let rows = rows.map(|item| {
            let row = Delivery::try_from(from_item::<DeliveryItem>(item)?)?;
            Ok((row.id, Delivery { body: None, ..row }))
        });
        rows.collect()
    }

    /// Reads a shard until it has found one delivery more than `limit`, which shows that there is a next page.
    async fn shard(
        &self,
        pk: String,
        Part { from, below, now, limit, most }: Part,
        wanted: &impl Fn(&Delivery) -> bool,
    ) -> Result<Found<Delivery>, StoreError> {
        // `BETWEEN` includes both ends; the upper one is skipped below.
        let query = self.client.query().table_name(&self.table).consistent_read(true).scan_index_forward(false);
        let query = query
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :below")
            .expression_attribute_values(":pk", text(pk))
            .expression_attribute_values(":from", text(from.to_string()))
            .expression_attribute_values(":below", text(below.to_string()))
            .limit(i32::try_from(limit.min(most) + 2).unwrap_or(i32::MAX));
        let mut items = query.into_paginator().items().send();
        let mut found = Found { wanted: Vec::new(), stopped_at: None, unreadable: Unreadable::default() };
        let mut looked_at = 0;
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            // Expired rows are not excluded by a filter expression, because reading them is work and must count.
            let is_live = is_live(&item, now);
            let id: Option<DeliveryId> = item.get("sk").and_then(|id| id.as_s().ok()).and_then(|id| id.parse().ok());
            let Some(id) = id.filter(|id| *id < below) else { continue };
            looked_at += 1;
            match from_item::<DeliveryItem>(item).and_then(Delivery::try_from) {
                // No list shows bodies, and hundreds of them would take much memory.
                Ok(delivery) if is_live && wanted(&delivery) => {
                    found.wanted.push(Delivery { body: None, last_response: None, ..delivery });
                }
                Ok(_) => {}
                Err(error) => found.unreadable.add(1, Some(error)),
            }
            if found.wanted.len() > limit || looked_at == most {
                found.stopped_at = Some(id);
                break;
            }
        }
        Ok(found)
    }
}

/// Combines the results of the shards to a page, which reaches no further back than every shard was read.
fn page<T>(shards: Vec<Found<T>>, limit: usize, id: impl Fn(&T) -> DeliveryId) -> (Vec<T>, Option<DeliveryId>) {
    let horizon = shards.iter().filter_map(|found| found.stopped_at).max();
    let is_complete = |one: &T| horizon.is_none_or(|horizon| id(one) >= horizon);
    let mut all: Vec<T> = shards.into_iter().flat_map(|found| found.wanted).filter(is_complete).collect();
    all.sort_unstable_by_key(|one| Reverse(id(one)));
    if all.len() > limit {
        all.truncate(limit);
        let next = all.last().map(&id);
        return (all, next);
    }
    (all, horizon)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u16) -> DeliveryId {
        DeliveryId::from_parts(Timestamp::UNIX_EPOCH, u128::from(number))
    }

    /// Does to numbers what `shard` does to deliveries; the even ones match.
    fn look(numbers: &[u16], below: u16, limit: usize, looked_at: usize) -> Found<u16> {
        let mut found = Found { wanted: Vec::new(), stopped_at: None, unreadable: Unreadable::default() };
        for (count, number) in numbers.iter().filter(|number| **number < below).enumerate() {
            found.wanted.extend(Some(*number).filter(|number| number % 2 == 0));
            if found.wanted.len() > limit || count + 1 == looked_at {
                found.stopped_at = Some(id(*number));
                break;
            }
        }
        found
    }

    proptest! {
        #[test]
        fn pages_show_every_wanted_one_once_and_in_order(
            numbers in proptest::collection::btree_set(0_u16..500, 0..200),
            limit in 1_usize..20,
            looked_at in 1_usize..30,
        ) {
            let shards: Vec<Vec<u16>> = (0..8)
                .map(|shard| numbers.iter().rev().filter(|number| *number / 3 % 8 == shard).copied().collect())
                .collect();
            let (mut shown, mut below) = (Vec::new(), u16::MAX);
            loop {
                let found = shards.iter().map(|shard| look(shard, below, limit, looked_at)).collect();
                let (data, next) = page(found, limit, |number| id(*number));
                prop_assert!(data.len() <= limit);
                shown.extend(data);
                let Some(next) = next else { break };
                let next = (0..500).find(|number| id(*number) == next).unwrap();
                prop_assert!(next < below, "every page is a step");
                below = next;
            }
            let wanted: Vec<u16> = numbers.iter().rev().filter(|number| *number % 2 == 0).copied().collect();
            prop_assert_eq!(shown, wanted);
        }
    }
}
