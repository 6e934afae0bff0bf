//! A table of secrets, encrypted with a key of KMS: one row for each path, with all texts of the secret.
//!
//! What Secrets Manager does with labels, conditions on the row do here. `current_id` and `previous_id` name texts by
//! their ids; other texts are staged, or were staged and not promoted. Labels move without the texts being read, so the
//! API needs neither the texts nor `kms:Decrypt`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::time::Clock;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::staged::{RECOVERY_WINDOW_DAYS, Staged, Text};
use crate::error::is_conflict;
use crate::items::{IS_NEW, Item, from_item, is_live, key, live_at, number, text, to_item};
use crate::kms::{Context, Key};
use crate::rounds::{self, ROUNDS};
use crate::{LimitReached, Limited, StoreError};

/// The sort key of each row.
const SK: &str = "SECRET";

/// How long a text that neither label names is kept at least, in seconds. A request that stages a text has ended long
/// before, so no webhook will name it any more.
const STAGED_FOR: i64 = 3600;

/// The most texts of a row. A text takes up to 4 KB, and DynamoDB limits an item to 400 KB.
const MOST_TEXTS: usize = 64;

/// The most texts that one write removes: DynamoDB limits an expression to 4 KB.
const MOST_REMOVED: usize = 50;

/// What of a row is read to write it. The texts are not part of it.
const LABELS: &str = "pk, sk, made_at, current_id, previous_id, stored_at, deleted_at, expires_at";

/// The condition that the secret of a row exists.
const EXISTS: &str = "attribute_exists(pk) AND attribute_not_exists(deleted_at)";

/// The table.
#[derive(Clone)]
pub(crate) struct Table {
    client: Client,
    name: String,
    key: Key,
    clock: Arc<dyn Clock>,
}

/// A row. Renaming a field is a migration.
#[derive(Serialize, Deserialize)]
struct Row {
    pk: String,
    sk: String,
    v: u8,
    made_at: Timestamp,
    /// The id of the text that is the secret now.
    current_id: String,
    /// The id of the text that was it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_id: Option<String>,
    /// The encrypted texts by their ids.
    texts: HashMap<String, ByteBuf>,
    /// When each text was stored or staged, in seconds since 1970.
    stored_at: HashMap<String, i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
}

/// A row without the texts.
#[derive(Deserialize)]
struct Labels {
    made_at: Timestamp,
    current_id: String,
    #[serde(default)]
    previous_id: Option<String>,
    stored_at: HashMap<String, i64>,
    #[serde(default)]
    deleted_at: Option<Timestamp>,
}

impl Labels {
    /// Returns the texts that may be removed when another one is staged at `now`: those that no one will name, oldest
    /// first, as many as a write may remove.
    fn left_over(&self, now: i64) -> Vec<&str> {
        let is_named = |id: &String| *id == self.current_id || Some(id) == self.previous_id.as_ref();
        let left = self.stored_at.iter().filter(|(id, at)| !is_named(id) && now - **at > STAGED_FOR);
        let mut left: Vec<_> = left.map(|(id, at)| (*at, id.as_str())).collect();
        left.sort_unstable();
        left.into_iter().take(MOST_REMOVED).map(|(_, id)| id).collect()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Returns what the ciphertexts of a path, `/<stage>/<kind>/<tenant>/…`, are bound to.
fn context(path: &str) -> Result<Context<'_>, StoreError> {
    let tenant = path.split('/').nth(3).filter(|tenant| !tenant.is_empty());
    let tenant = tenant.ok_or_else(|| StoreError::inconsistent(path, "it is not a path of a secret"))?;
    Ok(Context { tenant, path })
}

fn missing<T>(path: &str) -> Result<T, StoreError> {
    Err(StoreError::Missing { key: path.to_owned() })
}

/// The error of a write to a secret that is being deleted. Callers restore it first.
fn being_deleted(path: &str) -> StoreError {
    StoreError::Unavailable(format!("the secret {path} is being deleted"))
}

impl Table {
    pub(crate) fn new(client: Client, name: String, key: Key, clock: Arc<dyn Clock>) -> Self {
        Self { client, name, key, clock }
    }

    /// Stores the first text at a path. The error is a conflict if there is one, even one that is being deleted.
    pub(super) async fn create(&self, path: &str, new: Text<'_>) -> Result<(), StoreError> {
        let ciphertext = self.key.encrypt(context(path)?, new.text).await?;
        let now = self.clock.now();
        let row = Row {
            pk: path.to_owned(),
            sk: SK.to_owned(),
            v: 1,
            made_at: now,
            current_id: new.id.to_owned(),
            previous_id: None,
            texts: HashMap::from([(new.id.to_owned(), ByteBuf::from(ciphertext))]),
            stored_at: HashMap::from([(new.id.to_owned(), now.as_second())]),
            deleted_at: None,
        };
        let put = self.client.put_item().table_name(&self.name).set_item(Some(to_item(&row)?));
        let put = put.condition_expression(IS_NEW).expression_attribute_values(":live_at", live_at(now));
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_conflict(&error) => match self.labels(path).await? {
                // The answer of this very write was lost, and the SDK repeated it.
                Some(Labels { current_id, stored_at, deleted_at: None, .. })
                    if current_id == new.id && stored_at.len() == 1 =>
                {
                    Ok(())
                }
                _ => Err(StoreError::Conflict { key: path.to_owned() }),
            },
            Err(error) => Err(StoreError::unavailable(&error)),
        }
    }

    /// Deletes a secret. A missing secret is not an error.
    pub(super) async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let now = self.clock.now();
        let until = now + SignedDuration::from_hours(24 * RECOVERY_WINDOW_DAYS);
        let values = [(":now", text(now.to_string())), (":until", number(until.as_second()))];
        self.update(path, "SET deleted_at = :now, expires_at = :until", EXISTS, &[], values).await?;
        Ok(())
    }

    /// Replaces the current text, which becomes the previous one.
    pub(super) async fn replace(&self, path: &str, new: Text<'_>) -> Result<(), StoreError> {
        let ciphertext = self.key.encrypt(context(path)?, new.text).await?;
        let to = "SET texts.#id = :text, stored_at.#id = :now, previous_id = current_id, current_id = :id";
        let condition = format!("{EXISTS} AND current_id <> :id");
        let values = [
            (":text", AttributeValue::B(Blob::new(ciphertext))),
            (":now", number(self.clock.now().as_second())),
            (":id", text(new.id)),
        ];
        if self.update(path, to, &condition, &[("#id", new.id)], values).await? {
            return Ok(());
        }
        match self.labels(path).await? {
            None => missing(path),
            Some(Labels { deleted_at: Some(_), .. }) => Err(being_deleted(path)),
            // The answer of this very write was lost, and the SDK repeated it.
            Some(_) => Ok(()),
        }
    }

    /// Stores a text next to the one that is named now. The error is a limit if too many were staged within an hour.
    pub(super) async fn stage(&self, path: &str, named: Option<&str>, new: Text<'_>) -> Result<Staged, StoreError> {
        let mut ciphertext = None;
        for round in 0..ROUNDS {
            rounds::pause(round, new.id).await;
            let Some(labels) = self.labels(path).await? else { return missing(path) };
            if labels.deleted_at.is_some() {
                return Err(being_deleted(path));
            }
            if let Some(named) = named.filter(|named| labels.stored_at.contains_key(*named))
                && named != labels.current_id
            {
                // An earlier rotation died before it promoted its text. Promote it first, so that it stays.
                self.move_current(path, named, Some(&labels.current_id)).await?;
                continue;
            }
            let now = self.clock.now().as_second();
            let left_over = labels.left_over(now);
            let left_over: Vec<_> = left_over.into_iter().filter(|id| *id != new.id).collect();
            let mut values = vec![(":now", number(now)), (":current", text(&labels.current_id))];
            // If the text is there already, its time is updated, so that it stays.
            let is_there = labels.stored_at.contains_key(new.id);
            if !is_there && labels.stored_at.len() - left_over.len() >= MOST_TEXTS {
                return Err(StoreError::Limit(LimitReached { limit: MOST_TEXTS as u64, what: Limited::Secrets }));
            }
            if !is_there {
                let bytes = match ciphertext.take() {
                    Some(bytes) => bytes,
                    None => self.key.encrypt(context(path)?, new.text).await?,
                };
                values.push((":text", AttributeValue::B(Blob::new(bytes.clone()))));
                ciphertext = Some(bytes);
            }
            let removed: Vec<_> = (0..left_over.len()).map(|at| format!("#old{at}")).collect();
            let parts: Vec<_> = removed.iter().map(|id| format!("texts.{id}, stored_at.{id}")).collect();
            let added = if is_there { "" } else { ", texts.#id = :text" };
            let removal = if parts.is_empty() { String::new() } else { format!(" REMOVE {}", parts.join(", ")) };
            let to = format!("SET stored_at.#id = :now{added}{removal}");
            let mut ids: Vec<(&str, &str)> = removed.iter().map(String::as_str).zip(left_over).collect();
            ids.push(("#id", new.id));
            let exists = if is_there { " AND attribute_exists(texts.#id)" } else { "" };
            let condition = format!("{EXISTS} AND current_id = :current{exists}");
            if self.update(path, &to, &condition, &ids, values).await? {
                let (path, version) = (path.to_owned(), new.id.to_owned());
                return Ok(Staged { path, version, current: Some(labels.current_id) });
            }
        }
        Err(StoreError::Unavailable(format!("conflict on {path}")))
    }

    /// Makes a text the current one if `from` is it now, which becomes the previous one.
    pub(super) async fn move_current(&self, path: &str, to: &str, from: Option<&str>) -> Result<(), StoreError> {
        let condition = format!("{EXISTS} AND current_id = :from AND attribute_exists(texts.#to)");
        let values = [(":from", text(from.unwrap_or_default())), (":to", text(to))];
        let moved = "SET previous_id = current_id, current_id = :to";
        if self.update(path, moved, &condition, &[("#to", to)], values).await? {
            return Ok(());
        }
        match self.labels(path).await? {
            Some(labels) if labels.current_id == to => Ok(()),
            _ => Err(StoreError::Unavailable(format!("another version of {path} was promoted meanwhile"))),
        }
    }

    /// Returns whether a secret that exists or can be restored is being deleted.
    pub(super) async fn is_being_deleted(&self, path: &str) -> Result<Option<bool>, StoreError> {
        Ok(self.labels(path).await?.map(|labels| labels.deleted_at.is_some()))
    }

    /// Takes a secret out of its recovery window. See [`Secrets::restore`](super::Secrets::restore).
    pub(super) async fn restore(&self, path: &str, deleted_at: Option<Timestamp>) -> Result<(), StoreError> {
        let Some(labels) = self.labels(path).await? else { return missing(path) };
        if labels.deleted_at.is_none() {
            // It was restored already, never deleted, or created again.
            return if deleted_at.is_some_and(|at| labels.made_at > at) { missing(path) } else { Ok(()) };
        }
        let values = [(":live_at", live_at(self.clock.now()))];
        let condition = "attribute_exists(deleted_at) AND expires_at > :live_at";
        if self.update(path, "REMOVE deleted_at, expires_at", condition, &[], values).await? {
            return Ok(());
        }
        // Another request restored it, or its window has ended just now.
        match self.labels(path).await? {
            Some(Labels { deleted_at: None, .. }) => Ok(()),
            _ => missing(path),
        }
    }

    /// Decrypts the text with that id, if the path has it. The error is `Missing` if there is no secret at the path, or
    /// it is being deleted.
    pub(super) async fn text(&self, path: &str, id: &str) -> Result<Option<SecretString>, StoreError> {
        let Some(item) = self.get(path, None).await? else { return missing(path) };
        let mut row: Row = from_item(item)?;
        if row.deleted_at.is_some() {
            return missing(path);
        }
        match row.texts.remove(id) {
            Some(ciphertext) => self.key.decrypt(context(path)?, &ciphertext).await.map(Some),
            None => Ok(None),
        }
    }

    /// Reads everything but the texts of a secret that exists or can be restored.
    async fn labels(&self, path: &str) -> Result<Option<Labels>, StoreError> {
        let now = self.clock.now();
        let item = self.get(path, Some(LABELS)).await?.filter(|item| is_live(item, now));
        item.map(from_item).transpose()
    }

    async fn get(&self, path: &str, projection: Option<&str>) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(&self.name).set_key(Some(key(path, SK))).consistent_read(true);
        let get = get.set_projection_expression(projection.map(str::to_owned));
        get.send().await.map(|answer| answer.item).map_err(|error| StoreError::unavailable(&error))
    }

    /// Updates a row. Returns whether the condition held.
    async fn update(
        &self,
        path: &str,
        to: &str,
        condition: &str,
        names: &[(&str, &str)],
        values: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Result<bool, StoreError> {
        let mut update = self.client.update_item().table_name(&self.name).set_key(Some(key(path, SK)));
        update = update.update_expression(to).condition_expression(condition);
        for (name, id) in names {
            update = update.expression_attribute_names(*name, *id);
        }
        for (name, value) in values {
            update = update.expression_attribute_values(name, value);
        }
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(StoreError::unavailable(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_its_ciphertexts_are_bound_to() {
        let bound = context("/dev/webhooks/acme/whk_1/authorization").unwrap();
        assert_eq!((bound.tenant, bound.path), ("acme", "/dev/webhooks/acme/whk_1/authorization"));
        assert_eq!(context("/dev/webhooks/acme/signing-key").unwrap().tenant, "acme");
        assert!(context("/dev/webhooks").is_err());
    }

    #[test]
    fn what_was_staged_and_never_named_is_left_over_after_an_hour() {
        let labels = Labels {
            made_at: Timestamp::UNIX_EPOCH,
            current_id: "current".to_owned(),
            previous_id: Some("previous".to_owned()),
            stored_at: [("current", 0), ("previous", 0), ("old", 0), ("new", 10)]
                .map(|(id, at)| (id.to_owned(), at))
                .into(),
            deleted_at: None,
        };
        assert!(labels.left_over(STAGED_FOR).is_empty());
        assert_eq!(labels.left_over(STAGED_FOR + 1), ["old"]);
    }
}
