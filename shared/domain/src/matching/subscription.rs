//! Subscriptions: the compact form of a webhook that fan-out loads.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::effort::Effort;
use super::filter::evaluate::is_same;
use super::filter::{Filter, place};
use super::weight::{heap, map, members, texts, value};
use crate::access::tenant::AppId;
use crate::event::Event;
use crate::event::operational::{OPERATIONAL, about};
use crate::event::pattern::EventPattern;
use crate::event::types::{EventType, Operation};
use crate::id::WebhookId;
use crate::payload::Rendering;
use crate::value::Value;
use crate::value::path::FieldPath;

/// The part of a webhook that fan-out needs. Empty lists are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// The webhook.
    pub webhook: WebhookId,
    /// The application that registered the webhook, if any. The webhook receives no events of other applications.
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
    /// How its payloads are rendered.
    #[serde(default)]
    pub rendering: Rendering,
    /// Whether it wants the deliveries of an entity in order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// Whether it is a notice: the same about the same webhook is sent once an hour.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notice: bool,
}

/// A change of a field from one value to another. An omitted side matches any value; `null` also matches a missing
/// field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// The field.
    #[schema(value_type = String, min_length = 1, max_length = 255, examples("status"))]
    pub field: FieldPath,
    /// Its value before: a string, a number, `true`, `false` or `null`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(schema_with = scalar, examples("open"))]
    pub from: Option<Value>,
    /// Its value after.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(schema_with = scalar, examples("paid"))]
    pub to: Option<Value>,
}

/// Distinguishes a `null` value from a missing one.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::List(_) | Value::Map(_) => {
            Err(serde::de::Error::custom("must be a string, a number, true, false or null"))
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => Ok(Some(scalar)),
    }
}

fn scalar() -> utoipa::openapi::Object {
    use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
    let types = [Type::String, Type::Number, Type::Boolean, Type::Null];
    ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).build()
}

impl Transition {
    /// Returns whether the event matches the transition.
    #[must_use]
    pub fn holds(&self, event: &Event) -> bool {
        self.holds_within(event, &Effort::unlimited())
    }

    fn holds_within(&self, event: &Event, effort: &Effort) -> bool {
        let (before, after) = event.field(&self.field);
        let is = |asked: &Option<Value>, value: Option<&Value>| {
            asked.as_ref().is_none_or(|asked| is_same(asked, value.unwrap_or(&Value::Null)))
        };
        is(&self.from, before) && is(&self.to, after) && differ(before, after, effort)
    }
}

/// Whether one condition of a webhook holds for an event, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Verdict)]
pub struct ConditionResult {
    /// The webhook's field that sets the condition.
    #[schema(examples("event_types"))]
    pub condition: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was compared.
    #[schema(examples("packet.updated is not one of packet.created"))]
    pub detail: String,
}

/// An event with what is derived from it once for all webhooks.
#[derive(Debug)]
pub struct TypedEvent<'a> {
    /// The event.
    pub event: &'a Event,
    /// The types that it has in addition to its own.
    pub derived: Vec<EventType>,
    /// The attributes that changed.
    pub(super) changed: Vec<&'a str>,
}

impl<'a> TypedEvent<'a> {
    /// Derives the event's other types.
    #[must_use]
    pub fn new(event: &'a Event) -> Self {
        let changed = event.changed_attributes();
        Self { event, derived: event.derived_types_of(changed.iter().copied()).collect(), changed }
    }
}

impl Subscription {
    /// Returns whether the webhook wants the event: whether all its conditions hold.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        self.wants_within(&TypedEvent::new(event), &Effort::unlimited())
    }

    /// Returns whether the webhook wants the event. The result is meaningless if the effort is spent.
    #[must_use]
    pub fn wants_within(&self, seen: &TypedEvent<'_>, effort: &Effort) -> bool {
        let event = seen.event;
        let named = self.sources.len() + self.collections.len() + self.applications.len();
        effort.spend(1 + named + self.event_types.len() * (1 + seen.derived.len()))
            && self.is_meant(event, &seen.derived)
            && self.has_type(seen)
            && holds(&self.sources, |source| *source == event.source)
            && holds(&self.collections, |collection| is_in(event, collection))
            && holds(&self.operations, |operation| *operation == event.operation)
            && holds(&self.applications, |app| event.app.as_ref() == Some(app))
            && holds(&self.changed, |field| has_changed(event, field, effort))
            && holds(&self.transitions, |transition| transition.holds_within(event, effort))
            && self.filter.as_ref().is_none_or(|filter| filter.matches_within(event, effort))
    }

    fn has_type(&self, seen: &TypedEvent<'_>) -> bool {
        let asked = |event_type: &EventType| holds(&self.event_types, |pattern| pattern.matches(event_type));
        asked(&seen.event.event_type) || seen.derived.iter().any(asked)
    }

    /// Returns the type under which the webhook receives the event: the event's own type, or a derived type that the
    /// webhook asks for.
    #[must_use]
    pub fn type_for(&self, event: &Event) -> Option<EventType> {
        let asked = |event_type: &EventType| holds(&self.event_types, |pattern| pattern.matches(event_type));
        if asked(&event.event_type) {
            return Some(event.event_type.clone());
        }
        event.derived_types().find(asked)
    }

    /// Returns an upper bound of the bytes that the subscription takes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        let path = |path: &FieldPath| texts(path.names());
        let transition = |transition: &Transition| {
            let ends = [&transition.from, &transition.to].into_iter().flatten();
            path(&transition.field) + ends.map(value).sum::<usize>()
        };
        self.app.iter().map(|app| heap(app.as_str().len())).sum::<usize>()
            + members(&self.event_types, |pattern| heap(pattern.as_str().len()))
            + texts(&self.sources)
            + texts(&self.collections)
            + members(&self.operations, |_| 0)
            + members(&self.applications, |app| heap(app.as_str().len()))
            + members(&self.changed, path)
            + members(&self.transitions, transition)
            + self.filter.as_ref().map_or(0, Filter::bytes)
            + self.rendering_bytes()
    }

    /// Returns at most how many bytes the settings of its rendering take in memory.
    pub(crate) fn rendering_bytes(&self) -> usize {
        let Rendering { include, exclude, properties, template, webhook_name, .. } = &self.rendering;
        let path = |path: &FieldPath| texts(path.names());
        let optional = |text: &Option<String>| text.as_ref().map_or(0, |text| heap(text.capacity()));
        members(include, path) + members(exclude, path) + map(properties) + optional(template) + optional(webhook_name)
    }

    /// Returns whether the webhook may receive the event at all. Events of other applications are excluded. Operational
    /// events are only for webhooks that name their type, and never for the webhook that they are about, which could
    /// loop forever.
    fn is_meant(&self, event: &Event, derived: &[EventType]) -> bool {
        if !event.is_visible_to(self.app.as_ref()) {
            return false;
        }
        if event.source != OPERATIONAL {
            return true;
        }
        let is_named = |event_type: &EventType| {
            self.event_types.iter().any(|pattern| pattern.as_str() != "*" && pattern.matches(event_type))
        };
        let named = is_named(&event.event_type) || derived.iter().any(is_named);
        named && about(event) != Some(self.webhook.to_string().as_str())
    }

    /// Returns for each condition whether it holds, and why. The webhook wants the event if all hold.
    #[must_use]
    pub fn explain(&self, event: &Event) -> Vec<ConditionResult> {
        let mut verdicts = Vec::new();
        let mut say = |condition: &str, holds: bool, detail: String| {
            verdicts.push(ConditionResult { condition: condition.to_owned(), holds, detail });
        };
        let own = &event.event_type;
        match self.type_for(event) {
            Some(found) if self.event_types.is_empty() => {
                say("event_types", true, format!("no types are named, so every type matches, including {found}"));
            }
            Some(found) if found == *own => say("event_types", true, format!("{found} matches")),
            Some(found) => say("event_types", true, format!("{found} matches, a derived type of {own}")),
            None => {
                let also: Vec<String> = event.derived_types().map(String::from).collect();
                let also = if also.is_empty() { String::new() } else { format!(" (and {})", also.join(", ")) };
                say("event_types", false, format!("{own}{also} is not one of {}", list(&self.event_types)));
            }
        }
        if !self.is_meant(event, &TypedEvent::new(event).derived) {
            let (condition, detail) = if event.is_visible_to(self.app.as_ref()) {
                let detail = "an operational event is sent only to webhooks that name its type, and not to the one that it is about";
                ("event_types", detail)
            } else {
                ("app_id", "the event belongs to another application")
            };
            say(condition, false, detail.to_owned());
        }
        let mut among = |condition: &str, holds: Option<bool>, what: String, of: String| {
            if let Some(holds) = holds {
                say(condition, holds, format!("{what} is {} of {of}", if holds { "one" } else { "not one" }));
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
        let effort = Effort::new(EXPLAIN_EFFORT);
        let changed: Vec<_> = self.changed.iter().map(|field| (field, has_changed(event, field, &effort))).collect();
        let any_changed = changed.iter().any(|(_, holds)| *holds);
        for (field, holds) in changed {
            // Any one of them is enough.
            if holds == any_changed {
                say("changed", holds, format!("{field} {}", if holds { "changed" } else { "did not change" }));
            }
        }
        let transitions: Vec<_> =
            self.transitions.iter().map(|transition| (transition, transition.holds_within(event, &effort))).collect();
        if let Some(holds) = any(&transitions, |(_, holds)| *holds) {
            for (transition, _) in transitions.iter().filter(|(_, one)| *one == holds) {
                let (before, after) = event.field(&transition.field);
                let shown = |value: Option<&Value>| value.map_or("nothing", kind).to_owned();
                let went = if before == after { "did not change" } else { "changed" };
                let detail = format!("{} {went}: {} before, {} after", transition.field, shown(before), shown(after));
                say("transitions", holds, detail);
            }
        }
        if let Some(filter) = &self.filter {
            let parts = filter.parts();
            let parts: Vec<_> =
                parts.iter().map(|(names, part)| (names, part.matches_within(event, &effort))).collect();
            for (names, holds) in &parts {
                let detail = format!("{} {}", place(names), if *holds { "matches" } else { "does not match" });
                say("filter", *holds, detail);
            }
            if parts.iter().all(|(_, holds)| *holds) && !filter.matches_within(event, &effort) {
                say("filter", false, "its fields match, but not in the same member of a list".to_owned());
            }
        }
        if effort.is_spent() {
            let detail = "the conditions take too much work for one event, so the results for changes and the filter are uncertain";
            verdicts.push(ConditionResult { condition: "filter".to_owned(), holds: false, detail: detail.to_owned() });
        }
        verdicts
    }
}

/// The limit of the work of an explanation: as much as all webhooks of a tenant together for one event.
const EXPLAIN_EFFORT: u64 = 40_000_000;

fn holds<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> bool {
    any(wanted, is).unwrap_or(true)
}

fn any<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> Option<bool> {
    (!wanted.is_empty()).then(|| wanted.iter().any(is))
}

fn is_in(event: &Event, collection: &str) -> bool {
    event.entity.collection == collection || event.entity.collection_template.as_deref() == Some(collection)
}

fn has_changed(event: &Event, field: &FieldPath, effort: &Effort) -> bool {
    let (before, after) = event.field(field);
    differ(before, after, effort)
}

/// Returns whether two values differ. Large equal values must be compared completely, so this takes effort.
fn differ(before: Option<&Value>, after: Option<&Value>, effort: &Effort) -> bool {
    match (before, after) {
        (Some(Value::List(before)), Some(Value::List(after))) => {
            let pairs = || before.iter().zip(after);
            before.len() != after.len() || pairs().any(|(before, after)| differ(Some(before), Some(after), effort))
        }
        (Some(Value::Map(before)), Some(Value::Map(after))) => {
            let pairs = || before.iter().zip(after);
            let entries = |((name, before), (other, after)): ((&String, &Value), (&String, &Value))| {
                name != other || differ(Some(before), Some(after), effort)
            };
            before.len() != after.len() || pairs().any(entries)
        }
        (Some(Value::String(before)), Some(Value::String(after))) => {
            effort.spend(1 + before.len() / 64) && before != after
        }
        (before, after) => effort.spend(1) && before != after,
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The kind of a value, because the reader of an explanation may not be allowed to see the value.
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
