//! Releases deliveries from their deferral: an operator has raised the budget of their tenant.

use domain::delivery::{Delivery, OVERDUE_AFTER, State};
use jiff::Timestamp;

use super::{AttemptKey, Ledger, Written, state, written};
use crate::StoreError;
use crate::items::{IS_LIVE, live_at, number};

impl Ledger {
    /// Releases a [deferred](Delivery::is_deferred) delivery. A pending one is due soon, and the process that released it
    /// sends its message. A held one still waits for its turn, and is attempted then.
    ///
    /// Returns [`Written::TooLate`] if its row has changed since it was read, or a process attempts it.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn release(&self, row: &Delivery, now: Timestamp) -> Result<Written, StoreError> {
        let update = self
            .update(AttemptKey::of(&row.next_message()))
            .expression_attribute_values(":seen", state(row.progress.state))
            .expression_attribute_values(":live_at", live_at(now));
        let is_seen = format!("delivery_state = :seen AND {IS_LIVE}");
        let update = if row.progress.state == State::Held {
            update.update_expression("REMOVE deferred_until, over_budget").condition_expression(format!(
                "{is_seen} AND (attribute_exists(deferred_until) OR attribute_exists(over_budget))"
            ))
        } else {
            update
                .update_expression("SET lane_at = :due REMOVE deferred_until, next_at")
                .condition_expression(format!(
                    "{is_seen} AND next_at = deferred_until AND (attribute_not_exists(lease_until) OR lease_until <= :now)"
                ))
                .expression_attribute_values(":due", number((now + OVERDUE_AFTER).as_millisecond()))
                .expression_attribute_values(":now", number(now.as_millisecond()))
        };
        written(update).await
    }
}
