//! How long requests wait for a receiver: marks of slow receivers and what their answers have shown, in the row of the
//! webhook's breaker.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use domain::delivery::breaker::{Breaker, BreakerState};
use domain::delivery::patience::{Patience, SLOW_FOR};
use domain::id::WebhookId;
use jiff::Timestamp;

use super::breaker::state;
use super::breaker_item::{KIND, read};
use super::{Ledger, Written, written};
use crate::StoreError;
use crate::items::{number, text};

impl Ledger {
    /// Marks a webhook's receiver as slow for a while.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn mark_slow(&self, webhook: WebhookId, now: Timestamp) -> Result<(), StoreError> {
        written(self.mark(webhook, now + SLOW_FOR, now)).await.map(|_| ())
    }

    /// Marks a webhook's receiver as slow until `until`, because a request has `waited` so long. Returns `None` if this
    /// mark is written. Otherwise another process has marked the receiver or has learned more patience, and the result
    /// is the row.
    ///
    /// Marks with the same end count as one, so a write whose response was lost can be repeated, and all requests of an
    /// invocation share one.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn mark_waiting(
        &self,
        webhook: WebhookId,
        until: Timestamp,
        waited: Duration,
        now: Timestamp,
    ) -> Result<Option<Breaker>, StoreError> {
        let update = self
            .mark(webhook, until, now)
            .condition_expression(
                "(attribute_not_exists(slow_until) OR slow_until <= :now OR slow_until = :until) \
                 AND (attribute_not_exists(patience_until) OR patience_until <= :now OR patience_ms <= :waited)",
            )
            .expression_attribute_values(":waited", milliseconds(waited))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = update.send().await else { return Ok(None) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Some(read(failed.item.clone().unwrap_or_default())?.1))
            }
            _ => Err(StoreError::unavailable(&error)),
        }
    }

    /// Removes this process's mark, which ends at `until`, and writes the patience that the receiver's answer has shown
    /// to be needed. Does nothing if the mark has been replaced.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn unmark(
        &self,
        webhook: WebhookId,
        until: Timestamp,
        patience: Patience,
    ) -> Result<Written, StoreError> {
        let update = self
            .patience(webhook, patience, "REMOVE slow_until")
            .condition_expression("slow_until = :marked_until")
            .expression_attribute_values(":marked_until", number(until.as_millisecond()));
        written(update).await
    }

    /// Replaces the learned patience `before`, unless another process has replaced it.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn keep_patience(
        &self,
        webhook: WebhookId,
        before: Patience,
        patience: Patience,
    ) -> Result<Written, StoreError> {
        let update = self
            .patience(webhook, patience, "")
            .condition_expression("patience_until = :before")
            .expression_attribute_values(":before", number(before.until.as_millisecond()));
        written(update).await
    }

    fn mark(&self, webhook: WebhookId, until: Timestamp, now: Timestamp) -> UpdateItemFluentBuilder {
        self.update_breaker(webhook)
            .update_expression(
                "SET kind = :kind, webhook = :webhook, breaker_state = if_not_exists(breaker_state, :closed), \
                 since = if_not_exists(since, :now), slow_until = :until",
            )
            .expression_attribute_values(":kind", text(KIND))
            .expression_attribute_values(":webhook", text(webhook.to_string()))
            .expression_attribute_values(":closed", state(BreakerState::Closed))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":until", number(until.as_millisecond()))
    }

    fn patience(&self, webhook: WebhookId, Patience { wait, until }: Patience, more: &str) -> UpdateItemFluentBuilder {
        self.update_breaker(webhook)
            .update_expression(format!("SET patience_ms = :wait, patience_until = :until {more}"))
            .expression_attribute_values(":wait", milliseconds(wait))
            .expression_attribute_values(":until", number(until.as_millisecond()))
    }
}

fn milliseconds(duration: Duration) -> AttributeValue {
    number(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
