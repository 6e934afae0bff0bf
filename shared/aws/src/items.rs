//! What all items of the tables have in common.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

/// The attribute that names the second from which an item counts as deleted, in all tables.
const EXPIRES_AT: &str = "expires_at";

/// An item as the SDK shows it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Turns an item type into an item.
pub(crate) fn to_item<T: Serialize>(value: &T) -> Result<Item, StoreError> {
    serde_dynamo::to_item(value).map_err(|error| StoreError::inconsistent("an item to be written", error))
}

/// Reads an item, naming it in the error should it not be what is expected.
pub(crate) fn from_item<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    let key = ["pk", "sk"].map(|name| match item.get(name) {
        Some(AttributeValue::S(text)) => text.clone(),
        _ => String::from("?"),
    });
    serde_dynamo::from_item(item).map_err(|error| StoreError::inconsistent(key.join(" / "), error))
}

/// Whether an item is still valid at `now`. DynamoDB deletes expired items hours to days after their `expires_at`, so every read
/// of an item that expires has to ask; an item without that attribute never expires.
pub(crate) fn is_live(item: &Item, now: Timestamp) -> bool {
    let expires_at = item.get(EXPIRES_AT).and_then(|value| value.as_n().ok()?.parse::<i64>().ok());
    expires_at.is_none_or(|expires_at| expires_at > now.as_second())
}

/// The condition, for a filter or a write, that an item is still valid; its value is `:live_at`, [`live_at`].
pub(crate) const IS_LIVE: &str = "(attribute_not_exists(expires_at) OR expires_at > :live_at)";

/// The condition of a write that nothing valid has the same key; its value is `:live_at`, [`live_at`].
pub(crate) const IS_NEW: &str = "attribute_not_exists(pk) OR expires_at <= :live_at";

/// The value of `:live_at`, in the unit of `expires_at`: seconds since 1970.
pub(crate) fn live_at(now: Timestamp) -> AttributeValue {
    number(now.as_second())
}

/// A part of an item that is kept as JSON text: what callers may send is wider than what DynamoDB takes, whose numbers end at
/// 38 digits and 125 zeros and whose names are not empty.
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

/// Returns what tells an item from all others of its table.
pub(crate) fn identity(item: &Item) -> Result<(String, String), StoreError> {
    let part = |name: &str| match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text.clone()),
        _ => Err(StoreError::inconsistent("an item of a batch", format!("it has no {name}"))),
    };
    Ok((part("pk")?, part("sk")?))
}

/// A string attribute.
pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
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
