//! `/portal-links`: each opens the console of a tenant, or of one of its applications, for people without an account at
//! the issuer. For an admin of the tenant, or an operator.

use std::num::NonZeroU32;
use std::sync::Arc;

use aws::StoreError;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::access::api_key::{KeyHash, KeyText};
use domain::access::origin::Origin;
use domain::access::portal::{DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS, PortalLink, Theme, expiry};
use domain::access::rate::{Rate, RateKey};
use domain::access::tenant::{AppId, TenantId};
use domain::fault::FieldError;
use domain::id::PortalLinkId;
use domain::value::{Map, Value};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::{JsonBody, Query};
use crate::caller::{PortalCaller, PortalManager};
use crate::idempotency::{FirstTry, ShownOnce};
use crate::page::{Limit, Page, fit};
use crate::problem::{Fault, Problem, ProblemBody};
use crate::read::read;

/// How many links a tenant may have made in a day (UTC).
const CREATES: Rate = Rate { limit: NonZeroU32::new(1_000).unwrap(), window_seconds: NonZeroU32::new(86_400).unwrap() };

/// A new portal link.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPortalLink {
    /// The tenant. Required for operators; an admin's own tenant otherwise.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$", examples("acme"))]
    tenant: Option<TenantId>,
    /// The application to which the link is limited. Without one, it shows the whole tenant.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200, pattern = "^[A-Za-z0-9_.@+=-]+$", examples("crm"))]
    app_id: Option<AppId>,
    /// Whether the link may only read. Otherwise it may change what an admin, or the application, may change.
    #[serde(default)]
    read_only: bool,
    /// For how many seconds the link is valid.
    #[serde(default = "default_seconds")]
    #[schema(minimum = 60, maximum = 86400, default = 3600)]
    expires_in: u32,
    /// How the page looks.
    #[serde(default)]
    theme: Option<Theme>,
}

fn default_seconds() -> u32 {
    DEFAULT_SECONDS
}

impl NewPortalLink {
    fn check(&self, manager: &PortalManager, origins: &[Origin]) -> Vec<FieldError> {
        let mut faults = Vec::new();
        if let Err(detail) = manager.tenant(self.tenant.as_ref()) {
            faults.push(FieldError::new("/tenant", detail));
        }
        if !(MIN_SECONDS..=MAX_SECONDS).contains(&self.expires_in) {
            faults.push(FieldError::new("/expires_in", format!("must be {MIN_SECONDS} to {MAX_SECONDS} seconds")));
        }
        let theme = self.theme.iter().flat_map(|theme| theme.check(origins));
        faults.extend(theme.map(|fault| fault.below("/theme")));
        faults
    }
}

/// A portal link, without its address.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PortalLink)]
pub struct PortalLinkBody {
    #[schema(value_type = String, examples("lnk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    id: PortalLinkId,
    #[schema(value_type = String)]
    tenant: TenantId,
    /// The application to which it is limited; `null` for a link of the whole tenant.
    #[schema(value_type = Option<String>)]
    app_id: Option<AppId>,
    read_only: bool,
    theme: Option<Theme>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The subject of the token that created it.
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl From<PortalLink> for PortalLinkBody {
    fn from(link: PortalLink) -> Self {
        let PortalLink { id, tenant, app, read_only, theme, created_at, created_by, expires_at, revoked_at } = link;
        Self { id, tenant, app_id: app, read_only, theme, created_at, created_by, expires_at, revoked_at }
    }
}

/// A new portal link, with its address. No other response contains the address.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalLinkWithUrl {
    #[serde(flatten)]
    link: PortalLinkBody,
    /// Send the browser there, or show it in a frame. Anyone who has the address may use the link. Missing if an
    /// idempotency key repeats the request.
    #[schema(required = false)]
    url: String,
}

/// The id of a portal link.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub struct PortalLinkPath {
    /// `lnk_` and a ULID.
    #[param(pattern = "^lnk_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "lnk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    id: String,
}

/// Creates a portal link
///
/// No other response contains the address: Dynahook stores only a hash of its key. A tenant may have 1,000 links
/// created a day (UTC).
#[utoipa::path(post, path = "/portal-links", tag = "Portal links",
    request_body = NewPortalLink,
    responses(
        (status = 201, description = "The link", body = PortalLinkWithUrl),
        (status = 409, description = "The idempotency key is in use, or the link that it created was revoked", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    manager: PortalManager,
    first_try: Option<Extension<FirstTry>>,
    JsonBody(body): JsonBody<Map>,
) -> Result<Response, Problem> {
    let reading = read::<NewPortalLink>(Value::Map(body));
    let new = reading.and(|new| new.check(&manager, &app.sign_in.portal_origins)).finish()?;
    let tenant = manager.tenant(new.tenant.as_ref()).map_err(|detail| vec![FieldError::new("/tenant", detail)])?;
    let now = app.clock.now();
    let key = RateKey::new("portal-links", &[tenant.as_str()]);
    app.rates.take(&key, CREATES, now).await.map_err(Problem::exceeds("new portal links"))?;
    let first_try = first_try.as_deref();
    let id = first_try.map_or_else(|| PortalLinkId::from_parts(now, runtime::random::bits()), FirstTry::portal_link_id);
    let text = KeyText::of_link(id, runtime::random::bytes());
    let link = PortalLink {
        id,
        tenant,
        app: new.app_id,
        read_only: new.read_only,
        theme: new.theme,
        created_at: first_try.map_or(now, FirstTry::at),
        created_by: manager.subject,
        expires_at: expiry(now, new.expires_in),
        revoked_at: None,
    };
    write(&app, &link, &text.hash(), first_try).await?;
    tracing::info!(portal_link.id = %id, tenant.id = %link.tenant, by = link.created_by, "portal link created");
    let location = format!("{}/api/v1/integration/portal-links/{id}", app.public_url);
    let location = HeaderValue::from_str(&location).unwrap_or(HeaderValue::from_static(""));
    let url = format!("{}/console#token={}", app.public_url, text.text().expose_secret());
    let body = PortalLinkBody::from(link);
    let shown = PortalLinkWithUrl { link: body.clone(), url };
    Ok(ShownOnce { status: StatusCode::CREATED, headers: [(LOCATION, location)], shown, kept: body }.into_response())
}

/// Writes a new link. An earlier try of the request may have written it, with an address that was never shown.
async fn write(app: &App, link: &PortalLink, hash: &KeyHash, first_try: Option<&FirstTry>) -> Result<(), Problem> {
    let is_later = first_try.is_some_and(FirstTry::is_later);
    let before = if is_later { app.registry.find_portal_link(link.id).await? } else { None };
    if before.as_ref().is_some_and(|(before, _)| before.revoked_at.is_some()) {
        let detail = "the portal link that this request created was revoked; send another Idempotency-Key";
        return Err(Problem::Conflict(detail.to_owned()));
    }
    match app.registry.write_portal_link(link, hash, before.as_ref().map(|(_, hash)| hash)).await {
        // Another try of the request has written the link.
        Err(StoreError::Conflict { .. }) if first_try.is_some() => Err(Problem::KeyInUse),
        written => Ok(written?),
    }
}

/// Whose links.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TenantQuery {
    /// The tenant. Required for operators.
    #[param(value_type = String, required = false, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$")]
    tenant: Option<TenantId>,
}

/// Whose links, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PortalLinkQuery {
    /// The tenant. Required for operators.
    #[param(value_type = String, required = false, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$")]
    tenant: Option<TenantId>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^lnk_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<Limit>,
}

/// A page of portal links.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalLinkList {
    /// Newest first.
    data: Vec<PortalLinkBody>,
    #[schema(value_type = Option<String>)]
    next_cursor: Option<PortalLinkId>,
}

/// Returns the tenant that a query means.
fn tenant(manager: &PortalManager, named: Option<&TenantId>) -> Result<TenantId, Problem> {
    manager.tenant(named).map_err(|detail| Problem::Invalid(vec![Fault::parameter("tenant", detail)]))
}

/// Lists portal links
///
/// Newest first, without those that have ended or were revoked.
#[utoipa::path(get, path = "/portal-links", tag = "Portal links", params(PortalLinkQuery),
    responses((status = 200, description = "A page of links", body = PortalLinkList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    manager: PortalManager,
    Query(PortalLinkQuery { tenant: named, cursor, limit }): Query<PortalLinkQuery>,
) -> Result<Json<PortalLinkList>, Problem> {
    let tenant = tenant(&manager, named.as_ref())?;
    let (before, limit) = Page::new(cursor, limit).read()?;
    let page = app.registry.portal_links(&tenant, before, limit, app.clock.now()).await?;
    let mut data: Vec<_> = page.links.into_iter().map(PortalLinkBody::from).collect();
    let cut = fit(&mut data).map(|last| last.id);
    let next_cursor = cut.or_else(|| data.last().filter(|_| page.more).map(|last| last.id));
    Ok(Json(PortalLinkList { data, next_cursor }))
}

/// Reads a portal link
///
/// A link that has ended or was revoked answers 404.
#[utoipa::path(get, path = "/portal-links/{id}", tag = "Portal links", params(PortalLinkPath, TenantQuery),
    responses((status = 200, description = "The link", body = PortalLinkBody)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    manager: PortalManager,
    Path(id): Path<String>,
    Query(TenantQuery { tenant: named }): Query<TenantQuery>,
) -> Result<Json<PortalLinkBody>, Problem> {
    Ok(Json(find(&app, &tenant(&manager, named.as_ref())?, &id).await?.into()))
}

/// A revoked portal link.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedPortalLink {
    #[serde(flatten)]
    link: PortalLinkBody,
    /// When read-only requests are refused as well: up to a minute after `revoked_at`, because API Gateway caches
    /// authorizations.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
}

/// Revokes a portal link
///
/// Requests that change something are refused at once. Requests that only read are refused from `ends_at` on, at most a
/// minute later: until then API Gateway may cache the authorizer's answer.
#[utoipa::path(delete, path = "/portal-links/{id}", tag = "Portal links", params(PortalLinkPath, TenantQuery),
    responses((status = 200, description = "The revoked link", body = RevokedPortalLink)))]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    manager: PortalManager,
    Path(id): Path<String>,
    Query(TenantQuery { tenant: named }): Query<TenantQuery>,
) -> Result<Json<RevokedPortalLink>, Problem> {
    let mut link = find(&app, &tenant(&manager, named.as_ref())?, &id).await?;
    let now = app.clock.now();
    app.registry.revoke_portal_link(&link, now).await?;
    link.revoked_at = Some(now);
    tracing::info!(portal_link.id = %link.id, tenant.id = %link.tenant, by = manager.subject, "portal link revoked");
    let ends_at = link.ends_at(now);
    Ok(Json(RevokedPortalLink { link: link.into(), ends_at }))
}

/// Returns a link that is valid.
async fn find(app: &App, tenant: &TenantId, id: &str) -> Result<PortalLink, Problem> {
    let not_found = || Problem::NotFound("portal link");
    let id = id.parse().map_err(|_| not_found())?;
    let link = app.registry.portal_link(tenant, id).await?;
    link.filter(|link| link.is_good(app.clock.now())).ok_or_else(not_found)
}

/// What the caller's portal link allows, and how the page looks.
#[derive(Debug, Serialize, ToSchema)]
pub struct CurrentPortalLink {
    #[schema(value_type = String)]
    tenant: TenantId,
    /// The application to which it is limited; `null` for a link of the whole tenant.
    #[schema(value_type = Option<String>)]
    app_id: Option<AppId>,
    read_only: bool,
    theme: Option<Theme>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Reads the caller's own portal link
///
/// For the console. Answers 404 to any other token, and 401 once the link has ended or was revoked.
#[utoipa::path(get, path = "/portal-links/current", tag = "Portal links",
    responses(
        (status = 200, description = "The link", body = CurrentPortalLink),
        (status = 404, description = "The token is not that of a portal link", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn current(
    State(app): State<Arc<App>>,
    PortalCaller { tenant, link }: PortalCaller,
) -> Result<Json<CurrentPortalLink>, Problem> {
    let link = app.registry.portal_link(&tenant, link).await?.filter(|link| link.is_good(app.clock.now()));
    let PortalLink { tenant, app, read_only, theme, expires_at, .. } = link.ok_or_else(Problem::portal_link_ended)?;
    Ok(Json(CurrentPortalLink { tenant, app_id: app, read_only, theme, expires_at }))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value as Json, json};

    use super::*;

    fn faults(manager: &PortalManager, body: &Json) -> Vec<String> {
        let origins = ["https://app.example.com".parse().unwrap()];
        let reading = read::<NewPortalLink>(Value::of(body)).and(|new| new.check(manager, &origins));
        let (_, faults) = reading.into_parts();
        faults.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
    }

    fn manager(own: Option<&str>, is_operator: bool) -> PortalManager {
        PortalManager { own: own.map(|own| own.parse().unwrap()), is_operator, subject: "anna".to_owned() }
    }

    #[rstest]
    #[case::nothing(json!({}), &[])]
    #[case::everything(json!({"tenant": "acme", "app_id": "crm", "read_only": true, "expires_in": 60,
        "theme": {"name": "Acme", "logo_url": "https://app.example.com/l.svg", "accent_color": "#0a7d5a", "mode": "light"}}), &[])]
    #[case::longest(json!({"expires_in": 86_400, "theme": null, "app_id": null, "tenant": null}), &[])]
    #[case::too_short(json!({"expires_in": 59}), &["/expires_in must be 60 to 86400 seconds"])]
    #[case::too_long(json!({"expires_in": 86_401}), &["/expires_in must be 60 to 86400 seconds"])]
    #[case::another_tenant(json!({"tenant": "globex"}), &["/tenant must be the tenant of the token, or be omitted"])]
    #[case::unknown(json!({"role": "ADMIN"}), &["/role is unknown; the known names are tenant, app_id, read_only, expires_in, theme"])]
    #[case::unknown_in_theme(json!({"theme": {"css": "x"}}),
        &["/theme/css is unknown; the known names are name, logo_url, accent_color, mode"])]
    #[case::all_at_once(json!({"tenant": "a b", "read_only": "yes", "expires_in": 1, "theme": {"name": "", "mode": "blue"}}), &[
        "/read_only must be true or false, not a string",
        "/tenant must be 1 to 128 characters of A-Z a-z 0-9 _ . @ + = -, and not only one or two dots or null",
        "/theme/mode must be \"light\", \"dark\" or \"auto\"",
        "/expires_in must be 60 to 86400 seconds",
        "/theme/name must be 1 to 100 characters",
    ])]
    fn a_body_is_answered_with_all_of_its_faults(#[case] body: Json, #[case] expected: &[&str]) {
        assert_eq!(faults(&manager(Some("acme"), false), &body), expected);
    }

    #[rstest]
    #[case::admin(Some("acme"), false, None, Ok("acme"))]
    #[case::admin_by_name(Some("acme"), false, Some("acme"), Ok("acme"))]
    #[case::admin_of_another(
        Some("acme"),
        false,
        Some("globex"),
        Err("must be the tenant of the token, or be omitted")
    )]
    #[case::operator(None, true, Some("globex"), Ok("globex"))]
    #[case::operator_without(None, true, None, Err("is required, because the caller is an operator"))]
    #[case::both(Some("acme"), true, None, Ok("acme"))]
    #[case::both_by_name(Some("acme"), true, Some("globex"), Ok("globex"))]
    fn the_tenant_is_the_admins_or_the_operators_choice(
        #[case] own: Option<&str>,
        #[case] is_operator: bool,
        #[case] named: Option<&str>,
        #[case] expected: Result<&str, &str>,
    ) {
        let named = named.map(|named| named.parse().unwrap());
        let tenant = manager(own, is_operator).tenant(named.as_ref());
        assert_eq!(tenant.as_ref().map(TenantId::as_str).map_err(|detail| *detail), expected);
    }
}
