//! The catalog of event types: one item for each type, with its description and when fan-out first saw it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use domain::access::tenant::TenantId;
use domain::event::catalog::{CatalogEntry, Description, MAX_TYPES};
use domain::event::types::EventType;
use futures::future::try_join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Registry, built, tenant_pk};
use crate::error::is_conflict;
use crate::items::{Item, from_item, key, number, text};
use crate::{LimitReached, Limited, StoreError, batch};

/// How often a write is tried while other writers come first.
const ROUNDS: u32 = 4;

const PREFIX: &str = "TYPE#";

/// The sort key of the item that counts the types that a tenant has described. It does not start with [`PREFIX`], and
/// it is not the tenant's meta item, because every write of a webhook changes that.
const COUNT_SK: &str = "TYPES";

/// Absent fields have a meaning. Without `updated_at` the type has no description; without `first_seen_at` it was never
/// seen.
#[derive(Debug, Serialize, Deserialize)]
struct EventTypeItem {
    event_type: EventType,
    description: Option<String>,
    // Not `schema`: that is a reserved word of DynamoDB's expressions.
    type_schema: Option<String>,
    example: Option<String>,
    #[serde(default)]
    deprecated: bool,
    updated_at: Option<Timestamp>,
    updated_by: Option<String>,
    first_seen_at: Option<Timestamp>,
}

impl From<EventTypeItem> for CatalogEntry {
    fn from(item: EventTypeItem) -> Self {
        let EventTypeItem { event_type, description, type_schema: schema, example, deprecated, .. } = item;
        let EventTypeItem { updated_at, updated_by, first_seen_at, .. } = item;
        let described = updated_at.map(|updated_at| Description {
            description,
            schema,
            example,
            deprecated,
            updated_at,
            updated_by: updated_by.unwrap_or_default(),
        });
        Self { event_type, described, first_seen_at }
    }
}

/// A page of the catalog.
#[derive(Debug)]
pub struct CatalogPage {
    /// Sorted by name.
    pub entries: Vec<CatalogEntry>,
    /// Whether more follow the last one.
    pub more: bool,
}

fn type_sk(event_type: &EventType) -> String {
    format!("{PREFIX}{event_type}")
}

fn time(at: Timestamp) -> AttributeValue {
    text(at.to_string())
}

fn entry(item: Item) -> Result<CatalogEntry, StoreError> {
    Ok(from_item::<EventTypeItem>(item)?.into())
}

impl Registry {
    /// Writes the description of an event type, unless the tenant has described [`MAX_TYPES`] others. Returns the
    /// previous entry.
    ///
    /// # Errors
    ///
    /// [`StoreError::Limit`] if the tenant has described too many types.
    pub async fn describe_event_type(
        &self,
        tenant: &TenantId,
        event_type: &EventType,
        said: &Description,
    ) -> Result<Option<CatalogEntry>, StoreError> {
        let (expression, values) = describing(event_type, said);
        let item_key = key(&tenant_pk(tenant), &type_sk(event_type));
        for _ in 0..ROUNDS {
            // Most writes replace a description and need no counting.
            let replace = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(item_key.clone()))
                .update_expression(&expression)
                .set_expression_attribute_values(Some(values.clone()))
                .condition_expression("attribute_exists(updated_at)")
                .return_values(ReturnValue::AllOld)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let seen = match replace.send().await {
                Ok(replaced) => return replaced.attributes.map(entry).transpose(),
                Err(error) => condition_failure(&error)?,
            };
            let describe = Update::builder()
                .table_name(&self.table)
                .set_key(Some(item_key.clone()))
                .update_expression(&expression)
                .set_expression_attribute_values(Some(values.clone()))
                .condition_expression("attribute_not_exists(updated_at)");
            let count = self
                .count_types(tenant, 1)
                .condition_expression("attribute_not_exists(event_types) OR event_types < :limit")
                .expression_attribute_values(":limit", number(MAX_TYPES));
            let request = self
                .client
                .transact_write_items()
                .transact_items(TransactWriteItem::builder().update(built(describe.build())?).build())
                .transact_items(TransactWriteItem::builder().update(built(count.build())?).build());
            match request.send().await.map_err(|error| cancellation(&error)) {
                Ok(_) => return seen.map(entry).transpose(),
                Err(Ok([false, true])) => {
                    return Err(StoreError::Limit(LimitReached { limit: MAX_TYPES, what: Limited::EventTypes }));
                }
                // Another request described the type or changed the count: try again.
                Err(Ok(_)) => {}
                Err(Err(error)) => return Err(error),
            }
        }
        Err(StoreError::Unavailable(format!("too many processes write the event type {event_type} at once")))
    }

    /// Deletes the entry of an event type; returns whether there was one. Fan-out adds the type again when it sees it
    /// again.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn forget_event_type(&self, tenant: &TenantId, event_type: &EventType) -> Result<bool, StoreError> {
        let item_key = key(&tenant_pk(tenant), &type_sk(event_type));
        for _ in 0..ROUNDS {
            let delete = Delete::builder().table_name(&self.table).set_key(Some(item_key.clone()));
            let delete = delete.condition_expression("attribute_exists(updated_at)").build();
            let count = self.count_types(tenant, -1).build();
            let request = self
                .client
                .transact_write_items()
                .transact_items(TransactWriteItem::builder().delete(built(delete)?).build())
                .transact_items(TransactWriteItem::builder().update(built(count)?).build());
            match request.send().await.map_err(|error| cancellation(&error)) {
                Ok(_) => return Ok(true),
                Err(Ok([true, _])) => {}
                Err(Ok([false, _])) => continue,
                Err(Err(error)) => return Err(error),
            }
            // It has no description, so it does not count.
            let delete = self.client.delete_item().table_name(&self.table).set_key(Some(item_key.clone()));
            let delete = delete.condition_expression("attribute_not_exists(updated_at)");
            match delete.return_values(ReturnValue::AllOld).send().await {
                Ok(deleted) => return Ok(deleted.attributes.is_some()),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(StoreError::unavailable(&error)),
            }
        }
        Err(StoreError::Unavailable(format!("too many processes write the event type {event_type} at once")))
    }

    fn count_types(&self, tenant: &TenantId, by: i8) -> aws_sdk_dynamodb::types::builders::UpdateBuilder {
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(&tenant_pk(tenant), COUNT_SK)))
            .update_expression("ADD event_types :by")
            .expression_attribute_values(":by", number(by))
    }

    /// Returns the entry of an event type, if there is one.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn event_type(
        &self,
        tenant: &TenantId,
        event_type: &EventType,
    ) -> Result<Option<CatalogEntry>, StoreError> {
        self.get(&tenant_pk(tenant), &type_sk(event_type)).await?.map(entry).transpose()
    }

    /// Returns the schemas of those of the types that have one, with one batched read.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn schemas(
        &self,
        tenant: &TenantId,
        event_types: HashSet<&EventType>,
    ) -> Result<HashMap<EventType, String>, StoreError> {
        let pk = tenant_pk(tenant);
        let keys = event_types.into_iter().map(|event_type| (self.table.clone(), key(&pk, &type_sk(event_type))));
        let found = batch::get(&self.client, keys.collect()).await?;
        let entries = found.into_values().flatten().map(entry).collect::<Result<Vec<_>, _>>()?;
        let schema = |entry: CatalogEntry| Some((entry.event_type, entry.described?.schema?));
        Ok(entries.into_iter().filter_map(schema).collect())
    }

    /// Lists the tenant's catalog by name, starting after the type `after`.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn event_types(
        &self,
        tenant: &TenantId,
        after: Option<&EventType>,
        limit: usize,
    ) -> Result<CatalogPage, StoreError> {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query.expression_attribute_values(":pk", text(tenant_pk(tenant)));
        let query = match after {
            // This sorts between a type and the types that start with it.
            Some(after) => query
                .key_condition_expression("pk = :pk AND sk BETWEEN :after AND :end")
                .expression_attribute_values(":after", text(format!("{}\u{1}", type_sk(after))))
                .expression_attribute_values(":end", text("TYPE$")),
            None => query
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", text(PREFIX)),
        };
        let mut pages = query.into_paginator().items().send();
        let mut page = CatalogPage { entries: Vec::new(), more: false };
        while let Some(item) = pages.next().await {
            if page.entries.len() == limit {
                page.more = true;
                break;
            }
            page.entries.push(entry(item.map_err(|error| StoreError::unavailable(&error))?)?);
        }
        Ok(page)
    }

    /// Records that events of these types were seen. Descriptions and earlier first times stay unchanged.
    ///
    /// # Errors
    ///
    /// If the table is unavailable. Some types may have been recorded; recording them again changes nothing.
    pub async fn record_types(&self, seen: &[(TenantId, EventType)], now: Timestamp) -> Result<(), StoreError> {
        let notes = seen.iter().map(|(tenant, event_type)| async move {
            let update = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key(&tenant_pk(tenant), &type_sk(event_type))))
                .update_expression(
                    "SET first_seen_at = if_not_exists(first_seen_at, :now), event_type = :type, v = if_not_exists(v, :v)",
                )
                .expression_attribute_values(":now", time(now))
                .expression_attribute_values(":type", text(event_type.as_str()))
                .expression_attribute_values(":v", number(1));
            update.send().await.map_err(|error| StoreError::unavailable(&error))
        });
        try_join_all(notes).await?;
        Ok(())
    }
}

/// Returns the update that writes a type's description. It leaves `first_seen_at` unchanged.
fn describing(event_type: &EventType, said: &Description) -> (String, HashMap<String, AttributeValue>) {
    let Description { description, schema, example, deprecated, updated_at, updated_by } = said;
    let mut set = "SET v = :v, event_type = :event_type, deprecated = :deprecated, updated_at = :updated_at, \
                   updated_by = :updated_by"
        .to_owned();
    let mut remove = Vec::new();
    let mut values = HashMap::from([
        (":v".to_owned(), number(1)),
        (":event_type".to_owned(), text(event_type.as_str())),
        (":deprecated".to_owned(), AttributeValue::Bool(*deprecated)),
        (":updated_at".to_owned(), time(*updated_at)),
        (":updated_by".to_owned(), text(updated_by)),
    ]);
    for (name, value) in [("description", description), ("type_schema", schema), ("example", example)] {
        match value {
            Some(value) => {
                let _ = write!(set, ", {name} = :{name}");
                values.insert(format!(":{name}"), text(value));
            }
            None => remove.push(name),
        }
    }
    if !remove.is_empty() {
        let _ = write!(set, " REMOVE {}", remove.join(", "));
    }
    (set, values)
}

/// Returns the item that failed the condition of an update, if there is one.
fn condition_failure<R: std::fmt::Debug>(error: &SdkError<UpdateItemError, R>) -> Result<Option<Item>, StoreError> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failed)) => Ok(failed.item.clone()),
        _ => Err(StoreError::unavailable(error)),
    }
}

/// Returns which conditions of a transaction of two writes failed, if the transaction was cancelled.
fn cancellation<R: std::fmt::Debug>(error: &SdkError<TransactWriteItemsError, R>) -> Result<[bool; 2], StoreError> {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            let reasons = cancelled.cancellation_reasons();
            let failed =
                |index: usize| reasons.get(index).and_then(|reason| reason.code()) == Some("ConditionalCheckFailed");
            Ok([failed(0), failed(1)])
        }
        _ => Err(StoreError::unavailable(error)),
    }
}
