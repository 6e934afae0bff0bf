//! The rules: whether one event passes one pattern.

use ipnet::IpNet;
use serde_json::Value as Json;

use super::{Asked, Fields};
use crate::event::{Event, State};
use crate::tenant::AppId;
use crate::value::{Map, Value};

/// Says whether the event has what every field of the pattern asks for.
pub(super) fn holds(pattern: &Fields, event: &Event) -> bool {
    pattern.0.iter().all(|(name, asked)| {
        let text = |text: &str| is_one(asked, &[&Value::String(text.to_owned())]);
        let state = |state: &Option<State>| match asked {
            Asked::Fields(fields) => all_hold(fields, state.as_ref().map(|state| &state.properties)),
            Asked::OneOf(_) => is_one(asked, &[]),
        };
        match &**name {
            "eventType" => text(event.event_type.as_str()),
            "operationType" => text(event.operation.as_str()),
            "source" => text(&event.source),
            "applicationId" => event.app.as_ref().map(AppId::as_str).map_or_else(|| is_one(asked, &[]), text),
            "collectionPath" => text(&event.entity.collection),
            "entityPath" => text(&event.entity.path()),
            "entityId" => text(&event.entity.id),
            "entityKey" => text(&event.entity.key),
            "value" => state(&event.new),
            "oldValue" => state(&event.old),
            "updateMask" => {
                let paths = event.update_mask.iter().flatten();
                let paths: Vec<Value> = paths.map(|path| Value::String(path.clone())).collect();
                is_one(asked, &paths.iter().collect::<Vec<_>>())
            }
            _ => false,
        }
    })
}

/// Of nothing, only what must be absent holds.
fn all_hold(fields: &Fields, map: Option<&Map>) -> bool {
    fields.0.iter().all(|(name, asked)| {
        let value = map.and_then(|map| map.get(&**name));
        match asked {
            Asked::Fields(inner) => within(inner, value),
            Asked::OneOf(_) => is_one(asked, &leaves(value)),
        }
    })
}

/// Fields of a map, or of one member of a list.
fn within(fields: &Fields, value: Option<&Value>) -> bool {
    match value {
        Some(Value::Map(map)) => all_hold(fields, Some(map)),
        Some(Value::List(values)) if !values.is_empty() => values.iter().any(|value| within(fields, Some(value))),
        _ => all_hold(fields, None),
    }
}

/// The values that are no list and no map: of a list, its members'.
fn leaves(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None | Some(Value::Map(_)) => Vec::new(),
        Some(Value::List(values)) => values.iter().flat_map(|value| leaves(Some(value))).collect(),
        Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))) => vec![value],
    }
}

fn is_one(asked: &Asked, values: &[&Value]) -> bool {
    let Asked::OneOf(alternatives) = asked else { return false };
    alternatives.iter().any(|alternative| match alternative.get("exists") {
        Some(exists) => exists.as_bool() == Some(!values.is_empty()),
        None => values.iter().any(|value| passes(alternative, value)),
    })
}

fn passes(alternative: &Json, value: &Value) -> bool {
    let Some((operator, operand)) = alternative.as_object().and_then(|operator| operator.iter().next()) else {
        return is_same(alternative, value);
    };
    match (operator.as_str(), operand, value) {
        ("prefix", Json::String(asked), Value::String(text)) => text.starts_with(asked.as_str()),
        ("suffix", Json::String(asked), Value::String(text)) => text.ends_with(asked.as_str()),
        ("wildcard", Json::String(asked), Value::String(text)) => is_like(asked, text),
        ("equals-ignore-case", Json::String(asked), Value::String(text)) => {
            asked.chars().flat_map(char::to_lowercase).eq(text.chars().flat_map(char::to_lowercase))
        }
        ("anything-but", Json::Array(asked), value) => !asked.iter().any(|asked| is_same(asked, value)),
        ("anything-but", asked, value) => !is_same(asked, value),
        ("numeric", Json::Array(asked), Value::Number(_)) => {
            let compare = |pair: &[Json]| compares(pair[0].as_str()?, number(value)?, pair[1].as_f64()?);
            asked.chunks_exact(2).all(|pair| compare(pair) == Some(true))
        }
        ("cidr", Json::String(asked), Value::String(text)) => {
            let network = asked.parse::<IpNet>();
            network.is_ok_and(|network| text.parse().is_ok_and(|address: std::net::IpAddr| network.contains(&address)))
        }
        _ => false,
    }
}

/// Says whether a value is the scalar that is asked for.
pub(crate) fn is_same(asked: &Json, value: &Value) -> bool {
    match (asked, value) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(asked), Value::Bool(value)) => asked == value,
        (Json::String(asked), Value::String(text)) => asked == text,
        (Json::Number(asked), Value::Number(_)) => {
            asked.as_f64().zip(number(value)).is_some_and(|(asked, value)| compares("=", value, asked) == Some(true))
        }
        _ => false,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(_) => value.as_text()?.parse().ok(),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::List(_) | Value::Map(_) => None,
    }
}

fn compares(operator: &str, value: f64, bound: f64) -> Option<bool> {
    let order = value.partial_cmp(&bound)?;
    Some(match operator {
        "=" => order.is_eq(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        _ => return None,
    })
}

/// A star stands for any characters; with a backslash before it, and so does a backslash, for itself.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut pieces = vec![String::new()];
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => pieces.push(String::new()),
            '\\' => pieces.last_mut().into_iter().for_each(|piece| piece.extend(chars.next())),
            other => pieces.last_mut().into_iter().for_each(|piece| piece.push(other)),
        }
    }
    let [first, middle @ .., last] = &pieces[..] else { return pieces[0] == text };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for piece in middle {
        let Some(at) = rest.find(piece.as_str()) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last.as_str())
}
