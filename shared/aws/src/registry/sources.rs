//! Sources: tables whose changes become events.

use domain::source::Source;

use super::{Registry, SOURCES, SourceItem, source_sk};
use crate::StoreError;
use crate::error::is_conflict;
use crate::items::{Item, from_item, key, text, to_item};

impl Registry {
    /// Registers a table.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if it is registered already.
    pub async fn create_source(&self, source: &Source) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(source_item(source)?));
        put.condition_expression("attribute_not_exists(pk)").send().await.map_err(|error| {
            if is_conflict(&error) {
                StoreError::Conflict { key: source.table.clone() }
            } else {
                StoreError::unavailable(&error)
            }
        })?;
        Ok(())
    }

    /// Returns a registered table.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn source(&self, table: &str) -> Result<Option<Source>, StoreError> {
        let item = self.get(SOURCES, &source_sk(table)).await?;
        Ok(item.map(from_item::<SourceItem>).transpose()?.map(|item| item.source))
    }

    /// Replaces the mapping of a registered table. Returns the one before as JSON, or `None` if the table is not
    /// registered.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn replace_source(&self, source: &Source) -> Result<Option<String>, StoreError> {
        // The write could return it too. But if its answer is lost, the SDK repeats it, and gets the new mapping.
        let Some(before) = self.get(SOURCES, &source_sk(&source.table)).await? else { return Ok(None) };
        let put = self.client.put_item().table_name(&self.table).set_item(Some(source_item(source)?));
        match put.condition_expression("attribute_exists(pk)").send().await {
            Ok(_) => Ok(Some(mapping(before))),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(StoreError::unavailable(&error)),
        }
    }

    /// Lists all registered tables, by name.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn sources(&self) -> Result<Vec<Source>, StoreError> {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", text(SOURCES));
        let mut pages = query.into_paginator().items().send();
        let mut sources = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| StoreError::unavailable(&error))?;
            sources.push(from_item::<SourceItem>(item)?.source);
        }
        Ok(sources)
    }

    /// Removes a table. Returns its mapping as JSON, or `None` if it was not registered.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn remove_source(&self, table: &str) -> Result<Option<String>, StoreError> {
        let sk = source_sk(table);
        let Some(before) = self.get(SOURCES, &sk).await? else { return Ok(None) };
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key(SOURCES, &sk)));
        delete.send().await.map_err(|error| StoreError::unavailable(&error))?;
        Ok(Some(mapping(before)))
    }
}

/// Returns the mapping of an item that is gone, or why it cannot be read: the write that took its place succeeded.
fn mapping(item: Item) -> String {
    let source = from_item::<SourceItem>(item).map_err(|error| error.to_string());
    let json = source.and_then(|item| serde_json::to_string(&item.source).map_err(|error| error.to_string()));
    json.unwrap_or_else(|why| why)
}

fn source_item(source: &Source) -> Result<Item, StoreError> {
    let sk = source_sk(&source.table);
    to_item(&SourceItem { pk: SOURCES.to_owned(), sk, v: 2, source: source.clone() })
}
