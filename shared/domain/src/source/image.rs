//! Parses an image: an item in DynamoDB's JSON, which becomes ours in one pass.
//!
//! A value is a map with one entry, whose name is the value's type: `{"S": "text"}`. Numbers keep their digits, binary
//! stays base64, and a set becomes a sorted list.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::value::{Map, Value};

/// An image that was read, except for invalid numbers.
#[derive(Debug, Default)]
pub struct Image {
    map: Map,
    /// The first attribute that contains one.
    not_a_number: Option<String>,
}

impl Image {
    /// Returns the image, or the attribute that contains an invalid number. An item always contains its key, so an
    /// empty image counts as missing.
    ///
    /// # Errors
    ///
    /// The first attribute that contains an invalid number.
    pub fn read(self) -> Result<Option<Map>, String> {
        match self.not_a_number {
            Some(attribute) => Err(attribute),
            None => Ok(Some(self.map).filter(|map| !map.is_empty())),
        }
    }
}

impl From<Map> for Image {
    fn from(map: Map) -> Self {
        Self { map, not_a_number: None }
    }
}

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Attributes;
        impl<'de> Visitor<'de> for Attributes {
            type Value = Image;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an image")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut attributes: A) -> Result<Image, A::Error> {
                let mut image = Image::default();
                while let Some(name) = attributes.next_key::<String>()? {
                    let fault = Fault::default();
                    let value = attributes.next_value_seed(Typed(&fault))?;
                    if fault.0.take() {
                        image.not_a_number.get_or_insert_with(|| name.clone());
                    }
                    image.map.insert(name, value);
                }
                Ok(image)
            }
        }
        deserializer.deserialize_map(Attributes)
    }
}

/// Why a text is not an item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// It is not an object with attributes.
    #[error("must be an object with the attributes of an item")]
    NotObject,
    /// It is in DynamoDB's JSON, and an attribute contains an invalid number.
    #[error("attribute {0:?} contains an invalid number")]
    Number(String),
}

/// Reads an item that someone wrote down: in DynamoDB's JSON, in which each value has its type (`{"S": "text"}`), or in
/// plain JSON.
///
/// # Errors
///
/// If it is neither, or has no attributes.
pub fn item(text: &str) -> Result<Map, ItemError> {
    if let Ok(image) = serde_json::from_str::<Image>(text) {
        return image.read().map_err(ItemError::Number)?.ok_or(ItemError::NotObject);
    }
    match text.parse() {
        Ok(Value::Map(map)) => Ok(map),
        Ok(_) | Err(_) => Err(ItemError::NotObject),
    }
}

/// Whether a number is invalid. Reading continues, because the parser's own errors cannot name the attribute.
#[derive(Default)]
struct Fault(Cell<bool>);

impl Fault {
    fn number(&self, digits: &str) -> Value {
        digits.parse().map_or_else(
            |_| {
                self.0.set(true);
                Value::Null
            },
            Value::Number,
        )
    }
}

/// A value with its type.
#[derive(Clone, Copy)]
struct Typed<'f>(&'f Fault);

impl<'de> DeserializeSeed<'de> for Typed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
enum Type {
    S,
    N,
    #[serde(rename = "BOOL")]
    Bool,
    #[serde(rename = "NULL")]
    Null,
    M,
    L,
    B,
    #[serde(rename = "SS")]
    Texts,
    #[serde(rename = "NS")]
    Numbers,
    #[serde(rename = "BS")]
    Blobs,
}

impl<'de> Visitor<'de> for Typed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entry: A) -> Result<Value, A::Error> {
        let kind = entry.next_key()?.ok_or_else(|| A::Error::custom("a value has no type"))?;
        let value = match kind {
            Type::S | Type::B => Value::String(entry.next_value()?),
            Type::N => self.0.number(&entry.next_value::<Cow<'_, str>>()?),
            Type::Bool => Value::Bool(entry.next_value()?),
            Type::Null => {
                entry.next_value::<IgnoredAny>()?;
                Value::Null
            }
            Type::M => Value::Map(entry.next_value_seed(Members(self.0))?),
            Type::L => Value::List(entry.next_value_seed(Elements(self.0))?),
            // DynamoDB returns the members of a set in any order. The same set must give the same bytes.
            Type::Texts | Type::Blobs => {
                let mut texts: Vec<String> = entry.next_value()?;
                texts.sort_unstable();
                Value::List(texts.into_iter().map(Value::String).collect())
            }
            Type::Numbers => {
                let mut numbers: Vec<String> = entry.next_value()?;
                numbers.sort_unstable();
                Value::List(numbers.iter().map(|digits| self.0.number(digits)).collect())
            }
        };
        match entry.next_key::<IgnoredAny>()? {
            None => Ok(value),
            Some(_) => Err(A::Error::custom("a value has two types")),
        }
    }
}

/// The entries of a map.
struct Members<'f>(&'f Fault);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Map;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Map, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Map;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Map, A::Error> {
        let mut map = Map::new();
        while let Some(name) = entries.next_key()? {
            map.insert(name, entries.next_value_seed(Typed(self.0))?);
        }
        Ok(map)
    }
}

/// The members of a list.
struct Elements<'f>(&'f Fault);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Value>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<Value>, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = elements.next_element_seed(Typed(self.0))? {
            list.push(value);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::typed(r#"{"id": {"S": "o1"}, "total": {"N": "1.50"}}"#, Ok(r#"{"id":"o1","total":1.50}"#))]
    #[case::plain(r#"{"id": "o1", "total": 1.50}"#, Ok(r#"{"id":"o1","total":1.50}"#))]
    #[case::plain_with_a_map(r#"{"id": "o1", "size": {"S": "small"}}"#, Ok(r#"{"id":"o1","size":{"S":"small"}}"#))]
    #[case::invalid_number(r#"{"n": {"N": "many"}}"#, Err("attribute \"n\" contains an invalid number"))]
    #[case::empty("{}", Err("must be an object with the attributes of an item"))]
    #[case::list("[]", Err("must be an object with the attributes of an item"))]
    fn an_item_is_read_in_both_forms(#[case] text: &str, #[case] expected: Result<&str, &str>) {
        let read = item(text).map(|map| serde_json::to_string(&map).unwrap()).map_err(|error| error.to_string());
        assert_eq!(read.as_deref().map_err(String::as_str), expected);
    }
}
