//! All routes.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi::{Contract, complete, pages};
use crate::problem::Problem;
use crate::{App, idempotency};

pub mod api_keys;
pub mod dead_letters;
pub mod deliveries;
pub mod event_types;
pub mod events;
pub mod jobs;
pub mod redeliver;
pub mod signing_keys;
pub mod sources;
pub mod webhooks;

fn integration() -> OpenApiRouter<Arc<App>> {
    use events::publish;
    use webhooks::{actions, authorization, explain, statistics, trial};
    OpenApiRouter::with_openapi(Contract::openapi())
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(trial::preview))
        .routes(routes!(webhooks::get, webhooks::put, webhooks::patch, webhooks::delete))
        .routes(routes!(actions::pause))
        .routes(routes!(actions::resume))
        .routes(routes!(actions::enable))
        .routes(routes!(actions::disable))
        .routes(routes!(actions::restore))
        .routes(routes!(actions::rotate))
        .routes(routes!(
            authorization::get_authorization,
            authorization::put_authorization,
            authorization::delete_authorization
        ))
        .routes(routes!(trial::test))
        .routes(routes!(explain::explain))
        .routes(routes!(explain::dry_run))
        .routes(routes!(publish::publish_about))
        .routes(routes!(publish::publish, events::list))
        .routes(routes!(events::get))
        .routes(routes!(event_types::list))
        .routes(routes!(event_types::get, event_types::put, event_types::delete))
        .routes(routes!(statistics::statistics))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::get))
        .routes(routes!(deliveries::skip))
        .routes(routes!(redeliver::redeliver))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::redrive))
        .routes(routes!(jobs::recover))
        .routes(routes!(jobs::replay))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::pause))
        .routes(routes!(jobs::resume))
        .routes(routes!(jobs::cancel))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::get, api_keys::revoke))
        .routes(routes!(signing_keys::rotate))
        .routes(routes!(sources::create, sources::list))
        .routes(routes!(sources::get, sources::put, sources::delete))
}

/// Returns the contract, as `infra/openapi.json` holds it.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    complete(integration().split_for_parts().1)
}

/// Returns the API.
pub fn router(app: Arc<App>) -> Router {
    let (integration, openapi) = integration().split_for_parts();
    let integration = integration.layer(from_fn_with_state(Arc::clone(&app), idempotency::layer));
    Router::new()
        .nest("/api/v1/integration", integration)
        .route("/.well-known/webhooks/{tenant}/keys.json", get(signing_keys::published))
        .with_state(app)
        .merge(pages(complete(openapi)))
        .fallback(async || Problem::NotFound("path"))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
}
