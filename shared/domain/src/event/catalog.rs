//! The catalog of a tenant's event types: what each means, and what its events look like.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::types::EventType;

/// The largest number of types that a tenant may describe.
pub const MAX_TYPES: u64 = 500;

/// The longest description, in characters.
pub const MAX_DESCRIPTION_CHARACTERS: usize = 1000;

/// The largest schema or example, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 32 * 1024;

/// The largest number of parts of a schema after each reference is replaced by its target, so that a small schema
/// cannot take long to check.
const MAX_PARTS: usize = 5000;

/// The number of parts that a regular expression counts for, because it must be compiled.
const PATTERN_PARTS: usize = 100;

/// The maximum nesting depth of the parts.
const MAX_DEPTH: usize = 100;

/// An entry of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// The type.
    pub event_type: EventType,
    /// The description, if someone has written one.
    pub described: Option<Description>,
    /// When an event of the type was first seen, if ever.
    pub first_seen_at: Option<Timestamp>,
}

/// A description of an event type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What the type means, for people.
    pub description: Option<String>,
    /// A JSON Schema for the data of the events, as JSON.
    pub schema: Option<String>,
    /// An example of the data, as JSON.
    pub example: Option<String>,
    /// Whether the type is deprecated, so that webhooks should no longer ask for it.
    pub deprecated: bool,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// The subject of the token that wrote it.
    pub updated_by: String,
}

/// Why a schema is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// A reference to something other than a part of the schema.
    #[error("{0} must be # and a JSON pointer to a part of the same schema, such as #/$defs/address")]
    Foreign(String),
    /// A keyword that changes the target of references.
    #[error(
        "{0} must not be used here: $schema is allowed at the top only, for draft 6 or later, and references must be # and a JSON pointer"
    )]
    Keyword(String),
    /// A part that refers to itself.
    #[error("{0} must not refer to itself, because an infinite schema cannot be checked")]
    Endless(String),
    /// It has more parts than can be checked in reasonable time.
    #[error("must have fewer parts or regular expressions; each reference counts as the parts it refers to")]
    TooLarge,
    /// Its parts are nested too deeply.
    #[error("must have at most {MAX_DEPTH} levels of nested parts")]
    TooDeep,
}

/// The size of a schema with each reference replaced by its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchemaSize {
    /// The number of parts. A regular expression counts as a hundred.
    pub parts: usize,
    /// The number of regular expressions.
    pub patterns: usize,
    /// The number of `unevaluatedProperties` and `unevaluatedItems`. Each of these causes everything below it to be
    /// checked a second time.
    pub unevaluated: u32,
}

impl SchemaSize {
    /// Returns an upper bound of the work of checking this many values with this many bytes. A unit is about one
    /// comparison. The bound assumes that every part looks at every value, and every regular expression at every byte.
    #[must_use]
    pub fn work(self, values: usize, bytes: usize) -> u64 {
        let product = |one: usize, other: usize| u64::try_from(one.saturating_mul(other)).unwrap_or(u64::MAX);
        let again = 1_u64.checked_shl(self.unevaluated.min(40)).unwrap_or(u64::MAX);
        product(self.parts, values).saturating_mul(again).saturating_add(product(self.patterns, bytes))
    }
}

/// Checks that events can be checked against the schema in reasonable time and without network access. The tenant that
/// writes the schema does not bear the cost of checking.
///
/// # Errors
///
/// What is not allowed.
pub fn check_schema(schema: &Json) -> Result<SchemaSize, SchemaFault> {
    let mut walk = Walk { root: schema, open: Vec::new(), left: MAX_PARTS, patterns: 0, unevaluated: 0 };
    walk.part(schema, 0)?;
    let Walk { left, patterns, unevaluated, .. } = walk;
    Ok(SchemaSize { parts: MAX_PARTS - left, patterns, unevaluated })
}

struct Walk<'a> {
    root: &'a Json,
    /// The references that lead to the current position.
    open: Vec<&'a str>,
    left: usize,
    patterns: usize,
    unevaluated: u32,
}

impl<'a> Walk<'a> {
    fn part(&mut self, part: &'a Json, depth: usize) -> Result<(), SchemaFault> {
        if depth == MAX_DEPTH {
            return Err(SchemaFault::TooDeep);
        }
        self.take(1)?;
        match part {
            Json::Object(fields) => fields.iter().try_for_each(|(name, value)| self.field(name, value, depth)),
            Json::Array(parts) => parts.iter().try_for_each(|part| self.part(part, depth + 1)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Ok(()),
        }
    }

    fn field(&mut self, name: &'a str, value: &'a Json, depth: usize) -> Result<(), SchemaFault> {
        match (name, value) {
            ("$ref", Json::String(reference)) => return self.follow(reference, depth),
            // Keywords that change the target of references. Before draft 6 this was `id`, which is also a common name
            // for properties.
            ("$dynamicRef" | "$recursiveRef" | "$id", Json::String(_)) => {
                return Err(SchemaFault::Keyword(name.to_owned()));
            }
            ("$schema", Json::String(text)) if depth > 0 || text.contains("draft-03") || text.contains("draft-04") => {
                return Err(SchemaFault::Keyword(name.to_owned()));
            }
            ("pattern", Json::String(_)) => self.patterns(1)?,
            ("patternProperties", Json::Object(patterns)) => self.patterns(patterns.len())?,
            ("unevaluatedProperties" | "unevaluatedItems", _) => self.unevaluated += 1,
            _ => {}
        }
        self.part(value, depth + 1)
    }

    fn follow(&mut self, reference: &'a str, depth: usize) -> Result<(), SchemaFault> {
        let foreign = || SchemaFault::Foreign(reference.to_owned());
        // Percent signs have a second meaning in a fragment.
        let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%')).ok_or_else(foreign)?;
        let part = self.root.pointer(pointer).ok_or_else(foreign)?;
        if self.open.contains(&reference) {
            return Err(SchemaFault::Endless(reference.to_owned()));
        }
        self.open.push(reference);
        self.part(part, depth + 1)?;
        self.open.pop();
        Ok(())
    }

    fn patterns(&mut self, count: usize) -> Result<(), SchemaFault> {
        self.patterns += count;
        self.take(PATTERN_PARTS * count)
    }

    fn take(&mut self, parts: usize) -> Result<(), SchemaFault> {
        self.left = self.left.checked_sub(parts).ok_or(SchemaFault::TooLarge)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> Json {
        (0..depth).fold(json!({}), |inner, _| json!({"items": inner}))
    }

    /// Each part refers twice to the next one.
    fn laughter(parts: usize) -> Json {
        let defs = (0..parts).map(|number| {
            let next = json!({"$ref": format!("#/$defs/d{}", number + 1)});
            (format!("d{number}"), json!({"allOf": [next, next]}))
        });
        let mut defs: serde_json::Map<_, _> = defs.collect();
        defs.insert(format!("d{parts}"), json!({}));
        json!({"$defs": defs, "$ref": "#/$defs/d0"})
    }

    fn patterns(count: usize) -> Json {
        let properties = (0..count).map(|number| (format!("p{number}"), json!({"pattern": "^a+$"})));
        json!({"properties": properties.collect::<serde_json::Map<_, _>>()})
    }

    #[rstest]
    #[case::anything(json!({}), true)]
    #[case::nothing(json!(false), true)]
    #[case::a_part_used_twice(
        json!({"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a"}, "y": {"$ref": "#/$defs/a"}}}), true
    )]
    #[case::a_property_named_ref(json!({"properties": {"$ref": {"type": "string"}, "id": {"type": "string"}}}), true)]
    #[case::itself(json!({"$ref": "#"}), false)]
    #[case::a_tree(json!({"properties": {"child": {"$ref": "#"}}}), false)]
    #[case::each_other(json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}), false)]
    #[case::another_document(json!({"$ref": "https://example.com/schema.json"}), false)]
    #[case::a_meta_schema(json!({"$ref": "http://json-schema.org/draft-07/schema#"}), false)]
    #[case::an_anchor(json!({"$defs": {"a": {"$anchor": "a"}}, "$ref": "#a"}), false)]
    #[case::nowhere(json!({"$ref": "#/$defs/a"}), false)]
    #[case::in_percent(json!({"$defs": {"a%25": {}, "a%": {"$ref": "#"}}, "$ref": "#/$defs/a%25"}), false)]
    #[case::another_base(json!({"$id": "https://example.com/"}), false)]
    #[case::another_base_below(json!({"items": {"$id": "https://example.com/"}}), false)]
    #[case::a_draft(json!({"$schema": "http://json-schema.org/draft-07/schema#", "default": {"id": "a"}}), true)]
    #[case::an_old_draft(json!({"$schema": "http://json-schema.org/draft-04/schema#", "items": {"id": "a"}}), false)]
    #[case::a_draft_below(json!({"items": {"$schema": "http://json-schema.org/draft-07/schema#"}}), false)]
    #[case::dynamic(json!({"$dynamicRef": "#a"}), false)]
    #[case::as_deep_as_may_be(nested(98), true)]
    #[case::too_deep(nested(101), false)]
    #[case::a_little_laughter(laughter(5), true)]
    #[case::a_billion_laughs(laughter(30), false)]
    #[case::some_patterns(patterns(40), true)]
    #[case::too_many_patterns(patterns(50), false)]
    fn a_schema_can_be_checked_in_good_time(#[case] schema: Json, #[case] good: bool) {
        assert_eq!(check_schema(&schema).is_ok(), good, "{:?}", check_schema(&schema));
    }
}
