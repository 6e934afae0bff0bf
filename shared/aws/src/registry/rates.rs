//! Rate limits that all processes share: one counter for each key and time window.

use std::sync::{Mutex, PoisonError};

use aws_sdk_dynamodb::types::ReturnValue;
use domain::access::rate::{Exceeded, Rate, RateKey, Spent, Window};
use jiff::{SignedDuration, Timestamp};

use super::Registry;
use crate::StoreError;
use crate::brief::brief;
use crate::items::{key, number};

/// How long counting pauses after a failure, so that not every request waits during an outage of the table.
const PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// How long a counter is kept after its window, in seconds, before DynamoDB may delete it.
const KEPT_SECONDS: i64 = 60;

/// Limits rates over all processes, and caches the counts that this process has seen.
///
/// A key that has reached its limit is refused without a call until its window ends. While the table does not answer,
/// everything is allowed and a warning is logged: a request that needs the table fails anyway.
#[derive(Debug)]
pub struct Rates {
    registry: Registry,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    spent: Spent,
    failed_at: Option<Timestamp>,
}

impl Rates {
    /// Returns limits that count in the Registry table; makes no call.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, known: Mutex::default() }
    }

    /// Counts one request in the current window. A call whose answer is lost, or that DynamoDB executes twice, counts
    /// as well, so the limit is never exceeded.
    ///
    /// # Errors
    ///
    /// If the limit is reached.
    pub async fn take(&self, key: &RateKey, rate: Rate, now: Timestamp) -> Result<(), Exceeded> {
        self.take_many(key, 1, rate, now).await
    }

    /// Counts something that costs as much as `cost` requests; see [`take`](Self::take).
    ///
    /// # Errors
    ///
    /// If the limit is reached.
    pub async fn take_many(&self, key: &RateKey, cost: u32, rate: Rate, now: Timestamp) -> Result<(), Exceeded> {
        {
            let known = self.known();
            known.spent.check(key, rate, now)?;
            let pauses = |at: Timestamp| (SignedDuration::ZERO..PAUSE).contains(&now.duration_since(at));
            if known.failed_at.is_some_and(pauses) {
                return Ok(());
            }
        }
        match self.registry.count_in(key, cost, rate.window(now)).await {
            Ok(count) => self.known().spent.counted(key, rate, count, now),
            Err(error) => {
                tracing::warn!(%error, "a rate is not counted; the request is allowed");
                self.known().failed_at = Some(now);
                Ok(())
            }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Adds to the counter of a window, and returns the new count.
    async fn count_in(&self, of: &RateKey, cost: u32, window: Window) -> Result<u64, StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(of.as_str(), &window.start.to_string())))
            .update_expression("ADD taken :cost SET expires_at = :expires_at")
            .expression_attribute_values(":cost", number(cost))
            .expression_attribute_values(":expires_at", number(window.end + KEPT_SECONDS))
            .return_values(ReturnValue::UpdatedNew)
            .customize()
            .config_override(brief());
        let updated = update.send().await.map_err(|error| StoreError::unavailable(&error))?;
        let taken =
            updated.attributes.as_ref().and_then(|attributes| attributes.get("taken")?.as_n().ok()?.parse().ok());
        taken.ok_or_else(|| StoreError::inconsistent(of.as_str(), "it has no number `taken`"))
    }
}
