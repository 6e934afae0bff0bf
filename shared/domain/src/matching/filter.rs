//! Content filters: select events by their content.

use serde::{Deserialize, Serialize};

use alternative::{Alternative, OPERATORS};

use super::weight::{heap, members};
use crate::fault::{FieldError, step};
use crate::value::{Map, Value};

mod alternative;
pub(crate) mod evaluate;
pub(crate) mod sieve;
mod syntax;

/// A content filter in [EventBridge's pattern syntax][1], over an event's fields.
///
/// Supported are nested fields, lists of alternatives (texts, numbers, `true`, `false`, `null`), and the operators
/// `prefix`, `suffix`, `equals-ignore-case`, `wildcard`, `anything-but` (of texts or numbers), `numeric`, `exists` and
/// `cidr`. Not supported are `$or` and operators within operators. A list matches if one of its members does, and
/// several fields of one pattern must match in the same member. `exists` applies to texts, numbers, `true`, `false` and
/// `null`, not to lists and maps. Numbers are compared by value and exactly, whatever their number of
/// digits and spelling: `1`, `1.0` and `10e-1` are equal.
///
/// [1]: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Map", try_from = "Map")]
pub struct Filter(Fields);

/// The conditions on the fields of a map. Stored compactly, because there may be very many filters.
#[derive(Debug, Clone, PartialEq)]
struct Fields(Box<[(Box<str>, Asked)]>);

/// The condition on one field.
#[derive(Debug, Clone, PartialEq)]
enum Asked {
    /// It is a map with fields that match.
    Fields(Fields),
    /// It has one of these values.
    OneOf(Box<[Alternative]>),
}

/// Why a pattern is refused: every fault with its place, and what must be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect::<Vec<_>>().join("; "))]
pub struct FilterError(pub Vec<FieldError>);

/// The largest pattern as JSON, in bytes, and the largest number of fields in it.
const MAX_BYTES: usize = 4096;
const MAX_FIELDS: usize = 64;

/// The largest number of alternatives in a pattern, over all its fields.
const MAX_ALTERNATIVES: usize = 200;

/// The fields of an event that a filter can look at.
const DOCUMENT: [&str; 11] = [
    "eventType",
    "operationType",
    "source",
    "applicationId",
    "collectionPath",
    "entityPath",
    "entityId",
    "entityKey",
    "value",
    "oldValue",
    "updateMask",
];

impl Filter {
    /// Splits the filter by fields: returns the names that lead to each field, and a filter of only that field's
    /// condition.
    #[must_use]
    pub fn parts(&self) -> Vec<(Vec<&str>, Self)> {
        let mut parts = Vec::new();
        for (names, alternatives) in self.0.leaves() {
            let above = |asked: Asked, name: &&str| Asked::Fields(Fields([(Box::from(*name), asked)].into()));
            if let Asked::Fields(fields) = names.iter().rev().fold(Asked::OneOf(alternatives.into()), above) {
                parts.push((names, Self(fields)));
            }
        }
        parts
    }

    /// Returns the fields that must equal one of some texts: the names that lead to them, and the texts.
    pub(crate) fn exact_texts(&self) -> impl Iterator<Item = (Vec<&str>, Vec<&str>)> {
        self.0.leaves().into_iter().filter_map(|(names, alternatives)| {
            let texts: Option<Vec<&str>> = alternatives.iter().map(Alternative::exact_text).collect();
            Some((names, texts?))
        })
    }

    /// Returns the conditions that probably mean something else: an operator outside of a list is a field with the
    /// operator's name.
    #[must_use]
    pub fn doubts(&self) -> Vec<FieldError> {
        let doubt = |(names, _): (Vec<&str>, _)| {
            let operator = names.last().filter(|name| names.len() > 2 && OPERATORS.contains(name))?;
            let pointer: String = names.iter().map(|name| step(name)).collect();
            let detail = format!(
                "is read as a field named {operator}; for the operator, write a list around it: [{{\"{operator}\": …}}]"
            );
            Some(FieldError::new(&pointer, detail))
        };
        self.0.leaves().into_iter().filter_map(doubt).collect()
    }

    fn to_map(&self) -> Map {
        self.0.to_map()
    }

    /// Returns an upper bound of the bytes that the filter takes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

impl TryFrom<Map> for Filter {
    type Error = FilterError;

    fn try_from(pattern: Map) -> Result<Self, Self::Error> {
        let mut faults = Vec::new();
        for name in pattern.keys().filter(|name| !DOCUMENT.contains(&name.as_str())) {
            let detail = if name == "$or" {
                "must not be used; register another webhook for the alternative".to_owned()
            } else {
                format!("must be a field of an event: {}", DOCUMENT.join(", "))
            };
            faults.push(FieldError::new(&step(name), detail));
        }
        let known = pattern.into_iter().filter(|(name, _)| DOCUMENT.contains(&name.as_str())).collect::<Map>();
        if known.is_empty() && !faults.is_empty() {
            return Err(FilterError(faults));
        }
        let filter = Self(Fields::read(known, "", &mut faults));
        if faults.is_empty() {
            faults.extend(filter.too_large().map(|detail| FieldError::new("", detail)));
        }
        if faults.is_empty() { Ok(filter) } else { Err(FilterError(faults)) }
    }
}

impl Filter {
    /// Returns which limit the filter exceeds, if any.
    fn too_large(&self) -> Option<String> {
        if serde_json::to_string(&self.to_map()).map_or(0, |text| text.len()) > MAX_BYTES {
            return Some(format!("must be at most {MAX_BYTES} bytes of JSON"));
        }
        let leaves = self.0.leaves();
        if leaves.len() > MAX_FIELDS {
            return Some(format!("must name at most {MAX_FIELDS} fields"));
        }
        let alternatives: usize = leaves.iter().map(|(_, alternatives)| alternatives.len()).sum();
        (alternatives > MAX_ALTERNATIVES).then(|| format!("must list at most {MAX_ALTERNATIVES} alternatives"))
    }
}

impl Fields {
    fn to_map(&self) -> Map {
        let value = |asked: &Asked| match asked {
            Asked::Fields(fields) => Value::Map(fields.to_map()),
            Asked::OneOf(alternatives) => Value::List(alternatives.iter().map(Alternative::to_value).collect()),
        };
        self.0.iter().map(|(name, asked)| (name.to_string(), value(asked))).collect()
    }

    fn bytes(&self) -> usize {
        let asked = |asked: &Asked| match asked {
            Asked::Fields(fields) => fields.bytes(),
            Asked::OneOf(alternatives) => members(alternatives, Alternative::bytes),
        };
        members(&self.0, |(name, of)| heap(name.len()) + asked(of))
    }

    /// Returns the alternatives of every field.
    fn leaves(&self) -> Vec<(Vec<&str>, &[Alternative])> {
        let mut found = Vec::new();
        for (name, asked) in &self.0 {
            match asked {
                Asked::OneOf(alternatives) => found.push((vec![&**name], &**alternatives)),
                Asked::Fields(inner) => found.extend(inner.leaves().into_iter().map(|(mut names, alternatives)| {
                    names.insert(0, name);
                    (names, alternatives)
                })),
            }
        }
        found
    }
}

impl From<Filter> for Map {
    fn from(filter: Filter) -> Self {
        filter.to_map()
    }
}

/// Formats names as a path.
#[must_use]
pub fn place(names: &[&str]) -> String {
    names.join(".")
}

#[cfg(test)]
mod tests;
