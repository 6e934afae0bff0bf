//! Helpers for DynamoDB items of all tables.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

/// The attribute with the time, in seconds since 1970, from which an item counts as deleted; the same in all tables.
const EXPIRES_AT: &str = "expires_at";

/// An item in the representation of the SDK.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Serializes an item type.
pub(crate) fn to_item<T: Serialize>(value: &T) -> Result<Item, StoreError> {
    serde_dynamo::to_item(value).map_err(|error| StoreError::inconsistent("an item to write", error))
}

/// Deserializes an item; an error names the item's key.
pub(crate) fn from_item<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    let key = ["pk", "sk"].map(|name| match item.get(name) {
        Some(AttributeValue::S(text)) => text.clone(),
        _ => String::from("?"),
    });
    serde_dynamo::from_item(item).map_err(|error| StoreError::inconsistent(key.join(" / "), error))
}

/// Returns whether an item has not expired at `now`. DynamoDB deletes expired items hours to days after their
/// `expires_at`, so every read of items that can expire must check. An item without that attribute never expires.
pub(crate) fn is_live(item: &Item, now: Timestamp) -> bool {
    let expires_at = item.get(EXPIRES_AT).and_then(|value| value.as_n().ok()?.parse::<i64>().ok());
    expires_at.is_none_or(|expires_at| expires_at > now.as_second())
}

/// The condition, for a filter or a write, that an item has not expired. Its value `:live_at` is [`live_at`].
pub(crate) const IS_LIVE: &str = "(attribute_not_exists(expires_at) OR expires_at > :live_at)";

/// The condition of a write that no live item has the same key. Its value `:live_at` is [`live_at`].
pub(crate) const IS_NEW: &str = "attribute_not_exists(pk) OR expires_at <= :live_at";

/// Returns the value of `:live_at`, in seconds since 1970, the unit of `expires_at`.
pub(crate) fn live_at(now: Timestamp) -> AttributeValue {
    number(now.as_second())
}

/// Stores a part of an item as JSON text. Callers may send JSON that DynamoDB rejects: numbers of more than 38 digits
/// or with large exponents, and empty names.
pub(crate) mod json_text {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(value).map_err(S::Error::custom)?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Returns the primary key of an item.
pub(crate) fn key(pk: &str, sk: &str) -> Item {
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// Returns the primary key of an item as text.
pub(crate) fn identity(item: &Item) -> Result<(String, String), StoreError> {
    let part = |name: &str| match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text.clone()),
        _ => Err(StoreError::inconsistent("an item of a batch", format!("it has no {name}"))),
    };
    Ok((part("pk")?, part("sk")?))
}

/// Returns a string attribute.
pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// Returns a number attribute.
pub(crate) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns the size of an item as [DynamoDB counts it][1]: up to 1 KB is one write unit.
    ///
    /// [1]: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    pub(crate) fn size(item: &Item) -> usize {
        item.iter().map(|(name, value)| name.len() + size_of_value(value)).sum()
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a type that no item of ours has fails the test")]
    fn size_of_value(value: &AttributeValue) -> usize {
        match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::B(bytes) => bytes.as_ref().len(),
            AttributeValue::N(digits) => digits.trim_matches(['-', '0']).len().div_ceil(2) + 1,
            AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + size_of_value(value)).sum::<usize>(),
            AttributeValue::M(map) => 3 + map.len() + size(map),
            AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
            other => panic!("no item of ours has {other:?}"),
        }
    }

    #[test]
    fn an_item_is_live_until_the_second_in_which_it_expires() {
        let now = Timestamp::from_second(1_000).unwrap();
        let expiring = |at: i64| HashMap::from([("expires_at".to_owned(), number(at))]);
        assert!(is_live(&Item::new(), now), "what has no end is live");
        assert!(is_live(&expiring(1_001), now));
        assert!(!is_live(&expiring(1_000), now));
        assert!(!is_live(&expiring(999), now));
    }

    #[test]
    fn an_item_has_the_size_of_its_names_and_values() {
        let list = AttributeValue::L(vec![number(0), number(1200), text("é")]);
        let item = HashMap::from([("pk".to_owned(), text("abc")), ("numbers".to_owned(), list)]);
        assert_eq!(size(&item), (2 + 3) + (7 + 3 + (1 + 1) + (1 + 2) + (1 + 2)));
    }
}
