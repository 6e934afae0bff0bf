//! Sample events, with which callers test, preview and explain webhooks.

use domain::event::types::EventType;
use domain::value::Map;
use domain::webhook::sample::Sample;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::body::optional_object;

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
    #[serde(default, deserialize_with = "optional_object")]
    properties: Option<Map>,
    /// The entity before the event, for an update or a deletion.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "optional_object")]
    old_properties: Option<Map>,
}

impl From<SampleBody> for Sample {
    fn from(body: SampleBody) -> Self {
        let SampleBody { event_type, collection, entity_id, properties, old_properties } = body;
        Self { event_type, collection, entity_id, properties, old_properties }
    }
}
