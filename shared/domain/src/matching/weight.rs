//! How much memory things take: upper bounds, from their structure and not from their size as JSON, because a list of small maps
//! takes forty times its JSON.

use serde_json::Value as Json;

/// What an entry of a hash map takes, of its size: the map doubles when it is seven eighths full, and holds both tables while it
/// does.
pub(crate) const fn entry(bytes: usize) -> usize {
    bytes * 7 / 2
}

/// Returns what the allocator takes for so many bytes.
pub(crate) const fn heap(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=24 => 32,
        _ => (bytes + 8).next_multiple_of(16),
    }
}

/// Returns what a vector takes on the heap, whose members take that much there.
pub(crate) fn members<T>(all: &[T], each: impl Fn(&T) -> usize) -> usize {
    heap(size_of_val(all)) + all.iter().map(each).sum::<usize>()
}

/// Returns what a vector of texts takes on the heap.
pub(crate) fn texts(texts: &[String]) -> usize {
    members(texts, |text| heap(text.capacity()))
}

/// Returns what a JSON value takes on the heap.
pub(crate) fn json(value: &Json) -> usize {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => heap(text.capacity()),
        Json::Array(members) => heap(members.capacity() * size_of::<Json>()) + members.iter().map(json).sum::<usize>(),
        Json::Object(map) => json_map(map),
    }
}

/// Returns what a JSON map takes on the heap: nodes of eleven entries, of which at least five are in use but in the root.
pub(crate) fn json_map(map: &serde_json::Map<String, Json>) -> usize {
    const NODE: usize = heap(11 * (size_of::<String>() + size_of::<Json>()) + 12 * size_of::<usize>() + 16);
    if map.is_empty() {
        return 0;
    }
    (1 + map.len() / 5) * NODE + map.iter().map(|(name, value)| heap(name.capacity()) + json(value)).sum::<usize>()
}
