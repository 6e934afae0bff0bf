//! What a pattern may say.

use serde_json::{Map as JsonMap, Value as Json};

use super::FilterError;

pub(super) fn check_fields(fields: &JsonMap<String, Json>, above: &str) -> Result<(), FilterError> {
    let error = |place: &str, detail: &str| {
        let place = if place.is_empty() { "the filter" } else { place };
        Err(FilterError { place: place.to_owned(), detail: detail.to_owned() })
    };
    if fields.is_empty() {
        return error(above, "must name a field");
    }
    for (name, value) in fields {
        let place = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        match value {
            Json::Object(inner) => check_fields(inner, &place)?,
            Json::Array(alternatives) if alternatives.is_empty() => return error(&place, "must list what it may be"),
            Json::Array(alternatives) => {
                for alternative in alternatives {
                    if let Err(detail) = check_alternative(alternative, alternatives.len()) {
                        return error(&place, detail);
                    }
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
                return error(&place, "must be a list of what it may be, such as [\"paid\"], or fields");
            }
        }
    }
    Ok(())
}

fn check_alternative(alternative: &Json, of: usize) -> Result<(), &'static str> {
    let operator = match alternative {
        Json::Object(operator) => operator,
        Json::Array(_) => return Err("must be a list of texts, numbers, true, false, null or operators"),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return Ok(()),
    };
    let (Some((name, operand)), 1) = (operator.iter().next(), operator.len()) else {
        return Err("an operator must stand alone in its braces");
    };
    let is_right = match name.as_str() {
        "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => operand.is_string(),
        "cidr" => operand.as_str().is_some_and(|text| text.parse::<ipnet::IpNet>().is_ok()),
        "anything-but" => is_anything_but(operand),
        "numeric" => is_numeric(operand),
        "exists" if of > 1 => return Err("exists must be the only alternative"),
        "exists" => operand.is_boolean(),
        _ => {
            return Err(
                "is not a supported operator; those are prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, exists and cidr",
            );
        }
    };
    if is_right { Ok(()) } else { Err("the operand is not one that the operator takes") }
}

fn is_anything_but(operand: &Json) -> bool {
    match operand {
        Json::Array(values) => {
            !values.is_empty() && (values.iter().all(Json::is_string) || values.iter().all(Json::is_number))
        }
        Json::String(_) | Json::Number(_) => true,
        Json::Null | Json::Bool(_) | Json::Object(_) => false,
    }
}

/// `["=", 1]`, `[">", 0]`, or a lower and an upper bound.
fn is_numeric(operand: &Json) -> bool {
    let Some(values) = operand.as_array() else { return false };
    let comparisons: Vec<_> =
        values.chunks(2).map(|pair| (pair[0].as_str(), pair.get(1).is_some_and(Json::is_number))).collect();
    match comparisons[..] {
        [(Some("=" | "<" | "<=" | ">" | ">="), true)] => true,
        [(Some(first), true), (Some(second), true)] => {
            let bounds = |lower: &str, upper: &str| lower.starts_with('>') && upper.starts_with('<');
            [first, second].iter().all(|word| ["<", "<=", ">", ">="].contains(word))
                && (bounds(first, second) || bounds(second, first))
        }
        _ => false,
    }
}
