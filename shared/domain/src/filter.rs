//! Content filters: which events a webhook wants, by what is in them.

use quamina::{Quamina, QuaminaError};
use serde::{Deserialize, Serialize};
use serde_json::{Map as JsonMap, Value as Json};

use crate::event::Event;

mod evaluate;
mod set;
mod syntax;

pub(crate) use evaluate::is_same;
pub(crate) use set::{Document, FilterSet};

/// A content filter in [EventBridge's pattern syntax][1], over an event's fields.
///
/// Supported are nested fields, lists of alternatives (texts, numbers, `true`, `false`, `null`), and the operators `prefix`,
/// `suffix`, `equals-ignore-case`, `wildcard`, `anything-but` (of texts or numbers), `numeric`, `exists` and `cidr`. Refused
/// are `$or` and operators within operators. Of a list one member must pass, and fields of one pattern must pass in the same
/// member. `exists` looks at texts, numbers, `true`, `false` and `null`, not at what holds others. Numbers are compared as 64-bit
/// floating point numbers.
///
/// [1]: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "JsonMap<String, Json>", try_from = "JsonMap<String, Json>")]
pub struct Filter(JsonMap<String, Json>);

/// Why a pattern is refused: where, and what must be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {detail}")]
pub struct FilterError {
    place: String,
    detail: String,
}

/// The most bytes that a pattern takes as JSON, and the most fields that it names.
const MAX_BYTES: usize = 4096;
const MAX_FIELDS: usize = 64;

/// The most alternatives that a pattern lists, over all its fields.
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
    /// Returns what the filter asks of each field: the names that lead to it, and a filter that asks only that.
    #[must_use]
    pub fn parts(&self) -> Vec<(Vec<String>, Self)> {
        let mut parts = Vec::new();
        for (names, alternatives) in leaves(&self.0) {
            let part = names.iter().rev().fold(Json::from(alternatives.clone()), |inner, name| {
                Json::Object([(name.clone(), inner)].into_iter().collect())
            });
            if let Json::Object(part) = part {
                parts.push((names, Self(part)));
            }
        }
        parts
    }

    /// Returns the fields that must have one of some texts: the names that lead to them, and the texts.
    pub(crate) fn exact_texts(&self) -> impl Iterator<Item = (Vec<String>, Vec<&str>)> {
        leaves(&self.0).into_iter().filter_map(|(names, alternatives)| {
            let texts: Option<Vec<&str>> = alternatives.iter().map(Json::as_str).collect();
            Some((names, texts?))
        })
    }

    /// Returns the pattern's text.
    pub(crate) fn to_json(&self) -> String {
        Json::Object(self.0.clone()).to_string()
    }

    /// Says whether an event passes.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        evaluate::holds(&self.0, event)
    }
}

impl TryFrom<JsonMap<String, Json>> for Filter {
    type Error = FilterError;

    fn try_from(pattern: JsonMap<String, Json>) -> Result<Self, Self::Error> {
        let fault = |place: &str, detail: String| FilterError { place: place.to_owned(), detail };
        let filter = Self(pattern);
        if let Some(name) = filter.0.keys().find(|name| !DOCUMENT.contains(&name.as_str())) {
            let detail = if name == "$or" {
                "is not supported; register another webhook for the other case".to_owned()
            } else {
                format!("is not a field of an event; those are {}", DOCUMENT.join(", "))
            };
            return Err(fault(name, detail));
        }
        let text = filter.to_json();
        if text.len() > MAX_BYTES {
            return Err(fault("the filter", format!("must be at most {MAX_BYTES} bytes of JSON")));
        }
        syntax::check_fields(&filter.0, "")?;
        let leaves = leaves(&filter.0);
        if leaves.len() > MAX_FIELDS {
            return Err(fault("the filter", format!("must name at most {MAX_FIELDS} fields")));
        }
        if leaves.iter().map(|(_, alternatives)| alternatives.len()).sum::<usize>() > MAX_ALTERNATIVES {
            return Err(fault("the filter", format!("must list at most {MAX_ALTERNATIVES} alternatives")));
        }
        // What is left is what only the automaton knows: whether it becomes too large.
        Quamina::new().add_pattern((), &text).map_err(|error| fault("the filter", refusal(&error)))?;
        Ok(filter)
    }
}

fn refusal(error: &QuaminaError) -> String {
    match error {
        QuaminaError::PatternTooComplex(_) => "is too complex; use fewer alternatives and wildcards".to_owned(),
        QuaminaError::InvalidJson(detail) | QuaminaError::InvalidPattern(detail) => detail.clone(),
        QuaminaError::InvalidUtf8 | QuaminaError::UnsupportedMediaType(_) => error.to_string(),
    }
}

impl From<Filter> for JsonMap<String, Json> {
    fn from(filter: Filter) -> Self {
        filter.0
    }
}

/// Returns the alternatives of every field.
fn leaves(fields: &JsonMap<String, Json>) -> Vec<(Vec<String>, &Vec<Json>)> {
    let mut found = Vec::new();
    for (name, value) in fields {
        match value {
            Json::Array(alternatives) => found.push((vec![name.clone()], alternatives)),
            Json::Object(inner) => found.extend(leaves(inner).into_iter().map(|(mut names, alternatives)| {
                names.insert(0, name.clone());
                (names, alternatives)
            })),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    found
}

/// Writes names as the place that they lead to.
#[must_use]
pub fn place(names: &[String]) -> String {
    names.join(".")
}

#[cfg(test)]
mod tests;
