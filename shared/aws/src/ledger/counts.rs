//! Counts a webhook's deliveries by state, with bounded reads and without counters, which would cost a write for each
//! change of a state.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::Select;
use domain::access::tenant::TenantId;
use domain::delivery::State;
use domain::id::WebhookId;
use futures::future::try_join_all;
use jiff::Timestamp;
use serde::Deserialize;

use super::Ledger;
use super::delivery_item::{DEAD_SHARDS, PARKED_SHARDS, SHARDS, dead_lane, parked_lane, shard_pk, waiting_lane};
use crate::StoreError;
use crate::items::{IS_LIVE, Item, from_item, live_at, text};

/// How many rows of a lane or of a webhook are read at most, over all its partitions.
const MAX_READ: usize = 1000;

/// How many deliveries of a webhook are in a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// Parked.
    pub parked: usize,
    /// Pending, until a slot of the receiver is free.
    pub waiting: usize,
    /// Exhausted: dead letters.
    pub exhausted: usize,
    /// Retrying.
    pub retrying: usize,
    /// Held behind an earlier delivery of their entity.
    pub held: usize,
    /// Whether all were counted. If not, the counts are lower bounds.
    pub is_complete: bool,
}

/// A count of the rows that were read.
struct Counted {
    count: usize,
    is_complete: bool,
}

impl Counted {
    fn sum(parts: &[Self]) -> Self {
        let count = parts.iter().map(|part| part.count).sum();
        Self { count, is_complete: parts.iter().all(|part| part.is_complete) }
    }
}

#[derive(Deserialize)]
struct StateItem {
    delivery_state: State,
}

impl Ledger {
    /// Counts a webhook's deliveries by state: parked, waiting and exhausted ones in their lanes, of which up to 1,000
    /// rows each are read, and the others among the webhook's newest 1,000 rows.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn counts(
        &self,
        tenant: &TenantId,
        webhook: WebhookId,
        now: Timestamp,
    ) -> Result<StateCounts, StoreError> {
        let parked = (0..PARKED_SHARDS).map(|shard| self.count_lane(parked_lane(webhook, shard), webhook, now));
        let waiting = (0..PARKED_SHARDS).map(|shard| self.count_lane(waiting_lane(webhook, shard), webhook, now));
        let dead = (0..DEAD_SHARDS).map(|shard| self.count_lane(dead_lane(tenant, shard), webhook, now));
        let newest = (0..SHARDS).map(|shard| self.newest_states(shard_pk(webhook, shard), now));
        let (parked, waiting, dead, newest) =
            tokio::try_join!(try_join_all(parked), try_join_all(waiting), try_join_all(dead), try_join_all(newest))?;
        let [parked, waiting, exhausted] = [parked, waiting, dead].map(|parts| Counted::sum(&parts));
        let of = |wanted| newest.iter().flat_map(|(states, _)| states).filter(|state| **state == wanted).count();
        Ok(StateCounts {
            parked: parked.count,
            waiting: waiting.count,
            exhausted: exhausted.count,
            retrying: of(State::Retrying),
            held: of(State::Held),
            is_complete: [parked, waiting, exhausted].iter().all(|counted| counted.is_complete)
                && newest.iter().all(|(_, is_complete)| *is_complete),
        })
    }

    /// Counts the webhook's deliveries in one partition of a lane.
    async fn count_lane(&self, lane: String, webhook: WebhookId, now: Timestamp) -> Result<Counted, StoreError> {
        let query = self
            .live(now)
            .index_name("lanes")
            .select(Select::Count)
            .filter_expression(format!("{IS_LIVE} AND webhook = :webhook"))
            .expression_attribute_values(":webhook", text(webhook))
            .key_condition_expression("lane = :lane")
            .expression_attribute_values(":lane", text(lane));
        let answer = query.limit(share(PARKED_SHARDS)).send().await;
        let answer = answer.map_err(|error| StoreError::unavailable(&error))?;
        let is_complete = answer.last_evaluated_key.is_none();
        Ok(Counted { count: usize::try_from(answer.count).unwrap_or(0), is_complete })
    }

    /// Returns the states of a webhook's newest deliveries in one partition, and whether these are all.
    async fn newest_states(&self, pk: String, now: Timestamp) -> Result<(Vec<State>, bool), StoreError> {
        let query = self
            .live(now)
            .scan_index_forward(false)
            .projection_expression("delivery_state")
            .filter_expression(IS_LIVE)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(pk));
        let answer = query.limit(share(SHARDS)).send().await.map_err(|error| StoreError::unavailable(&error))?;
        let read = |item: Item| Ok(from_item::<StateItem>(item)?.delivery_state);
        let is_complete = answer.last_evaluated_key.is_none();
        let states = answer.items.unwrap_or_default().into_iter().map(read).collect::<Result<_, StoreError>>()?;
        Ok((states, is_complete))
    }

    fn live(&self, now: Timestamp) -> QueryFluentBuilder {
        self.client.query().table_name(&self.table).expression_attribute_values(":live_at", live_at(now))
    }
}

/// Returns how many rows are read of each of so many partitions.
fn share(shards: u8) -> i32 {
    i32::try_from(MAX_READ / usize::from(shards)).unwrap_or(i32::MAX)
}
