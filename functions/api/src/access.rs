//! Decides whether a request may be made at all, by its caller, role, scopes and rate. For a write it also checks that
//! the API key or portal link is still valid.
//!
//! This is a layer around all routes, so that nothing is looked up for a refused request, such as the response stored
//! for an idempotency key.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::access::api_key::Scope;
use domain::access::caller::{CallerContext, Identity, NoIdentity};
use domain::access::rate::RateKey;
use domain::access::tenant::TenantId;
use domain::joined;
use jiff::Timestamp;
use lambda_http::request::RequestContext;
use runtime::metrics::{self, Metric};

use crate::App;
use crate::caller::{Admin, Allowed, ROLE_OPERATOR, ROLE_VIEWER, has_role, require_role, roles_of_tenant, route};
use crate::idempotency::READ_ONLY_POSTS;
use crate::problem::{Fault, Problem};

/// The header in which an operator names the tenant whose resources a request reads.
const TENANT: &str = "Dynahook-Tenant";

/// Who may make a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// A caller with any role, or none.
    Everyone,
    /// An admin of a tenant, or an application of it. A viewer may read.
    Admins,
    /// An admin of a tenant, but not an application. A viewer may read.
    TenantAdmins,
    /// Like `TenantAdmins`, but not with an API key: a limited key must not create one without limits.
    People,
    /// Like `People`, or an operator.
    PeopleAndOperators,
    /// An operator of the deployment.
    Operators,
}

/// Refuses the request, or passes it on with its [`Allowed`] caller.
pub(crate) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match allow(&app, &parts).await {
        Ok(identity) => {
            parts.extensions.insert(Allowed(identity));
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Counts a refused request, for the metrics and for the tenant's line of the log.
fn count_throttled(app: &App, identity: &Identity, now: Timestamp) {
    let mut throttled = app.throttled.lock().unwrap_or_else(PoisonError::into_inner);
    // A caller without a tenant is an operator.
    throttled.add(identity.tenant.as_deref().unwrap_or("(operator)"), 1);
    for (tenant, throttled_requests) in throttled.due(now) {
        tracing::info!(tenant, throttled_requests, "requests of a tenant were refused by its rate limit");
    }
    metrics::count(Metric::ThrottledRequests, 1);
    metrics::flush();
}

/// Checks what needs no call first, so that a flood of refused requests makes no calls.
async fn allow(app: &App, parts: &Parts) -> Result<Identity, Problem> {
    let now = app.clock.now();
    let identity = identify(parts, now.as_second())?;
    let (method, route) = (&parts.method, route(parts));
    let whose = whose(method, route);
    let counted_as = counted_as(&identity, whose);
    let identity = acting_for(identity, parts.headers.get(TENANT), whose, method)?;
    authorize(&identity, whose, method, scopes(method, route))?;
    let taken = app.limits.take(&counted_as, cost(method, route), now).await;
    taken.inspect_err(|_| count_throttled(app, &identity, now))?;
    if writes(method, route) {
        check_key(app, &identity, now).await?;
    }
    Ok(identity)
}

/// Checks that the caller's API key or portal link is still valid. The authorizer's answer may be a minute old, and the
/// key or link may have been revoked since.
async fn check_key(app: &App, identity: &Identity, now: Timestamp) -> Result<(), Problem> {
    let Some(id) = identity.api_key else { return Ok(()) };
    let tenant = Admin::of(identity)?.tenant;
    if let Some(link) = identity.portal_link() {
        let link = app.registry.portal_link(&tenant, link).await?;
        return if link.is_some_and(|link| link.is_good(now)) { Ok(()) } else { Err(Problem::portal_link_ended()) };
    }
    if app.registry.api_key(&tenant, id).await?.is_some_and(|key| key.is_good(now)) {
        Ok(())
    } else {
        Err(Problem::Unauthenticated("the API key is invalid, expired or revoked".to_owned()))
    }
}

/// Returns the identity that the authorizer established. Nothing that the caller sends is trusted.
fn identify(parts: &Parts, now: i64) -> Result<Identity, Problem> {
    let identity = context(parts).unwrap_or_default().identity().map_err(|error| match error {
        NoIdentity::Refused(why) => Problem::Unauthenticated(why),
        NoIdentity::Unchecked(seconds) => Problem::NoKeys(seconds),
        // After an update, for as long as API Gateway caches the earlier version's answer.
        NoIdentity::OtherVersion => Problem::Updating,
    })?;
    if identity.expires_at <= now {
        return Err(Problem::Unauthenticated("the token has expired".to_owned()));
    }
    Ok(identity)
}

fn context(parts: &Parts) -> Option<CallerContext> {
    let RequestContext::ApiGatewayV2(gateway) = parts.extensions.get::<RequestContext>()? else { return None };
    let fields = &gateway.authorizer.as_ref()?.fields;
    let object = fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    serde_json::from_value(serde_json::Value::Object(object)).ok()
}

/// Returns the viewer of the tenant that an operator names, or the caller if the request names none.
fn acting_for(caller: Identity, named: Option<&HeaderValue>, whose: For, method: &Method) -> Result<Identity, Problem> {
    let Some(named) = named else {
        let roles = roles_of_tenant(method);
        let is_tenants = matches!(whose, For::Admins | For::TenantAdmins | For::People);
        if is_tenants && has_role(&caller, &[ROLE_OPERATOR]) && !has_role(&caller, roles) {
            let needed = roles.join(" or ");
            let detail = format!("this needs the role {needed}; to read it, an operator names a tenant with {TENANT}");
            return Err(Problem::Forbidden(detail));
        }
        return Ok(caller);
    };
    require_role(&caller, &[ROLE_OPERATOR])?;
    if method != Method::GET && method != Method::HEAD {
        return Err(Problem::Forbidden(format!(
            "with {TENANT}, an operator may read a tenant's resources and not change them"
        )));
    }
    let invalid = |detail: String| Problem::Invalid(vec![Fault { pointer: TENANT.to_owned(), detail }]);
    if matches!(whose, For::Operators | For::Everyone) {
        return Err(invalid("is only for resources of a tenant; leave it out".to_owned()));
    }
    let tenant = named.to_str().unwrap_or_default().parse::<TenantId>();
    let tenant = tenant.map_err(|error| invalid(format!("{error}")))?;
    tracing::info!(tenant.id = %tenant, by = caller.subject, "an operator reads what belongs to a tenant");
    let roles = vec![ROLE_VIEWER.to_owned()];
    Ok(Identity { tenant: Some(tenant.to_string()), app: None, roles, scopes: Vec::new(), ..caller })
}

/// Returns who may make a request.
fn whose(method: &Method, route: &str) -> For {
    let writes = writes(method, route);
    match route {
        // It answers 404 to callers without a portal link.
        "/egress-addresses" | "/portal-links/current" => For::Everyone,
        "/failing-webhooks" | "/running-jobs" => For::Operators,
        // Routes below a tenant's name may concern any tenant.
        _ if route.starts_with("/sources") || route.starts_with("/tenants/") => For::Operators,
        _ if route.starts_with("/api-keys") => For::People,
        _ if route.starts_with("/portal-links") => For::PeopleAndOperators,
        _ if route.starts_with("/signing-keys") || route.starts_with("/notices") => For::TenantAdmins,
        _ if writes && route.starts_with("/event-types") => For::TenantAdmins,
        _ => For::Admins,
    }
}

fn authorize(identity: &Identity, whose: For, method: &Method, scopes: &[Scope]) -> Result<(), Problem> {
    match whose {
        For::Everyone => Ok(()),
        For::Operators => require_role(identity, &[ROLE_OPERATOR]),
        For::PeopleAndOperators => {
            require_role(identity, &[roles_of_tenant(method), &[ROLE_OPERATOR]].concat())?;
            require_scopes(identity, scopes)?;
            if identity.api_key.is_some() {
                return Err(Problem::Forbidden(
                    "portal links are managed with a token, not with an API key".to_owned(),
                ));
            }
            if identity.app.is_none() && has_role(identity, &[ROLE_OPERATOR]) {
                // Its token may name no tenant.
                return Ok(());
            }
            Admin::of(identity)?.of_the_tenant()
        }
        For::Admins | For::TenantAdmins | For::People => {
            require_role(identity, roles_of_tenant(method))?;
            require_scopes(identity, scopes)?;
            let admin = Admin::of(identity)?;
            if whose == For::People && identity.api_key.is_some() {
                return Err(Problem::Forbidden("API keys are managed with a token, not with an API key".to_owned()));
            }
            if whose == For::Admins { Ok(()) } else { admin.of_the_tenant() }
        }
    }
}

fn require_scopes(identity: &Identity, needed: &[Scope]) -> Result<(), Problem> {
    match needed.iter().find(|scope| !identity.scopes.is_empty() && !identity.scopes.contains(scope)) {
        None => Ok(()),
        Some(missing) => Err(Problem::Forbidden(format!("this needs the scope {missing}"))),
    }
}

/// Returns whether a request may change something.
fn writes(method: &Method, route: &str) -> bool {
    method != Method::GET && method != Method::HEAD && !READ_ONLY_POSTS.contains(&route)
}

/// Returns as how many requests a request counts. A list of all deliveries reads eight partitions of each webhook, and
/// the statistics of all webhooks read up to a thousand items.
fn cost(method: &Method, route: &str) -> NonZeroU32 {
    let is_wide = method == Method::GET && matches!(route, "/deliveries" | "/statistics");
    NonZeroU32::new(if is_wide { 10 } else { 1 }).unwrap_or(NonZeroU32::MIN)
}

/// Returns the scopes that a request requires of a token that is limited to scopes.
fn scopes(method: &Method, route: &str) -> &'static [Scope] {
    let reads = method == Method::GET || method == Method::HEAD;
    match route {
        "/webhooks/{id}/{entity}" => &[Scope::EventsWrite],
        // These show the contents of events, and change nothing.
        "/webhooks/{id}/explain" | "/webhooks/{id}/dry-run" => &[Scope::WebhooksRead, Scope::EventsRead],
        "/entities" => &[Scope::EventsRead],
        _ if reads && route.starts_with("/event") => &[Scope::EventsRead],
        _ if route.starts_with("/event") => &[Scope::EventsWrite],
        _ if reads && (route.contains("/deliveries") || route.ends_with("/calls")) => &[Scope::DeliveriesRead],
        _ if reads && (route.starts_with("/dead-letters") || route.starts_with("/jobs")) => &[Scope::DeliveriesRead],
        _ if reads => &[Scope::WebhooksRead],
        _ => &[Scope::WebhooksWrite],
    }
}

/// Returns the key of the rate that a request counts towards. A tenant and all of its applications share one rate. An
/// operator, or a caller without a tenant, has its own.
fn counted_as(identity: &Identity, whose: For) -> RateKey {
    let tenant = identity.tenant.as_deref().and_then(|tenant| tenant.parse::<TenantId>().ok());
    let operates = whose == For::PeopleAndOperators && has_role(identity, &[ROLE_OPERATOR]);
    if let Some(tenant) = tenant.filter(|_| whose != For::Operators && !operates) {
        return RateKey::new("api", &["tenant", tenant.as_str()]);
    }
    // A subject may be any text, which a key of the table may not.
    let subject = [identity.tenant.as_deref().unwrap_or_default(), identity.subject.as_str()];
    RateKey::new("api", &["subject", &joined::digest(&subject)])
}

#[cfg(test)]
mod tests;
