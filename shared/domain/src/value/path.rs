//! Field paths: `status`, `address.city`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Map, Value, push_name};

/// The path of a field: the names of the maps around it and of the field itself, joined by dots.
///
/// A name that is empty or contains a dot or a backtick is enclosed in backticks, as in a Firestore field path: ``
/// `a.b`.c ``. Within backticks, a backtick or a backslash is escaped by a backslash. The paths of an update mask have
/// this form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FieldPath(Vec<String>);

/// The text is not a field path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be names joined by dots, such as address.city, at most 255 bytes; a name that contains a dot must be in backticks"
)]
pub struct ParseFieldPathError;

/// The longest path, in bytes.
const MAX_BYTES: usize = 255;

impl FieldPath {
    /// Returns the names, outermost first. There is at least one.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Returns the field's value, if present.
    #[must_use]
    pub fn get<'a>(&self, map: &'a Map) -> Option<&'a Value> {
        let (last, maps) = self.0.split_last()?;
        let inner = maps.iter().try_fold(map, |map, name| match map.get(name)? {
            Value::Map(inner) => Some(inner),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::List(_) => None,
        });
        inner?.get(last)
    }

    /// Removes the field. A list of maps is searched member by member.
    pub fn remove(&self, map: &mut Map) {
        remove(&self.0, map);
    }

    /// Returns whether the field is this one or is within it.
    #[must_use]
    pub fn covers(&self, field: &Self) -> bool {
        field.0.starts_with(&self.0)
    }
}

fn remove(names: &[String], map: &mut Map) {
    match names {
        [] => {}
        [last] => {
            map.remove(last);
        }
        [first, rest @ ..] => {
            if let Some(value) = map.get_mut(first) {
                remove_in(rest, value);
            }
        }
    }
}

fn remove_in(names: &[String], value: &mut Value) {
    match value {
        Value::Map(map) => remove(names, map),
        Value::List(values) => values.iter_mut().for_each(|value| remove_in(names, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl FromStr for FieldPath {
    type Err = ParseFieldPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_BYTES {
            return Err(ParseFieldPathError);
        }
        let mut names = Vec::new();
        let mut chars = text.chars().peekable();
        loop {
            let mut name = String::new();
            if chars.next_if_eq(&'`').is_some() {
                loop {
                    match chars.next().ok_or(ParseFieldPathError)? {
                        '`' => break,
                        '\\' => name.push(chars.next().ok_or(ParseFieldPathError)?),
                        other => name.push(other),
                    }
                }
            } else {
                while let Some(c) = chars.next_if(|c| *c != '.') {
                    name.push(c);
                }
                if name.is_empty() || name.contains('`') {
                    return Err(ParseFieldPathError);
                }
            }
            names.push(name);
            match chars.next() {
                None => return Ok(Self(names)),
                Some('.') => {}
                Some(_) => return Err(ParseFieldPathError),
            }
        }
    }
}

impl TryFrom<String> for FieldPath {
    type Error = ParseFieldPathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.iter().for_each(|name| push_name(&mut text, name));
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::value::tests::map;

    #[rstest]
    #[case::empty("")]
    #[case::empty_name("a..b")]
    #[case::trailing_dot("a.")]
    #[case::open("`a")]
    #[case::after_the_backtick("`a`b")]
    #[case::backtick_in_a_name("a`b")]
    #[case::escape_of_nothing("`a\\")]
    fn refuses(#[case] text: &str) {
        assert_eq!(text.parse::<FieldPath>(), Err(ParseFieldPathError));
    }

    #[rstest]
    #[case::top("status", Some("1"))]
    #[case::nested("address.city", Some("2"))]
    #[case::quoted("`a.b`", Some("3"))]
    #[case::absent("address.street", None)]
    #[case::through_a_text("status.a", None)]
    fn finds_a_field(#[case] path: &str, #[case] value: Option<&str>) {
        let map = map(&json!({"status": 1, "address": {"city": 2}, "a.b": 3}));
        let found = path.parse::<FieldPath>().unwrap().get(&map).cloned();
        assert_eq!(found, value.map(|text| text.parse().unwrap()));
    }

    #[test]
    fn takes_a_field_out_of_maps_and_of_lists_of_maps() {
        let mut image = map(&json!({"a": {"b": 1, "c": 2}, "l": [{"b": 1, "c": 2}, [{"b": 3}], 4], "b": 5}));
        for path in ["a.b", "l.b", "x.y", "b.b"] {
            path.parse::<FieldPath>().unwrap().remove(&mut image);
        }
        assert_eq!(image, map(&json!({"a": {"c": 2}, "l": [{"c": 2}, [{}], 4], "b": 5})));
    }

    #[test]
    fn covers_itself_and_the_fields_within_it() {
        let path = |text: &str| text.parse::<FieldPath>().unwrap();
        assert!(path("a").covers(&path("a")) && path("a").covers(&path("a.b")));
        assert!(!path("a.b").covers(&path("a")) && !path("a").covers(&path("ab")));
    }

    proptest! {
        #[test]
        fn written_paths_parse_again(names in prop::collection::vec("[a.`\\\\]{0,4}", 1..4)) {
            let path = FieldPath(names);
            prop_assert_eq!(path.to_string().parse::<FieldPath>().unwrap(), path);
        }
    }
}
