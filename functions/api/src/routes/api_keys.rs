//! `/api-keys`: keys with which applications, or programs of the whole tenant, authenticate without an identity
//! provider. For an admin of the tenant.

use std::sync::Arc;

use aws::StoreError;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::access::api_key::{ApiKey, KeyHash, KeyText, Scope};
use domain::access::tenant::AppId;
use domain::id::ApiKeyId;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::{JsonBody, Query};
use crate::caller::Admin;
use crate::idempotency::{FirstTry, ShownOnce};
use crate::page::{Limit, Page, fit};
use crate::problem::{Fault, Problem, ProblemBody};

/// The longest name, in characters.
const MAX_NAME_CHARACTERS: usize = 400;

/// The number of keys on a page without a `limit`. Clients that do not read page by page get all keys of most tenants.
const DEFAULT_LIMIT: usize = 1_000;

/// A new API key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// A display name.
    #[schema(min_length = 1, max_length = 400, examples("the CRM's connector"))]
    name: String,
    /// The application that uses it. Without one, the key acts for the whole tenant: it sees and changes what all of
    /// the tenant's applications registered.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200, pattern = "^[A-Za-z0-9_.@+=-]+$", examples("crm"))]
    app_id: Option<AppId>,
    /// What it may do. Without scopes: everything that its application, or an admin, may do, except managing API keys.
    #[serde(default)]
    scopes: Vec<Scope>,
    /// When it expires. Default: never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// An API key, without the secret key.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct ApiKeyBody {
    /// The first part of the key; not secret.
    #[schema(value_type = String, examples("key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    id: ApiKeyId,
    name: String,
    /// The application that uses it; `null` for a key of the whole tenant.
    #[schema(value_type = Option<String>)]
    app_id: Option<AppId>,
    scopes: Vec<Scope>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl From<ApiKey> for ApiKeyBody {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, name, app, scopes, created_at, created_by, expires_at, revoked_at, .. } = key;
        Self { id, name, app_id: app, scopes, created_at, created_by, expires_at, revoked_at }
    }
}

/// A new API key, with the secret key. No other response contains the key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyWithText {
    #[serde(flatten)]
    api_key: ApiKeyBody,
    /// Send it as `Authorization: Bearer <key>`. Missing if an idempotency key repeats the request.
    #[schema(required = false)]
    key: String,
}

/// A page of a tenant's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyList {
    /// Oldest first. A page may have fewer entries than requested and still not be the last one.
    data: Vec<ApiKeyBody>,
    /// The `cursor` of the next page; `null` if this is the last page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<ApiKeyId>,
}

/// The id of an API key.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub struct ApiKeyPath {
    /// `key_` and a ULID.
    #[param(pattern = "^key_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    id: String,
}

/// Creates an API key
///
/// No other response contains the key: Dynahook stores only its hash.
#[utoipa::path(post, path = "/api-keys", tag = "API keys",
    request_body = NewApiKey,
    responses(
        (status = 201, description = "The key", body = ApiKeyWithText),
        (status = 409, description = "The idempotency key is in use, or the key that it created was revoked", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    JsonBody(new): JsonBody<NewApiKey>,
) -> Result<Response, Problem> {
    admin.of_the_tenant()?;
    let now = app.clock.now();
    let mut faults = Vec::new();
    if new.name.trim().is_empty() || new.name.chars().count() > MAX_NAME_CHARACTERS {
        faults.push(Fault::field("/name", format!("must be 1 to {MAX_NAME_CHARACTERS} characters")));
    }
    if new.expires_at.is_some_and(|until| until <= now) {
        faults.push(Fault::field("/expires_at", "must be in the future"));
    }
    if !faults.is_empty() {
        return Err(Problem::Invalid(faults));
    }
    let first_try = first_try.as_deref();
    let id = first_try.map_or_else(|| ApiKeyId::from_parts(now, runtime::random::bits()), FirstTry::api_key_id);
    let text = KeyText::from_random(id, runtime::random::bytes());
    let key = ApiKey {
        id: text.id(),
        tenant: admin.tenant,
        app: new.app_id,
        name: new.name,
        scopes: new.scopes,
        created_at: first_try.map_or(now, FirstTry::at),
        created_by: admin.subject,
        expires_at: new.expires_at,
        revoked_at: None,
    };
    write(&app, &key, &text.hash(), first_try).await?;
    tracing::info!(api_key.id = %key.id, tenant.id = %key.tenant, by = key.created_by, "API key created");
    let location = format!("{}/api/v1/integration/api-keys/{}", app.public_url, key.id);
    let location = HeaderValue::from_str(&location).unwrap_or(HeaderValue::from_static(""));
    let body = ApiKeyBody::from(key);
    let shown = ApiKeyWithText { api_key: body.clone(), key: text.text().expose_secret().to_owned() };
    Ok(ShownOnce { status: StatusCode::CREATED, headers: [(LOCATION, location)], shown, kept: body }.into_response())
}

/// Writes a new key. An earlier try of the request may have written it, with a text that was never shown.
async fn write(app: &App, key: &ApiKey, hash: &KeyHash, first_try: Option<&FirstTry>) -> Result<(), Problem> {
    let is_later = first_try.is_some_and(FirstTry::is_later);
    let before = if is_later { app.registry.find_api_key(key.id).await? } else { None };
    if before.as_ref().is_some_and(|(before, _)| before.revoked_at.is_some()) {
        let detail = "the API key that this request created was revoked; send another Idempotency-Key";
        return Err(Problem::Conflict(detail.to_owned()));
    }
    match app.registry.write_api_key(key, hash, before.as_ref().map(|(_, hash)| hash)).await {
        // Another try of the request has written the key.
        Err(StoreError::Conflict { .. }) if first_try.is_some() => Err(Problem::KeyInUse),
        written => Ok(written?),
    }
}

/// The filters of the list, and its pagination.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApiKeyQuery {
    /// Whether to include revoked keys.
    #[serde(default)]
    #[param(default = false)]
    include_revoked: bool,
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^key_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries. Default: 1,000, or as many as fit into a response.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
}

/// Lists API keys
///
/// Oldest first. All keys of most tenants fit into one page.
#[utoipa::path(get, path = "/api-keys", tag = "API keys", params(ApiKeyQuery),
    responses((status = 200, description = "A page of keys", body = ApiKeyList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(filter): Query<ApiKeyQuery>,
) -> Result<Json<ApiKeyList>, Problem> {
    admin.of_the_tenant()?;
    let ApiKeyQuery { include_revoked, cursor, limit } = filter;
    let (after, limit) = Page::new(cursor, limit).read_or(DEFAULT_LIMIT)?;
    let page = app.registry.api_keys(&admin.tenant, after, limit, include_revoked).await?;
    let mut data: Vec<_> = page.keys.into_iter().map(ApiKeyBody::from).collect();
    let cut = fit(&mut data).map(|last| last.id);
    let next_cursor = cut.or_else(|| data.last().filter(|_| page.more).map(|last| last.id));
    Ok(Json(ApiKeyList { data, next_cursor }))
}

/// Reads an API key
#[utoipa::path(get, path = "/api-keys/{id}", tag = "API keys", params(ApiKeyPath),
    responses((status = 200, description = "The key", body = ApiKeyBody)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<ApiKeyBody>, Problem> {
    Ok(Json(find(&app, &admin, &id).await?.into()))
}

/// A revoked key.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedApiKey {
    #[serde(flatten)]
    api_key: ApiKeyBody,
    /// When read-only requests are refused as well: up to a minute after `revoked_at`, because API Gateway caches
    /// authorizations.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
}

/// Revokes an API key
///
/// Requests that change something are refused at once. Requests that only read are refused from `ends_at` on, at most a
/// minute later: until then API Gateway may cache the authorizer's answer.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "API keys", params(ApiKeyPath),
    responses((status = 200, description = "The revoked key", body = RevokedApiKey)))]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<RevokedApiKey>, Problem> {
    let mut key = find(&app, &admin, &id).await?;
    let now = app.clock.now();
    key.revoked_at = Some(now);
    app.registry.revoke_api_key(&key).await?;
    tracing::info!(api_key.id = %key.id, tenant.id = %key.tenant, by = admin.subject, "API key revoked");
    let ends_at = key.ends_at(now);
    Ok(Json(RevokedApiKey { api_key: key.into(), ends_at }))
}

async fn find(app: &App, admin: &Admin, id: &str) -> Result<ApiKey, Problem> {
    admin.of_the_tenant()?;
    let not_found = || Problem::NotFound("API key");
    let id = id.parse().map_err(|_| not_found())?;
    let key = app.registry.api_key(&admin.tenant, id).await?;
    key.filter(|key| key.revoked_at.is_none()).ok_or_else(not_found)
}
