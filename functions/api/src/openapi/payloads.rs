//! The section `webhooks` of the contract: the requests that receivers get, with a schema for each payload format.

use std::collections::BTreeMap;

use domain::event::types::Operation;
use domain::id::EventId;
use jiff::Timestamp;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterIn, PathItem, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi, Ref, Required, ResponseBuilder, Responses, ResponsesBuilder, Schema, Type,
};
use utoipa::{IntoParams, OpenApi as _, ToSchema};

/// The payload formats: the setting, the name of the schema, and the content type.
const FORMATS: [(&str, &str, &str); 7] = [
    ("change", "ChangePayload", "application/json"),
    ("standard", "StandardPayload", "application/json"),
    ("cloudevents", "CloudEventsPayload", "application/cloudevents+json"),
    ("superoffice", "SuperOfficePayload", "application/json"),
    ("slack", "SlackPayload", "application/json"),
    ("teams", "TeamsPayload", "application/json"),
    ("template", "TemplatePayload", "application/json"),
];

/// Adds the section, and its schemas.
pub(super) fn add(openapi: &mut OpenApi) {
    let webhooks = openapi.webhooks.get_or_insert_with(Paths::new);
    for (format, schema, content_type) in FORMATS {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        let body = RequestBodyBuilder::new().content(content_type, content).required(Some(Required::True));
        let delivery = OperationBuilder::new()
            .operation_id(Some(format!("deliveries.receive_{format}")))
            .summary(Some(format!("Receives a delivery with the payload format `{format}`")))
            .parameters(Some(Headers::into_params(|| Some(ParameterIn::Header))))
            .request_body(Some(body.build()))
            .responses(answers())
            .securities(Some([]));
        webhooks.paths.insert(format.to_owned(), PathItem::new(HttpMethod::Post, delivery.build()));
    }
    if let (Some(all), Some(ours)) = (&mut openapi.components, Payloads::openapi().components) {
        all.schemas.extend(ours.schemas);
    }
}

fn answers() -> Responses {
    let answer = |description| ResponseBuilder::new().description(description);
    ResponsesBuilder::new()
        .response("2XX", answer("The delivery is accepted"))
        .response("410", answer("The webhook is no longer wanted: Dynahook disables it"))
        .response("default", answer("Depends on the status: the delivery is sent again, or not"))
        .build()
}

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(
    ChangePayload,
    StandardPayload,
    CloudEventsPayload,
    SuperOfficePayload,
    SlackPayload,
    TeamsPayload,
    TemplatePayload
)))]
struct Payloads;

/// The headers of every delivery. The webhook's own `headers`, `Content-Encoding: gzip` and `Authorization` are added
/// if it has them.
#[derive(IntoParams)]
#[into_params(rename_all = "kebab-case")]
#[expect(dead_code, clippy::struct_field_names, reason = "describes what deliver sends, under the names of headers")]
struct Headers {
    /// The event's id, the same for every delivery and attempt. Use it to detect duplicates.
    #[param(example = "evt_01M7YRRTQM0000000000000001")]
    webhook_id: String,
    /// When the attempt was signed, in seconds since 1970.
    #[param(example = 1_795_255_200)]
    webhook_timestamp: i64,
    /// The signatures, separated by spaces: `v1,<base64>`, or `v1a,<base64>` for `standard-webhooks-ed25519`. Other
    /// schemes have another header, such as `X-Hub-Signature-256`.
    #[param(required = false, example = "v1,jHHmR/8sRj9sWCcEeQ7ES0rcROQz7jPwXtjHjlhQvRU=")]
    webhook_signature: Option<String>,
    /// The number of the attempt; 1 is the first.
    #[param(minimum = 1, example = 1)]
    webhook_attempt: u32,
    /// Orders the events of one entity, as text. Missing for events without an order.
    #[param(required = false, example = "000000000000000000042")]
    webhook_sequence: Option<String>,
    /// How many deliveries in a chain led to this one. Send it back when you call Dynahook because of a delivery.
    #[param(minimum = 1, maximum = 5, example = 1)]
    webhook_hops: u32,
    /// `true` for a test delivery.
    #[param(required = false, example = "true")]
    webhook_test: Option<String>,
}

fn anything() -> Schema {
    Schema::Object(ObjectBuilder::new().schema_type(SchemaType::AnyValue).build())
}

fn number_or_text() -> Schema {
    let kinds = SchemaType::from_iter([Type::Integer, Type::String]);
    Schema::Object(ObjectBuilder::new().schema_type(kinds).build())
}

/// The payload format `template`: the JSON that the webhook's template makes.
#[derive(ToSchema)]
#[schema(value_type = serde_json::Value)]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct TemplatePayload(String);

/// The payload format `change`. A source's related values and the webhook's `properties` are at its top level too.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct ChangePayload {
    /// When the change was committed.
    #[schema(value_type = String, format = DateTime)]
    event_timestamp: Timestamp,
    operation_type: Operation,
    /// The entity's path.
    entity_path: String,
    entity_id: String,
    /// The kind of entity.
    entity_key: String,
    collection_path: String,
    /// The tenant.
    organization_id: String,
    /// The event's id, the same for every delivery and every replay of the event.
    #[schema(value_type = String)]
    event_id: EventId,
    /// The type for which the webhook gets the event: its own, or a derived one.
    event_type: String,
    /// Orders the events of one entity.
    sequence: String,
    /// The name of the entity's state after the change, if there is one.
    #[schema(nullable = false)]
    state: Option<String>,
    /// The name of the entity's state before the change, if there was one.
    #[schema(nullable = false)]
    previous: Option<String>,
    /// `true` for a deletion that only marked the item as deleted.
    #[schema(nullable = false)]
    soft_removed: Option<bool>,
    /// `true` for a deletion because the item's time to live ended.
    #[schema(nullable = false)]
    expired: Option<bool>,
    /// What changed. Missing with the detail `thin`, unless there is an update mask.
    #[schema(nullable = false)]
    data: Option<ChangeData>,
}

/// What changed, in the payload format `change`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct ChangeData {
    /// The entity after the change; `null` for a deletion. Only with the detail `full`.
    value: Option<ChangedEntity>,
    /// The entity before the change; `null` for a new entity. Only with the detail `full`.
    old_value: Option<ChangedEntity>,
    /// The fields that differ. Only with the detail `diff`.
    #[schema(nullable = false)]
    changes: Option<Vec<FieldChange>>,
    /// The paths of the fields that differ; `null` unless there are both values.
    update_mask: Option<Vec<String>>,
}

/// An entity, in the payload format `change`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct ChangedEntity {
    /// The entity's path.
    key: String,
    /// Its attributes.
    #[schema(value_type = Object)]
    properties: BTreeMap<String, String>,
    #[schema(value_type = String, format = DateTime)]
    create_time: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    update_time: Timestamp,
}

/// A field that differs. A side without the field is left out.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct FieldChange {
    /// The field's path.
    field: String,
    /// Its value before the change.
    #[schema(required = false, schema_with = anything)]
    old: (),
    /// Its value after the change.
    #[schema(required = false, schema_with = anything)]
    new: (),
}

/// The payload format `standard`. The webhook's `properties` are at its top level too.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct StandardPayload {
    /// The event's type.
    r#type: String,
    /// When the change was committed.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    data: StandardData,
}

/// What happened, in the payload format `standard`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct StandardData {
    #[schema(value_type = String)]
    event_id: EventId,
    organization_id: String,
    entity_id: String,
    entity_path: String,
    entity_key: String,
    collection: String,
    operation: Operation,
    sequence: String,
    #[schema(nullable = false)]
    state: Option<String>,
    #[schema(nullable = false)]
    previous: Option<String>,
    /// `soft` or `expired`, for such a deletion.
    #[schema(nullable = false)]
    removal: Option<String>,
    /// The attributes after the change. Only with the detail `full`.
    #[schema(value_type = Option<Object>, nullable = false)]
    value: Option<BTreeMap<String, String>>,
    /// The attributes before the change. Only with the detail `full`.
    #[schema(value_type = Option<Object>, nullable = false)]
    old_value: Option<BTreeMap<String, String>>,
    /// The fields that differ. Only with the detail `diff`.
    #[schema(nullable = false)]
    changes: Option<Vec<FieldChange>>,
    /// The paths of the fields that differ, if there are both values.
    #[schema(nullable = false)]
    update_mask: Option<Vec<String>>,
    /// What the source's mapping adds to the entity.
    #[schema(value_type = Option<Object>, nullable = false)]
    related: Option<BTreeMap<String, String>>,
}

/// The payload format `cloudevents`: CloudEvents 1.0.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct CloudEventsPayload {
    /// Always `1.0`.
    specversion: String,
    #[schema(value_type = String)]
    id: EventId,
    /// `/tables/` and the table's name, or `/published`.
    source: String,
    /// The event's type.
    r#type: String,
    /// The entity's path.
    subject: String,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    datacontenttype: String,
    tenantid: String,
    operation: Operation,
    entityid: String,
    entitykey: String,
    collection: String,
    #[schema(nullable = false)]
    sequence: Option<String>,
    #[schema(nullable = false)]
    state: Option<String>,
    #[schema(nullable = false)]
    previous: Option<String>,
    /// `soft` or `expired`, for such a deletion.
    #[schema(nullable = false)]
    removal: Option<String>,
    data: CloudEventsData,
}

/// What changed, in the payload format `cloudevents`. A source's related values and the webhook's `properties` are here
/// too.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct CloudEventsData {
    /// The attributes after the change. Only with the detail `full`.
    #[schema(value_type = Option<Object>, nullable = false)]
    value: Option<BTreeMap<String, String>>,
    /// The attributes before the change. Only with the detail `full`.
    #[schema(value_type = Option<Object>, nullable = false)]
    old_value: Option<BTreeMap<String, String>>,
    /// The fields that differ. Only with the detail `diff`.
    #[schema(nullable = false)]
    changes: Option<Vec<FieldChange>>,
    /// The paths of the fields that differ, if there are both values.
    #[schema(nullable = false)]
    update_mask: Option<Vec<String>>,
}

/// The payload format `superoffice`. The webhook's `properties` are at its top level too.
#[derive(ToSchema)]
#[schema(rename_all = "PascalCase")]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct SuperOfficePayload {
    /// The event's id, as a GUID.
    #[schema(examples("01a1fd8c-6af4-0000-0000-000000000001"))]
    event_id: String,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The names of the attributes that are new or differ; none for a deletion.
    changes: Vec<String>,
    /// The event's type, with `changed` for an update.
    #[schema(examples("contact.changed"))]
    event: String,
    /// The entity's id: a number if it is one.
    #[schema(schema_with = number_or_text)]
    primary_key: (),
    entity: String,
    /// The tenant.
    context_identifier: String,
    #[schema(nullable = false)]
    webhook_name: Option<String>,
    /// The attributes. Missing with the detail `thin`.
    #[schema(value_type = Option<Object>, nullable = false)]
    field_values: Option<BTreeMap<String, String>>,
}

/// The payload format `slack`. The webhook's `properties` are at its top level too.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct SlackPayload {
    /// What happened. Slack reads `&lt;`, `&gt;` and `&amp;` as `<`, `>` and `&`.
    text: String,
    /// Always `false`: Slack does not format the text.
    mrkdwn: bool,
}

/// The payload format `teams`. The webhook's `properties` are at its top level too.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct TeamsPayload {
    /// Always `message`.
    r#type: String,
    /// One adaptive card.
    attachments: Vec<TeamsAttachment>,
}

/// An attachment of a message for Teams.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what fan-out renders")]
struct TeamsAttachment {
    content_type: String,
    /// An [adaptive card](https://adaptivecards.io/explorer/AdaptiveCard.html).
    #[schema(value_type = Object)]
    content: BTreeMap<String, String>,
}
