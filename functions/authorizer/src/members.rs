//! The members of a JSON object, and whether a name occurs twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// An object. JSON allows a name to occur twice, and parsers differ in which value they use.
#[derive(Debug)]
pub(crate) struct Members {
    /// Each name with one of its values.
    pub(crate) members: Map<String, Value>,
    /// Whether a name occurs twice, in this object or one within it.
    pub(crate) has_twins: bool,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Checked::deserialize(deserializer)? {
            Checked { value: Value::Object(members), has_twins } => Ok(Self { members, has_twins }),
            _ => Err(D::Error::custom("expected an object")),
        }
    }
}

/// Any value.
struct Checked {
    value: Value,
    has_twins: bool,
}

impl<T: Into<Value>> From<T> for Checked {
    fn from(value: T) -> Self {
        Self { value: value.into(), has_twins: false }
    }
}

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Checked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E: Error>(self) -> Result<Checked, E> {
                Ok(().into())
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Checked, E> {
                Ok(value.into())
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Checked, E> {
                Ok(value.into())
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Checked, E> {
                Ok(value.into())
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Checked, E> {
                Ok(value.into())
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Checked, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Checked, A::Error> {
                let (mut values, mut has_twins) = (Vec::new(), false);
                while let Some(member) = seq.next_element::<Checked>()? {
                    has_twins |= member.has_twins;
                    values.push(member.value);
                }
                Ok(Checked { value: Value::Array(values), has_twins })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Checked, A::Error> {
                let (mut members, mut has_twins) = (Map::new(), false);
                while let Some((name, member)) = map.next_entry::<String, Checked>()? {
                    has_twins |= member.has_twins;
                    has_twins |= members.insert(name, member.value).is_some();
                }
                Ok(Checked { value: Value::Object(members), has_twins })
            }
        }

        deserializer.deserialize_any(Any)
    }
}
