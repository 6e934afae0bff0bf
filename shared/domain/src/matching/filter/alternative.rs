//! Alternatives: the values that a field may have.

use crate::matching::weight::{heap, members, value as value_weight};
use crate::value::{Map, Number, Value};
use ipnet::IpNet;

/// One of the values that a field may have. Compact, because a tenant may have hundreds of thousands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Alternative {
    /// A text, a number, `true`, `false` or `null`.
    Is(Value),
    Prefix(Box<str>),
    Suffix(Box<str>),
    SameButForCase(Box<str>),
    /// In its written form: a star for any characters, `\*` and `\\` for a literal star and backslash.
    Wildcard(Box<str>),
    AnythingBut(Box<Value>),
    /// All texts, or all numbers.
    AnythingButOneOf(Box<[Value]>),
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

/// The operators.
pub(super) const OPERATORS: [&str; 8] =
    ["prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "exists", "cidr"];

/// What an operator needs.
fn needs(operator: &str) -> &'static str {
    match operator {
        "prefix" => "must have a string after prefix, such as {\"prefix\": \"a\"}",
        "suffix" => "must have a string after suffix, such as {\"suffix\": \"a\"}",
        "equals-ignore-case" => "must have a string after equals-ignore-case, such as {\"equals-ignore-case\": \"a\"}",
        "wildcard" => "must have a string after wildcard, such as {\"wildcard\": \"a*\"}",
        "anything-but" => {
            "must have a string, a number, or a list of only strings or only numbers after anything-but, such as {\"anything-but\": [\"a\", \"b\"]}"
        }
        "numeric" => {
            "must have one comparison or a lower and an upper bound after numeric, such as {\"numeric\": [\">\", 0, \"<=\", 5]}"
        }
        "exists" => "must have true or false after exists, such as {\"exists\": true}",
        "cidr" => "must have an IP network after cidr, such as {\"cidr\": \"10.0.0.0/8\"}",
        _ => {
            "must be a supported operator: prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, exists or cidr"
        }
    }
}

impl Alternative {
    /// Parses one of `of` alternatives, or returns what is wrong with it.
    pub(super) fn read(alternative: Value, of: usize) -> Result<Self, &'static str> {
        let operator = match alternative {
            Value::Map(operator) => operator,
            Value::List(_) => return Err("must be a string, a number, true, false, null or an operator"),
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                return Ok(Self::Is(scalar));
            }
        };
        let count = operator.len();
        let (Some((name, operand)), 1) = (operator.into_iter().next(), count) else {
            return Err("must have one operator; list two operators as two alternatives");
        };
        match (name.as_str(), operand) {
            ("prefix", Value::String(text)) => Ok(Self::Prefix(text.into())),
            ("suffix", Value::String(text)) => Ok(Self::Suffix(text.into())),
            ("equals-ignore-case", Value::String(text)) => Ok(Self::SameButForCase(text.into())),
            ("wildcard", Value::String(text)) if is_wildcard(&text) => Ok(Self::Wildcard(text.into())),
            ("wildcard", Value::String(_)) => Err(
                "must be a wildcard without two stars in a row, and with each backslash followed by a star or a backslash",
            ),
            ("cidr", Value::String(text)) => {
                let network = text.parse().map_err(|_| needs("cidr"))?;
                Ok(Self::Network(Box::new((text.into(), network))))
            }
            ("anything-but", Value::List(values)) => {
                let alike = values.iter().all(is_text) || values.iter().all(is_number);
                if alike && !values.is_empty() {
                    Ok(Self::AnythingButOneOf(values.into()))
                } else {
                    Err(needs("anything-but"))
                }
            }
            ("anything-but", value @ (Value::String(_) | Value::Number(_))) => Ok(Self::AnythingBut(Box::new(value))),
            ("numeric", Value::List(values)) => numeric(&values).map(Self::Numeric),
            ("exists", _) if of > 1 => Err("must be the only alternative, because it uses exists"),
            ("exists", Value::Bool(exists)) => Ok(Self::Exists(exists)),
            (operator, _) => Err(needs(operator)),
        }
    }

    /// Returns the only text that it accepts, if there is exactly one.
    pub(super) fn exact_text(&self) -> Option<&str> {
        if let Self::Is(scalar) = self { scalar.as_str() } else { None }
    }

    /// Writes it in its original form.
    pub(super) fn to_value(&self) -> Value {
        let text = |text: &str| Value::String(text.to_owned());
        let (operator, operand) = match self {
            Self::Is(scalar) => return scalar.clone(),
            Self::Prefix(asked) => ("prefix", text(asked)),
            Self::Suffix(asked) => ("suffix", text(asked)),
            Self::SameButForCase(asked) => ("equals-ignore-case", text(asked)),
            Self::Wildcard(asked) => ("wildcard", text(asked)),
            Self::AnythingBut(value) => ("anything-but", (**value).clone()),
            Self::AnythingButOneOf(values) => ("anything-but", Value::List(values.to_vec())),
            Self::Numeric(bounds) => {
                let bound = |(comparison, bound): &(Comparison, Number)| {
                    [text(comparison.as_str()), Value::Number(bound.clone())]
                };
                ("numeric", Value::List(bounds.iter().flat_map(bound).collect()))
            }
            Self::Exists(exists) => ("exists", Value::Bool(*exists)),
            Self::Network(network) => ("cidr", text(&network.0)),
        };
        Value::Map(Map::from([(operator.to_owned(), operand)]))
    }

    /// Returns an upper bound of the bytes that it takes on the heap.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Is(scalar) => value_weight(scalar),
            Self::Prefix(text) | Self::Suffix(text) | Self::SameButForCase(text) | Self::Wildcard(text) => {
                heap(text.len())
            }
            Self::AnythingBut(value) => heap(size_of::<Value>()) + value_weight(value),
            Self::AnythingButOneOf(values) => members(values, value_weight),
            Self::Numeric(bounds) => members(bounds, |(_, bound)| heap(bound.capacity())),
            Self::Exists(_) => 0,
            Self::Network(network) => heap(size_of_val(&**network)) + heap(network.0.len()),
        }
    }
}

fn is_text(value: &Value) -> bool {
    matches!(value, Value::String(_))
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Number(_))
}

/// `["=", 1]`, `[">", 0]`, or a lower and an upper bound.
fn numeric(values: &[Value]) -> Result<Box<[(Comparison, Number)]>, &'static str> {
    let bound = |pair: &[Value]| match pair {
        [Value::String(word), Value::Number(bound)] => Some((Comparison::read(word)?, bound.clone())),
        _ => None,
    };
    let bounds: Option<Box<[(Comparison, Number)]>> = values.chunks(2).map(bound).collect();
    let bounds = bounds.ok_or(needs("numeric"))?;
    let range = match &*bounds {
        [_] => return Ok(bounds),
        [lower, upper] | [upper, lower] if lower.0.is_lower_bound() && upper.0.is_upper_bound() => (lower, upper),
        _ => return Err(needs("numeric")),
    };
    let ((lower, from), (upper, to)) = range;
    let (from, to) = (from.decimal(), to.decimal());
    let contains_its_end = *lower == Comparison::GreaterOrEqual && *upper == Comparison::LessOrEqual;
    if from < to || (from == to && contains_its_end) {
        Ok(bounds)
    } else {
        Err("must be a range that contains a number; the lower bound is not below the upper bound")
    }
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
