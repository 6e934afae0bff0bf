//! Evaluates whether an event matches a pattern.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::alternative::{Alternative, Comparison};
use super::{Asked, Fields, Filter};
use crate::access::tenant::AppId;
use crate::event::Event;
use crate::event::state::State;
use crate::matching::effort::Effort;
use crate::value::{Map, Number, Value};

/// A value of an event that is neither a list nor a map.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(&'a Number),
    Text(&'a str),
}

impl<'a> Scalar<'a> {
    /// Returns the value if it is neither a list nor a map.
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Null),
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => Some(Self::Number(number)),
            Value::String(text) => Some(Self::Text(text)),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    fn is(self, asked: &Value) -> bool {
        match (asked, self) {
            (Value::Null, Self::Null) => true,
            (Value::Bool(asked), Self::Bool(value)) => *asked == value,
            (Value::String(asked), Self::Text(text)) => asked == text,
            (Value::Number(asked), Self::Number(value)) => Comparison::Equal.holds(value, asked),
            _ => false,
        }
    }
}

impl Filter {
    /// Returns whether an event matches.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.matches_within(event, &Effort::unlimited())
    }

    /// Returns whether an event matches. The result is meaningless if the effort is spent.
    #[must_use]
    pub fn matches_within(&self, event: &Event, effort: &Effort) -> bool {
        holds(&self.0, event, effort)
    }
}

/// Returns whether a value equals the given scalar.
pub(crate) fn is_same(asked: &Value, value: &Value) -> bool {
    Scalar::of(value).is_some_and(|scalar| scalar.is(asked))
}

/// Returns whether the event satisfies the condition of every field. The result is meaningless if the effort is spent.
pub(super) fn holds(pattern: &Fields, event: &Event, effort: &Effort) -> bool {
    let path = OnceCell::new();
    pattern.0.iter().all(|(name, asked)| match (&**name, asked) {
        ("value", Asked::Fields(fields)) => all_hold(fields, properties(event.new.as_ref()), effort),
        ("oldValue", Asked::Fields(fields)) => all_hold(fields, properties(event.old.as_ref()), effort),
        (_, Asked::Fields(_)) => false,
        (name, Asked::OneOf(alternatives)) => {
            of_event(name, event, &path).is_some_and(|found| is_one(alternatives, &found, effort))
        }
    })
}

/// Returns the values of an event at the place that the names lead to; for lists, those of all members.
pub(super) fn values_at<'a>(names: &[&str], event: &'a Event, path: &'a OnceCell<String>) -> Vec<Scalar<'a>> {
    let mut found = Vec::new();
    match names {
        [name] => return of_event(name, event, path).unwrap_or_default(),
        ["value", names @ ..] => in_map(names, properties(event.new.as_ref()), &mut found),
        ["oldValue", names @ ..] => in_map(names, properties(event.old.as_ref()), &mut found),
        _ => {}
    }
    found
}

fn in_map<'a>(names: &[&str], map: Option<&'a Map>, found: &mut Vec<Scalar<'a>>) {
    let Some((name, names)) = names.split_first() else { return };
    let Some(value) = map.and_then(|map| map.get(*name)) else { return };
    if names.is_empty() { scalars(value, found) } else { in_value(names, value, found) }
}

fn in_value<'a>(names: &[&str], value: &'a Value, found: &mut Vec<Scalar<'a>>) {
    match value {
        Value::Map(map) => in_map(names, Some(map), found),
        Value::List(values) => values.iter().for_each(|value| in_value(names, value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn properties(state: Option<&State>) -> Option<&Map> {
    state.map(|state| &*state.properties)
}

/// Returns the texts of a field of the event itself, without the entity's attributes. `None` if there is no such field.
fn of_event<'a>(name: &str, event: &'a Event, path: &'a OnceCell<String>) -> Option<Vec<Scalar<'a>>> {
    let text = match name {
        "eventType" => event.event_type.as_str(),
        "operationType" => event.operation.as_str(),
        "source" => &event.source,
        "collectionPath" => &event.entity.collection,
        "entityPath" => path.get_or_init(|| event.entity.path()),
        "entityId" => &event.entity.id,
        "entityKey" => &event.entity.key,
        "applicationId" => return Some(event.app.iter().map(AppId::as_str).map(Scalar::Text).collect()),
        "updateMask" => {
            let paths = event.update_mask.iter().flatten();
            return Some(paths.map(|path| Scalar::Text(path)).collect());
        }
        "value" | "oldValue" => return Some(Vec::new()),
        _ => return None,
    };
    Some(vec![Scalar::Text(text)])
}

/// If there is no map, only conditions on absent fields hold.
fn all_hold(fields: &Fields, map: Option<&Map>, effort: &Effort) -> bool {
    fields.0.iter().all(|(name, asked)| {
        let value = map.and_then(|map| map.get(&**name));
        match asked {
            Asked::Fields(inner) => within(inner, value, effort),
            Asked::OneOf(alternatives) => {
                let mut found = Vec::new();
                if let Some(value) = value {
                    scalars(value, &mut found);
                }
                effort.spend(1 + found.len()) && is_one(alternatives, &found, effort)
            }
        }
    })
}

/// Evaluates fields of a map, or of one member of a list.
fn within(fields: &Fields, value: Option<&Value>, effort: &Effort) -> bool {
    if !effort.spend(1) {
        return false;
    }
    match value {
        Some(Value::Map(map)) => all_hold(fields, Some(map), effort),
        Some(Value::List(values)) if !values.is_empty() => {
            values.iter().any(|value| within(fields, Some(value), effort))
        }
        _ => all_hold(fields, None, effort),
    }
}

/// Collects the scalar values; for a list, those of its members.
fn scalars<'a>(value: &'a Value, found: &mut Vec<Scalar<'a>>) {
    match value {
        Value::List(values) => values.iter().for_each(|value| scalars(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Map(_) => {
            found.extend(Scalar::of(value));
        }
    }
}

fn is_one(alternatives: &[Alternative], found: &[Scalar<'_>], effort: &Effort) -> bool {
    alternatives.iter().any(|alternative| {
        if let Alternative::Exists(exists) = alternative {
            return *exists != found.is_empty();
        }
        found.iter().any(|scalar| effort.spend(cost(alternative, *scalar)) && alternative.passes(*scalar))
    })
}

/// How many bytes are searched or compared in the time of one unit of effort.
const BYTES_A_UNIT: usize = 8;

fn cost(alternative: &Alternative, value: Scalar<'_>) -> usize {
    match (alternative, value) {
        (Alternative::Wildcard(asked), Scalar::Text(text)) => 1 + (asked.len() + text.len()) / BYTES_A_UNIT,
        (Alternative::SameButForCase(asked), Scalar::Text(_)) => 1 + asked.len(),
        (Alternative::AnythingButOneOf(asked), _) => asked.len(),
        (Alternative::Network(_), Scalar::Text(_)) => 10,
        _ => 1,
    }
}

impl Alternative {
    fn passes(&self, value: Scalar<'_>) -> bool {
        match (self, value) {
            (Self::Is(asked), value) => value.is(asked),
            (Self::Prefix(asked), Scalar::Text(text)) => text.starts_with(&**asked),
            (Self::Suffix(asked), Scalar::Text(text)) => text.ends_with(&**asked),
            (Self::Wildcard(asked), Scalar::Text(text)) => is_like(asked, text),
            (Self::SameButForCase(asked), Scalar::Text(text)) => {
                asked.chars().flat_map(char::to_lowercase).eq(text.chars().flat_map(char::to_lowercase))
            }
            (Self::AnythingBut(asked), value) => !value.is(asked),
            (Self::AnythingButOneOf(asked), value) => !asked.iter().any(|asked| value.is(asked)),
            (Self::Numeric(bounds), Scalar::Number(value)) => {
                bounds.iter().all(|(comparison, bound)| comparison.holds(value, bound))
            }
            (Self::Network(network), Scalar::Text(text)) => {
                text.parse().is_ok_and(|address: std::net::IpAddr| network.1.contains(&address))
            }
            _ => false,
        }
    }
}

impl Comparison {
    fn holds(self, value: &Number, bound: &Number) -> bool {
        let order = value.decimal().cmp(&bound.decimal());
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// Splits a wildcard at its first star: the text before it, and the rest after the star, if there is one.
fn split(wildcard: &str) -> (Cow<'_, str>, Option<&str>) {
    let mut piece = Cow::Borrowed("");
    let mut rest = wildcard;
    loop {
        let at = rest.find(['*', '\\']).unwrap_or(rest.len());
        // Without an escape, the piece can be borrowed from the wildcard.
        if piece.is_empty() {
            piece = Cow::Borrowed(&rest[..at]);
        } else {
            piece.to_mut().push_str(&rest[..at]);
        }
        let mut after = rest[at..].chars();
        match after.next() {
            Some('\\') => {
                piece.to_mut().extend(after.next());
                rest = after.as_str();
            }
            Some(_) => return (piece, Some(after.as_str())),
            None => return (piece, None),
        }
    }
}

/// Matches a wildcard. A star matches any characters; `\*` and `\\` match a star and a backslash.
///
/// Runs in linear time, because each piece is searched for once, after the one before it.
fn is_like(wildcard: &str, text: &str) -> bool {
    let (first, mut following) = split(wildcard);
    if following.is_none() {
        return first == text;
    }
    let Some(mut rest) = text.strip_prefix(&*first) else { return false };
    while let Some(pieces) = following {
        let (piece, more) = split(pieces);
        if more.is_none() {
            return rest.ends_with(&*piece);
        }
        let Some(at) = rest.find(&*piece) else { return false };
        rest = &rest[at + piece.len()..];
        following = more;
    }
    true
}
