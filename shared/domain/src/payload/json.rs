//! Helpers for writing JSON, shared by all formats.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Properties;

/// Serializes a payload.
///
/// # Panics
///
/// Never: every key is a string, and no serializer in this crate returns an error.
pub(super) fn text(payload: &impl Serialize) -> String {
    serde_json::to_string(payload).expect("a payload is JSON")
}

/// Adds a field if it has a value.
pub(super) fn entry_if<M: SerializeMap>(
    map: &mut M,
    name: &str,
    value: Option<impl Serialize>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

/// Adds the owner's properties in the order of their names, except those that are `taken`. A webhook may be older than
/// a field of the payload, and receivers read a duplicate name in different ways.
pub(super) fn properties<M: SerializeMap>(
    map: &mut M,
    properties: &Properties,
    taken: impl Fn(&str) -> bool,
) -> Result<(), M::Error> {
    sorted(properties).filter(|(name, _)| !taken(name)).try_for_each(|(name, value)| map.serialize_entry(name, &value))
}

fn sorted(properties: &Properties) -> impl Iterator<Item = (&String, Sorted<'_>)> {
    let mut entries: Vec<_> = properties.iter().collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    entries.into_iter().map(|(name, value)| (name, Sorted(value)))
}

/// A value whose keys are written in sorted order, even if another crate enables the `serde_json` feature that
/// preserves insertion order.
pub(super) struct Sorted<'a>(pub(super) &'a serde_json::Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            serde_json::Value::Object(map) => serializer.collect_map(sorted(map)),
            serde_json::Value::Array(values) => serializer.collect_seq(values.iter().map(Sorted)),
            plain @ (serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_)) => plain.serialize(serializer),
        }
    }
}
