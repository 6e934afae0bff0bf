//! `/sources`: the tables whose changes become events. For the operator.

use std::sync::Arc;

use aws::StoreError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::source::Source;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::body::JsonBody;
use crate::caller::Operator;
use crate::parameters::TablePath;
use crate::problem::{Fault, Problem, ProblemBody};

pub mod failures;
pub mod preview;

/// A list of sources.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceList {
    /// By name.
    data: Vec<Source>,
}

fn checked(source: Source) -> Result<Source, Problem> {
    let faults = source.check();
    if faults.is_empty() { Ok(source) } else { Err(Problem::Invalid(faults.into_iter().map(Fault::from).collect())) }
}

/// Registers a source
///
/// The table's stream must have the view type `NEW_AND_OLD_IMAGES` and be attached with `infra/source.yaml`.
#[utoipa::path(post, path = "/sources", tag = "Sources", request_body = Source,
    responses(
        (status = 201, description = "The source", body = Source),
        (status = 409, description = "The table is already registered", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    operator: Operator,
    JsonBody(source): JsonBody<Source>,
) -> Result<(StatusCode, Json<Source>), Problem> {
    let source = checked(source)?;
    app.registry.create_source(&source).await.map_err(|error| match error {
        StoreError::Conflict { key } => {
            Problem::Conflict(format!("table {key} is already registered; change it with PUT"))
        }
        other @ (StoreError::Limit(_)
        | StoreError::TooHeavy { .. }
        | StoreError::Missing { .. }
        | StoreError::Unavailable(_)
        | StoreError::Refused(_)
        | StoreError::Inconsistent { .. }) => other.into(),
    })?;
    tracing::info!(table = source.table, by = operator.subject, "source registered");
    Ok((StatusCode::CREATED, Json(source)))
}

/// Lists sources
#[utoipa::path(get, path = "/sources", tag = "Sources", responses((status = 200, description = "All sources", body = SourceList)))]
pub(super) async fn list(State(app): State<Arc<App>>, _: Operator) -> Result<Json<SourceList>, Problem> {
    Ok(Json(SourceList { data: app.registry.sources().await? }))
}

/// Reads a source
#[utoipa::path(get, path = "/sources/{table}", tag = "Sources",
    params(TablePath),
    responses((status = 200, description = "The source", body = Source)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: Operator,
    Path(table): Path<String>,
) -> Result<Json<Source>, Problem> {
    app.registry.source(&table).await?.map(Json).ok_or(Problem::NotFound("source"))
}

/// Changes how a table's items become events
///
/// Applies to all table changes that fan-out reads from now on, including those that were committed a moment earlier.
#[utoipa::path(put, path = "/sources/{table}", tag = "Sources", request_body = Source,
    params(TablePath),
    responses((status = 200, description = "The source as it is now", body = Source)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(table): Path<String>,
    JsonBody(source): JsonBody<Source>,
) -> Result<Json<Source>, Problem> {
    let source = checked(source)?;
    if source.table != table {
        return Err(Problem::Invalid(vec![Fault::field(
            "/table",
            "must be the table of the path; register another table with POST",
        )]));
    }
    let before = app.registry.replace_source(&source).await?.ok_or(Problem::NotFound("source"))?;
    tracing::info!(table, by = operator.subject, before, "source changed");
    Ok(Json(source))
}

/// Removes a source
///
/// Changes that are still in the table's stream go to the stream-failures queue.
#[utoipa::path(delete, path = "/sources/{table}", tag = "Sources",
    params(TablePath),
    responses((status = 204, description = "It is removed")))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    operator: Operator,
    Path(table): Path<String>,
) -> Result<StatusCode, Problem> {
    let before = app.registry.remove_source(&table).await?.ok_or(Problem::NotFound("source"))?;
    tracing::info!(table, by = operator.subject, before, "source removed");
    Ok(StatusCode::NO_CONTENT)
}
