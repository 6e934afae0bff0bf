//! Publishes and rotates the key pairs of the scheme `standard-webhooks-ed25519`: each webhook's own, and the one that
//! webhooks of a tenant may share (`/signing-keys`).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, HeaderValue};
use axum::{Extension, Json};
use domain::signing::keys::{KeyOwner, PublicKey, SigningKeys};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::body::OptionalJson;
use crate::caller::Admin;
use crate::idempotency::FirstTry;
use crate::parameters::WebhookPath;
use crate::problem::Problem;
use crate::registration::visible;
use crate::tenant_keys;

/// How long a page of keys may be cached. An old key is shown for at least that long after it has stopped signing.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// A public key, as a [JSON Web Key](https://www.rfc-editor.org/rfc/rfc8037#section-2).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Jwk {
    /// `OKP`.
    #[schema(pattern = "^OKP$")]
    kty: &'static str,
    /// `Ed25519`.
    #[schema(pattern = "^Ed25519$")]
    crv: &'static str,
    /// `EdDSA`.
    #[schema(pattern = "^EdDSA$")]
    alg: &'static str,
    /// `sig`.
    #[schema(pattern = "^sig$")]
    r#use: &'static str,
    /// The key's thumbprint (RFC 7638).
    #[schema(examples("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"))]
    kid: String,
    /// The key, in base64 for URLs.
    #[schema(examples("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"))]
    x: String,
    /// The key in the form of Standard Webhooks.
    #[schema(examples("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="))]
    whpk: String,
    /// When it stops signing, in seconds since 1970, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

impl Jwk {
    fn new(key: PublicKey, until: Option<Timestamp>) -> Self {
        Self {
            kty: "OKP",
            crv: "Ed25519",
            alg: "EdDSA",
            r#use: "sig",
            kid: key.id(),
            x: key.x(),
            whpk: key.to_string(),
            exp: until.map(Timestamp::as_second),
        }
    }
}

/// Public keys, as a JSON Web Key Set; the current one is first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

impl JwkSet {
    fn new(keys: &SigningKeys, now: Timestamp) -> Self {
        let previous = keys.shown_previous(now).map(|previous| Jwk::new(previous.key, Some(previous.until)));
        Self { keys: std::iter::once(Jwk::new(keys.current, None)).chain(previous).collect() }
    }
}

/// Answers with a tenant's public keys, without authentication.
pub(crate) async fn published(State(app): State<Arc<App>>, Path(tenant): Path<String>) -> Result<Page, Problem> {
    let tenant = tenant.parse().map_err(|_| Problem::NotFound("key"))?;
    page(&app, &KeyOwner { tenant, webhook: None }).await
}

/// Answers with a webhook's public keys, without authentication. A deleted webhook has none, as it sends nothing.
pub(crate) async fn published_of_webhook(
    State(app): State<Arc<App>>,
    Path((tenant, webhook)): Path<(String, String)>,
) -> Result<Page, Problem> {
    let not_found = || Problem::NotFound("key");
    let (tenant, id) = (tenant.parse().map_err(|_| not_found())?, webhook.parse().map_err(|_| not_found())?);
    let webhook = app.registry.webhook(&tenant, id).await?.ok_or_else(not_found)?.webhook;
    if webhook.is_deleted() { Err(not_found()) } else { page(&app, &webhook.own_key_owner()).await }
}

type Page = ([(HeaderName, HeaderValue); 1], Json<JwkSet>);

async fn page(app: &App, owner: &KeyOwner) -> Result<Page, Problem> {
    let keys = app.registry.signing_keys(owner).await?.ok_or(Problem::NotFound("key"))?;
    Ok(([(CACHE_CONTROL, CACHE)], Json(JwkSet::new(&keys, app.clock.now()))))
}

/// How a key is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRotation {
    /// How long the old key signs too, in seconds; up to seven days.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 604_800, default = 86_400)]
    overlap_seconds: Option<u64>,
}

/// Rotates the key that webhooks of the tenant share
///
/// Creates a key pair and publishes its public key at `/.well-known/webhooks/{tenant}/keys.json` together with the old
/// one. Both keys sign until the overlap ends, so that receivers can fetch the new key in time. This affects every
/// webhook of the tenant whose `signing_key` is `tenant`. Without an overlap the old key disappears from that page at
/// once; it may sign for another minute. A tenant gets its first key with the first webhook that uses it.
#[utoipa::path(post, path = "/signing-keys/rotate", tag = "Signing keys", request_body = Option<KeyRotation>,
    responses(
        (status = 200, description = "The public keys as they are now", body = JwkSet),
        (status = 404, description = "No webhook has used the key yet", body = crate::problem::ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It was changed concurrently (try again), or the idempotency key is in use", body = crate::problem::ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    OptionalJson(rotation): OptionalJson<KeyRotation>,
) -> Result<Json<JwkSet>, Problem> {
    admin.of_the_tenant()?;
    let owner = KeyOwner { tenant: admin.tenant.clone(), webhook: None };
    rotate_of(&app, &admin, &owner, rotation, first_try.as_deref()).await
}

/// Rotates a webhook's signing key
///
/// Creates a key pair and publishes its public key at `/.well-known/webhooks/{tenant}/{webhook}/keys.json` together
/// with the old one. Both keys sign until the overlap ends. Without an overlap the old key disappears from that page at
/// once; it may sign for another minute. A webhook gets its first key when it first uses `standard-webhooks-ed25519`.
#[utoipa::path(post, path = "/webhooks/{id}/signing-key/rotate", tag = "Webhooks", params(WebhookPath),
    operation_id = "rotate_signing_key", request_body = Option<KeyRotation>,
    responses((status = 200, description = "The webhook's public keys as they are now", body = JwkSet)))]
pub(super) async fn rotate_of_webhook(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    Path(id): Path<String>,
    OptionalJson(rotation): OptionalJson<KeyRotation>,
) -> Result<Json<JwkSet>, Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    rotate_of(&app, &admin, &webhook.own_key_owner(), rotation, first_try.as_deref()).await
}

async fn rotate_of(
    app: &App,
    admin: &Admin,
    owner: &KeyOwner,
    rotation: KeyRotation,
    first_try: Option<&FirstTry>,
) -> Result<Json<JwkSet>, Problem> {
    let keys = tenant_keys::rotate(app, admin, owner, rotation.overlap_seconds, first_try).await?;
    Ok(Json(JwkSet::new(&keys, app.clock.now())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::signing::keys::SigningKey;

    use super::*;

    #[test]
    fn keys_are_shown_as_others_read_them() {
        // The example of RFC 8037.
        let key: PublicKey = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".parse().unwrap();
        let first = SigningKeys::first("/dev/webhooks/acme/signing-key".to_owned(), key, Timestamp::UNIX_EPOCH);
        let set = |keys: &SigningKeys| serde_json::to_value(JwkSet::new(keys, Timestamp::UNIX_EPOCH)).unwrap();
        let jwk = serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "whpk": "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        });
        assert_eq!(set(&first), serde_json::json!({"keys": [jwk]}));
        let next = SigningKey::from_random([7; 32]).public();
        let both = set(&first.rotated(next, Duration::from_mins(1), Timestamp::UNIX_EPOCH));
        assert_eq!((&both["keys"][0]["kid"], &both["keys"][1]["kid"]), (&next.id().into(), &jwk["kid"]));
        assert_eq!((&both["keys"][0]["exp"], &both["keys"][1]["exp"]), (&serde_json::Value::Null, &60.into()));
    }
}
