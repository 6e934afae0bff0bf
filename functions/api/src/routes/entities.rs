//! `/entities`: the kinds of entities whose events a tenant's webhooks can ask for. For an admin of the tenant and its
//! applications.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::event::types::EventType;
use domain::source::kinds::{EntityKind, entity_kinds};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::caller::Admin;
use crate::problem::Problem;

/// A kind of entity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EntityKind)]
pub struct EntityBody {
    /// The first word of its event types.
    #[schema(examples("order"))]
    entity: String,
    /// Its name in payloads.
    #[schema(examples("order"))]
    entity_key: String,
    /// The table that it is in: what `sources` of a webhook may name.
    #[schema(examples("shop"))]
    source: String,
    /// The path of its collection: what `collections` of a webhook may name. An attribute in braces differs from entity
    /// to entity.
    #[schema(examples("orders/{order_id}/lines"))]
    collection: String,
    /// Its event types: created, updated and deleted.
    #[schema(value_type = Vec<String>, examples(json!(["order.created", "order.updated", "order.deleted"])))]
    event_types: Vec<EventType>,
}

impl From<EntityKind> for EntityBody {
    fn from(kind: EntityKind) -> Self {
        let event_types = kind.event_types().collect();
        let EntityKind { entity, key, source, collection } = kind;
        Self { entity, entity_key: key, source, collection, event_types }
    }
}

/// A list of kinds of entities.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EntityKindList)]
pub struct EntityList {
    /// By entity and table.
    data: Vec<EntityBody>,
}

/// Lists the kinds of entities
///
/// What tables hold for the tenant, or for the application of the caller, whether events of it occurred or not: the
/// names for `event_types`, `sources` and `collections` of a webhook.
#[utoipa::path(get, path = "/entities", tag = "Event types",
    responses((status = 200, description = "All kinds", body = EntityList)))]
pub(super) async fn list(State(app): State<Arc<App>>, admin: Admin) -> Result<Json<EntityList>, Problem> {
    let sources = app.registry.sources().await?;
    let kinds = entity_kinds(&sources, &admin.tenant, admin.app.as_ref());
    Ok(Json(EntityList { data: kinds.into_iter().map(EntityBody::from).collect() }))
}
