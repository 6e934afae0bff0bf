//! The log of inbound webhooks' calls. The rows of each outcome have a partition of their own, so that a flood of
//! refused calls does not bury the accepted ones.

use std::cmp::Reverse;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::event::types::EventType;
use domain::id::{CallId, EventId, WebhookId};
use domain::inbound::log::{CallOutcome, LoggedCall};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Events;
use crate::StoreError;
use crate::brief::brief;
use crate::items::{IS_LIVE, from_item, live_at, text, to_item};
use crate::probe::probe;

/// How long a row is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 7);

/// A logged call. Its `kind` is not one that the table's stream passes to fan-out. Renaming a field is a migration.
#[derive(Debug, Serialize, Deserialize)]
struct CallItem {
    pk: String,
    sk: CallId,
    v: u8,
    kind: String,
    at: Timestamp,
    outcome: CallOutcome,
    answered: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<EventId>,
    #[serde(default)]
    duplicate: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_type: Option<EventType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    body_bytes: u64,
    expires_at: i64,
}

/// A page of the log.
#[derive(Debug)]
pub struct CallPage {
    /// The calls, latest first.
    pub calls: Vec<LoggedCall>,
    /// Whether more follow the last one.
    pub more: bool,
}

fn pk(webhook: WebhookId, outcome: CallOutcome) -> String {
    format!("CALLS#{webhook}#{}", outcome.as_str())
}

impl Events {
    /// Checks that the table can be read.
    ///
    /// # Errors
    ///
    /// If it cannot, or does not answer within two seconds.
    pub async fn probe(&self) -> Result<(), StoreError> {
        probe(&self.client, &self.table).await
    }

    /// Logs a call.
    ///
    /// # Errors
    ///
    /// If the table does not answer in time; nothing is repeated, because a caller waits for this.
    pub async fn log_call(&self, webhook: WebhookId, call: &LoggedCall) -> Result<(), StoreError> {
        let LoggedCall { id, at, outcome, status, event, duplicate, event_type, reason, bytes } = call.clone();
        let item = to_item(&CallItem {
            pk: pk(webhook, outcome),
            sk: id,
            v: 1,
            kind: "call".to_owned(),
            at,
            outcome,
            answered: status,
            event,
            duplicate,
            event_type,
            reason,
            body_bytes: bytes,
            expires_at: (at + KEPT).as_second(),
        })?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.customize().config_override(brief()).send().await.map_err(|error| StoreError::unavailable(&error))?;
        Ok(())
    }

    /// Lists calls with these outcomes, latest first, starting after `after`.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn calls(
        &self,
        webhook: WebhookId,
        outcomes: &[CallOutcome],
        after: Option<CallId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<CallPage, StoreError> {
        let each = outcomes.iter().map(|outcome| self.calls_of(pk(webhook, *outcome), after, limit + 1, now));
        let mut calls: Vec<LoggedCall> = try_join_all(each).await?.into_iter().flatten().collect();
        calls.sort_by_key(|call| Reverse(call.id));
        let more = calls.len() > limit;
        calls.truncate(limit);
        Ok(CallPage { calls, more })
    }

    async fn calls_of(
        &self,
        pk: String,
        after: Option<CallId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<LoggedCall>, StoreError> {
        let query = self.client.query().table_name(&self.table).consistent_read(true).scan_index_forward(false);
        let query = query.expression_attribute_values(":pk", text(pk)).filter_expression(IS_LIVE);
        let query = query.expression_attribute_values(":live_at", live_at(now));
        let query = match after {
            Some(after) => query
                .key_condition_expression("pk = :pk AND sk < :after")
                .expression_attribute_values(":after", AttributeValue::S(after.to_string())),
            None => query.key_condition_expression("pk = :pk"),
        };
        let mut pages = query.into_paginator().items().send();
        let mut calls = Vec::new();
        while calls.len() < limit {
            let Some(item) = pages.next().await else { break };
            let item = from_item(item.map_err(|error| StoreError::unavailable(&error))?)?;
            let CallItem { sk: id, at, outcome, answered: status, event, duplicate, event_type, reason, .. } = item;
            let bytes = item.body_bytes;
            calls.push(LoggedCall { id, at, outcome, status, event, duplicate, event_type, reason, bytes });
        }
        Ok(calls)
    }
}
