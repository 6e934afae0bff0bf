//! Sample events, with which callers test, preview and explain webhooks.

use domain::event::types::EventType;
use domain::webhook::sample::Sample;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::problem::Fault;

/// An event to try a webhook with. All fields are optional.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Sample)]
pub(crate) struct SampleBody {
    /// The event type. Default: the first type of the webhook.
    #[schema(value_type = Option<String>, max_length = 128, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    event_type: Option<EventType>,
    /// The collection of the entity.
    #[schema(max_length = 255)]
    collection: Option<String>,
    /// The entity's id.
    #[schema(max_length = 255)]
    entity_id: Option<String>,
    /// The entity after the event.
    #[schema(value_type = Option<Object>)]
    properties: Option<Map<String, Value>>,
    /// The entity before the event, for an update or a deletion.
    #[schema(value_type = Option<Object>)]
    old_properties: Option<Map<String, Value>>,
}

impl TryFrom<SampleBody> for Sample {
    type Error = Fault;

    fn try_from(body: SampleBody) -> Result<Self, Self::Error> {
        let map = |properties: Option<Map<String, Value>>, pointer: &str| match properties {
            None => Ok(None),
            Some(properties) => match Value::Object(properties).to_string().parse() {
                Ok(domain::value::Value::Map(map)) => Ok(Some(map)),
                _ => Err(Fault::field(pointer, "is nested too deeply")),
            },
        };
        let SampleBody { event_type, collection, entity_id, properties, old_properties } = body;
        let (properties, old_properties) = (map(properties, "/properties")?, map(old_properties, "/old_properties")?);
        Ok(Self { event_type, collection, entity_id, properties, old_properties })
    }
}
