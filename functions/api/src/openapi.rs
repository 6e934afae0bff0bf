//! The contract: an OpenAPI document that is generated from the routes, and a page that shows it.

use std::sync::Arc;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{self, Components, ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, serve};

use crate::problem::{Fault, Problem, ProblemBody};

/// The document, without the paths: those come from the router.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dynahook",
        description = "Changes in DynamoDB tables, delivered as signed webhooks.\n\nThe tenant is the token's, never the request's. What belongs to somebody else does not exist: it answers 404.",
        license(name = "MIT OR Apache-2.0"),
    ),
    servers((url = "/api/v1/integration")),
    tags(
        (name = "Webhooks", description = "Registrations: where to send which events. Needs the role ADMIN."),
        (name = "Deliveries", description = "What became of events. Needs the role ADMIN."),
        (name = "API keys", description = "How applications prove who they are. Needs the role ADMIN, and no application's token."),
        (name = "Sources", description = "Tables whose changes become events. Needs the role OPERATOR."),
    ),
    security(("bearer" = [])),
    components(schemas(ProblemBody, Fault)),
    modifiers(&Bearer),
)]
pub(crate) struct Contract;

/// Tokens: JWTs and API keys alike.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut openapi::OpenApi) {
        let description = "A JWT of the deployment's issuer, or an API key";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
        let components = openapi.components.get_or_insert_with(Components::new);
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// Adds to every operation the answers that any of its kind can give.
pub(crate) fn complete(mut openapi: openapi::OpenApi) -> openapi::OpenApi {
    for (path, item) in &mut openapi.paths.paths {
        let named = path.contains('{');
        let PathItem { get, post, put, patch, delete, .. } = item;
        for (operation, writes) in [(get, false), (post, true), (put, true), (patch, true), (delete, true)] {
            if let Some(operation) = operation {
                add_problems(operation, named, writes);
                operation.operation_id = operation.operation_id.take().map(|name| format!("{}.{name}", resource(path)));
            }
        }
    }
    openapi
}

/// Returns what a path is about: handlers are named by what they do, and two resources may do the same.
fn resource(path: &str) -> String {
    let mut words = path.split('/').filter(|word| !word.is_empty() && !word.starts_with('{'));
    let first = words.next().unwrap_or_default();
    words.find(|word| *word == "deliveries").unwrap_or(first).replace('-', "_")
}

fn add_problems(operation: &mut Operation, named: bool, writes: bool) {
    let conditional = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "If-Match"));
    let takes_body = operation.request_body.is_some();
    let replaces = operation.operation_id.as_deref() == Some("put");
    let problems = [
        ("400", "The body is not JSON", takes_body),
        ("401", "No token, or one that is not good", true),
        ("403", "The role or the scope is missing", true),
        ("404", "There is no such thing, or it is somebody else's", named),
        ("409", "Others change it at the same time, or the idempotency key is in use", writes && named),
        ("412", "It has another version by now", conditional),
        ("413", "The body is too large", takes_body),
        ("422", "A field, a parameter or a header is not as it must be", true),
        ("428", "If-Match is missing", replaces),
        ("429", "Too many requests", true),
        ("503", "Try again in a moment", true),
    ];
    for (status, description, _) in problems.into_iter().filter(|(_, _, possible)| *possible) {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem(description)));
    }
}

/// Returns the routes that show the contract: `/openapi.json`, and Swagger UI at `/docs`, from this binary and nowhere else.
pub(crate) fn pages(openapi: openapi::OpenApi) -> Router {
    let config = Arc::new(Config::from("/openapi.json"));
    let index = Arc::clone(&config);
    Router::new()
        .route("/openapi.json", get(async move || Json(openapi)))
        .route("/docs", get(async move || page("index.html", index)))
        .route("/docs/{file}", get(async move |Path(file): Path<String>| page(&file, config)))
}

fn page(file: &str, config: Arc<Config<'static>>) -> Response {
    let Ok(Some(found)) = serve(file, config) else { return Problem::NotFound("page").into_response() };
    let headers = [(header::CONTENT_TYPE, found.content_type)];
    if file != "index.html" {
        return (headers, found.bytes.into_owned()).into_response();
    }
    // The page names its files relative to itself, and not every gateway knows paths that end with a slash.
    let text = String::from_utf8_lossy(&found.bytes).replace("<head>", r#"<head><base href="docs/">"#);
    (headers, text).into_response()
}

fn problem(description: &str) -> openapi::Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn infra_has_the_contract_of_the_code() {
        let written = include_str!("../../../infra/openapi.json");
        assert!(
            written.trim() == crate::openapi().to_pretty_json().unwrap(),
            "run `make openapi`, and look at what changed"
        );
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let openapi = serde_json::to_value(crate::openapi()).unwrap();
        let operations =
            openapi["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        let names: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
