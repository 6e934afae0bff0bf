//! A webhook's statistics, in an item of their own, so that counting does not write the webhook.
//!
//! The hours are a ring buffer in one list of numbers, three for each hour. An item of up to 1 KB costs one write unit,
//! and plain numbers keep two days of hours below that, however long the webhook fails.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::id::WebhookId;
use domain::webhook::hours::{Hour, Hours, RingChange, Sums};
use domain::webhook::statistics::{Statistics, Tally};
use jiff::Timestamp;
use serde::Deserialize;

use super::Registry;
use crate::items::{Item, from_item, key, number, text};
use crate::{StoreError, batch};

mod arrivals;

const SK: &str = "STATISTICS";

/// How often a count is tried while other processes advance the ring.
const ROUNDS: u32 = 5;

/// Renaming a field here is a migration.
#[derive(Debug, Deserialize)]
struct StatisticsItem {
    pk: String,
    #[serde(flatten)]
    statistics: Statistics,
    /// The hour that was counted last. (Not `hour`: that is a reserved word of DynamoDB's expressions.)
    #[serde(default)]
    last_hour: Option<i64>,
    /// For each slot of the ring: attempts, failed attempts, and milliseconds.
    #[serde(default)]
    by_hour: Vec<u64>,
    /// When the last delivery that is counted from the stream arrived, in milliseconds since 1970.
    #[serde(default)]
    arrived_at: Option<i64>,
}

fn statistics_pk(webhook: WebhookId) -> String {
    format!("W#{webhook}")
}

/// Returns whether an item contains statistics.
pub(super) fn is_statistics(item: &Item) -> bool {
    item.get("sk").is_some_and(|sk| sk == &text(SK))
}

/// Reads items of statistics, by webhook.
pub(crate) fn by_webhook(items: impl Iterator<Item = Item>) -> Result<HashMap<WebhookId, Statistics>, StoreError> {
    items.map(read).collect()
}

fn read(item: Item) -> Result<(WebhookId, Statistics), StoreError> {
    let StatisticsItem { pk, statistics, last_hour, by_hour, arrived_at } = from_item(item)?;
    let webhook = pk.strip_prefix("W#").and_then(|id| id.parse().ok());
    let webhook = webhook.ok_or_else(|| StoreError::inconsistent(&pk, "its key is not that of a webhook"))?;
    let slots = by_hour.chunks(3).map(|slot| match *slot {
        [calls, errors, duration_ms] => Sums { calls, errors, duration_ms },
        _ => Sums::default(),
    });
    let hours = Hours::new(last_hour.map(Hour::from_number), slots.collect());
    let statistics = Statistics { hours, ..statistics };
    let arrived_at = arrived_at.and_then(|at| Timestamp::from_millisecond(at).ok());
    Ok((webhook, arrived_at.into_iter().fold(statistics, Statistics::with_arrival)))
}

fn list(hours: &Hours) -> AttributeValue {
    let numbers = hours.slots().iter().flat_map(|sums| [sums.calls, sums.errors, sums.duration_ms]);
    AttributeValue::L(numbers.map(number).collect())
}

/// Returns a time as text, truncated to milliseconds to keep the item small.
fn moment(at: Timestamp) -> AttributeValue {
    text(Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at).to_string())
}

impl Registry {
    pub(crate) fn statistics_key(&self, webhook: WebhookId) -> (String, Item) {
        (self.table.clone(), key(&statistics_pk(webhook), SK))
    }

    /// Reads the statistics of webhooks, consistently and in one call; of those that have any.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn statistics(
        &self,
        webhooks: impl Iterator<Item = WebhookId>,
    ) -> Result<HashMap<WebhookId, Statistics>, StoreError> {
        let keys = webhooks.map(|webhook| self.statistics_key(webhook)).collect();
        let mut found = batch::get(&self.client, keys).await?;
        by_webhook(self.take_items(&mut found).into_iter())
    }

    /// Resets the counters of consecutive failures of a webhook, as [`Statistics::reset_failures`] does.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn reset_failures(&self, webhook: WebhookId) -> Result<(), StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.statistics_key(webhook).1))
            .update_expression("SET consecutive_failures = :zero, consecutive_timeouts = :zero REMOVE failing_since")
            .expression_attribute_values(":zero", number(0));
        update.send().await.map_err(|error| StoreError::unavailable(&error))?;
        Ok(())
    }

    /// Adds the tally of an invocation's attempts, and returns the new sums without the hours, which would make the
    /// response long.
    ///
    /// Takes one call, except for the first count of an hour, which takes two.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn count(&self, webhook: WebhookId, tally: &Tally) -> Result<Statistics, StoreError> {
        let key = self.statistics_key(webhook).1;
        // Usually this hour has been counted already. If not, the failed condition returns which hour was counted last.
        let mut last = Some(tally.hour());
        for _ in 0..ROUNDS {
            let update = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key.clone()))
                .return_values(ReturnValue::UpdatedNew)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let error = match Counting::of(tally, last)?.into_update(update).send().await {
                Ok(answer) => return from_item(answer.attributes.unwrap_or_default()),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(found)) => {
                    let found = found.item().and_then(|item| item.get("last_hour")?.as_n().ok()?.parse().ok());
                    last = found.map(Hour::from_number);
                }
                _ => return Err(StoreError::unavailable(&error)),
            }
        }
        Err(StoreError::Conflict { key: statistics_pk(webhook) })
    }
}

/// The expressions of the update that counts a tally.
#[derive(Debug, Default)]
struct Counting {
    condition: String,
    set: Vec<String>,
    add: Vec<&'static str>,
    remove: Vec<String>,
    values: HashMap<String, AttributeValue>,
}

impl Counting {
    /// Returns the update for an item whose last counted hour is `last`.
    fn of(tally: &Tally, last: Option<Hour>) -> Result<Self, StoreError> {
        let mut counting = Self::default();
        counting.sums(tally)?;
        counting.turn(tally.hour(), tally.sums(), last);
        Ok(counting)
    }

    fn sums(&mut self, tally: &Tally) -> Result<(), StoreError> {
        let status = serde_dynamo::to_attribute_value(tally.last_status)
            .map_err(|error| StoreError::inconsistent("an outcome", error))?;
        self.set("last_delivery_at = :at", ":at", moment(tally.last_at));
        self.set("last_delivery_status = :status", ":status", status);
        self.add("total_calls :calls", ":calls", number(tally.calls));
        self.add("total_errors :errors", ":errors", number(tally.errors));
        if tally.ignored > 0 {
            self.add("ignored_calls :ignored", ":ignored", number(tally.ignored));
        }
        if tally.succeeded {
            self.set("consecutive_failures = :failures", ":failures", number(tally.failures));
        } else {
            self.add("consecutive_failures :failures", ":failures", number(tally.failures));
        }
        if tally.ended_otherwise {
            self.set("consecutive_timeouts = :timeouts", ":timeouts", number(tally.timeouts));
        } else {
            self.add("consecutive_timeouts :timeouts", ":timeouts", number(tally.timeouts));
        }
        match (tally.failing_since, tally.succeeded) {
            (Some(since), true) => self.set("failing_since = :since", ":since", moment(since)),
            (Some(since), false) => {
                self.set("failing_since = if_not_exists(failing_since, :since)", ":since", moment(since));
            }
            (None, true) => self.remove.push("failing_since".to_owned()),
            (None, false) => {}
        }
        if let Some(error) = &tally.last_error {
            self.set("last_error = :error", ":error", text(error));
        }
        Ok(())
    }

    /// Adds the sums to their hour, in an item whose last counted hour is `last`.
    fn turn(&mut self, hour: Hour, sums: Sums, last: Option<Hour>) {
        "attribute_not_exists(last_hour)".clone_into(&mut self.condition);
        if let Some(last) = last {
            "last_hour = :last".clone_into(&mut self.condition);
            self.value(":last", number(last.number()));
        }
        let change = RingChange::to(hour, last);
        if matches!(change, RingChange::Add | RingChange::Advance(_)) {
            self.value(":calls", number(sums.calls));
            self.value(":errors", number(sums.errors));
            self.value(":duration", number(sums.duration_ms));
        }
        match change {
            RingChange::Add => {
                self.slot(hour.slot(), |path, value| format!("{path} = {path} + {value}"));
            }
            RingChange::Advance(silent) => {
                for slot in silent {
                    self.slot(slot, |path, _| format!("{path} = :zero"));
                    self.value(":zero", number(0));
                }
                self.slot(hour.slot(), |path, value| format!("{path} = {value}"));
                self.set("last_hour = :hour", ":hour", number(hour.number()));
            }
            RingChange::Restart => {
                self.set("by_hour = :ring", ":ring", list(&Hours::started(hour, sums)));
                self.set("last_hour = :hour", ":hour", number(hour.number()));
            }
            RingChange::TooLate => {}
        }
    }

    /// Adds an expression for each of the three numbers of a slot.
    fn slot(&mut self, slot: usize, expression: impl Fn(String, &str) -> String) {
        let values = [":calls", ":errors", ":duration"];
        let paths = (slot * 3..).map(|index| format!("by_hour[{index}]"));
        self.set.extend(paths.zip(values).map(|(path, value)| expression(path, value)));
    }

    fn set(&mut self, expression: &str, name: &str, value: AttributeValue) {
        self.set.push(expression.to_owned());
        self.value(name, value);
    }

    fn add(&mut self, expression: &'static str, name: &str, value: AttributeValue) {
        self.add.push(expression);
        self.value(name, value);
    }

    fn value(&mut self, name: &str, value: AttributeValue) {
        self.values.insert(name.to_owned(), value);
    }

    fn expression(&self) -> String {
        let mut expression = format!("SET {} ADD {}", self.set.join(", "), self.add.join(", "));
        if !self.remove.is_empty() {
            expression = format!("{expression} REMOVE {}", self.remove.join(", "));
        }
        expression
    }

    fn into_update(self, update: UpdateItemFluentBuilder) -> UpdateItemFluentBuilder {
        let expression = self.expression();
        let update = update.update_expression(expression).condition_expression(self.condition);
        update.set_expression_attribute_values(Some(self.values))
    }
}

#[cfg(test)]
mod tests;
