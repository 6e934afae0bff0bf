//! JSON values that keep the exact digits of every number and have one order of keys.
//!
//! `serde_json::Value` is not used for two reasons. Its numbers have 64 bits, while DynamoDB's have 38 digits. Its maps
//! keep the insertion order or not, depending on a feature that other crates may enable, while the same change must
//! always render to the same bytes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use self::decimal::Decimal;

pub(crate) mod decimal;
pub mod merge;
pub mod object;
pub mod path;
pub(crate) mod quotes;
pub mod written;

/// A JSON object with sorted keys.
pub type Map = BTreeMap<String, Value>;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number in its original form.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    List(Vec<Value>),
    /// An object.
    Map(Map),
}

impl Value {
    /// Returns what a type is as JSON.
    ///
    /// # Panics
    ///
    /// If the type cannot be written as JSON, or is nested more than 100 levels deep.
    #[must_use]
    pub fn of(value: &impl Serialize) -> Self {
        serde_json::to_string(value).ok().and_then(|text| text.parse().ok()).expect("the type is JSON")
    }

    /// Returns whether the value is `null`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Returns a text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// Returns the field of a map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        if let Self::Map(map) = self { map.get(name) } else { None }
    }

    /// Returns the text of a string or the digits of a number, which can be used in an id.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Number(number) => Some(number.0.get()),
            Self::Null | Self::Bool(_) | Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// The maximum nesting depth of lists and maps.
const MAX_DEPTH: usize = 100;

/// The text is not JSON, or is nested too deeply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be JSON with at most {MAX_DEPTH} levels")]
pub struct ParseValueError;

/// Parses JSON. Numbers keep their digits.
impl std::str::FromStr for Value {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| ParseValueError)?;
        read(raw, MAX_DEPTH)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        read(&raw, MAX_DEPTH).map_err(serde::de::Error::custom)
    }
}

/// Parses one level at a time, because `serde_json` gives the exact text of a number only as a raw value.
fn read(raw: &RawValue, depth: usize) -> Result<Value, ParseValueError> {
    fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, ParseValueError> {
        serde_json::from_str(raw.get()).map_err(|_| ParseValueError)
    }
    let below = depth.checked_sub(1).ok_or(ParseValueError)?;
    Ok(match raw.get().as_bytes().first() {
        Some(b'{') => {
            let map: BTreeMap<String, &RawValue> = parse(raw)?;
            Value::Map(map.into_iter().map(|(key, raw)| Ok((key, read(raw, below)?))).collect::<Result<_, _>>()?)
        }
        Some(b'[') => {
            let list: Vec<&RawValue> = parse(raw)?;
            Value::List(list.into_iter().map(|raw| read(raw, below)).collect::<Result<_, _>>()?)
        }
        Some(b'"') => Value::String(parse(raw)?),
        Some(b't' | b'f') => Value::Bool(parse(raw)?),
        Some(b'n') => Value::Null,
        // No other JSON starts otherwise.
        _ => Value::Number(Number(raw.to_owned())),
    })
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values),
            Self::Map(map) => serializer.collect_map(map),
        }
    }
}

/// A JSON number with its exact digits: raw JSON, because `serde_json` writes the exact text of a number only if it is.
#[derive(Debug, Clone)]
pub struct Number(Box<RawValue>);

/// Two numbers are equal if they have the same digits.
impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Number {}

/// The text is not a JSON number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a JSON number")]
pub struct ParseNumberError;

impl std::str::FromStr for Number {
    type Err = ParseNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A raw value is valid JSON, and JSON that starts like a number is one. White space is not part of it.
        let starts = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let ends = text.ends_with(|last: char| last.is_ascii_digit());
        if !starts || !ends {
            return Err(ParseNumberError);
        }
        serde_json::from_str(text).map(Self).map_err(|_| ParseNumberError)
    }
}

impl Number {
    /// Returns the number for comparisons by value.
    pub(crate) fn decimal(&self) -> Decimal<'_> {
        Decimal::of(self.0.get())
    }

    /// Returns the nearest 64-bit floating point number, infinite for a number that exceeds them.
    pub(crate) fn rounded(&self) -> f64 {
        self.0.get().parse().unwrap_or(f64::NAN)
    }

    /// Returns the bytes of its digits.
    pub(crate) fn capacity(&self) -> usize {
        self.0.get().len()
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // No serializer but that of `serde_json` is used with this type.
        self.0.serialize(serializer)
    }
}

/// Returns the entries in which two maps differ, in the order of the keys: the key, its value in the first map and its
/// value in the second. A missing map has no entries.
pub fn differences<'a>(
    old: Option<&'a Map>,
    new: Option<&'a Map>,
) -> impl Iterator<Item = (&'a str, Option<&'a Value>, Option<&'a Value>)> {
    let entries = |map: Option<&'a Map>| map.into_iter().flatten().peekable();
    let (mut old, mut new) = (entries(old), entries(new));
    let pairs = std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (Some((was, _)), Some((is, _))) => was.cmp(is),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let (before, after) = (old.next_if(|_| order.is_le()), new.next_if(|_| order.is_ge()));
        let (key, _) = before.or(after)?;
        Some((key.as_str(), before.map(|(_, value)| value), after.map(|(_, value)| value)))
    });
    pairs.filter(|(_, before, after)| before != after)
}

/// Returns the sorted paths at which two states of an entity differ: its update mask.
///
/// A path names the innermost attribute that differs (`address.city`). Maps are compared key by key, lists as a whole.
/// A key that is empty or contains `.` or a backtick is enclosed in backticks, as in a Firestore field path.
#[must_use]
pub fn changed_paths(old: &Map, new: &Map) -> Vec<String> {
    changes(Some(old), Some(new)).into_iter().map(|(path, ..)| path).collect()
}

/// A path, with its values before and after.
pub type PathChange<'a> = (String, Option<&'a Value>, Option<&'a Value>);

/// Returns the differences in the order of the paths: those of [`changed_paths`], or all attributes if the entity is
/// new or was deleted.
#[must_use]
pub fn changes<'a>(old: Option<&'a Map>, new: Option<&'a Map>) -> Vec<PathChange<'a>> {
    let mut changes = Vec::new();
    collect_changes(old, new, &mut String::new(), &mut changes);
    changes.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
    changes
}

fn collect_changes<'a>(
    old: Option<&'a Map>,
    new: Option<&'a Map>,
    prefix: &mut String,
    changes: &mut Vec<PathChange<'a>>,
) {
    for (key, before, after) in differences(old, new) {
        let length = prefix.len();
        push_name(prefix, key);
        if let (Some(Value::Map(before)), Some(Value::Map(after))) = (before, after) {
            collect_changes(Some(before), Some(after), prefix, changes);
        } else {
            changes.push((prefix.clone(), before, after));
        }
        prefix.truncate(length);
    }
}

/// Appends a name to a path.
pub(crate) fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    if name.is_empty() || name.contains(['.', '`']) {
        path.push('`');
        path.extend(name.chars().flat_map(|c| matches!(c, '\\' | '`').then_some('\\').into_iter().chain([c])));
        path.push('`');
    } else {
        path.push_str(name);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// Converts a test's JSON.
    pub(crate) fn map(json: &serde_json::Value) -> Map {
        match json.to_string().parse() {
            Ok(Value::Map(map)) => map,
            other => panic!("{other:?} is no map"),
        }
    }

    #[rstest]
    #[case::digits(r#"{"a":[1.50,12345678901234567890123456789,-0,1E400,null,true,"é\n"]}"#, true)]
    #[case::two_values("1 2", false)]
    #[case::cut_off(r#"{"a":"#, false)]
    #[case::no_json("a=1", false)]
    #[case::as_deep_as_may_be(&format!("{}{}", "[".repeat(100), "]".repeat(100)), true)]
    #[case::too_deep(&format!("{}{}", "[".repeat(101), "]".repeat(101)), false)]
    fn json_is_kept_to_the_letter(#[case] text: &str, #[case] valid: bool) {
        let value = text.parse::<Value>();
        assert_eq!(value.is_ok(), valid);
        if let Ok(value) = value {
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
    }

    #[rstest]
    #[case::integer("42", true)]
    #[case::thirty_eight_digits("12345678901234567890123456789012345678", true)]
    #[case::exponent("-1.5E-130", true)]
    #[case::leading_zero("01", false)]
    #[case::infinity("Infinity", false)]
    #[case::space(" 1", false)]
    #[case::trailing_space("1 ", false)]
    #[case::two("1,2", false)]
    #[case::empty("", false)]
    fn numbers_are_json_to_the_letter(#[case] text: &str, #[case] valid: bool) {
        let number = text.parse::<Number>();
        assert_eq!(number.is_ok(), valid);
        if let Ok(number) = number {
            assert_eq!(serde_json::to_string(&number).unwrap(), text);
        }
    }

    #[rstest]
    #[case::nothing(serde_json::json!({"a": 1}), serde_json::json!({"a": 1}), &[])]
    #[case::value(serde_json::json!({"a": 1, "b": 2}), serde_json::json!({"a": 1, "b": 3}), &["b"])]
    #[case::added_and_removed(serde_json::json!({"a": 1}), serde_json::json!({"b": 1}), &["a", "b"])]
    #[case::null_is_not_absent(serde_json::json!({"a": null}), serde_json::json!({}), &["a"])]
    #[case::nested(serde_json::json!({"a": {"b": 1, "c": 2}}), serde_json::json!({"a": {"b": 1, "c": 3}}), &["a.c"])]
    #[case::list_as_a_whole(serde_json::json!({"a": [1, 2]}), serde_json::json!({"a": [1, 3]}), &["a"])]
    #[case::map_became_text(serde_json::json!({"a": {"b": 1}}), serde_json::json!({"a": "b"}), &["a"])]
    #[case::dotted_key(serde_json::json!({"a.b": 1}), serde_json::json!({"a.b": 2}), &["`a.b`"])]
    #[case::spaced_key(serde_json::json!({"Major Genre": 1}), serde_json::json!({"Major Genre": 2}), &["Major Genre"])]
    fn names_what_changed(#[case] old: serde_json::Value, #[case] new: serde_json::Value, #[case] paths: &[&str]) {
        assert_eq!(changed_paths(&map(&old), &map(&new)), paths);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|number| Value::Number(number.to_string().parse().unwrap())),
            ".{0,6}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map("[a-c.`]{0,2}", inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    pub(crate) fn any_map() -> impl Strategy<Value = Map> {
        prop::collection::btree_map("[a-d.`]{0,2}", any_value(), 0..5)
    }

    proptest! {
        #[test]
        fn mask_is_empty_exactly_if_nothing_changed(old in any_map(), new in any_map()) {
            prop_assert_eq!(changed_paths(&old, &new).is_empty(), old == new);
            prop_assert_eq!(changed_paths(&old, &old), Vec::<String>::new());
            prop_assert_eq!(changed_paths(&old, &new), changed_paths(&new, &old));
        }

        #[test]
        fn renders_json(value in any_value()) {
            let text = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(text.parse::<Value>().unwrap(), value);
        }
    }
}
