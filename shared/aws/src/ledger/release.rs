//! Releases deliveries from their deferral: an operator has raised the budget of their tenant.

use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use domain::delivery::{Delivery, SHORT_WAIT, State};
use jiff::Timestamp;

use super::{AttemptKey, Ledger, Written, repeated, state};
use crate::StoreError;
use crate::items::{IS_LIVE, Item, live_at, number};

impl Ledger {
    /// Releases a [deferred](Delivery::is_deferred) delivery. The process that has released a pending one sends its
    /// message; if that is lost, or waits in a long queue, the sweep sends another after a quarter of an hour. A held one
    /// is attempted when its turn comes.
    ///
    /// Returns [`Written::TooLate`] if its row has changed since it was read, or a process attempts it.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn release(&self, row: &Delivery, now: Timestamp) -> Result<Written, StoreError> {
        let due = number((now + SHORT_WAIT).as_millisecond());
        let update = self
            .update(AttemptKey::of(&row.next_message()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_values(":seen", state(row.progress.state))
            .expression_attribute_values(":live_at", live_at(now));
        let is_seen = format!("delivery_state = :seen AND {IS_LIVE}");
        let is_held = row.progress.state == State::Held;
        let update = if is_held {
            update.update_expression("REMOVE deferred_until, over_budget").condition_expression(format!(
                "{is_seen} AND (attribute_exists(deferred_until) OR attribute_exists(over_budget))"
            ))
        } else {
            update
                .update_expression("SET lane_at = :due REMOVE deferred_until, next_at")
                .condition_expression(format!(
                    "{is_seen} AND next_at = deferred_until AND (attribute_not_exists(lease_until) OR lease_until <= :now)"
                ))
                .expression_attribute_values(":due", due.clone())
                .expression_attribute_values(":now", number(now.as_millisecond()))
        };
        let Err(error) = update.send().await else { return Ok(Written::Yes) };
        let is_ours = |old: &Item| {
            let has_lane = is_held || old.get("lane_at") == Some(&due);
            let is_free = ["deferred_until", "over_budget"].iter().all(|name| !old.contains_key(*name));
            old.get("delivery_state") == Some(&state(row.progress.state)) && has_lane && is_free
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => Ok(repeated(failed, is_ours)),
            // The transaction of the end before it writes this row.
            Some(error) if error.code() == Some("TransactionConflictException") => Ok(Written::TooLate),
            _ => Err(StoreError::unavailable(&error)),
        }
    }
}
