//! `/sources`: the tables whose changes become events. For the operator.

use std::sync::Arc;

use aws::StoreError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::event::EntityName;
use domain::source::Source;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::body::JsonBody;
use crate::caller::Operator;
use crate::problem::{Fault, Problem, ProblemBody};

/// A source, as it goes over the wire.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Source)]
pub struct SourceBody {
    /// The table's name.
    #[schema(min_length = 3, max_length = 255, pattern = "^[A-Za-z0-9_.-]+$", examples("orders"))]
    table: String,
    /// The first word of its event types.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$", examples("order"))]
    entity: String,
    /// The attribute that holds the tenant.
    #[schema(min_length = 1, max_length = 255, examples("tenant_id"))]
    tenant_attribute: String,
    /// The attribute that holds the entity's id.
    #[schema(min_length = 1, max_length = 255, examples("order_id"))]
    id_attribute: String,
    /// The path of the collection: `entityPath` is `<collection>/<id>`.
    #[schema(min_length = 1, max_length = 255, pattern = "[^/]$", examples("orders"))]
    collection: String,
    /// What receivers call the kind of entity; `entity` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    entity_key: Option<String>,
    /// The attribute that holds when the entity was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    create_time_attribute: Option<String>,
    /// The attribute that holds when it was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    update_time_attribute: Option<String>,
}

/// A list of sources.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceList {
    /// By name.
    data: Vec<SourceBody>,
}

impl TryFrom<SourceBody> for Source {
    type Error = Problem;

    fn try_from(body: SourceBody) -> Result<Self, Self::Error> {
        let mut faults = Vec::new();
        if !is_table_name(&body.table) {
            faults.push(Fault::field("/table", "must be a DynamoDB table name: 3 to 255 of A-Z a-z 0-9 _ . -"));
        }
        let attributes = [
            ("/tenant_attribute", Some(&body.tenant_attribute)),
            ("/id_attribute", Some(&body.id_attribute)),
            ("/entity_key", body.entity_key.as_ref()),
            ("/create_time_attribute", body.create_time_attribute.as_ref()),
            ("/update_time_attribute", body.update_time_attribute.as_ref()),
        ];
        for (pointer, text) in attributes {
            if text.is_some_and(|text| text.is_empty() || text.len() > 255) {
                faults.push(Fault::field(pointer, "must be 1 to 255 bytes"));
            }
        }
        if body.collection.is_empty() || body.collection.len() > 255 || body.collection.ends_with('/') {
            faults.push(Fault::field("/collection", "must be 1 to 255 bytes and not end with a slash"));
        }
        let entity: Option<EntityName> =
            body.entity.parse().map_err(|error| faults.push(Fault::field("/entity", error))).ok();
        match entity {
            Some(entity) if faults.is_empty() => Ok(Self {
                table: body.table,
                entity,
                tenant_attribute: body.tenant_attribute,
                id_attribute: body.id_attribute,
                collection: body.collection,
                entity_key: body.entity_key,
                create_time_attribute: body.create_time_attribute,
                update_time_attribute: body.update_time_attribute,
            }),
            _ => Err(Problem::Invalid(faults)),
        }
    }
}

fn is_table_name(text: &str) -> bool {
    (3..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

impl From<Source> for SourceBody {
    fn from(source: Source) -> Self {
        Self {
            table: source.table,
            entity: source.entity.to_string(),
            tenant_attribute: source.tenant_attribute,
            id_attribute: source.id_attribute,
            collection: source.collection,
            entity_key: source.entity_key,
            create_time_attribute: source.create_time_attribute,
            update_time_attribute: source.update_time_attribute,
        }
    }
}

/// Registers a table
#[utoipa::path(post, path = "/sources", tag = "Sources", request_body = SourceBody,
    responses(
        (status = 201, description = "The source", body = SourceBody),
        (status = 409, description = "The table is registered already", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    operator: Operator,
    JsonBody(body): JsonBody<SourceBody>,
) -> Result<(StatusCode, Json<SourceBody>), Problem> {
    let source = Source::try_from(body)?;
    app.registry.create_source(&source).await.map_err(|error| match error {
        StoreError::Conflict { key } => Problem::Conflict(format!("table {key} is registered already")),
        other @ (StoreError::Limit(_)
        | StoreError::Missing { .. }
        | StoreError::Unavailable(_)
        | StoreError::Inconsistent { .. }) => other.into(),
    })?;
    tracing::info!(table = source.table, by = operator.subject, "source registered");
    Ok((StatusCode::CREATED, Json(source.into())))
}

/// Lists tables
#[utoipa::path(get, path = "/sources", tag = "Sources", responses((status = 200, description = "All tables", body = SourceList)))]
pub(super) async fn list(State(app): State<Arc<App>>, _: Operator) -> Result<Json<SourceList>, Problem> {
    let data = app.registry.sources().await?.into_iter().map(SourceBody::from).collect();
    Ok(Json(SourceList { data }))
}

/// Forgets a table
///
/// Changes that its stream still holds go to stream-failures.
#[utoipa::path(delete, path = "/sources/{table}", tag = "Sources",
    params(("table" = String, Path, description = "The table's name")),
    responses((status = 204, description = "It is forgotten")))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(table): Path<String>,
) -> Result<StatusCode, Problem> {
    if !app.registry.remove_source(&table).await? {
        return Err(Problem::NotFound("source"));
    }
    tracing::info!(table, by = operator.subject, "source removed");
    Ok(StatusCode::NO_CONTENT)
}
