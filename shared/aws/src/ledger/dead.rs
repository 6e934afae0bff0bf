//! Deliveries that have ended: the lanes of dead letters, and how a delivery starts a new cycle.

use std::collections::{HashMap, HashSet};

use domain::access::tenant::{AppId, TenantId};
use domain::delivery::dead_letter::Standing;
use domain::delivery::job::LetterPosition;
use domain::delivery::message::{Body, Message};
use domain::delivery::{EARLIER_ATTEMPTS, State};
use domain::event::hops::Hops;
use domain::event::types::EventType;
use domain::id::{DeliveryId, WebhookId};
use domain::payload::ContentType;
use futures::future::try_join_all;
use jiff::Timestamp;
use serde::Deserialize;

use super::delivery_item::{DEAD_SHARDS, DUE_SHARDS, dead_lane, due_lane, item_key, stored};
use super::{AttemptKey, Ledger, Loaded, Written, state, with_lease, written};
use crate::items::{IS_LIVE, from_item, is_live, live_at, number, text};
use crate::{Registry, StoreError, batch};

/// How many dead letters are read for a page at most. A page may therefore be short or empty without being the last
/// one.
const MAX_LOOKED_AT: usize = 1000;

/// How many are read by one call at least, so that a narrow filter does not cost a call for each page item.
const CHUNK: usize = 50;

/// A dead letter as its lane shows it.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its position among the tenant's dead letters.
    pub place: LetterPosition,
    /// The webhook of the delivery.
    pub webhook: WebhookId,
    /// The application that owns the webhook, if one does.
    pub app: Option<AppId>,
    /// The event's type.
    pub event_type: EventType,
}

/// The dead letters to list.
#[derive(Debug, Clone, Copy)]
pub struct Letters<'a> {
    /// The tenant.
    pub tenant: &'a TenantId,
    /// The earliest time of exhaustion, inclusive.
    pub from: Timestamp,
    /// The latest time of exhaustion, exclusive.
    pub to: Timestamp,
    /// Only letters beyond this position.
    pub after: Option<LetterPosition>,
    /// The order.
    pub newest_first: bool,
    /// The current time; letters that have expired by then are not listed.
    pub now: Timestamp,
}

/// Some of a tenant's dead letters.
#[derive(Debug)]
pub struct LetterPage {
    /// In the requested order.
    pub letters: Vec<Letter>,
    /// How many letters were read.
    pub looked_at: usize,
    /// The position beyond which the next page starts, if there is one.
    pub next: Option<LetterPosition>,
}

#[derive(Debug, Deserialize)]
struct LetterItem {
    lane_at: i64,
    delivery: DeliveryId,
    webhook: WebhookId,
    #[serde(default)]
    app: Option<AppId>,
    event_type: EventType,
}

/// The attributes of [`StandingItem`].
const STANDING: &str = "delivery, delivery_state, delivery_cycle, hops, expires_at";

#[derive(Debug, Deserialize)]
struct StandingItem {
    delivery: DeliveryId,
    delivery_state: State,
    delivery_cycle: u32,
    #[serde(default)]
    hops: Hops,
}

impl Letters<'_> {
    fn is_beyond(&self, place: LetterPosition) -> bool {
        self.after.is_none_or(|after| if self.newest_first { place < after } else { place > after })
    }

    /// Returns the first and the last time to read, in milliseconds since 1970.
    fn bounds(&self) -> (i64, i64) {
        let (from, to) = (self.from.as_millisecond(), self.to.as_millisecond() - 1);
        match self.after {
            // Other letters of the same millisecond may follow it.
            Some(after) if self.newest_first => (from, to.min(after.at)),
            Some(after) => (from.max(after.at), to),
            None => (from, to),
        }
    }

    fn sort(&self, letters: &mut [Letter]) {
        letters.sort_unstable_by_key(|letter| letter.place);
        if self.newest_first {
            letters.reverse();
        }
    }
}

impl Ledger {
    /// Starts a new cycle of a delivery that has ended, and takes the lease for its first attempt. `body` replaces the
    /// body that the row no longer has. `attempts` is the number of recorded attempts; the oldest are removed if there
    /// are too many.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn redrive(
        &self,
        attempt_key: AttemptKey,
        attempts: usize,
        body: Option<(&Body, ContentType)>,
        until: Timestamp,
    ) -> Result<Written, StoreError> {
        let mut set = vec![
            "lease_until = :until, lane_at = :until, lane = :lane, expires_at = :expires",
            "delivery_state = :pending, delivery_cycle = :cycle, next_attempt = :attempt",
        ];
        let surplus = attempts.saturating_sub(EARLIER_ATTEMPTS);
        // From the last to the first, so that the indexes are right even on an emulator that removes elements one by
        // one.
        let mut remove: Vec<_> = (0..surplus).rev().map(|index| format!("attempts[{index}]")).collect();
        let mut update = self
            .update(attempt_key)
            .condition_expression(
                "delivery_cycle = :before AND delivery_state IN (:delivered, :exhausted, :cancelled, :failed)",
            )
            .expression_attribute_values(":attempt", number(attempt_key.attempt))
            .expression_attribute_values(":before", number(attempt_key.cycle - 1))
            .expression_attribute_values(":pending", state(State::Pending))
            .expression_attribute_values(":delivered", state(State::Delivered))
            .expression_attribute_values(":exhausted", state(State::Exhausted))
            .expression_attribute_values(":cancelled", state(State::Cancelled))
            .expression_attribute_values(":failed", state(State::Failed));
        if let Some((body, content_type)) = body {
            let content_type = serde_dynamo::to_attribute_value(content_type)
                .map_err(|error| StoreError::inconsistent(attempt_key.delivery, error))?;
            set.push("content_type = :content_type");
            update = update.expression_attribute_values(":content_type", content_type);
            let (packed, key) = stored(Some(body))?;
            if let Some(packed) = packed {
                set.push("body_zstd = :body");
                remove.push("body_ref".to_owned());
                update = update.expression_attribute_values(
                    ":body",
                    aws_sdk_dynamodb::types::AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new(packed)),
                );
            } else if let Some(key) = key {
                set.push("body_ref = :body");
                remove.push("body_zstd".to_owned());
                update = update.expression_attribute_values(":body", text(key));
            }
        }
        let set = format!("SET {}", set.join(", "));
        let expression = if remove.is_empty() { set } else { format!("{set} REMOVE {}", remove.join(", ")) };
        written(with_lease(update.update_expression(expression), attempt_key, until)).await
    }

    /// Moves an exhausted delivery to the lane of its tenant's dead letters, after its letter was sent to the exhausted
    /// queue. The sweep does not look at it any more.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn dead_letter_sent(
        &self,
        attempt_key: AttemptKey,
        tenant: &TenantId,
        exhausted_at: Timestamp,
    ) -> Result<Written, StoreError> {
        let update = self
            .update(attempt_key)
            .update_expression("SET lane = :dead, lane_at = :at")
            .condition_expression("delivery_cycle = :cycle AND delivery_state = :exhausted AND lane = :due")
            .expression_attribute_values(":cycle", number(attempt_key.cycle))
            .expression_attribute_values(":exhausted", state(State::Exhausted))
            .expression_attribute_values(":due", text(due_lane(attempt_key.delivery.shard(DUE_SHARDS))))
            .expression_attribute_values(":dead", text(dead_lane(tenant, attempt_key.delivery.shard(DEAD_SHARDS))))
            .expression_attribute_values(":at", number(exhausted_at.as_millisecond()));
        written(update).await
    }

    /// Reads, consistently, the state of the deliveries of letters. A delivery without a row, or whose row has expired,
    /// is absent.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn standings(
        &self,
        letters: impl Iterator<Item = &Message>,
        now: Timestamp,
    ) -> Result<HashMap<DeliveryId, Standing>, StoreError> {
        // One key for each delivery: there may be several letters for it, and a batched call must not contain a key
        // twice.
        let keys: HashMap<_, _> =
            letters.map(|letter| (letter.delivery, item_key(letter.webhook, letter.delivery))).collect();
        let wanted = keys.into_values().map(|key| (self.table.clone(), key)).collect();
        let mut found = batch::get_some_of(&self.client, wanted, Some(STANDING)).await?;
        let items = found.remove(&self.table).unwrap_or_default().into_iter().filter(|item| is_live(item, now));
        let items = items.map(from_item::<StandingItem>);
        let standings = items.map(|item| {
            let StandingItem { delivery, delivery_state: state, delivery_cycle: cycle, hops } = item?;
            Ok((delivery, Standing { state, cycle, hops }))
        });
        standings.collect()
    }

    /// Lists a tenant's dead letters that match `wanted`, each once. The index lags a little; [`rows`](Self::rows)
    /// reads their current state.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn dead_letters(
        &self,
        mut which: Letters<'_>,
        limit: usize,
        wanted: impl Fn(&Letter) -> bool,
    ) -> Result<LetterPage, StoreError> {
        let (mut letters, mut looked_at) = (Vec::new(), 0);
        // A letter moves in the index when its delivery is exhausted again, so it may be read twice.
        let mut seen = HashSet::new();
        loop {
            let count = limit.max(CHUNK);
            let found = self.next_letters(which, count).await?;
            let is_last = found.len() < count;
            for letter in found {
                which.after = Some(letter.place);
                if !seen.insert(letter.place.delivery) {
                    continue;
                }
                looked_at += 1;
                if wanted(&letter) {
                    letters.push(letter);
                }
                if letters.len() >= limit || looked_at >= MAX_LOOKED_AT {
                    return Ok(LetterPage { letters, looked_at, next: which.after });
                }
            }
            if is_last {
                return Ok(LetterPage { letters, looked_at, next: None });
            }
        }
    }

    /// Returns the next `count` dead letters, or all that are left.
    async fn next_letters(&self, which: Letters<'_>, count: usize) -> Result<Vec<Letter>, StoreError> {
        let (first, last) = which.bounds();
        if last < first {
            return Ok(Vec::new());
        }
        let shards = try_join_all((0..DEAD_SHARDS).map(|shard| async move {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .index_name("lanes")
                .scan_index_forward(!which.newest_first)
                .key_condition_expression("lane = :lane AND lane_at BETWEEN :first AND :last")
                .expression_attribute_values(":lane", text(dead_lane(which.tenant, shard)))
                .expression_attribute_values(":first", number(first))
                .expression_attribute_values(":last", number(last))
                .filter_expression(IS_LIVE)
                .expression_attribute_values(":live_at", live_at(which.now));
            let mut pages = query.limit(i32::try_from(count).unwrap_or(i32::MAX)).into_paginator().items().send();
            let mut letters: Vec<Letter> = Vec::new();
            while let Some(item) = pages.next().await {
                let item: LetterItem = from_item(item.map_err(|error| StoreError::unavailable(&error))?)?;
                let LetterItem { lane_at, delivery, webhook, app, event_type } = item;
                let place = LetterPosition { at: lane_at, delivery };
                // Letters of the same millisecond are not sorted by id, so take all of them or none.
                if letters.len() >= count && letters.last().is_some_and(|letter| letter.place.at != lane_at) {
                    break;
                }
                if which.is_beyond(place) {
                    letters.push(Letter { place, webhook, app, event_type });
                }
            }
            Ok::<_, StoreError>(letters)
        }));
        let mut letters: Vec<_> = shards.await?.into_iter().flatten().collect();
        which.sort(&mut letters);
        letters.truncate(count);
        Ok(letters)
    }

    /// Reads the rows of dead letters and their webhooks, consistently.
    ///
    /// # Errors
    ///
    /// If a table is unavailable or an item cannot be read.
    pub async fn rows(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        letters: &[Letter],
        now: Timestamp,
    ) -> Result<Loaded, StoreError> {
        let deliveries = letters.iter().map(|letter| (tenant, letter.webhook, letter.place.delivery));
        self.read(registry, deliveries, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(at: i64, number: u128) -> Letter {
        let delivery = DeliveryId::from_parts(Timestamp::UNIX_EPOCH, number);
        let webhook = WebhookId::from_parts(Timestamp::UNIX_EPOCH, 1);
        Letter {
            place: LetterPosition { at, delivery },
            webhook,
            app: None,
            event_type: "film.created".parse().unwrap(),
        }
    }

    #[test]
    fn a_page_starts_beyond_the_one_before_even_within_a_millisecond() {
        let tenant = "acme".parse().unwrap();
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        for newest_first in [false, true] {
            let all = Letters { tenant: &tenant, from: at(0), to: at(100), after: None, newest_first, now: at(0) };
            let mut letters = [letter(5, 2), letter(7, 0), letter(5, 1), letter(5, 3)];
            all.sort(&mut letters);
            let places = letters.each_ref().map(|letter| letter.place);
            for (index, place) in places.into_iter().enumerate() {
                let rest = Letters { after: Some(place), ..all };
                let beyond = places.iter().filter(|place| rest.is_beyond(**place));
                assert!(beyond.eq(&places[index + 1..]));
                let (first, last) = rest.bounds();
                assert!(places[index + 1..].iter().all(|place| (first..=last).contains(&place.at)));
            }
        }
    }
}
