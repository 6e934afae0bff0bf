//! `/event-types`: the catalog of event types. For an admin of the tenant; applications may only read it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::event::catalog::{CatalogEntry, Description, MAX_DESCRIPTION_CHARACTERS, MAX_SCHEMA_BYTES};
use domain::event::types::{EventType, Operation};
use domain::source::kinds::{EntityKind, entity_kinds, made_types};
use domain::value::{Map, Value};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::{JsonBody, Query};
use crate::caller::Admin;
use crate::page::{Limit, Page, fit};
use crate::problem::{Fault, Problem, ProblemBody};
use crate::schema::{Budget, Schema};

/// The description of an event type.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEventType {
    /// What the type means.
    #[schema(max_length = 1000, examples("an invoice is paid in full"))]
    description: Option<String>,
    /// A JSON Schema of `data`: draft 2020-12, or the draft that `$schema` names, from draft 6 on. At most 32 KiB. A
    /// published event that does not conform is refused; changes of tables are not checked. `$ref` must refer to a part
    /// of the same schema and must not be recursive.
    #[schema(value_type = Option<Object>, examples(json!({"type": "object", "required": ["total"]})))]
    schema: Option<Box<RawValue>>,
    /// The `data` of such an event. At most 32 KiB; must conform to the schema.
    #[schema(value_type = Option<Object>, examples(json!({"total": 12.50})))]
    example: Option<Box<RawValue>>,
    /// Whether the type should no longer be used. This only informs readers of the catalog.
    #[serde(default)]
    deprecated: bool,
}

/// An event type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventType)]
pub struct EventTypeBody {
    #[schema(value_type = String, examples("order.created"))]
    event_type: EventType,
    /// The part before the last dot, by which a form can group types; `null` for a type of one word.
    #[schema(examples("order"))]
    entity: Option<String>,
    /// What happened to the entity; `null` if the last word names no operation.
    operation: Option<Operation>,
    /// The tables that make events of the type; empty for a type that is only published.
    #[schema(examples(json!(["shop"])))]
    sources: Vec<String>,
    description: Option<String>,
    #[schema(value_type = Option<Object>)]
    schema: Option<Box<RawValue>>,
    #[schema(value_type = Option<Object>)]
    example: Option<Box<RawValue>>,
    deprecated: bool,
    /// When the first event of the type occurred; `null` if there was no event.
    #[schema(value_type = Option<String>, format = DateTime)]
    first_seen_at: Option<Timestamp>,
    /// When it was last described; `null` if it was never described.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
    /// Who last described it (the token's subject).
    updated_by: Option<String>,
}

impl EventTypeBody {
    fn new(entry: CatalogEntry, made: &BTreeMap<EventType, BTreeSet<&str>>) -> Self {
        let CatalogEntry { event_type, described, first_seen_at } = entry;
        let sources = made.get(&event_type).into_iter().flatten().map(ToString::to_string).collect();
        let entity = event_type.as_str().rsplit_once('.').map(|(entity, _)| entity.to_owned());
        let json = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
        let none = Self {
            operation: event_type.operation(),
            event_type,
            entity,
            sources,
            description: None,
            schema: None,
            example: None,
            deprecated: false,
            first_seen_at,
            updated_at: None,
            updated_by: None,
        };
        let Some(Description { description, schema, example, deprecated, updated_at, updated_by }) = described else {
            return none;
        };
        Self {
            description,
            schema: json(schema),
            example: json(example),
            deprecated,
            updated_at: Some(updated_at),
            updated_by: Some(updated_by),
            ..none
        }
    }
}

/// A page of event types.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventTypeList {
    /// By name. A page may have fewer entries than requested and still not be the last one.
    data: Vec<EventTypeBody>,
    /// The `cursor` of the next page; `null` if this is the last page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<EventType>,
}

/// The name of an event type.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub struct TypePath {
    /// Words separated by dots.
    #[param(max_length = 128, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", example = "invoice.paid")]
    r#type: String,
}

fn named(text: &str) -> Result<EventType, Problem> {
    text.parse().map_err(|_| NOT_FOUND)
}

const NOT_FOUND: Problem = Problem::NotFound("event type");

/// Describes an event type
///
/// Replaces an earlier description. A type can be published without a description. A tenant can describe 500 types.
#[utoipa::path(put, path = "/event-types/{type}", tag = "Event types", params(TypePath), request_body = NewEventType,
    responses(
        (status = 200, description = "The type as it is now", body = EventTypeBody),
        (status = 201, description = "The type, which was unknown before", body = EventTypeBody),
        (status = 409, description = "Too many types", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(event_type): Path<String>,
    JsonBody(new): JsonBody<NewEventType>,
) -> Result<(StatusCode, Json<EventTypeBody>), Problem> {
    admin.of_the_tenant()?;
    let event_type = named(&event_type)?;
    let faults = faults(&new);
    if !faults.is_empty() {
        return Err(Problem::Invalid(faults));
    }
    let json = |raw: Option<Box<RawValue>>| raw.map(|raw| raw.get().to_owned());
    let described = Description {
        description: new.description,
        schema: json(new.schema),
        example: json(new.example),
        deprecated: new.deprecated,
        updated_at: app.clock.now(),
        updated_by: admin.subject.clone(),
    };
    let before = app.registry.describe_event_type(&admin.tenant, &event_type, &described).await?;
    tracing::info!(tenant.id = %admin.tenant, event.r#type = %event_type, by = admin.subject, "event type described");
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let first_seen_at = before.and_then(|before| before.first_seen_at);
    let entry = CatalogEntry { event_type, described: Some(described), first_seen_at };
    let kinds = kinds(&app, &admin).await?;
    Ok((status, Json(EventTypeBody::new(entry, &made_types(&kinds)))))
}

/// Returns the faults of a description.
fn faults(new: &NewEventType) -> Vec<Fault> {
    let mut faults = Vec::new();
    if new.description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_CHARACTERS) {
        faults.push(Fault::field("/description", format!("must be at most {MAX_DESCRIPTION_CHARACTERS} characters")));
    }
    let mut read = |pointer: &str, raw: &Option<Box<RawValue>>| -> Option<(String, Map)> {
        let text = raw.as_ref()?.get();
        let detail = match text.parse() {
            Ok(Value::Map(_)) if text.len() > MAX_SCHEMA_BYTES => format!("must be at most {MAX_SCHEMA_BYTES} bytes"),
            Ok(Value::Map(map)) => return Some((text.to_owned(), map)),
            Ok(_) => "must be an object".to_owned(),
            Err(_) => "is nested too deeply or has an invalid escape sequence".to_owned(),
        };
        faults.push(Fault::field(pointer, detail));
        None
    };
    let (schema, example) = (read("/schema", &new.schema), read("/example", &new.example));
    match schema.map(|(text, _)| Schema::compile(&text)) {
        Some(Err(why)) => faults.push(Fault::field("/schema", why)),
        Some(Ok(schema)) => {
            faults.extend(
                example
                    .into_iter()
                    .flat_map(|(_, example)| schema.faults(&example, "/example", &mut Budget::default())),
            );
        }
        None => {}
    }
    faults
}

/// The pagination of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TypePage {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, max_length = 128, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<Limit>,
}

/// Lists event types
///
/// Types that were described, types of which an event occurred, and all types that tables can make for the caller, by
/// name.
#[utoipa::path(get, path = "/event-types", tag = "Event types", params(TypePage),
    responses((status = 200, description = "A page", body = EventTypeList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(page): Query<TypePage>,
) -> Result<Json<EventTypeList>, Problem> {
    let (after, limit) = Page::new(page.cursor, page.limit).read::<EventType>()?;
    let page = app.registry.event_types(&admin.tenant, after.as_ref(), limit).await?;
    let kinds = kinds(&app, &admin).await?;
    let made = made_types(&kinds);
    let (entries, more) = with_made(page.entries, page.more, &made, after.as_ref(), limit);
    let mut data: Vec<_> = entries.into_iter().map(|entry| EventTypeBody::new(entry, &made)).collect();
    let cut = fit(&mut data).map(|last| last.event_type.clone());
    let next_cursor = cut.or_else(|| data.last().filter(|_| more).map(|last| last.event_type.clone()));
    Ok(Json(EventTypeList { data, next_cursor }))
}

/// Returns the kinds of entities that the caller may see.
async fn kinds(app: &App, admin: &Admin) -> Result<Vec<EntityKind>, Problem> {
    Ok(entity_kinds(&app.registry.sources().await?, &admin.tenant, admin.app.as_ref()))
}

/// Adds the types that tables make to a page of the catalog. Returns the page and whether more types follow.
fn with_made(
    catalog: Vec<CatalogEntry>,
    more: bool,
    made: &BTreeMap<EventType, BTreeSet<&str>>,
    after: Option<&EventType>,
    limit: usize,
) -> (Vec<CatalogEntry>, bool) {
    // If the catalog has more types, those after its page are on a later one.
    let end = catalog.last().filter(|_| more).map(|last| last.event_type.clone());
    let mut entries: BTreeMap<_, _> = made
        .keys()
        .filter(|name| after.is_none_or(|after| *name > after) && end.as_ref().is_none_or(|end| *name < end))
        .map(|name| (name.clone(), CatalogEntry { event_type: name.clone(), described: None, first_seen_at: None }))
        .collect();
    entries.extend(catalog.into_iter().map(|entry| (entry.event_type.clone(), entry)));
    let more = more || entries.len() > limit;
    (entries.into_values().take(limit).collect(), more)
}

/// Reads an event type
#[utoipa::path(get, path = "/event-types/{type}", tag = "Event types", params(TypePath),
    responses((status = 200, description = "The type", body = EventTypeBody)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(event_type): Path<String>,
) -> Result<Json<EventTypeBody>, Problem> {
    let event_type = named(&event_type)?;
    let entry = app.registry.event_type(&admin.tenant, &event_type).await?;
    let kinds = kinds(&app, &admin).await?;
    let made = made_types(&kinds);
    let of_table = || {
        made.contains_key(&event_type).then(|| CatalogEntry {
            event_type: event_type.clone(),
            described: None,
            first_seen_at: None,
        })
    };
    let entry = entry.or_else(of_table).ok_or(NOT_FOUND)?;
    Ok(Json(EventTypeBody::new(entry, &made)))
}

/// Deletes an event type
///
/// Events of the type can still be published, and are no longer checked.
#[utoipa::path(delete, path = "/event-types/{type}", tag = "Event types", params(TypePath),
    responses((status = 204, description = "It is deleted")))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(event_type): Path<String>,
) -> Result<StatusCode, Problem> {
    admin.of_the_tenant()?;
    let event_type = named(&event_type)?;
    if !app.registry.forget_event_type(&admin.tenant, &event_type).await? {
        return Err(NOT_FOUND);
    }
    tracing::info!(tenant.id = %admin.tenant, event.r#type = %event_type, by = admin.subject, "event type deleted");
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing("{}", &[])]
    #[case::all(r#"{"description": "d", "schema": {"required": ["a"]}, "example": {"a": 1}, "deprecated": true}"#, &[])]
    #[case::nulls(r#"{"description": null, "schema": null, "example": null}"#, &[])]
    #[case::no_schema(r#"{"schema": {"type": "strnig"}, "example": []}"#, &["#/example", "#/schema"])]
    #[case::another_example(r#"{"schema": {"required": ["a"]}, "example": {}}"#, &["#/example"])]
    #[case::too_large(&format!(r#"{{"schema": {{"title": "{0}"}}, "example": {{"a": "{0}"}}}}"#, "a".repeat(32 * 1024)), &["#/schema", "#/example"])]
    #[case::long_description(&format!(r#"{{"description": "{}"}}"#, "é".repeat(1001)), &["#/description"])]
    fn names_what_is_not_as_it_must_be(#[case] body: &str, #[case] pointers: &[&str]) {
        let faults = faults(&crate::body::parse(body.as_bytes()).unwrap());
        assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), pointers);
    }

    #[rstest]
    #[case::first_page(&["b.created", "d.paid"], true, None, 2, &["a.created", "b.created"], true)]
    #[case::next_page(&["d.paid"], false, Some("b.created"), 2, &["c.created", "d.paid"], false)]
    #[case::the_catalog_ends_first(&["b.created"], false, None, 5, &["a.created", "b.created", "c.created"], false)]
    #[case::nothing_after_the_end_of_a_full_page(&["a.paid", "b.created"], true, None, 3, &["a.created", "a.paid", "b.created"], true)]
    #[case::no_catalog(&[], false, Some("a.created"), 5, &["b.created", "c.created"], false)]
    fn a_page_has_the_types_of_tables_too(
        #[case] catalog: &[&str],
        #[case] more: bool,
        #[case] after: Option<&str>,
        #[case] limit: usize,
        #[case] expected: &[&str],
        #[case] more_follow: bool,
    ) {
        let event_type = |name: &str| name.parse::<EventType>().unwrap();
        let made = ["a.created", "b.created", "c.created"].map(|name| (event_type(name), BTreeSet::from(["shop"])));
        let entry = |name: &&str| CatalogEntry { event_type: event_type(name), described: None, first_seen_at: None };
        let catalog = catalog.iter().map(entry).collect();
        let (page, more) = with_made(catalog, more, &made.into(), after.map(event_type).as_ref(), limit);
        let names: Vec<_> = page.iter().map(|entry| entry.event_type.as_str()).collect();
        assert_eq!((names.as_slice(), more), (expected, more_follow));
    }
}
