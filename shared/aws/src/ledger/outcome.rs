//! What became of an attempt that is not a delivery's first one: the write that changes its row.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use domain::attempt::Attempt;
use domain::delivery::{Progress, State};
use jiff::Timestamp;

use super::delivery_item::lane_of;
use super::{AttemptKey, Ledger, NO_OTHER_LEASE, WAITS, Written, repeated, state, written};
use crate::items::{Item, number, text};
use crate::{StoreError, bodies};

/// What a process did with an attempt whose delivery it changes.
#[derive(Debug, Clone, Copy)]
pub enum Made<'a> {
    /// It made the attempt.
    Attempt(&'a Attempt),
    /// It made no request: the delivery was cancelled, parked or put off, for example. Another process may be making one,
    /// so nothing is written while another process has the lease.
    Nothing {
        /// When the lease of this process ends, if it has one.
        lease: Option<Timestamp>,
    },
}

impl Ledger {
    /// Writes the outcome of an attempt, unless another process did.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn record(
        &self,
        attempt_key: AttemptKey,
        made: Made<'_>,
        progress: &Progress,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let expires_at = self.expires_at(progress.state, now);
        let update = self.outcome(attempt_key, made, progress, Some(expires_at), now)?;
        outcome_written(update, attempt_key, made).await
    }

    /// Defers a delivery to the time of `progress`, unless it has moved on or a process has the lease. Its expiry stays
    /// the same, so a delivery whose fault never ends is not kept for ever.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn put_off(
        &self,
        attempt_key: AttemptKey,
        progress: &Progress,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        written(self.outcome(attempt_key, Made::Nothing { lease: None }, progress, None, now)?).await
    }

    /// Returns the write of [`record`](Self::record). `expires_at` is the new expiry of the row; with `None` it stays
    /// the same.
    pub(super) fn outcome(
        &self,
        attempt_key: AttemptKey,
        made: Made<'_>,
        progress: &Progress,
        expires_at: Option<i64>,
        now: Timestamp,
    ) -> Result<UpdateItemFluentBuilder, StoreError> {
        let mut set = vec!["delivery_state = :state", "next_attempt = :next"];
        let mut remove = vec!["lease_until"];
        let mut update = self
            .update(attempt_key)
            .condition_expression(WAITS)
            .expression_attribute_values(":cycle", number(attempt_key.cycle))
            .expression_attribute_values(":attempt", number(attempt_key.attempt))
            .expression_attribute_values(":pending", state(State::Pending))
            .expression_attribute_values(":retrying", state(State::Retrying))
            .expression_attribute_values(":parked", state(State::Parked))
            .expression_attribute_values(":state", state(progress.state))
            .expression_attribute_values(":next", number(progress.attempt));
        if let Some(expires_at) = expires_at {
            set.push("expires_at = :expires");
            update = update.expression_attribute_values(":expires", number(expires_at));
        }
        match made {
            Made::Attempt(attempt) => {
                let made = to_value(attempt_key, attempt)?;
                set.push("attempts = list_append(attempts, :made)");
                // The attempt has the reason, and a redrive may bring a body.
                remove.push("body_failed");
                update = update.expression_attribute_values(":made", AttributeValue::L(vec![made]));
                match &attempt.outcome.response_body {
                    Some(body) => {
                        set.push("response_zstd = :response");
                        let packed = AttributeValue::B(Blob::new(bodies::pack_response(body)?));
                        update = update.expression_attribute_values(":response", packed);
                    }
                    None => remove.push("response_zstd"),
                }
            }
            Made::Nothing { lease } => {
                let lease = lease.map_or(0, Timestamp::as_millisecond);
                update = update
                    .condition_expression(format!("{WAITS} AND {NO_OTHER_LEASE}"))
                    .expression_attribute_values(":now", number(now.as_millisecond()))
                    .expression_attribute_values(":lease", number(lease));
            }
        }
        match progress.next_at {
            Some(next_at) => {
                set.push("next_at = :next_at");
                update = update.expression_attribute_values(":next_at", number(next_at.as_millisecond()));
            }
            None => remove.push("next_at"),
        }
        match lane_of(progress, attempt_key.webhook, attempt_key.delivery, now) {
            Some((lane, at)) => {
                set.extend(["lane = :lane", "lane_at = :lane_at"]);
                update = update
                    .expression_attribute_values(":lane", text(lane))
                    .expression_attribute_values(":lane_at", number(at.as_millisecond()));
            }
            None => remove.extend(["lane", "lane_at"]),
        }
        if progress.state == State::Exhausted {
            set.push("ended_at = :ended");
            update = update.expression_attribute_values(":ended", number(now.as_millisecond()));
        }
        let expression = format!("SET {} REMOVE {}", set.join(", "), remove.join(", "));
        Ok(update.update_expression(expression))
    }
}

/// Makes the write of an outcome.
pub(super) async fn outcome_written(
    update: UpdateItemFluentBuilder,
    attempt_key: AttemptKey,
    made: Made<'_>,
) -> Result<Written, StoreError> {
    let Made::Attempt(attempt) = made else { return written(update).await };
    let update = update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let Err(error) = Box::pin(update.send()).await else { return Ok(Written::Yes) };
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
            let attempt = to_value(attempt_key, attempt)?;
            let last = |old: &Item| old.get("attempts")?.as_l().ok()?.last().cloned();
            Ok(repeated(failed, |old| last(old) == Some(attempt)))
        }
        _ => Err(StoreError::unavailable(&error)),
    }
}

fn to_value(attempt_key: AttemptKey, attempt: &Attempt) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(attempt).map_err(|error| StoreError::inconsistent(attempt_key.delivery, error))
}
