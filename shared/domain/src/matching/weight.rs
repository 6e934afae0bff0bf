//! Upper bounds of memory use, computed from the structure of values. Their size as JSON is not enough, because a list
//! of small maps takes forty times its JSON.

use crate::value::{Map, Value};

/// Returns the bytes per entry of a hash map, for entries of this size. The map doubles when it is seven eighths full,
/// and keeps both tables meanwhile.
pub(crate) const fn entry(bytes: usize) -> usize {
    bytes * 7 / 2
}

/// Returns the bytes that the allocator uses for an allocation of this size.
pub(crate) const fn heap(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=24 => 32,
        _ => (bytes + 8).next_multiple_of(16),
    }
}

/// Returns the heap size of a vector whose members own this much heap memory each.
pub(crate) fn members<T>(all: &[T], each: impl Fn(&T) -> usize) -> usize {
    heap(size_of_val(all)) + all.iter().map(each).sum::<usize>()
}

/// Returns the heap size of a vector of texts.
pub(crate) fn texts(texts: &[String]) -> usize {
    members(texts, |text| heap(text.capacity()))
}

/// Returns the heap size of a JSON value.
pub(crate) fn value(of: &Value) -> usize {
    match of {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(number) => heap(number.capacity()),
        Value::String(text) => heap(text.capacity()),
        Value::List(members) => {
            heap(members.capacity() * size_of::<Value>()) + members.iter().map(value).sum::<usize>()
        }
        Value::Map(inner) => map(inner),
    }
}

/// Returns the heap size of a JSON map: nodes of eleven entries, of which at least five are used except in the root.
pub(crate) fn map(of: &Map) -> usize {
    const NODE: usize = heap(11 * (size_of::<String>() + size_of::<Value>()) + 12 * size_of::<usize>() + 16);
    if of.is_empty() {
        return 0;
    }
    (1 + of.len() / 5) * NODE + of.iter().map(|(name, inner)| heap(name.capacity()) + value(inner)).sum::<usize>()
}
