//! All routes.

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};

use crate::App;
use crate::problem::Problem;

pub mod deliveries;
pub mod sources;
pub mod webhooks;

/// Returns the API.
pub fn router(app: Arc<App>) -> Router {
    let integration = Router::new()
        .route("/webhooks", post(webhooks::create).get(webhooks::list))
        .route("/webhooks/{id}", get(webhooks::get).delete(webhooks::delete))
        .route("/webhooks/{id}/deliveries", get(deliveries::list))
        .route("/sources", post(sources::create).get(sources::list))
        .route("/sources/{table}", delete(sources::delete));
    Router::new()
        .nest("/api/v1/integration", integration)
        .fallback(async || Problem::NotFound("path"))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .with_state(app)
}
