//! Helpers for writing JSON, shared by all formats.

use serde::ser::{Serialize, SerializeMap};

use super::Properties;

/// The bytes of a usual payload. Its text would be moved several times if it grew from nothing.
const USUAL: usize = 4096;

/// Serializes a payload.
///
/// # Panics
///
/// Never: every key is a string, and no serializer in this crate returns an error.
pub(super) fn text(payload: &impl Serialize) -> String {
    let mut json = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut json, payload).expect("a payload is JSON");
    String::from_utf8(json).expect("JSON is UTF-8")
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
