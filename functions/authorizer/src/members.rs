//! The members of a JSON object, and whether a name occurs twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// An object. JSON allows a name to occur twice, and parsers differ in which value they use.
#[derive(Debug)]
pub(crate) struct Members {
    /// Each name with one of its values.
    pub(crate) members: Map<String, Value>,
    /// Whether a name occurs twice at the top level.
    pub(crate) has_twins: bool,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let (mut members, mut has_twins) = (Map::new(), false);
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    has_twins |= members.insert(name, value).is_some();
                }
                Ok(Members { members, has_twins })
            }
        }

        deserializer.deserialize_map(Object)
    }
}
