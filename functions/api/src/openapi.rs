//! The contract: an OpenAPI document that is generated from the routes.

use axum::routing::get;
use axum::{Json, Router};
use domain::webhook::settings::Settings;
use utoipa::openapi::link::Link;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    self, Components, ContentBuilder, Object, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Schema, Type,
};
use utoipa::{Modify, OpenApi};

use crate::cacheable::cacheable;
use crate::idempotency::READ_ONLY_POSTS;
use crate::problem::{Fault, ProblemBody};
use crate::registration::health::HealthBody;
use crate::registration::representation;
use crate::registration::schemas::NewWebhookOnly;
use crate::routes::health::DeploymentHealth;

mod examples;
mod payloads;
mod portable;
mod public_paths;
mod schemas;

/// The document, without the paths: those come from the router.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dynahook",
        description = "Changes in DynamoDB tables, delivered as signed webhooks.\n\nThe tenant always comes from the token, never from the request, except for operators. Resources of another tenant or application answer 404.\n\nEvery error is a problem document (RFC 9457). Only API Gateway, in front of the API, answers in its own form, `{\"message\": \"…\"}`: 401 without a token, 404 for a path that does not exist, 429 and 503.",
        license(name = "MIT OR Apache-2.0"),
    ),
    servers((url = "/api/v1/integration")),
    tags(
        (name = "Webhooks", description = "Where to send which events. Needs the role ADMIN, or VIEWER to read."),
        (name = "Deliveries", description = "What was sent, and with which outcome. Needs the role ADMIN, or VIEWER to read."),
        (name = "Jobs", description = "Sending many deliveries again, in the background and at a limited rate. Needs the role ADMIN, or VIEWER to read."),
        (name = "Events", description = "Reading and publishing events. Needs the role ADMIN, or VIEWER to read."),
        (name = "Event types", description = "The catalog of event types. Needs the role ADMIN, or VIEWER to read; applications may only read it."),
        (name = "Notices", description = "Who is notified of what happens to the webhooks. Needs the role ADMIN, or VIEWER to read, and not an application's token."),
        (name = "API keys", description = "API keys of applications and of the whole tenant. Needs a token with the role ADMIN, or VIEWER to read, that is not an application's."),
        (name = "Portal links", description = "Links that open the console for people without an account at the issuer. Needs a token with the role ADMIN, or VIEWER to read, that is not an application's, or one with the role OPERATOR."),
        (name = "Signing keys", description = "The key pair that webhooks of a tenant may share. Needs the role ADMIN, and not an application's token."),
        (name = "Egress addresses", description = "Where deliveries come from. Needs a token or an API key, whatever its role and scopes."),
        (name = "Usage", description = "A tenant's usage and budgets. A tenant's own usage needs the role ADMIN or VIEWER; usage and budgets of any tenant need the role OPERATOR."),
        (name = "Across tenants", description = "What an operator looks at first. Needs the role OPERATOR. An operator may also send any GET request about a tenant's resources with the header `Dynahook-Tenant: <tenant>`, and then sees what a viewer of that tenant sees."),
        (name = "Sources", description = "Tables whose changes become events. Needs the role OPERATOR."),
        (name = "Inbound", description = "Calls of other systems to webhooks whose direction is `inbound`. No token is needed: the signature authenticates the call."),
        (name = "Keys", description = "Public keys, with which receivers verify `standard-webhooks-ed25519`. No token is needed."),
        (name = "Contract", description = "This document, and a page that shows it. No token is needed."),
        (name = "Health", description = "Whether the deployment works, and its version. No token is needed."),
    ),
    security(("bearer" = [])),
    components(schemas(ProblemBody, Fault, HealthBody, NewWebhookOnly, Settings, public_paths::Taken, DeploymentHealth)),
    modifiers(&Bearer),
)]
pub(crate) struct Contract;

/// The security scheme of JWTs and API keys.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut openapi::OpenApi) {
        let description = "A JWT of the deployment's issuer, or an API key";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
        let components = openapi.components.get_or_insert_with(Components::new);
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// Adds what the macros cannot express.
pub(crate) fn complete(mut openapi: openapi::OpenApi) -> openapi::OpenApi {
    let mut of_a_webhook = Vec::new();
    for (path, item) in &mut openapi.paths.paths {
        let named = path.contains('{');
        let PathItem { get, post, put, patch, delete, .. } = item;
        for operation in post.iter_mut().filter(|_| !READ_ONLY_POSTS.contains(&path.as_str())) {
            operation.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
        }
        for (operation, writes) in [(get, false), (post, true), (put, true), (patch, true), (delete, true)] {
            if let Some(operation) = operation {
                add_problems(operation, named, writes);
                if let Some(RefOr::T(body)) = &mut operation.request_body {
                    let optional = matches!(
                        operation.operation_id.as_deref(),
                        Some("rotate" | "rotate_signing_key" | "test" | "preview_saved" | "redrive" | "confirm")
                    );
                    body.required = Some(if optional { Required::False } else { Required::True });
                }
                operation.operation_id = operation.operation_id.take().map(|name| format!("{}.{name}", resource(path)));
                // The `{id}` of the excluded path is an event type.
                if path.starts_with("/webhooks/{id}") && path != "/webhooks/{id}/{entity}" {
                    of_a_webhook.extend(operation.operation_id.clone());
                }
            }
        }
    }
    link(&mut openapi, of_a_webhook);
    public_paths::add(&mut openapi);
    payloads::add(&mut openapi);
    if let Some(components) = &mut openapi.components {
        components.schemas.insert("Webhook".to_owned(), RefOr::T(representation::schema()));
    }
    portable::make(&mut openapi);
    if let Some(components) = &mut openapi.components {
        derive_bodies(components);
    }
    examples::add(&mut openapi);
    openapi
}

fn idempotency_key() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("A key's request runs once in 24 hours; repeats return the first response, without secrets"))
        .schema(Some(text.pattern(Some("^[!-~]([ -~]*[!-~])?$"))))
        .build()
}

/// Links the id in the response that creates a webhook to the operations on webhooks, and the id of a published event
/// to the operation that reads it.
fn link(openapi: &mut openapi::OpenApi, of_a_webhook: Vec<String>) {
    let create = openapi.paths.paths.get_mut("/webhooks").and_then(|item| item.post.as_mut());
    if let Some(RefOr::T(created)) = create.and_then(|operation| operation.responses.responses.get_mut("201")) {
        for id in of_a_webhook {
            let link = Link::builder().operation_id(&id).parameter("id", "$response.body#/id").build();
            created.links.insert(id, RefOr::T(link));
        }
    }
    let publish = openapi.paths.paths.get_mut("/events").and_then(|item| item.post.as_mut());
    if let Some(RefOr::T(published)) = publish.and_then(|operation| operation.responses.responses.get_mut("202")) {
        let link = Link::builder().operation_id("events.get").parameter("event_id", "$response.body#/id").build();
        published.links.insert("events.get".to_owned(), RefOr::T(link));
    }
}

/// Derives the schemas of request bodies from the settings, by adding and removing fields.
fn derive_bodies(components: &mut Components) {
    let object = |name: &str| match components.schemas.get(name) {
        Some(RefOr::T(Schema::Object(object))) => object.clone(),
        _ => Object::new(),
    };
    let (settings, more) = (object("Settings"), object("NewWebhookOnly"));
    let mut new = settings.clone();
    new.description = Some("A new webhook: its settings, and optionally a secret and an authorization.".to_owned());
    let of_new = |name: &str| more.properties.get(name).map(|schema| (name.to_owned(), schema.clone()));
    let authorization = of_new("authorization");
    let other_names = ["target_url", "events", "state"].into_iter().filter_map(of_new).map(sent_back);
    let other_names: Vec<_> = other_names.collect();
    new.properties.extend(more.properties);
    new.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let mut patch = settings;
    patch.properties.extend(authorization);
    let mut replacement = patch.clone();
    replacement.properties.extend(other_names.clone());
    replacement.description =
        Some(format!("A webhook's settings, and optionally another authorization; `null` removes it. {SENT_BACK}"));
    patch.description = Some(format!("A JSON merge patch of a webhook's settings: `null` resets a field. {SENT_BACK}"));
    patch.required.clear();
    for property in patch.properties.values_mut() {
        *property = or_null(property.clone());
    }
    patch.properties.extend(other_names);
    components.schemas.remove("NewWebhookOnly");
    components.schemas.insert("NewWebhook".to_owned(), RefOr::T(Schema::Object(new)));
    components.schemas.insert("WebhookReplacement".to_owned(), RefOr::T(Schema::Object(replacement)));
    components.schemas.insert("WebhookPatch".to_owned(), RefOr::T(Schema::Object(patch)));
}

/// What a changed webhook may have in addition. No schema lists these fields, because a generated client would offer to
/// set them.
const SENT_BACK: &str = "The fields of a response that only Dynahook sets may be sent back.";

fn or_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    RefOr::T(AnyOfBuilder::new().item(schema).item(null).build().into())
}

/// Allows the values that a response has of another name of a setting, so that it can be sent back.
fn sent_back((name, mut schema): (String, RefOr<Schema>)) -> (String, RefOr<Schema>) {
    if let ("state", RefOr::T(Schema::Object(state))) = (name.as_str(), &mut schema) {
        // Failures paused it.
        state.maximum = Some(3.into());
        state.description =
            Some("The same as `enabled`: 1 is `true`, 2 is `false`. 3 may only be sent back.".to_owned());
        return (name, schema);
    }
    // A response has `null` if there is no type.
    let schema = if name == "events" { or_null(schema) } else { schema };
    (name, schema)
}

/// Returns the resource of a path, the first part of operation ids. Handlers are named by what they do, and those of
/// two resources may have the same name.
fn resource(path: &str) -> String {
    let mut words = path.split('/').filter(|word| !word.is_empty() && !word.starts_with('{'));
    let first = words.next().unwrap_or_default();
    words.find(|word| *word == "deliveries").unwrap_or(first).replace('-', "_")
}

fn add_problems(operation: &mut Operation, named: bool, writes: bool) {
    let takes = |header: &str| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == header))
    };
    let (conditional, has_key) = (takes("If-Match"), takes("Idempotency-Key"));
    let takes_body = operation.request_body.is_some();
    let replaces = conditional && operation.operation_id.as_deref() == Some("put");
    let problems = [
        ("400", "The body is not JSON", takes_body),
        ("401", "The token is missing or invalid", true),
        ("403", "The role or the scope is missing", true),
        ("404", "The resource does not exist, or it belongs to another tenant or application", named),
        ("405", "The path does not support this method", named),
        ("409", "It was changed concurrently (try again), or the idempotency key is in use", writes && named),
        ("409", "The idempotency key is in use", has_key && !named),
        ("412", "The webhook has a newer version", conditional),
        ("413", "The body is too large", takes_body),
        ("422", "A field, parameter or header is invalid", true),
        ("428", "`If-Match` is missing", replaces),
        ("429", "Too many requests", true),
        ("500", "A fault in Dynahook", true),
        ("503", "Try again in a moment", true),
    ];
    for (status, description, _) in problems.into_iter().filter(|(_, _, possible)| *possible) {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem(description)));
    }
}

/// Returns the route of the contract. `console.rs` has a page that shows it.
pub(crate) fn contract(openapi: openapi::OpenApi) -> Router {
    cacheable(Router::new().route("/openapi.json", get(async move || Json(openapi))))
}

fn problem(description: &str) -> openapi::Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}

#[cfg(test)]
mod tests;
