//! A serde deserializer for a value. Its errors have the path of the part that does not fit, and say what it must be.

use std::collections::btree_map;
use std::slice;

use domain::value::Value;
use serde::de::value::{MapAccessDeserializer, MapDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::mismatch::{Mismatch, one_of};

/// The start of the name under which `serde_json` deserializes raw values. The rest is private to it.
const RAW: &str = "$serde_json::private::";

/// A value to deserialize.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) value: &'a Value,
    /// Whether strings are read as numbers, `true` and `false` where these are expected, as in a query.
    pub(super) from_text: bool,
}

impl<'de> Reader<'de> {
    fn at(self, value: &'de Value) -> Self {
        Self { value, ..self }
    }

    /// Reads a number, `true` or `false`.
    fn scalar<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let text = match self.value {
            Value::String(text) if self.from_text => text,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::List(_) | Value::Map(_) => {
                return self.deserialize_any(visitor);
            }
        };
        match text.parse() {
            Ok(Value::Bool(value)) => visitor.visit_bool(value).map_err(Mismatch::without_kind),
            Ok(Value::Number(_)) => visit_number(text, visitor).map_err(Mismatch::without_kind),
            Ok(Value::Null | Value::String(_) | Value::List(_) | Value::Map(_)) | Err(_) => {
                Err(Mismatch::invalid_value(Unexpected::Str(text), &visitor))
            }
        }
    }
}

/// Methods for types whose values are strings in a query.
macro_rules! scalars {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.scalar(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(_) => visit_number(self.value.as_text().unwrap_or_default(), visitor),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::List(list) => visitor.visit_seq(Items { reader: self, list: list.iter(), index: 0 }),
            Value::Map(map) => visitor.visit_map(Entries { reader: self, map: map.iter(), entry: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if *self.value == Value::Null {
            return visitor.visit_none();
        }
        // No text of a query is `null`.
        let or_null = if self.from_text { std::convert::identity } else { Mismatch::or_null };
        visitor.visit_some(self).map_err(or_null)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        if name.starts_with(RAW) {
            // A raw value expects an object whose only name is this one, and keeps the text of its value.
            let text = serde_json::to_string(self.value).map_err(Mismatch::custom)?;
            return visitor.visit_map(MapDeserializer::new(std::iter::once((name, text))));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::String(text) => {
                let text: StrDeserializer<'_, Mismatch> = text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            Value::Map(map) => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries { reader: self, map: map.iter(), entry: None }))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) => Err(Mismatch::custom(one_of(variants))),
        }
    }

    /// A list is no object, although serde would read its items as the fields in their order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        if matches!(self.value, Value::List(_)) {
            return Err(Mismatch::invalid_type(Unexpected::Seq, &visitor));
        }
        self.deserialize_any(visitor)
    }

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

fn visit_number<'de, V: Visitor<'de>>(digits: &str, visitor: V) -> Result<V::Value, Mismatch> {
    if let Ok(number) = digits.parse::<u64>() {
        return visitor.visit_u64(number);
    }
    if let Ok(number) = digits.parse::<i64>() {
        return visitor.visit_i64(number);
    }
    match digits.parse::<f64>() {
        Ok(number) if number.is_finite() => visitor.visit_f64(number),
        _ => Err(Mismatch::custom("must be a number that fits 64-bit floating point")),
    }
}

struct Items<'a> {
    reader: Reader<'a>,
    list: slice::Iter<'a, Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let Some(item) = self.list.next() else { return Ok(None) };
        let read = seed.deserialize(self.reader.at(item)).map_err(|mismatch| mismatch.within(&self.index.to_string()));
        self.index += 1;
        read.map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.list.len())
    }
}

struct Entries<'a> {
    reader: Reader<'a>,
    map: btree_map::Iter<'a, String, Value>,
    entry: Option<(&'a String, &'a Value)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        self.entry = self.map.next();
        let Some((name, _)) = self.entry else { return Ok(None) };
        let key: StrDeserializer<'_, Mismatch> = name.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|mismatch| mismatch.within(name))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let (name, value) = self.entry.ok_or_else(|| Mismatch::custom("has no value"))?;
        seed.deserialize(self.reader.at(value)).map_err(|mismatch| mismatch.within(name))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.map.len())
    }
}
