//! The parts of an event that a webhook may see, in any format.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use super::{Detail, Properties, Rendering};
use crate::event::state::State;
use crate::event::types::{EventType, Operation};
use crate::event::{Event, Removal};
use crate::time::rfc3339;
use crate::value::path::FieldPath;
use crate::value::{Map, Value, changed_paths, changes};

/// An event without the parts that the webhook does not want. Borrows where possible, because most webhooks want
/// everything.
pub(super) struct View<'a> {
    pub(super) event: &'a Event,
    pub(super) event_type: &'a EventType,
    pub(super) detail: Detail,
    /// The path of the entity.
    pub(super) path: String,
    /// When the change was committed.
    pub(super) at: String,
    /// The entity after the event.
    pub(super) new: Option<Shown<'a>>,
    /// The entity before the event.
    pub(super) old: Option<Shown<'a>>,
    /// The related values that are shown with the entity.
    pub(super) related: Cow<'a, Map>,
    /// The paths at which the two states differ.
    pub(super) update_mask: Option<Cow<'a, [String]>>,
    /// The properties that the webhook's owner adds.
    pub(super) properties: &'a Properties,
}

/// A state without the fields that the webhook does not want.
pub(super) struct Shown<'a> {
    pub(super) state: &'a State,
    pub(super) properties: Cow<'a, Map>,
}

/// As its attributes.
impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.properties {
            // Their JSON was written already.
            Cow::Borrowed(_) => self.state.properties.serialize(serializer),
            Cow::Owned(properties) => properties.serialize(serializer),
        }
    }
}

impl<'a> View<'a> {
    pub(super) fn of(rendering: &'a Rendering, event: &'a Event, event_type: &'a EventType) -> Self {
        let shown = |map| filtered(map, &rendering.include, &rendering.exclude);
        let state = |state: &'a Option<State>| {
            state.as_ref().map(|state| Shown { state, properties: shown(&state.properties) })
        };
        let (old, new) = (state(&event.old), state(&event.new));
        let everything = rendering.include.is_empty() && rendering.exclude.is_empty();
        let update_mask = match (&event.update_mask, &old, &new) {
            (Some(mask), ..) if everything => Some(Cow::Borrowed(mask.as_slice())),
            // Compare what is shown, so that the old state and the changes always lead to the new state here too.
            (_, Some(old), Some(new)) => Some(Cow::Owned(changed_paths(&old.properties, &new.properties))),
            _ => None,
        };
        Self {
            event,
            event_type,
            detail: rendering.detail,
            path: event.entity.path(),
            at: rfc3339(event.at),
            new,
            old,
            related: if rendering.detail == Detail::Thin {
                Cow::Owned(Map::new())
            } else {
                shown(&event.entity.related)
            },
            update_mask,
            properties: &rendering.properties,
        }
    }

    /// Returns the id of the state after the change.
    pub(super) fn state(&self) -> Option<&'a str> {
        self.event.new.as_ref().map(|state| state.id.as_str()).filter(|id| !id.is_empty())
    }

    /// Returns the id of the state before the change.
    pub(super) fn previous(&self) -> Option<&'a str> {
        self.event.old.as_ref().map(|state| state.id.as_str()).filter(|id| !id.is_empty())
    }

    /// Returns how the entity was removed, unless its item was deleted.
    pub(super) fn removal(&self) -> Option<&'static str> {
        self.event.removal.map(|removal| match removal {
            Removal::Soft => "soft",
            Removal::Expired => "expired",
        })
    }

    /// The state after the change, unless only changes are shown.
    pub(super) fn value(&self) -> Option<&Shown<'a>> {
        self.new.as_ref().filter(|_| self.detail == Detail::Full)
    }

    /// The state before the change, unless only changes are shown.
    pub(super) fn old_value(&self) -> Option<&Shown<'a>> {
        self.old.as_ref().filter(|_| self.detail == Detail::Full)
    }

    /// The changes, if only these are shown.
    pub(super) fn changes(&self) -> Option<Vec<FieldChange<'_>>> {
        (self.detail == Detail::Diff).then(|| self.all_changes())
    }

    /// The changes in the order of the fields: those of the update mask, or all attributes of a new or removed entity.
    pub(super) fn all_changes(&self) -> Vec<FieldChange<'_>> {
        let [old, new] = [&self.old, &self.new].map(|shown| shown.as_ref().map(|shown| &*shown.properties));
        changes(old, new).into_iter().map(|(field, old, new)| FieldChange { field, old, new }).collect()
    }

    /// The kind of the entity: the event's own type without its last word.
    pub(super) fn entity_name(&self) -> &'a str {
        self.event.event_type.as_str().rsplit_once('.').map_or(self.event.event_type.as_str(), |(entity, _)| entity)
    }

    /// Returns whether the type under which the event is shown is `<entity>.<operation>`, and the event is of it.
    pub(super) fn is_named(&self, operation: Operation) -> bool {
        let word = self.event_type.as_str().rsplit_once('.').map(|(_, last)| last);
        self.event.operation == operation && word == Some(operation.as_str())
    }
}

/// One field before and after a change. A value that was absent is left out, because `null` is a value too.
#[derive(Serialize)]
pub(super) struct FieldChange<'a> {
    pub(super) field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) old: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new: Option<&'a Value>,
}

fn filtered<'a>(map: &'a Map, include: &[FieldPath], exclude: &[FieldPath]) -> Cow<'a, Map> {
    let mut shown = if include.is_empty() {
        Cow::Borrowed(map)
    } else {
        Cow::Owned(kept(map, &include.iter().map(FieldPath::names).collect::<Vec<_>>()))
    };
    for field in exclude {
        field.remove(shown.to_mut());
    }
    shown
}

/// Returns the parts of the map at the paths, each of which has at least one name.
fn kept(map: &Map, paths: &[&[String]]) -> Map {
    let entry = |(key, value): (&String, &Value)| {
        let below: Vec<_> = paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter_map(|(first, rest)| (first == key).then_some(rest))
            .collect();
        Some((key.clone(), kept_value(value, &below)?))
    };
    map.iter().filter_map(entry).collect()
}

fn kept_value(value: &Value, paths: &[&[String]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    match value {
        _ if paths.is_empty() => None,
        Value::Map(map) => Some(kept(map, paths)).filter(|kept| !kept.is_empty()).map(Value::Map),
        // Like `FieldPath::remove`, so that the same paths can be included and excluded.
        Value::List(values) => {
            let kept: Vec<_> = values.iter().filter_map(|value| kept_value(value, paths)).collect();
            (!kept.is_empty()).then_some(Value::List(kept))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
