//! Maps whose JSON is written once.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::Map;

/// A map that keeps its JSON from the first time that it is written. The attributes of an entity are written for the id
/// of their state, for each payload and for the archive, and writing them is most of that work.
#[derive(Debug, Clone, Default)]
pub struct Written {
    map: Map,
    json: OnceLock<Box<RawValue>>,
}

impl Written {
    /// Returns the JSON of the map, and keeps it until the map changes.
    ///
    /// # Panics
    ///
    /// Never: every key is a string, so a map is always valid JSON.
    pub fn json(&self) -> &str {
        self.json.get_or_init(|| to_raw_value(&self.map).expect("a map is JSON")).get()
    }

    /// Returns the map.
    #[must_use]
    pub fn into_map(self) -> Map {
        self.map
    }
}

impl From<Map> for Written {
    fn from(map: Map) -> Self {
        Self { map, json: OnceLock::new() }
    }
}

impl Deref for Written {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.map
    }
}

/// A change of the map discards its JSON.
impl DerefMut for Written {
    fn deref_mut(&mut self) -> &mut Map {
        self.json.take();
        &mut self.map
    }
}

impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl Eq for Written {}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.json.get() {
            Some(json) => json.serialize(serializer),
            None => self.map.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn a_change_is_written_again() {
        let mut written = Written::from(Map::from([("n".to_owned(), "1.50".parse().unwrap())]));
        assert_eq!(serde_json::to_string(&written).unwrap(), r#"{"n":1.50}"#);
        assert_eq!(written.json(), r#"{"n":1.50}"#);
        assert_eq!(serde_json::to_string(&written).unwrap(), r#"{"n":1.50}"#, "the same bytes as before");
        let copy = written.clone();
        written.insert("a".to_owned(), Value::Null);
        assert_eq!(serde_json::to_string(&written).unwrap(), r#"{"a":null,"n":1.50}"#);
        assert_eq!(written.json(), r#"{"a":null,"n":1.50}"#);
        assert_eq!(copy.json(), r#"{"n":1.50}"#);
        assert_ne!(copy, written);
    }
}
