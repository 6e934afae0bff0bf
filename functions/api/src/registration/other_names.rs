//! Settings that a caller may write under several names.

use domain::event::pattern::EventPattern;
use domain::fault::{FieldError, step};
use domain::value::{Map, Value};

/// The settings that have other names too.
pub(super) const SEVERAL_NAMES: [(&str, &[&str]); 2] =
    [("url", &["url", "target_url"]), ("event_types", &["event_types", "events", "trigger_type"])];

/// The names under which a request has settings, if it has them under another name only.
#[derive(Debug)]
pub(crate) struct NamesSent(Vec<(&'static str, &'static str)>);

impl NamesSent {
    pub(crate) fn of(input: &Map) -> Self {
        let other_name = |(setting, names): &(&'static str, &[&'static str])| {
            let mut sent = names.iter().filter(|name| input.contains_key(**name));
            Some((*setting, *sent.next()?)).filter(|(setting, name)| setting != name && sent.next().is_none())
        };
        Self(SEVERAL_NAMES.iter().filter_map(other_name).collect())
    }

    /// Returns the fault at the field that the caller sent, which has no parts: types are a text in `events`.
    pub(crate) fn at_sent(&self, fault: FieldError) -> FieldError {
        let of = |setting: &str| {
            let rest = fault.pointer.strip_prefix('/').and_then(|pointer| pointer.strip_prefix(setting));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self.0.iter().find(|(setting, _)| of(setting)) {
            Some((_, name)) => FieldError { pointer: step(name), ..fault },
            None => fault,
        }
    }
}

/// A setting by one of its names.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    /// As the setting has it.
    pub(super) value: Value,
    /// As it was sent.
    pub(super) given: Value,
    /// Whether it is what the webhook has.
    pub(super) is_current: bool,
}

/// Chooses among the names of a setting that a request has. A caller that sends back a response with one of the names
/// changed means the one that differs from the current value.
pub(super) fn one_of(setting: &str, named: Vec<Named>) -> Result<Map, FieldError> {
    let mut input = Map::new();
    let changed = named.iter().any(|named| !named.is_current);
    for Named { name, value, given, .. } in named.into_iter().filter(|named| !named.is_current || !changed) {
        if input.get(setting).is_some_and(|other| *other != value) {
            return Err(FieldError::new(&step(&name), format!("sets the same field as {setting}; send one of them")));
        }
        input.insert(setting.to_owned(), value);
        if name == "trigger_type" {
            input.insert(name, given);
        }
    }
    Ok(input)
}

/// Returns the value of a setting from one of its names.
pub(super) fn converted(name: &str, value: &Value) -> Result<Value, &'static str> {
    match name {
        "events" => split(value),
        "trigger_type" => {
            let words = value.as_str().ok_or("must be a string")?;
            let pattern = EventPattern::from_words(words);
            let detail = "must be an event type such as process.updated, or words such as Process Updated";
            pattern.map(|pattern| Value::List(vec![Value::of(&pattern)])).map_err(|_| detail)
        }
        _ => Ok(value.clone()),
    }
}

/// Reads SuperOffice's list of events, `contact.created,person.changed`.
fn split(value: &Value) -> Result<Value, &'static str> {
    match value {
        Value::String(text) => {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            let names: Vec<Value> = names.map(|name| Value::String(name.to_owned())).collect();
            // An empty list would mean all types, which a caller of this field does not expect.
            if names.is_empty() { Err("must name at least one event") } else { Ok(Value::List(names)) }
        }
        Value::List(_) => Ok(value.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Map(_) => {
            Err("must be event types, separated by commas")
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value as Json, json};

    use super::*;

    #[rstest]
    #[case::url(json!({"target_url": "x"}), "/url", "/target_url")]
    #[case::types(json!({"events": "a b,c"}), "/event_types/0", "/events")]
    #[case::all_types(json!({"events": "a,b"}), "/event_types", "/events")]
    #[case::trigger(json!({"trigger_type": "a"}), "/event_types/0", "/trigger_type")]
    #[case::both_names(json!({"target_url": "x", "url": "x"}), "/url", "/url")]
    #[case::two_other_names(json!({"events": "x", "trigger_type": "x"}), "/event_types/0", "/event_types/0")]
    #[case::another_field(json!({"target_url": "x"}), "/urls/0", "/urls/0")]
    #[case::own_name(json!({"url": "x"}), "/url", "/url")]
    fn a_fault_is_at_the_name_that_was_sent(#[case] input: Json, #[case] pointer: &str, #[case] expected: &str) {
        let Value::Map(input) = Value::of(&input) else { panic!() };
        let names = NamesSent::of(&input);
        assert_eq!(names.at_sent(FieldError::new(pointer, "is wrong")).pointer, expected);
    }
}
