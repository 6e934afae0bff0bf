//! Sample events, with which callers test, preview and explain webhooks.

use domain::access::tenant::{AppId, TenantId};
use domain::event::Event;
use domain::event::types::EventType;
use domain::id::EventId;
use domain::value::{Map, Value};
use domain::webhook::sample::Sample;
use domain::webhook::settings::Settings;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::App;
use crate::body::optional_object;
use crate::problem::Problem;

/// An event to try a webhook with. All fields are optional.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Sample)]
pub(crate) struct SampleBody {
    /// The event type. Default: the first exact type of the webhook, or the first type of a source that it wants.
    #[schema(value_type = Option<String>, max_length = 128, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    event_type: Option<EventType>,
    /// The collection of the entity.
    #[serde(default, deserialize_with = "short")]
    #[schema(max_length = 255)]
    collection: Option<String>,
    /// The entity's id.
    #[serde(default, deserialize_with = "short")]
    #[schema(max_length = 255)]
    entity_id: Option<String>,
    /// The entity after the event.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "optional_object")]
    properties: Option<Map>,
    /// The entity before the event, for an update or a deletion.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "optional_object")]
    old_properties: Option<Map>,
}

/// The longest collection and id, in characters.
const MAX_CHARACTERS: usize = 255;

/// Reads a short text, or none.
fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if text.as_ref().is_some_and(|text| text.chars().count() > MAX_CHARACTERS) {
        return Err(serde::de::Error::custom(format!("must be at most {MAX_CHARACTERS} characters")));
    }
    Ok(text)
}

/// Returns the event of a sample, now. It looks like an event of the source that has entities of its type, if any.
/// Without properties, it has those of the example in the catalog.
pub(crate) async fn sample_event(
    app: &App,
    sample: Sample,
    application: Option<&AppId>,
    tenant: TenantId,
    settings: &Settings,
) -> Result<Event, Problem> {
    let sources = app.registry.sources().await?;
    let now = app.clock.now();
    let id = EventId::from_parts(now, runtime::random::bits());
    let event_of = |sample: Sample| sample.event_of(&sources, application, id, tenant.clone(), settings, now);
    let event = event_of(sample.clone());
    if sample.properties.is_some() || sample.old_properties.is_some() {
        return Ok(event);
    }
    let described = app.registry.event_type(&tenant, &event.event_type).await?.and_then(|entry| entry.described);
    Ok(match described.and_then(|described| described.example?.parse().ok()) {
        Some(Value::Map(example)) => event_of(Sample { properties: Some(example), ..sample }),
        _ => event,
    })
}

impl From<SampleBody> for Sample {
    fn from(body: SampleBody) -> Self {
        let SampleBody { event_type, collection, entity_id, properties, old_properties } = body;
        Self { event_type, collection, entity_id, properties, old_properties }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short() {
        let read = |id: &str| serde_json::from_value::<SampleBody>(serde_json::json!({"entity_id": id}));
        assert!(read(&"é".repeat(255)).is_ok());
        assert!(read(&"é".repeat(256)).unwrap_err().to_string().starts_with("must be at most 255 characters"));
    }
}
