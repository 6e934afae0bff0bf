//! The paths outside `/api/v1/integration`, which need no token: calls of other systems, public keys, the contract and
//! the health of the deployment.

use domain::id::EventId;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::{OpenApi, RefOr, Required, ServerBuilder};
use utoipa::{OpenApi as _, ToSchema};

use super::problem;
use crate::routes::health::DeploymentHealth;
use crate::routes::signing_keys::JwkSet;

/// The result of an inbound call.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the response of the inbound function")]
pub(super) struct Taken {
    /// The event created from the call; `null` if none. A repeated call returns the same id.
    #[schema(value_type = Option<String>, required, pattern = "^evt_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    event_id: Option<EventId>,
    /// Whether an event was created. False if the type is not in the webhook's `event_types`.
    stored: bool,
}

/// Receives a call
///
/// For other systems. The signature authenticates the call, so a caller needs the webhook's secret and no token. It is
/// an HMAC-SHA256 with the secret as its key. The webhook's `signature_scheme` determines the headers and the signed
/// bytes:
///
/// | scheme | headers | signed |
/// |---|---|---|
/// | `standard-webhooks` | `webhook-id`, `webhook-timestamp` (seconds since 1970), `webhook-signature: v1,<base64>` | `<webhook-id>.<webhook-timestamp>.<body>` |
/// | `hmac-sha256` | `x-signature-256: <hex>`, or the header and encoding of `signature_header` and `signature_encoding` | the body |
/// | `github` | `x-hub-signature-256: sha256=<hex>`; `x-github-event` and `x-github-delivery` are read too | the body |
/// | `stripe` | `stripe-signature: t=<seconds>,v1=<hex>` | `<seconds>.<body>` |
/// | `superoffice` | `x-superoffice-signature: <base64>` | the body |
/// | `shopify` | `x-shopify-hmac-sha256: <base64>`; `x-shopify-topic` and `x-shopify-webhook-id` are read too | the body |
///
/// A signed timestamp may differ from the current time by at most five minutes. The body may have any type and at most
/// 256 KiB. A JSON object becomes the event's properties; any other body becomes a single property. A repeated call
/// creates no new event and gets the same answer.
#[utoipa::path(post, path = "/api/v1/inbound/{tenant}/{webhook}", operation_id = "inbound.call", tag = "Inbound",
    params(
        ("tenant" = String, Path, description = "The webhook's tenant", max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$", example = "acme"),
        ("webhook" = String, Path, description = "`whk_` and a ULID; the webhook's `url` contains the whole path",
            pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"),
    ),
    request_body(description = "The sender's data",
        content((serde_json::Value = "application/json"), (String = "text/plain"))),
    responses((status = 202, description = "The call is accepted", body = Taken)))]
#[expect(dead_code, reason = "describes what the inbound function does")]
fn call() {}

/// Reads a tenant's public keys
///
/// Receivers verify `standard-webhooks-ed25519` signatures of webhooks whose `signing_key` is `tenant` with these keys.
/// During a rotation and for five minutes afterwards both keys are listed. The response may be cached for five minutes.
/// A signed request to one receiver also verifies at the tenant's other receivers, so prefer a key pair per webhook.
#[utoipa::path(get, path = "/.well-known/webhooks/{tenant}/keys.json", operation_id = "keys.get", tag = "Keys",
    params(("tenant" = String, Path, description = "The tenant", max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$", example = "acme")),
    responses((status = 200, description = "A JSON Web Key Set", body = JwkSet, headers(("Cache-Control" = String)))))]
#[expect(dead_code, reason = "describes a route of the router")]
fn keys() {}

/// Reads a webhook's public keys
///
/// Receivers verify `standard-webhooks-ed25519` signatures of this webhook only with these keys. During a rotation and
/// for five minutes afterwards both keys are listed. The response may be cached for five minutes. A webhook has no keys
/// if it is deleted or never used the scheme.
#[utoipa::path(get, path = "/.well-known/webhooks/{tenant}/{webhook}/keys.json", operation_id = "keys.get_of_webhook", tag = "Keys",
    params(
        ("tenant" = String, Path, description = "The webhook's tenant", max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$", example = "acme"),
        ("webhook" = String, Path, description = "`whk_` and a ULID",
            pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"),
    ),
    responses((status = 200, description = "A JSON Web Key Set", body = JwkSet, headers(("Cache-Control" = String)))))]
#[expect(dead_code, reason = "describes a route of the router")]
fn keys_of_webhook() {}

/// Reads the contract
///
/// Returns this document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "contract.get", tag = "Contract",
    responses((status = 200, description = "An OpenAPI document", body = serde_json::Map<String, serde_json::Value>)))]
#[expect(dead_code, reason = "describes a route of `pages`")]
fn get() {}

/// Reads the contract as a page
///
/// Returns a page that shows this document and can send requests.
#[utoipa::path(get, path = "/docs", operation_id = "contract.docs", tag = "Contract",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
#[expect(dead_code, reason = "describes a route of `pages`")]
fn docs() {}

/// Checks the deployment
///
/// For monitors. Checks that each table can be read, at most once in five seconds for each process, and returns which
/// version is deployed. The detail of a 503 names the tables that cannot be read; it has the version too.
#[utoipa::path(get, path = "/health", operation_id = "health.get", tag = "Health",
    responses((status = 200, description = "Every table can be read", body = DeploymentHealth, headers(("Cache-Control" = String)))))]
#[expect(dead_code, reason = "describes a route of the router")]
fn health() {}

#[derive(utoipa::OpenApi)]
#[openapi(paths(call, keys, keys_of_webhook, get, docs, health))]
struct PublicPaths;

/// Adds the paths. Their server is the root, and they require no token.
pub(super) fn add(openapi: &mut OpenApi) {
    let of_all = [("429", "Too many requests")];
    let of_calls = [
        (
            "401",
            "`urn:dynahook:problem:unverified`: a header is missing, the signature does not match or is too old, or an unsigned header contradicts the body",
        ),
        ("403", "`urn:dynahook:problem:disabled`: the signature is valid, but the webhook is disabled"),
        ("404", "`urn:dynahook:problem:not-found`: the webhook does not exist or is not inbound"),
        ("413", "`urn:dynahook:problem:too-large`: the body exceeds the size limit of an event"),
        ("429", "`urn:dynahook:problem:too-many-requests` or `budget-exceeded`: wait for the time in `Retry-After`"),
        ("500", "`urn:dynahook:problem:internal`: a fault in Dynahook"),
        ("503", "`urn:dynahook:problem:unavailable`: try again in a moment"),
        (
            "422",
            "`urn:dynahook:problem:loop`: more than five deliveries in a chain led to the call, or `webhook-hops` is not a number",
        ),
    ];
    let of_keys = [
        ("404", "`urn:dynahook:problem:not-found`: there is no such key"),
        ("500", "A fault in Dynahook"),
        ("503", "Try again in a moment"),
    ];
    let of_pages = [("503", "Try again in a moment")];
    for (path, mut item) in PublicPaths::openapi().paths.paths {
        let PathItem { get, post, .. } = &mut item;
        let own = match post {
            Some(_) => &of_calls[..],
            None if path.contains('{') => &of_keys,
            None => &of_pages,
        };
        for operation in [get, post].into_iter().flatten() {
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                body.required = Some(Required::False);
            }
            operation.security = Some(Vec::new());
            for (status, description) in of_all.iter().chain(own) {
                operation.responses.responses.insert((*status).to_owned(), RefOr::T(problem(description)));
            }
        }
        item.servers = Some(vec![ServerBuilder::new().url("/").build()]);
        openapi.paths.paths.insert(path, item);
    }
}
