//! Decides whether a request may be made at all, by its caller, role, scopes and rate. For a write it also checks that
//! the API key is still valid.
//!
//! This is a layer around all routes, so that nothing is looked up for a refused request, such as the response stored
//! for an idempotency key.

use std::num::NonZeroU32;
use std::sync::Arc;

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
use lambda_http::request::RequestContext;

use crate::App;
use crate::caller::{Admin, Allowed, ROLE_OPERATOR, ROLE_VIEWER, require_role, roles_of_tenant, route};
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

/// Checks what needs no call first, so that a flood of refused requests makes no calls.
async fn allow(app: &App, parts: &Parts) -> Result<Identity, Problem> {
    let now = app.clock.now();
    let identity = identify(parts, now.as_second())?;
    let (method, route) = (&parts.method, route(parts));
    let whose = whose(method, route);
    let counted_as = counted_as(&identity, whose);
    let identity = acting_for(identity, parts.headers.get(TENANT), whose, method)?;
    authorize(&identity, whose, method, scopes(method, route))?;
    app.limits.take(&counted_as, cost(method, route), now).await?;
    if writes(method, route)
        && let Some(id) = identity.api_key
    {
        // The authorizer's answer may be a minute old, and the key may have been revoked since.
        let key = app.registry.api_key(&Admin::of(&identity)?.tenant, id).await?;
        if !key.is_some_and(|key| key.is_good(now)) {
            return Err(Problem::Unauthenticated("the API key is invalid, expired or revoked".to_owned()));
        }
    }
    Ok(identity)
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
    let Some(named) = named else { return Ok(caller) };
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
        "/egress-addresses" => For::Everyone,
        // Routes below a tenant's name may concern any tenant.
        "/failing-webhooks" | "/running-jobs" => For::Operators,
        _ if route.starts_with("/sources") || route.starts_with("/tenants/") => For::Operators,
        _ if route.starts_with("/api-keys") => For::People,
        _ if route.starts_with("/signing-keys") || route.starts_with("/notices") => For::TenantAdmins,
        _ if writes && route.starts_with("/event-types") => For::TenantAdmins,
        _ => For::Admins,
    }
}

fn authorize(identity: &Identity, whose: For, method: &Method, scopes: &[Scope]) -> Result<(), Problem> {
    match whose {
        For::Everyone => Ok(()),
        For::Operators => require_role(identity, &[ROLE_OPERATOR]),
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

/// Returns as how many requests a request counts. A list of all deliveries reads eight partitions of each webhook.
fn cost(method: &Method, route: &str) -> NonZeroU32 {
    let is_wide = method == Method::GET && route == "/deliveries";
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
    if let Some(tenant) = tenant.filter(|_| whose != For::Operators) {
        return RateKey::new("api", &["tenant", tenant.as_str()]);
    }
    // A subject may be any text, which a key of the table may not.
    let subject = [identity.tenant.as_deref().unwrap_or_default(), identity.subject.as_str()];
    RateKey::new("api", &["subject", &joined::digest(&subject)])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::list(Method::GET, "/webhooks", "webhooks:read")]
    #[case::patch(Method::PATCH, "/webhooks/{id}", "webhooks:write")]
    #[case::pause(Method::POST, "/webhooks/{id}/pause", "webhooks:write")]
    #[case::deliveries(Method::GET, "/webhooks/{id}/deliveries/{delivery}", "deliveries:read")]
    #[case::all_deliveries(Method::GET, "/deliveries", "deliveries:read")]
    #[case::calls(Method::GET, "/webhooks/{id}/calls", "deliveries:read")]
    #[case::redeliver(Method::POST, "/webhooks/{id}/deliveries/{delivery}/redeliver", "webhooks:write")]
    #[case::dead_letters(Method::GET, "/dead-letters", "deliveries:read")]
    #[case::redrive(Method::POST, "/dead-letters/redrive", "webhooks:write")]
    #[case::jobs(Method::GET, "/jobs/{id}", "deliveries:read")]
    #[case::cancel(Method::POST, "/jobs/{id}/cancel", "webhooks:write")]
    #[case::preview(Method::POST, "/webhooks/{id}/preview", "webhooks:write")]
    #[case::explain(Method::POST, "/webhooks/{id}/explain", "webhooks:read events:read")]
    #[case::dry_run(Method::POST, "/webhooks/{id}/dry-run", "webhooks:read events:read")]
    #[case::publish(Method::POST, "/events", "events:write")]
    #[case::publish_about(Method::POST, "/webhooks/{id}/{entity}", "events:write")]
    #[case::usage(Method::GET, "/usage", "webhooks:read")]
    #[case::events(Method::GET, "/events/{event_id}", "events:read")]
    #[case::catalog(Method::GET, "/event-types", "events:read")]
    #[case::entities(Method::GET, "/entities", "events:read")]
    #[case::describe(Method::PUT, "/event-types/{type}", "events:write")]
    fn a_route_needs_scopes(#[case] method: Method, #[case] route: &str, #[case] needed: &str) {
        let scopes: Vec<_> = scopes(&method, route).iter().map(ToString::to_string).collect();
        assert_eq!(scopes.join(" "), needed);
    }

    fn identity(roles: &[&str]) -> Identity {
        Identity {
            subject: "anna".to_owned(),
            tenant: Some("acme".to_owned()),
            app: None,
            roles: roles.iter().map(ToString::to_string).collect(),
            scopes: Vec::new(),
            api_key: None,
            expires_at: 1,
        }
    }

    #[rstest]
    #[case::everyone(For::Everyone, &[], None)]
    #[case::admin(For::Admins, &["USER", "ADMIN"], None)]
    #[case::no_role(For::Admins, &["USER"], Some("this needs the role ADMIN"))]
    #[case::role_within_a_text(For::Admins, &["not ADMIN", "ADMIN USER"], Some("this needs the role ADMIN"))]
    #[case::operator_within_a_text(For::Operators, &["No OPERATOR rights"], Some("this needs the role OPERATOR"))]
    #[case::operator(For::Operators, &["OPERATOR"], None)]
    #[case::admin_is_no_operator(For::Operators, &["ADMIN"], Some("this needs the role OPERATOR"))]
    #[case::operator_is_no_admin(For::TenantAdmins, &["OPERATOR"], Some("this needs the role ADMIN"))]
    fn a_role_is_one_of_the_list(#[case] whose: For, #[case] roles: &[&str], #[case] refusal: Option<&str>) {
        let refused = authorize(&identity(roles), whose, &Method::POST, &[]).err().map(|problem| problem.to_string());
        assert_eq!(refused.as_deref(), refusal);
    }

    /// Every operation of the contract, so that the rules hold for later routes as well.
    #[test]
    fn each_role_may_make_its_requests_only() {
        let refusal = |identity: &Identity, method: &Method, route: &str| {
            let refused = authorize(identity, whose(method, route), method, scopes(method, route)).err();
            refused.map(|problem| problem.to_string())
        };
        let crm = |roles| Identity { app: Some("crm".to_owned()), ..identity(roles) };
        let contract = serde_json::to_value(crate::openapi()).unwrap();
        let paths = contract["paths"].as_object().unwrap().iter();
        // Paths with a server of their own need no token.
        for (path, item) in paths.filter(|(_, item)| item.get("servers").is_none()) {
            for method in item.as_object().unwrap().keys() {
                let request = format!("{method} {path}");
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let refusal = |identity: &Identity| refusal(identity, &method, path);
                let whose = whose(&method, path);
                let of_operators = whose == For::Operators;
                let needed = match whose {
                    For::Everyone => None,
                    For::Operators => Some("this needs the role OPERATOR"),
                    For::Admins | For::TenantAdmins | For::People if method == Method::GET => {
                        Some("this needs the role ADMIN or VIEWER")
                    }
                    For::Admins | For::TenantAdmins | For::People => Some("this needs the role ADMIN"),
                };
                assert_eq!(refusal(&identity(&["USER"])).as_deref(), needed, "{request}");
                assert_eq!(refusal(&identity(&["ADMIN"])).as_deref(), needed.filter(|_| of_operators), "{request}");
                assert_eq!(refusal(&identity(&["OPERATOR"])).as_deref(), needed.filter(|_| !of_operators), "{request}");
                let (viewer, their_viewer) = (refusal(&identity(&["VIEWER"])), refusal(&crm(&["VIEWER"])));
                if method == Method::GET {
                    assert_eq!(viewer, refusal(&identity(&["ADMIN"])), "{request}");
                    assert_eq!(their_viewer, refusal(&crm(&["ADMIN"])), "{request}");
                } else {
                    assert_eq!((viewer.as_deref(), their_viewer.as_deref()), (needed, needed), "{request}");
                }
            }
        }
    }

    #[rstest]
    #[case::reads(&["OPERATOR"], Method::GET, For::Admins, "acme", Ok(()))]
    #[case::reads_api_keys(&["ADMIN", "OPERATOR"], Method::GET, For::People, "acme", Ok(()))]
    #[case::writes(&["ADMIN", "OPERATOR"], Method::POST, For::Admins, "acme",
        Err("with Dynahook-Tenant, an operator may read a tenant's resources and not change them"))]
    #[case::is_no_operator(&["ADMIN"], Method::GET, For::Admins, "acme", Err("this needs the role OPERATOR"))]
    #[case::of_no_tenant(&["OPERATOR"], Method::GET, For::Operators, "acme",
        Err("Dynahook-Tenant is only for resources of a tenant; leave it out"))]
    fn an_operator_reads_what_a_viewer_of_the_tenant_reads(
        #[case] roles: &[&str],
        #[case] method: Method,
        #[case] whose: For,
        #[case] tenant: &'static str,
        #[case] expected: Result<(), &str>,
    ) {
        let caller = Identity { tenant: Some("our-own".to_owned()), app: Some("crm".to_owned()), ..identity(roles) };
        let acting = acting_for(caller.clone(), Some(&HeaderValue::from_static(tenant)), whose, &method);
        let acting = acting.map_err(|problem| problem.to_string());
        assert_eq!(acting.as_ref().map(|_| ()).map_err(String::as_str), expected);
        if let Ok(acting) = acting {
            let viewer = Identity { tenant: Some(tenant.to_owned()), ..identity(&["VIEWER"]) };
            assert_eq!(acting, viewer);
            authorize(&acting, whose, &method, &[]).unwrap();
            assert!(authorize(&acting, For::Admins, &Method::POST, &[]).is_err());
        }
        assert_eq!(acting_for(caller.clone(), None, whose, &method).unwrap(), caller);
    }

    #[test]
    fn a_name_that_no_tenant_has_is_refused() {
        let named = HeaderValue::from_static("acme, other");
        let refused = acting_for(identity(&["OPERATOR"]), Some(&named), For::Admins, &Method::GET);
        assert!(matches!(refused, Err(Problem::Invalid(faults)) if faults[0].pointer == TENANT));
    }

    #[test]
    fn an_api_key_of_a_tenant_manages_no_api_keys() {
        let key = Identity { api_key: "key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK".parse().ok(), ..identity(&["ADMIN"]) };
        for (method, route, is_allowed) in [
            (Method::POST, "/webhooks", true),
            (Method::PUT, "/event-types/{type}", true),
            (Method::POST, "/signing-keys/rotate", true),
            (Method::GET, "/api-keys", false),
            (Method::POST, "/api-keys", false),
            (Method::DELETE, "/api-keys/{id}", false),
        ] {
            let whose = whose(&method, route);
            assert_eq!(authorize(&key, whose, &method, &[]).is_ok(), is_allowed, "{method} {route}");
            assert!(authorize(&identity(&["ADMIN"]), whose, &method, &[]).is_ok(), "{method} {route}");
        }
    }

    #[test]
    fn an_application_is_no_admin_of_its_tenant() {
        let app = Identity { app: Some("crm".to_owned()), ..identity(&["ADMIN"]) };
        assert!(authorize(&app, For::Admins, &Method::POST, &[]).is_ok());
        assert!(matches!(authorize(&app, For::TenantAdmins, &Method::POST, &[]), Err(Problem::Forbidden(_))));
    }

    #[rstest]
    #[case::not_narrowed(&[], None)]
    #[case::has_all(&[Scope::EventsRead, Scope::WebhooksRead], None)]
    #[case::lacks_one(&[Scope::WebhooksRead], Some("this needs the scope events:read"))]
    #[case::has_another(&[Scope::EventsWrite], Some("this needs the scope webhooks:read"))]
    fn scopes_narrow(#[case] has: &[Scope], #[case] refusal: Option<&str>) {
        let narrowed = Identity { scopes: has.to_vec(), ..identity(&["ADMIN"]) };
        let needed = [Scope::WebhooksRead, Scope::EventsRead];
        let refused =
            authorize(&narrowed, For::Admins, &Method::POST, &needed).err().map(|problem| problem.to_string());
        assert_eq!(refused.as_deref(), refusal);
    }

    #[rstest]
    #[case::own_things(Method::POST, "/webhooks", For::Admins)]
    #[case::catalog_is_read_by_applications(Method::GET, "/event-types/{type}", For::Admins)]
    #[case::catalog_is_written_by_admins(Method::PUT, "/event-types/{type}", For::TenantAdmins)]
    #[case::keys_of_applications(Method::GET, "/api-keys/{id}", For::People)]
    #[case::signing_keys(Method::POST, "/signing-keys/rotate", For::TenantAdmins)]
    #[case::notices(Method::GET, "/notices/{id}", For::TenantAdmins)]
    #[case::tables(Method::GET, "/sources", For::Operators)]
    #[case::any_tenant(Method::PUT, "/tenants/{tenant}/budgets", For::Operators)]
    #[case::addresses(Method::GET, "/egress-addresses", For::Everyone)]
    fn a_request_is_for(#[case] method: Method, #[case] route: &str, #[case] expected: For) {
        assert_eq!(whose(&method, route), expected);
    }

    #[test]
    fn a_tenants_callers_share_a_rate_and_others_have_their_own() {
        let app = Identity { app: Some("crm".to_owned()), subject: "bob".to_owned(), ..identity(&[]) };
        let of_tenant = counted_as(&identity(&[]), For::Admins);
        assert_eq!(of_tenant, counted_as(&app, For::Admins));
        assert_eq!(of_tenant.as_str(), "RATE#api#tenant#acme");
        let operator = counted_as(&identity(&[]), For::Operators);
        assert_ne!(of_tenant, operator);
        // A strange tenant name cannot collide with another tenant's key, and does not make the key too long.
        for tenant in [None, Some("acme#x".to_owned()), Some("a".repeat(3000))] {
            let strange = counted_as(&Identity { tenant, ..identity(&[]) }, For::Everyone);
            assert!(strange.as_str().starts_with("RATE#api#subject#") && strange.as_str().len() < 100);
            assert_ne!(strange, of_tenant);
        }
    }
}
