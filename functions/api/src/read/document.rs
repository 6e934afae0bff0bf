//! Parses a body as JSON, before it is read as a type.

use std::collections::BTreeSet;
use std::fmt;

use domain::fault::{FieldError, step};
use domain::value::Value;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::Problem;

/// Parses a body as JSON. Numbers keep their digits. An object with a duplicate name is refused, because it is
/// ambiguous.
pub(crate) fn document(bytes: &[u8]) -> Result<Value, Problem> {
    let text = raw::<&RawValue>(bytes)?;
    let mut twice = Vec::new();
    // The error is ignored, because the parser below fails on the same text.
    let _ = Names { above: String::new(), twice: &mut twice }.deserialize(text);
    if !twice.is_empty() {
        let faults =
            twice.iter().map(|pointer| FieldError::new(pointer, "is given twice; send it once")).collect::<Vec<_>>();
        return Err(faults.into());
    }
    let unreadable = "it is nested more than 100 levels deep, or a string has an invalid escape sequence";
    text.get().parse().map_err(|_| Problem::Malformed(unreadable.to_owned()))
}

/// Returns the text of a body that is JSON.
pub(crate) fn raw<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    // Some editors and languages write a byte order mark before JSON.
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| Problem::Malformed(error.to_string()))
}

/// Finds duplicate names in objects.
struct Names<'a> {
    above: String,
    twice: &'a mut Vec<String>,
}

impl Names<'_> {
    fn below(&mut self, name: &str) -> Names<'_> {
        Names { above: format!("{}{}", self.above, step(name)), twice: &mut *self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if names.contains(&name) {
                self.twice.push(format!("{}{}", self.above, step(&name)));
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(self.below(&name))?;
                names.insert(name);
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        while list.next_element_seed(self.below(&index.to_string()))?.is_some() {
            index += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
