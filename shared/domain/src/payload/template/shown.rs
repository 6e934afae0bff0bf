//! Converts an event's values to the engine's values, and the engine's values to JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Value as Shown, ValueKind};
use minijinja::{Error, ErrorKind};

use super::limits::MAX_OUTPUT_BYTES;
use crate::event::Removal;
use crate::payload::json::text;
use crate::payload::view::{FieldChange, View};
use crate::value::decimal::Decimal;
use crate::value::{Map, Value};

/// A number that the engine cannot represent. It is printed exactly and cannot be computed with.
#[derive(Debug)]
pub(super) struct Exact(pub(super) String);

impl Object for Exact {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The variables of a template: the fields of the format `change`, with `value` and `oldValue` as the attributes
/// themselves.
pub(super) fn context(view: &View<'_>) -> BTreeMap<&'static str, Shown> {
    let event = view.event;
    let removal = |removal| (event.removal == Some(removal)).then(|| Shown::from(true));
    let names = |mask: &[String]| mask.iter().map(Shown::from).collect::<Vec<_>>().into();
    let entries = [
        ("eventTimestamp", Some(Shown::from(&view.at))),
        ("operationType", Some(event.operation.to_string().into())),
        ("entityPath", Some(Shown::from(&view.path))),
        ("entityId", Some(Shown::from(&event.entity.id))),
        ("entityKey", Some(Shown::from(&event.entity.key))),
        ("collectionPath", Some(Shown::from(&event.entity.collection))),
        ("organizationId", Some(event.tenant.as_str().into())),
        ("eventId", Some(event.id.to_string().into())),
        ("eventType", Some(view.event_type.as_str().into())),
        ("sequence", Some(Shown::from(&event.sequence))),
        ("state", view.state().map(Shown::from)),
        ("previous", view.previous().map(Shown::from)),
        ("softRemoved", removal(Removal::Soft)),
        ("expired", removal(Removal::Expired)),
        ("related", Some(shown_map(&view.related))),
        ("value", view.value().map(|shown| shown_map(&shown.properties))),
        ("oldValue", view.old_value().map(|shown| shown_map(&shown.properties))),
        ("changes", view.changes().map(|changes| changes.iter().map(shown_change).collect::<Vec<_>>().into())),
        ("updateMask", view.update_mask.as_deref().map(names)),
        ("properties", Some(shown_map(view.properties))),
    ];
    entries.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn shown_change(change: &FieldChange<'_>) -> Shown {
    let field = ("field", Some(Shown::from(&change.field)));
    let entries = [field, ("old", change.old.map(shown)), ("new", change.new.map(shown))];
    Shown::from_pairs(entries.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

fn shown_map(map: &Map) -> Shown {
    Shown::from(map.iter().map(|(key, value)| (key.clone(), shown(value))).collect::<BTreeMap<String, Shown>>())
}

fn shown(value: &Value) -> Shown {
    match value {
        Value::Null => Shown::from(()),
        Value::Bool(value) => Shown::from(*value),
        Value::Number(_) => number(value.as_text().unwrap_or_default()),
        Value::String(text) => Shown::from(text),
        Value::List(values) => values.iter().map(shown).collect::<Vec<_>>().into(),
        Value::Map(map) => shown_map(map),
    }
}

/// Returns a 128-bit integer or a 64-bit float if it equals the number exactly, and the digits otherwise.
fn number(digits: &str) -> Shown {
    // Up to 15 digits are always exact. Checking this first is fast, and a large event may contain a hundred thousand
    // numbers.
    let is_short =
        digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    if let Some(float) = digits.parse::<f64>().ok().filter(|_| is_short && digits.contains('.')) {
        return Shown::from(float);
    }
    let integer = digits.parse::<i128>().ok().filter(|integer| integer.to_string() == digits);
    let float = digits.parse::<f64>().ok().filter(|float| Decimal::of(&format!("{float:e}")) == Decimal::of(digits));
    integer
        .map(Shown::from)
        .or_else(|| float.map(Shown::from))
        .unwrap_or_else(|| Shown::from_object(Exact(digits.to_owned())))
}

/// Writes a value as JSON.
pub(super) fn json(value: &Shown) -> Result<String, Error> {
    let mut made = String::new();
    write_json(value, &mut made)?;
    Ok(made)
}

fn write_json(value: &Shown, made: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => made.push_str("null"),
        ValueKind::Bool => made.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if value.is_integer() => made.push_str(&value.to_string()),
        ValueKind::Number => {
            let float = f64::try_from(value.clone()).ok().and_then(serde_json::Number::from_f64);
            made.push_str(&float.ok_or(ErrorKind::BadSerialization)?.to_string());
        }
        ValueKind::String if value.is_safe() => made.push_str(value.as_str().unwrap_or_default()),
        ValueKind::String => made.push_str(&text(&value.as_str())),
        ValueKind::Seq | ValueKind::Iterable => write_list(value, made)?,
        ValueKind::Map => write_map(value, made)?,
        ValueKind::Plain | ValueKind::Undefined | ValueKind::Bytes | ValueKind::Invalid | _ => {
            let Some(Exact(digits)) = value.downcast_object_ref() else {
                return Err(ErrorKind::BadSerialization.into());
            };
            made.push_str(digits);
        }
    }
    // Checked at every level, so that a list that repeats a long list is not written to the end.
    if made.len() > MAX_OUTPUT_BYTES { Err(ErrorKind::WriteFailure.into()) } else { Ok(()) }
}

fn write_list(values: &Shown, made: &mut String) -> Result<(), Error> {
    made.push('[');
    for (index, value) in values.try_iter()?.enumerate() {
        if index > 0 {
            made.push(',');
        }
        write_json(&value, made)?;
    }
    made.push(']');
    Ok(())
}

fn write_map(map: &Shown, made: &mut String) -> Result<(), Error> {
    made.push('{');
    for (index, key) in map.try_iter()?.enumerate() {
        if index > 0 {
            made.push(',');
        }
        made.push_str(&text(&key.as_str().ok_or(ErrorKind::NonKey)?));
        made.push(':');
        write_json(&map.get_item(&key)?, made)?;
    }
    made.push('}');
    Ok(())
}
