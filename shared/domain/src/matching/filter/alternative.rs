//! Alternatives: the values that a field may have.

use ipnet::IpNet;
use serde_json::{Number, Value as Json, json};

use crate::matching::weight::{heap, json as json_weight, members};

/// One of the values that a field may have. Compact, because a tenant may have hundreds of thousands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Alternative {
    /// A text, a number, `true`, `false` or `null`.
    Is(Json),
    Prefix(Box<str>),
    Suffix(Box<str>),
    SameButForCase(Box<str>),
    /// In its written form: a star for any characters, `\*` and `\\` for a literal star and backslash.
    Wildcard(Box<str>),
    AnythingBut(Box<Json>),
    /// All texts, or all numbers.
    AnythingButOneOf(Box<[Json]>),
    Numeric(Box<[(Comparison, Number)]>),
    Exists(bool),
    Network(Box<(Box<str>, IpNet)>),
}

/// How a number is compared with a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "=" => Self::Equal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    fn is_lower_bound(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }

    fn is_upper_bound(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }
}

const NOT_TAKEN: &str = "must have an operand of a type that the operator accepts";

impl Alternative {
    /// Parses one of `of` alternatives, or returns what is wrong with it.
    pub(super) fn read(alternative: Json, of: usize) -> Result<Self, &'static str> {
        let operator = match alternative {
            Json::Object(operator) => operator,
            Json::Array(_) => return Err("must be a string, a number, true, false, null or an operator"),
            scalar @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => return Ok(Self::Is(scalar)),
        };
        let count = operator.len();
        let (Some((name, operand)), 1) = (operator.into_iter().next(), count) else {
            return Err("must have one operator; list two operators as two alternatives");
        };
        match (name.as_str(), operand) {
            ("prefix", Json::String(text)) => Ok(Self::Prefix(text.into())),
            ("suffix", Json::String(text)) => Ok(Self::Suffix(text.into())),
            ("equals-ignore-case", Json::String(text)) => Ok(Self::SameButForCase(text.into())),
            ("wildcard", Json::String(text)) if is_wildcard(&text) => Ok(Self::Wildcard(text.into())),
            ("wildcard", Json::String(_)) => Err(
                "must be a wildcard without two stars in a row, and with each backslash followed by a star or a backslash",
            ),
            ("cidr", Json::String(text)) => {
                let network = text.parse().map_err(|_| NOT_TAKEN)?;
                Ok(Self::Network(Box::new((text.into(), network))))
            }
            ("anything-but", Json::Array(values)) => {
                let alike = values.iter().all(Json::is_string) || values.iter().all(Json::is_number);
                if alike && !values.is_empty() { Ok(Self::AnythingButOneOf(values.into())) } else { Err(NOT_TAKEN) }
            }
            ("anything-but", value @ (Json::String(_) | Json::Number(_))) => Ok(Self::AnythingBut(Box::new(value))),
            ("numeric", Json::Array(values)) => numeric(&values).map(Self::Numeric).ok_or(NOT_TAKEN),
            ("exists", _) if of > 1 => Err("must be the only alternative, because it uses exists"),
            ("exists", Json::Bool(exists)) => Ok(Self::Exists(exists)),
            (
                "prefix" | "suffix" | "equals-ignore-case" | "wildcard" | "cidr" | "anything-but" | "numeric"
                | "exists",
                _,
            ) => Err(NOT_TAKEN),
            _ => Err(
                "must be a supported operator: prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, exists or cidr",
            ),
        }
    }

    /// Returns the only text that it accepts, if there is exactly one.
    pub(super) fn exact_text(&self) -> Option<&str> {
        if let Self::Is(scalar) = self { scalar.as_str() } else { None }
    }

    /// Writes it in its original form.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::Is(scalar) => scalar.clone(),
            Self::Prefix(text) => json!({"prefix": text}),
            Self::Suffix(text) => json!({"suffix": text}),
            Self::SameButForCase(text) => json!({"equals-ignore-case": text}),
            Self::Wildcard(text) => json!({"wildcard": text}),
            Self::AnythingBut(value) => json!({"anything-but": value}),
            Self::AnythingButOneOf(values) => json!({"anything-but": values}),
            Self::Numeric(bounds) => {
                let bounds = bounds.iter().flat_map(|(comparison, bound)| [json!(comparison.as_str()), json!(bound)]);
                json!({"numeric": bounds.collect::<Json>()})
            }
            Self::Exists(exists) => json!({"exists": exists}),
            Self::Network(network) => json!({"cidr": network.0}),
        }
    }

    /// Returns an upper bound of the bytes that it takes on the heap.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Is(scalar) => json_weight(scalar),
            Self::Prefix(text) | Self::Suffix(text) | Self::SameButForCase(text) | Self::Wildcard(text) => {
                heap(text.len())
            }
            Self::AnythingBut(value) => heap(size_of::<Json>()) + json_weight(value),
            Self::AnythingButOneOf(values) => members(values, json_weight),
            Self::Numeric(bounds) => members(bounds, |_| 0),
            Self::Exists(_) => 0,
            Self::Network(network) => heap(size_of_val(&**network)) + heap(network.0.len()),
        }
    }
}

/// `["=", 1]`, `[">", 0]`, or a lower and an upper bound.
fn numeric(values: &[Json]) -> Option<Box<[(Comparison, Number)]>> {
    let bound = |pair: &[Json]| match pair {
        [Json::String(word), Json::Number(bound)] => Some((Comparison::read(word)?, bound.clone())),
        _ => None,
    };
    let bounds: Box<[(Comparison, Number)]> = values.chunks(2).map(bound).collect::<Option<_>>()?;
    let is_range = match &*bounds {
        [_] => true,
        [(first, _), (second, _)] => {
            (first.is_lower_bound() && second.is_upper_bound()) || (first.is_upper_bound() && second.is_lower_bound())
        }
        _ => false,
    };
    is_range.then_some(bounds)
}

fn is_wildcard(text: &str) -> bool {
    let mut characters = text.chars();
    let mut after_star = false;
    while let Some(character) = characters.next() {
        let is_right = match character {
            '*' => !after_star,
            '\\' => matches!(characters.next(), Some('*' | '\\')),
            _ => true,
        };
        if !is_right {
            return false;
        }
        after_star = character == '*';
    }
    true
}
