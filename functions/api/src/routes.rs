//! All routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::cacheable::cacheable;
use crate::openapi::{Contract, complete, contract};
use crate::problem::Problem;
use crate::{App, access, console, help, idempotency, security};

pub mod across_tenants;
pub mod all_deliveries;
pub mod all_statistics;
pub mod api_keys;
pub mod dead_letters;
pub mod deliveries;
pub mod egress_addresses;
pub mod entities;
pub mod event_types;
pub mod events;
pub(crate) mod health;
pub mod jobs;
pub mod notices;
pub mod portal_links;
pub mod redeliver;
pub mod release;
pub mod signing_keys;
pub mod sources;
pub mod usage;
pub mod webhooks;

fn integration() -> OpenApiRouter<Arc<App>> {
    use events::publish;
    use webhooks::{actions, authorization, calls, explain, preview, statistics, test};
    OpenApiRouter::with_openapi(Contract::openapi())
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(preview::preview))
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
        .routes(routes!(test::test))
        .routes(routes!(preview::preview_saved))
        .routes(routes!(explain::explain))
        .routes(routes!(explain::dry_run))
        .routes(routes!(publish::publish_about))
        .routes(routes!(publish::publish, events::list))
        .routes(routes!(events::get))
        .routes(routes!(entities::list))
        .routes(routes!(event_types::list))
        .routes(routes!(event_types::get, event_types::put, event_types::delete))
        .routes(routes!(statistics::statistics))
        .routes(routes!(all_statistics::of_all))
        .routes(routes!(all_deliveries::find))
        .routes(routes!(calls::calls))
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
        .routes(routes!(notices::create, notices::list))
        .routes(routes!(notices::get, notices::patch, notices::delete))
        .routes(routes!(notices::confirm))
        .routes(routes!(notices::test_notice))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::get, api_keys::revoke))
        .routes(routes!(portal_links::create, portal_links::list))
        .routes(routes!(portal_links::current))
        .routes(routes!(portal_links::get, portal_links::revoke))
        .routes(routes!(signing_keys::rotate))
        .routes(routes!(signing_keys::rotate_of_webhook))
        .routes(routes!(egress_addresses::get))
        .routes(routes!(sources::create, sources::list))
        .routes(routes!(sources::get, sources::put, sources::delete))
        .routes(routes!(sources::preview::preview))
        .routes(routes!(sources::failures::failures, sources::failures::dismiss_all))
        .routes(routes!(sources::failures::redrive))
        .routes(routes!(sources::failures::dismiss))
        .routes(routes!(across_tenants::failing))
        .routes(routes!(across_tenants::running))
        .routes(routes!(usage::get))
        .routes(routes!(usage::of_tenant))
        .routes(routes!(usage::get_budgets, usage::put_budgets))
        .routes(routes!(release::release))
}

/// Returns the contract, which is also in `infra/openapi.json`.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    complete(integration().split_for_parts().1)
}

/// Returns the API.
pub fn router(app: Arc<App>) -> Router {
    let (integration, openapi) = integration().split_for_parts();
    let integration = integration
        .layer(from_fn_with_state(Arc::clone(&app), idempotency::layer))
        .layer(from_fn_with_state(Arc::clone(&app), access::layer));
    let keys = Router::new()
        .route("/.well-known/webhooks/{tenant}/keys.json", get(signing_keys::published))
        .route("/.well-known/webhooks/{tenant}/{webhook}/keys.json", get(signing_keys::published_of_webhook));
    Router::new()
        .nest("/api/v1/integration", integration)
        .route("/health", get(health::get))
        .merge(cacheable(keys))
        .merge(console::routes())
        .merge(help::routes())
        .with_state(app)
        .merge(contract(complete(openapi)))
        .fallback(async || Problem::NotFound("path"))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(from_fn(preflight))
        .layer(from_fn(security::layer))
}

/// Answers a browser's preflight request, which has no token. API Gateway adds the headers that allow or forbid the
/// actual request. Browsers heed them only if the status is a success.
async fn preflight(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_preflight_request_succeeds_without_a_token() {
        let router = Router::new()
            .fallback(async || Problem::NotFound("path"))
            .route("/webhooks", get(async || StatusCode::UNAUTHORIZED))
            .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
            .layer(from_fn(preflight));
        for (method, path, status) in [
            (Method::OPTIONS, "/webhooks", StatusCode::NO_CONTENT),
            (Method::OPTIONS, "/elsewhere", StatusCode::NO_CONTENT),
            (Method::GET, "/webhooks", StatusCode::UNAUTHORIZED),
            (Method::PUT, "/webhooks", StatusCode::METHOD_NOT_ALLOWED),
        ] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            assert_eq!(router.clone().oneshot(request).await.unwrap().status(), status, "{path}");
        }
    }
}
