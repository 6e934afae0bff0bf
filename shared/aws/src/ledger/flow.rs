//! What is on its way to receivers that take only so much, in a row beside the webhook's deliveries.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::flow::{Flow, Limits, Turn};
use domain::id::WebhookId;
use jiff::Timestamp;

use super::Ledger;
use crate::StoreError;
use crate::error::is_conflict;
use crate::items::{key, number, text};

/// How often a change is tried again because others came first.
const ROUNDS: usize = 8;

impl Ledger {
    /// Takes turns for requests to a webhook's receiver; see [`Flow::take`].
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or too many take turns at once.
    pub async fn take_turns(
        &self,
        webhook: WebhookId,
        limits: Limits,
        had_turn: &[bool],
        holder: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Turn>, StoreError> {
        self.change_flow(webhook, |flow| flow.take(limits, had_turn, holder, until, now)).await
    }

    /// Ends what a process had under way; see [`Flow::release`].
    ///
    /// # Errors
    ///
    /// If the table is unavailable. What is not released ends by itself.
    pub async fn release_turns(&self, webhook: WebhookId, holder: &str) -> Result<(), StoreError> {
        self.change_flow(webhook, |flow| flow.release(holder)).await
    }

    async fn change_flow<T>(&self, webhook: WebhookId, change: impl Fn(&mut Flow) -> T) -> Result<T, StoreError> {
        let key = key(&format!("W#{webhook}"), "FLOW");
        for _ in 0..ROUNDS {
            let get = self.client.get_item().table_name(&self.table).set_key(Some(key.clone())).consistent_read(true);
            let item = get.send().await.map_err(|error| StoreError::unavailable(&error))?.item.unwrap_or_default();
            let version = item.get("version").and_then(|version| version.as_n().ok()).cloned();
            let json = item.get("flow").and_then(|flow| flow.as_s().ok());
            // A row that cannot be read is no reason to send nothing: it begins anew.
            let mut flow: Flow = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
            let changed = change(&mut flow);
            let json = serde_json::to_string(&flow).map_err(|error| StoreError::inconsistent(webhook, error))?;
            let next = version.as_ref().and_then(|version| version.parse::<u64>().ok()).unwrap_or(0) + 1;
            let update = self.client.update_item().table_name(&self.table).set_key(Some(key.clone()));
            let update = update.update_expression("SET flow = :flow, version = :next");
            let update = match version {
                Some(version) => update
                    .condition_expression("version = :seen")
                    .expression_attribute_values(":seen", AttributeValue::N(version)),
                None => update.condition_expression("attribute_not_exists(version)"),
            };
            let update = update
                .expression_attribute_values(":flow", text(json))
                .expression_attribute_values(":next", number(next));
            match update.send().await {
                Ok(_) => return Ok(changed),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(StoreError::unavailable(&error)),
            }
        }
        Err(StoreError::Unavailable(format!("too many processes at once take turns for {webhook}")))
    }
}
