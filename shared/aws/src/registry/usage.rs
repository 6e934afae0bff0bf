//! Tenants' usage: one row for each tenant and day, and one row with the budgets that the operator has set.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::access::tenant::TenantId;
use domain::budget::{Counts, Overrides};
use domain::event::state::StateKey;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{MetaItem, Registry, tenant_pk};
use crate::brief::brief;
use crate::items::{Item, from_item, key, number, text, to_item};
use crate::{StoreError, batch};

/// How long the row of a day is kept: longer than the day's events.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 100);

/// Renaming a field here is a migration.
#[derive(Debug, Serialize, Deserialize)]
struct BudgetsItem {
    pk: String,
    sk: String,
    v: u8,
    #[serde(flatten)]
    overrides: Overrides,
    updated_at: Timestamp,
    updated_by: String,
}

/// A tenant's usage, and the budgets that the operator has set for it.
#[derive(Debug, Clone, Default)]
pub struct UsageRows {
    /// The budgets that differ from the deployment's defaults.
    pub overrides: Overrides,
    /// The counts of each day, oldest first.
    pub days: Vec<(Date, Counts)>,
}

/// The result of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The count is written; these are the counters now.
    Yes(Counts),
    /// A counter had too little room, and nothing was written. These are the counters, if the answer contains them.
    NoRoom(Option<Counts>),
}

const BUDGETS: &str = "BUDGETS";
const DAY: &str = "DAY#";

/// Returns the partition of a tenant's usage. It is separate from the tenant's webhooks, because it is written with
/// each request.
fn pk(tenant: &TenantId) -> String {
    format!("U#{tenant}")
}

fn of(item: &Item) -> Counts {
    serde_dynamo::from_item(item.clone()).unwrap_or_default()
}

/// Returns the counters with their attribute names. Renaming one is a migration.
fn counters(counts: Counts) -> [(&'static str, u64); 6] {
    let Counts { events, published_bytes, archived_bytes, deliveries, secrets, jobs } = counts;
    [
        ("events", events),
        ("published_bytes", published_bytes),
        ("archived_bytes", archived_bytes),
        ("deliveries", deliveries),
        ("secrets", secrets),
        ("jobs", jobs),
    ]
}

impl Registry {
    /// Reads a tenant's usage of the last 100 days, and its budgets.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn usage(&self, tenant: &TenantId, consistent: bool) -> Result<UsageRows, StoreError> {
        let query = self.client.query().table_name(&self.table).consistent_read(consistent);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", text(pk(tenant)));
        let mut pages = query.into_paginator().items().send();
        let mut rows = UsageRows::default();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            let sk = item.get("sk").and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
            if sk == BUDGETS {
                rows.overrides = from_item::<BudgetsItem>(item)?.overrides;
            } else if let Some(Ok(day)) = sk.strip_prefix(DAY).map(str::parse) {
                rows.days.push((day, of(&item)));
            }
        }
        Ok(rows)
    }

    /// Returns how many webhooks a tenant has, without deleted ones.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn webhook_count(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        Ok(self.meta(tenant).await?.webhooks)
    }

    /// Returns the key with which fan-out names the states in the tenant's events, if the tenant has one.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn state_key(&self, tenant: &TenantId) -> Result<Option<StateKey>, StoreError> {
        let meta = (self.table.clone(), key(&tenant_pk(tenant), "META"));
        let found = batch::get(&self.client, vec![meta]).await?.into_values().flatten().next();
        Ok(found.map(from_item::<MetaItem>).transpose()?.and_then(|meta| meta.state_key))
    }

    /// Writes the budgets that the operator sets for a tenant. Returns those before.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn put_budgets(
        &self,
        tenant: &TenantId,
        overrides: &Overrides,
        by: &str,
        now: Timestamp,
    ) -> Result<Overrides, StoreError> {
        let item = BudgetsItem {
            pk: pk(tenant),
            sk: BUDGETS.to_owned(),
            v: 1,
            overrides: *overrides,
            updated_at: now,
            updated_by: by.to_owned(),
        };
        // The write could return them too. But if its answer is lost, the SDK repeats it, and gets the new ones.
        let before = self.get(&item.pk, &item.sk).await?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(to_item(&item)?));
        put.send().await.map_err(|error| StoreError::unavailable(&error))?;
        // The write succeeded, whatever it has replaced.
        Ok(before.and_then(|item| from_item::<BudgetsItem>(item).ok()).map(|item| item.overrides).unwrap_or_default())
    }

    /// Adds to a tenant's counters of a day, and returns their new values. With `room`, it only does so if each counter
    /// is at most that before.
    ///
    /// If the answer of a call is lost and the caller counts again, the use is counted twice; it is never counted too
    /// little.
    ///
    /// # Errors
    ///
    /// If the table does not answer in time. The count may have been written nevertheless.
    pub async fn add_usage(
        &self,
        tenant: &TenantId,
        day: Date,
        more: Counts,
        room: Option<Counts>,
        now: Timestamp,
    ) -> Result<Counted, StoreError> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(&pk(tenant), &format!("{DAY}{day}"))))
            .expression_attribute_values(":expires_at", number((now + KEPT).as_second()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let (mut adds, mut conditions) = (Vec::new(), Vec::new());
        let rooms = room.map(counters);
        for (place, (name, added)) in counters(more).into_iter().enumerate().filter(|(_, (_, added))| *added > 0) {
            adds.push(format!("{name} :{name}"));
            update = update.expression_attribute_values(format!(":{name}"), number(added));
            let room = rooms.and_then(|rooms| rooms.get(place).copied()).filter(|(_, room)| *room < u64::MAX);
            // Archived bytes and deliveries are counted by fan-out only, which cannot refuse them.
            if let Some((_, room)) = room.filter(|_| name != "archived_bytes" && name != "deliveries") {
                conditions.push(format!("(attribute_not_exists({name}) OR {name} <= :room_{name})"));
                update = update.expression_attribute_values(format!(":room_{name}"), number(room));
            }
        }
        let update = update.update_expression(format!("SET expires_at = :expires_at ADD {}", adds.join(", ")));
        let condition = (!conditions.is_empty()).then(|| conditions.join(" AND "));
        match update.set_condition_expression(condition).customize().config_override(brief()).send().await {
            Ok(answer) => Ok(Counted::Yes(answer.attributes.as_ref().map(of).unwrap_or_default())),
            Err(error) => full(&error).ok_or_else(|| StoreError::unavailable(&error)),
        }
    }
}

/// Returns [`Counted::NoRoom`] if the write failed because a counter has no room.
fn full<R>(error: &SdkError<UpdateItemError, R>) -> Option<Counted> {
    let UpdateItemError::ConditionalCheckFailedException(failed) = error.as_service_error()? else { return None };
    Some(Counted::NoRoom(failed.item().map(of)))
}
