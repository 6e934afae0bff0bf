//! What a webhook wants: the compact form that fan-out loads.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

use crate::event::{Event, EventType, Operation};
use crate::filter::{Filter, is_same, place};
use crate::id::WebhookId;
use crate::operational::{OPERATIONAL, about};
use crate::path::FieldPath;
use crate::pattern::EventPattern;
use crate::payload::Rendering;
use crate::tenant::AppId;
use crate::value::Value;

/// What fan-out needs to know of a webhook, and nothing more. An empty list is no condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// The webhook.
    pub webhook: WebhookId,
    /// The application that registered it, if one did: it gets no other application's events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// The event types that it wants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<EventPattern>,
    /// The tables whose changes it wants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The collections whose entities it wants: their paths, or the templates of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<String>,
    /// The operations that it wants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// The applications whose events it wants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<AppId>,
    /// The fields one of which must have changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<FieldPath>,
    /// The transitions one of which must have happened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<Transition>,
    /// What must be in the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// How its payloads look.
    #[serde(default)]
    pub rendering: Rendering,
    /// Whether it wants the deliveries of an entity in order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
}

/// A change of a field from one value to another. An end that is not given may be anything; `null` is also a field that is not
/// there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// The field.
    #[schema(value_type = String, min_length = 1, max_length = 255, examples("status"))]
    pub field: FieldPath,
    /// Its value before: a text, a number, `true`, `false` or `null`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(schema_with = scalar, examples("open"))]
    pub from: Option<Json>,
    /// Its value after.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(schema_with = scalar, examples("paid"))]
    pub to: Option<Json>,
}

/// Reads a value whose `null` is not the same as its absence.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    match Json::deserialize(deserializer)? {
        Json::Array(_) | Json::Object(_) => {
            Err(serde::de::Error::custom("must be a text, a number, true, false or null"))
        }
        scalar @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => Ok(Some(scalar)),
    }
}

fn scalar() -> utoipa::openapi::Object {
    use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
    let types = [Type::String, Type::Number, Type::Boolean, Type::Null];
    ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).build()
}

impl Transition {
    /// Says whether the event is such a transition.
    #[must_use]
    pub fn holds(&self, event: &Event) -> bool {
        let (before, after) = event.field(&self.field);
        let is = |asked: &Option<Json>, value: Option<&Value>| {
            asked.as_ref().is_none_or(|asked| is_same(asked, value.unwrap_or(&Value::Null)))
        };
        before != after && is(&self.from, before) && is(&self.to, after)
    }
}

/// Whether one condition of a webhook holds for an event, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verdict {
    /// The field of the webhook that says the condition.
    #[schema(examples("event_types"))]
    pub condition: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was looked at.
    #[schema(examples("packet.updated is none of packet.created"))]
    pub detail: String,
}

impl Subscription {
    /// Says whether the webhook wants the event: whether every condition that it has holds.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        self.is_meant(event)
            && self.type_for(event).is_some()
            && holds(&self.sources, |source| *source == event.source)
            && holds(&self.collections, |collection| is_in(event, collection))
            && holds(&self.operations, |operation| *operation == event.operation)
            && holds(&self.applications, |app| event.app.as_ref() == Some(app))
            && holds(&self.changed, |field| has_changed(event, field))
            && holds(&self.transitions, |transition| transition.holds(event))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(event))
    }

    /// Returns the type under which the webhook gets the event: its own, or the derived one that the webhook asks for.
    #[must_use]
    pub fn type_for(&self, event: &Event) -> Option<EventType> {
        let asked = |event_type: &EventType| holds(&self.event_types, |pattern| pattern.matches(event_type));
        if asked(&event.event_type) {
            return Some(event.event_type.clone());
        }
        event.derived_types().find(asked)
    }

    /// What belongs to another application is not for one's webhooks. An operational event is for who names it, and never for
    /// the webhook that it is about: that could go on for ever.
    fn is_meant(&self, event: &Event) -> bool {
        if !event.is_visible_to(self.app.as_ref()) {
            return false;
        }
        if event.source != OPERATIONAL {
            return true;
        }
        let is_named = |event_type: &EventType| {
            self.event_types.iter().any(|pattern| pattern.as_str() != "*" && pattern.matches(event_type))
        };
        let named = is_named(&event.event_type) || event.derived_types().any(|derived| is_named(&derived));
        named && about(event) != Some(self.webhook.to_string().as_str())
    }

    /// Says of each condition whether it holds, and why; the webhook wants the event if all do.
    #[must_use]
    pub fn explain(&self, event: &Event) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut say = |condition: &str, holds: bool, detail: String| {
            verdicts.push(Verdict { condition: condition.to_owned(), holds, detail });
        };
        let own = &event.event_type;
        match self.type_for(event) {
            Some(found) if self.event_types.is_empty() => {
                say("event_types", true, format!("none are named, so {found} is one"));
            }
            Some(found) if found == *own => say("event_types", true, format!("{found} is asked for")),
            Some(found) => say("event_types", true, format!("{found} is asked for, which {own} is too")),
            None => {
                let also: Vec<String> = event.derived_types().map(String::from).collect();
                let also = if also.is_empty() { String::new() } else { format!(" (and {})", also.join(", ")) };
                say("event_types", false, format!("{own}{also} is none of {}", list(&self.event_types)));
            }
        }
        if !self.is_meant(event) {
            let (condition, detail) = if event.is_visible_to(self.app.as_ref()) {
                let detail =
                    "an operational event is for webhooks that name its type, and not for the one that it is about";
                ("event_types", detail)
            } else {
                ("app_id", "the event belongs to another application")
            };
            say(condition, false, detail.to_owned());
        }
        let mut among = |condition: &str, holds: Option<bool>, what: String, of: String| {
            if let Some(holds) = holds {
                say(condition, holds, format!("{what} is {} of {of}", if holds { "one" } else { "none" }));
            }
        };
        let Event { source, operation, .. } = event;
        let collection = &event.entity.collection;
        let app = event.app.as_ref().map_or_else(|| "no application".to_owned(), ToString::to_string);
        among("sources", any(&self.sources, |name| name == source), source.clone(), list(&self.sources));
        among(
            "collections",
            any(&self.collections, |name| is_in(event, name)),
            collection.clone(),
            list(&self.collections),
        );
        among(
            "operations",
            any(&self.operations, |one| one == operation),
            operation.to_string(),
            list(&self.operations),
        );
        among(
            "applications",
            any(&self.applications, |one| Some(one) == event.app.as_ref()),
            app,
            list(&self.applications),
        );
        for field in &self.changed {
            let holds = has_changed(event, field);
            // Any of them is enough.
            if holds || !self.changed.iter().any(|field| has_changed(event, field)) {
                say("changed", holds, format!("{field} {}", if holds { "changed" } else { "did not change" }));
            }
        }
        if let Some(holds) = any(&self.transitions, |transition| transition.holds(event)) {
            for transition in self.transitions.iter().filter(|transition| transition.holds(event) == holds) {
                let (before, after) = event.field(&transition.field);
                let shown = |value: Option<&Value>| value.map_or("nothing", kind).to_owned();
                let went = if before == after { "did not change" } else { "changed" };
                let detail = format!("{} {went}: {} before, {} after", transition.field, shown(before), shown(after));
                say("transitions", holds, detail);
            }
        }
        if let Some(filter) = &self.filter {
            let parts = filter.parts();
            let parts: Vec<_> = parts.iter().map(|(names, part)| (names, part.matches(event))).collect();
            for (names, holds) in &parts {
                let detail =
                    format!("{} {}", place(names), if *holds { "is as asked for" } else { "is not as asked for" });
                say("filter", *holds, detail);
            }
            if parts.iter().all(|(_, holds)| *holds) && !filter.matches(event) {
                say("filter", false, "its fields are as asked for, but not in the same member of a list".to_owned());
            }
        }
        verdicts
    }
}

fn holds<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> bool {
    any(wanted, is).unwrap_or(true)
}

fn any<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> Option<bool> {
    (!wanted.is_empty()).then(|| wanted.iter().any(is))
}

fn is_in(event: &Event, collection: &str) -> bool {
    event.entity.collection == collection || event.entity.collection_template.as_deref() == Some(collection)
}

fn has_changed(event: &Event, field: &FieldPath) -> bool {
    let (before, after) = event.field(field);
    before != after
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What kind of value it is: an explanation may be read by whoever may not see the value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

#[cfg(test)]
pub(crate) mod tests;
