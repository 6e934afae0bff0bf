//! Batched reads and writes, repeated until no key is left unprocessed.
//!
//! DynamoDB refuses a call that contains a key twice. This module removes duplicate keys, so no caller can cause that.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{DeleteRequest, KeysAndAttributes, PutRequest, WriteRequest};
use futures::future::try_join_all;

use crate::StoreError;
use crate::items::{Item, identity};

/// The most times that a batch is sent until DynamoDB has processed all of it.
const ROUNDS: u32 = 5;

/// The most keys that one `BatchGetItem` takes.
const MAX_KEYS: usize = 100;

/// The most items that one `BatchWriteItem` takes.
pub(crate) const MAX_WRITES: usize = 25;

/// Reads items of several tables, consistently, in as few calls as possible, all in parallel.
///
/// Returns the items by table, each once even if its key is given several times. A key without an item is absent from
/// the result.
pub(crate) async fn get(
    client: &Client,
    wanted: Vec<(String, Item)>,
) -> Result<HashMap<String, Vec<Item>>, StoreError> {
    get_some_of(client, wanted, None).await
}

/// Reads like [`get`], but only the attributes of each item that `projection` lists, separated by commas.
pub(crate) async fn get_some_of(
    client: &Client,
    wanted: Vec<(String, Item)>,
    projection: Option<&str>,
) -> Result<HashMap<String, Vec<Item>>, StoreError> {
    let wanted = each_key_once(wanted)?;
    let mut found: HashMap<String, Vec<Item>> = HashMap::new();
    let mut wanted = wanted.into_iter().peekable();
    let mut calls = Vec::new();
    while wanted.peek().is_some() {
        calls.push(get_few(client, wanted.by_ref().take(MAX_KEYS).collect(), projection));
    }
    for (table, items) in try_join_all(calls).await?.into_iter().flatten() {
        found.entry(table).or_default().extend(items);
    }
    Ok(found)
}

/// Reads the items of one call. A table may appear several times in the result.
async fn get_few(
    client: &Client,
    wanted: Vec<(String, Item)>,
    projection: Option<&str>,
) -> Result<Vec<(String, Vec<Item>)>, StoreError> {
    let mut keys: HashMap<String, Vec<Item>> = HashMap::new();
    for (table, key) in wanted {
        keys.entry(table).or_default().push(key);
    }
    let mut request: HashMap<_, _> = keys
        .into_iter()
        .map(|(table, keys)| {
            let attributes = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true);
            Ok((table, attributes.set_projection_expression(projection.map(str::to_owned)).build()?))
        })
        .collect::<Result<_, aws_sdk_dynamodb::error::BuildError>>()
        .map_err(|error| StoreError::inconsistent("a batch of keys", error))?;
    let mut found = Vec::new();
    let mut round = 0;
    while !request.is_empty() {
        pause(round).await?;
        round += 1;
        let answer = client
            .batch_get_item()
            .set_request_items(Some(request))
            .send()
            .await
            .map_err(|error| StoreError::unavailable(&error))?;
        found.extend(answer.responses.unwrap_or_default());
        request = answer.unprocessed_keys.unwrap_or_default();
    }
    Ok(found)
}

/// Puts items unconditionally. Of several items with the same key, the last one wins, as if they were put one by one.
pub(crate) async fn put(client: &Client, table: &str, items: Vec<Item>) -> Result<(), StoreError> {
    let write = |item: Item| {
        let put = PutRequest::builder().set_item(Some(item)).build()?;
        Ok(WriteRequest::builder().put_request(put).build())
    };
    write_all(client, table, last_of_each_key(items)?.into_iter().map(write).collect()).await
}

/// Deletes the items with these keys.
pub(crate) async fn delete(client: &Client, table: &str, keys: Vec<Item>) -> Result<(), StoreError> {
    let write = |key: Item| {
        let delete = DeleteRequest::builder().set_key(Some(key)).build()?;
        Ok(WriteRequest::builder().delete_request(delete).build())
    };
    write_all(client, table, last_of_each_key(keys)?.into_iter().map(write).collect()).await
}

async fn write_all(
    client: &Client,
    table: &str,
    writes: Result<Vec<WriteRequest>, aws_sdk_dynamodb::error::BuildError>,
) -> Result<(), StoreError> {
    let writes = writes.map_err(|error| StoreError::inconsistent("a batch of items", error))?;
    let mut writes = writes.into_iter().peekable();
    while writes.peek().is_some() {
        let mut request = HashMap::from([(table.to_owned(), writes.by_ref().take(MAX_WRITES).collect())]);
        let mut round = 0;
        while !request.is_empty() {
            pause(round).await?;
            round += 1;
            let answer = client
                .batch_write_item()
                .set_request_items(Some(request))
                .send()
                .await
                .map_err(|error| StoreError::unavailable(&error))?;
            request = answer.unprocessed_items.unwrap_or_default();
        }
    }
    Ok(())
}

/// Removes duplicate keys.
fn each_key_once(wanted: Vec<(String, Item)>) -> Result<Vec<(String, Item)>, StoreError> {
    let keys = wanted.into_iter().map(|(table, key)| Ok(((table.clone(), identity(&key)?), (table, key))));
    Ok(keys.collect::<Result<BTreeMap<_, _>, StoreError>>()?.into_values().collect())
}

/// Keeps the last item of each key. The result is sorted by key, so the same items make the same calls.
fn last_of_each_key(items: Vec<Item>) -> Result<Vec<Item>, StoreError> {
    let items = items.into_iter().map(|item| Ok((identity(&item)?, item)));
    Ok(items.collect::<Result<BTreeMap<_, _>, StoreError>>()?.into_values().collect())
}

/// Waits before a retry: 50 ms, 100 ms, 200 ms …; fails after the last round.
pub(crate) async fn pause(round: u32) -> Result<(), StoreError> {
    match round {
        0 => {}
        1..ROUNDS => tokio::time::sleep(Duration::from_millis(25 << round)).await,
        _ => return Err(StoreError::Unavailable(format!("DynamoDB still throttles a batch after {ROUNDS} tries"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::items::{key, number};

    fn item(pk: u8, sk: u8, value: usize) -> Item {
        let mut item = key(&pk.to_string(), &sk.to_string());
        item.insert("value".to_owned(), number(i128::try_from(value).unwrap()));
        item
    }

    proptest! {
        #[test]
        fn no_call_has_a_key_twice(keys in proptest::collection::vec((0_u8..3, 0_u8..3, 0_u8..3), 0..30)) {
            let items: Vec<Item> = keys.iter().enumerate().map(|(value, (pk, sk, _))| item(*pk, *sk, value)).collect();
            let mut one_by_one = BTreeMap::new();
            for item in items.clone() {
                one_by_one.insert(identity(&item).unwrap(), item);
            }
            prop_assert_eq!(last_of_each_key(items).unwrap(), one_by_one.into_values().collect::<Vec<_>>());

            let wanted = keys.iter().map(|(pk, sk, table)| (table.to_string(), key(&pk.to_string(), &sk.to_string())));
            let wanted: Vec<_> = wanted.collect();
            let read = each_key_once(wanted.clone()).unwrap();
            prop_assert!(wanted.iter().all(|one| read.contains(one)), "nothing is left out");
            let distinct = read.iter().enumerate().all(|(index, one)| !read[..index].contains(one));
            prop_assert!(distinct, "nothing is read twice");
        }
    }

    #[test]
    fn an_item_without_a_key_is_an_error_of_ours() {
        assert!(matches!(last_of_each_key(vec![Item::new()]), Err(StoreError::Inconsistent { .. })));
    }
}
