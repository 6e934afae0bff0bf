//! What stands beside `/api/v1/integration` and takes no token: the calls of other systems, tenants' public keys, and the contract
//! itself.

use domain::id::EventId;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::{OpenApi, RefOr, Required, ServerBuilder};
use utoipa::{OpenApi as _, ToSchema};

use super::{GATEWAYS, OURS, answer};
use crate::routes::signing_keys::JwkSet;

/// What became of a call.
#[derive(ToSchema)]
#[expect(dead_code, reason = "shows the form of what the inbound function answers")]
pub(super) struct Taken {
    /// The event that the call became; `null` if it became none. The same however often the call is sent.
    #[schema(value_type = Option<String>, required, pattern = "^evt_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    event_id: Option<EventId>,
    /// Whether it became one: a webhook that names types takes no others.
    stored: bool,
}

/// Takes a call
///
/// For other systems: whoever knows the webhook's secret can call it. There is no token; the signature is what proves who calls.
/// It stands in the headers that the webhook's `signature_scheme` names, each HMAC-SHA256 under the webhook's secret over the bytes
/// that are sent:
///
/// | scheme | headers | signed |
/// |---|---|---|
/// | `standard-webhooks` | `webhook-id`, `webhook-timestamp` (seconds since 1970), `webhook-signature: v1,<base64>` | `<webhook-id>.<webhook-timestamp>.<body>` |
/// | `hmac-sha256` | `x-signature-256: <hex>`, or as `signature_header` and `signature_encoding` say | the body |
/// | `github` | `x-hub-signature-256: sha256=<hex>`; `x-github-event` and `x-github-delivery` are read too | the body |
/// | `stripe` | `stripe-signature: t=<seconds>,v1=<hex>` | `<seconds>.<body>` |
/// | `superoffice` | `x-superoffice-signature: <base64>` | the body |
/// | `shopify` | `x-shopify-hmac-sha256: <base64>`; `x-shopify-topic` and `x-shopify-webhook-id` are read too | the body |
///
/// A time that is signed must not be more than five minutes away from now. The body may be of any kind and has at most 256 KiB:
/// a JSON object is the event's properties, anything else one of them. A call that is sent again becomes nothing new, and is
/// answered as before.
#[utoipa::path(post, path = "/api/v1/inbound/{tenant}/{webhook}", operation_id = "inbound.call", tag = "Inbound",
    params(
        ("tenant" = String, Path, description = "The webhook's tenant", max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$", example = "acme"),
        ("webhook" = String, Path, description = "`whk_` and a ULID; the whole path stands in the webhook's `url`",
            pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"),
    ),
    request_body(description = "Whatever the sender has to say",
        content((serde_json::Value = "application/json"), (String = "text/plain"))),
    responses((status = 202, description = "The call is taken", body = Taken)))]
#[expect(dead_code, reason = "describes what the inbound function does")]
fn call() {}

/// Shows a tenant's public keys
///
/// By these anybody verifies a signature of `standard-webhooks-ed25519` of the webhooks whose `signing_key` is `tenant`. Two while a
/// rotation overlaps, and a little longer. May be kept for five minutes. What one receiver gets verifies at every other receiver of the
/// tenant: a webhook's own key pair is the better choice.
#[utoipa::path(get, path = "/.well-known/webhooks/{tenant}/keys.json", operation_id = "keys.get", tag = "Keys",
    params(("tenant" = String, Path, description = "The tenant", max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$", example = "acme")),
    responses((status = 200, description = "A JSON Web Key Set", body = JwkSet, headers(("Cache-Control" = String)))))]
#[expect(dead_code, reason = "describes a route of the router")]
fn keys() {}

/// Shows a webhook's public keys
///
/// By these anybody verifies a signature of `standard-webhooks-ed25519` of this webhook, and of no other. Two while a rotation overlaps, and
/// a little longer. May be kept for five minutes. A webhook that has never asked for the scheme has none, nor has a deleted one.
#[utoipa::path(get, path = "/.well-known/webhooks/{tenant}/{webhook}/keys.json", operation_id = "keys.get_of_webhook", tag = "Keys",
    params(
        ("tenant" = String, Path, description = "The webhook's tenant", max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$", example = "acme"),
        ("webhook" = String, Path, description = "`whk_` and a ULID",
            pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"),
    ),
    responses((status = 200, description = "A JSON Web Key Set", body = JwkSet, headers(("Cache-Control" = String)))))]
#[expect(dead_code, reason = "describes a route of the router")]
fn keys_of_webhook() {}

/// Shows the contract
///
/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "contract.get", tag = "Contract",
    responses((status = 200, description = "An OpenAPI document", body = serde_json::Map<String, serde_json::Value>)))]
#[expect(dead_code, reason = "describes a route of `pages`")]
fn get() {}

/// Shows the contract to people
///
/// A page that shows this document, and can try it.
#[utoipa::path(get, path = "/docs", operation_id = "contract.docs", tag = "Contract",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
#[expect(dead_code, reason = "describes a route of `pages`")]
fn docs() {}

#[derive(utoipa::OpenApi)]
#[openapi(paths(call, keys, keys_of_webhook, get, docs))]
struct Beside;

/// Adds the paths, each with the root for its server, and with no security.
pub(super) fn add(openapi: &mut OpenApi) {
    let of_all = [("429", "Too many requests", &[GATEWAYS][..])];
    let of_calls = [
        (
            "401",
            "`urn:dynahook:problem:unverified`: a header is missing, the signature does not match, it was made too long ago, or a header that is not signed contradicts the body",
            &[OURS][..],
        ),
        ("403", "`urn:dynahook:problem:disabled`: the call is signed, and the webhook is disabled", &[OURS]),
        (
            "404",
            "`urn:dynahook:problem:not-found`: there is no such webhook, or it is not an inbound one",
            &[OURS, GATEWAYS],
        ),
        ("413", "`urn:dynahook:problem:too-large`: the body is larger than an event may be", &[OURS]),
        (
            "429",
            "`urn:dynahook:problem:too-many-requests` or `budget-exceeded`: wait as `Retry-After` says",
            &[OURS, GATEWAYS],
        ),
        ("503", "`urn:dynahook:problem:unavailable`: try again in a moment", &[OURS, GATEWAYS]),
        (
            "422",
            "`urn:dynahook:problem:loop`: more than five deliveries led to the call, or `webhook-hops` is not a number",
            &[OURS],
        ),
    ];
    let of_keys = [
        ("404", "`urn:dynahook:problem:not-found`: there is no key", &[OURS, GATEWAYS][..]),
        ("503", "Try again in a moment", &[OURS, GATEWAYS]),
    ];
    let of_pages = [("503", "Try again in a moment", &[GATEWAYS][..])];
    for (path, mut item) in Beside::openapi().paths.paths {
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
            for (status, description, forms) in of_all.iter().chain(own) {
                let answer = RefOr::T(answer(description, forms));
                operation.responses.responses.insert((*status).to_owned(), answer);
            }
        }
        item.servers = Some(vec![ServerBuilder::new().url("/").build()]);
        openapi.paths.paths.insert(path, item);
    }
}
