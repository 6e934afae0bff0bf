//! What deliveries add up to, in an item of its own: counting is no write of the webhook.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValue;
use domain::id::WebhookId;
use domain::webhook::{Statistics, Tally};
use serde::{Deserialize, Serialize};

use super::Registry;
use crate::StoreError;
use crate::items::{Item, from_item, key, number, text};

const SK: &str = "STATISTICS";

#[derive(Debug, Serialize, Deserialize)]
struct StatisticsItem {
    webhook: WebhookId,
    #[serde(flatten)]
    statistics: Statistics,
}

fn statistics_pk(webhook: WebhookId) -> String {
    format!("W#{webhook}")
}

/// Says whether an item is one of these.
pub(super) fn is_statistics(item: &Item) -> bool {
    item.get("sk").is_some_and(|sk| sk == &text(SK))
}

/// Reads items, by webhook.
pub(super) fn by_webhook(items: impl Iterator<Item = Item>) -> Result<HashMap<WebhookId, Statistics>, StoreError> {
    items
        .map(|item| {
            let StatisticsItem { webhook, statistics } = from_item(item)?;
            Ok((webhook, statistics))
        })
        .collect()
}

impl Registry {
    pub(super) fn statistics_key(&self, webhook: WebhookId) -> (String, Item) {
        (self.table.clone(), key(&statistics_pk(webhook), SK))
    }

    /// Adds what the attempts of an invocation add up to, and returns the sums after it.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn count(&self, webhook: WebhookId, tally: &Tally) -> Result<Statistics, StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.statistics_key(webhook).1))
            .return_values(ReturnValue::AllNew);
        let answer = counting(update, webhook, tally)?.send().await.map_err(|error| StoreError::unavailable(&error))?;
        let StatisticsItem { statistics, .. } = from_item(answer.attributes.unwrap_or_default())?;
        Ok(statistics)
    }
}

/// Says what the tally does to the item.
fn counting(
    update: UpdateItemFluentBuilder,
    webhook: WebhookId,
    tally: &Tally,
) -> Result<UpdateItemFluentBuilder, StoreError> {
    let status = serde_dynamo::to_attribute_value(tally.last_status)
        .map_err(|error| StoreError::inconsistent("an outcome", error))?;
    let mut set = vec!["webhook = :webhook", "last_delivery_at = :at", "last_delivery_status = :status"];
    let mut add = vec!["total_calls :calls", "total_errors :errors"];
    let mut remove = Vec::new();
    let mut update = update
        .expression_attribute_values(":webhook", text(webhook.to_string()))
        .expression_attribute_values(":at", text(tally.last_at.to_string()))
        .expression_attribute_values(":status", status)
        .expression_attribute_values(":calls", number(tally.calls))
        .expression_attribute_values(":errors", number(tally.errors))
        .expression_attribute_values(":failures", number(tally.failures))
        .expression_attribute_values(":timeouts", number(tally.timeouts));
    if tally.succeeded {
        set.push("consecutive_failures = :failures");
    } else {
        add.push("consecutive_failures :failures");
    }
    if tally.ended_otherwise {
        set.push("consecutive_timeouts = :timeouts");
    } else {
        add.push("consecutive_timeouts :timeouts");
    }
    match tally.failing_since {
        Some(since) => {
            update = update.expression_attribute_values(":since", text(since.to_string()));
            set.push(if tally.succeeded {
                "failing_since = :since"
            } else {
                "failing_since = if_not_exists(failing_since, :since)"
            });
        }
        None => remove.push("failing_since"),
    }
    if let Some(error) = &tally.last_error {
        set.push("last_error = :error");
        update = update.expression_attribute_values(":error", text(error));
    }
    let mut expression = format!("SET {} ADD {}", set.join(", "), add.join(", "));
    if !remove.is_empty() {
        expression = format!("{expression} REMOVE {}", remove.join(", "));
    }
    Ok(update.update_expression(expression))
}
