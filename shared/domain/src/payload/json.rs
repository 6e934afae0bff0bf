//! Helpers for writing JSON, shared by all formats.

use serde::ser::{Serialize, SerializeMap};

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
    properties.iter().filter(|(name, _)| !taken(name)).try_for_each(|(name, value)| map.serialize_entry(name, value))
}
