//! The caller of a request. A handler that takes an [`Admin`] or an [`Operator`] cannot forget to check the role.
//!
//! [`access`](crate::access) makes all of these decisions before a handler runs. The types here pass the caller on, and
//! refuse a request that `access` has not checked.

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::Method;
use axum::http::request::Parts;
use domain::access::api_key::Scope;
use domain::access::caller::Identity;
use domain::access::tenant::{AppId, TenantId};
use domain::id::PortalLinkId;

use crate::problem::Problem;

/// The role that manages a tenant's webhooks.
pub(crate) const ROLE_ADMIN: &str = "ADMIN";

/// The role that may read what an admin may read, and change nothing.
pub(crate) const ROLE_VIEWER: &str = "VIEWER";

/// The role that runs the deployment.
pub(crate) const ROLE_OPERATOR: &str = "OPERATOR";

/// The caller of a request that `access` allowed.
#[derive(Debug, Clone)]
pub(crate) struct Allowed(pub(crate) Identity);

/// A caller who acts for a tenant: the role `ADMIN`, or the role `VIEWER` in a request with `GET`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The tenant, from the token alone.
    pub tenant: TenantId,
    /// The application, if the token belongs to one. It sees only its own webhooks.
    pub app: Option<AppId>,
    /// The subject of the token.
    pub subject: String,
    /// Whether it may see the contents of events: a token without scopes, or with `events:read`.
    pub reads_events: bool,
    /// Whether it may change webhooks and notices. Others see no credentials.
    pub writes: bool,
}

/// An operator of the deployment: the role `OPERATOR`.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The subject of the token.
    pub subject: String,
}

/// A caller with a valid token or API key, whatever its role, tenant and scopes.
#[derive(Debug, Clone, Copy)]
pub struct Caller;

/// A caller who manages portal links: an admin of a tenant, or an operator.
#[derive(Debug, Clone)]
pub struct PortalManager {
    /// The tenant of an admin.
    pub own: Option<TenantId>,
    /// Whether the caller is an operator, who manages the links of every tenant.
    pub is_operator: bool,
    /// The subject of the token.
    pub subject: String,
}

impl PortalManager {
    /// Returns the tenant whose links the caller means, if the request names this one or none.
    ///
    /// # Errors
    ///
    /// Why it must name another one, as the detail of a fault.
    pub fn tenant(&self, named: Option<&TenantId>) -> Result<TenantId, &'static str> {
        match (named, &self.own) {
            (Some(named), _) if self.is_operator => Ok(named.clone()),
            (Some(named), Some(own)) if named != own => Err("must be the tenant of the token, or be omitted"),
            (_, Some(own)) => Ok(own.clone()),
            (_, None) => Err("is required, because the caller is an operator"),
        }
    }
}

/// A caller who uses a portal link.
#[derive(Debug, Clone)]
pub struct PortalCaller {
    /// The tenant of the link.
    pub tenant: TenantId,
    /// The link.
    pub link: PortalLinkId,
}

impl<S: Send + Sync> FromRequestParts<S> for PortalManager {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let identity = allowed(parts)?;
        let is_operator = has_role(identity, &[ROLE_OPERATOR]);
        let is_admin = has_role(identity, roles_of_tenant(&parts.method));
        let own = if is_admin { Some(Admin::of(identity)?.tenant) } else { None };
        Ok(Self { own, is_operator, subject: identity.subject.clone() })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PortalCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let identity = allowed(parts)?;
        let link = identity.portal_link().ok_or(Problem::NotFound("portal link"))?;
        Ok(Self { tenant: Admin::of(identity)?.tenant, link })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        allowed(parts).map(|_| Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let identity = allowed(parts)?;
        require_role(identity, roles_of_tenant(&parts.method))?;
        Self::of(identity)
    }
}

impl Admin {
    /// Returns the tenant and the application of the caller. It does not check the role.
    ///
    /// # Errors
    ///
    /// If the token names no tenant, or if its tenant or application is invalid.
    pub(crate) fn of(identity: &Identity) -> Result<Self, Problem> {
        let tenant = identity.tenant.as_deref();
        let tenant = tenant.ok_or_else(|| Problem::Forbidden("the token names no tenant".to_owned()))?;
        let tenant = tenant.parse().map_err(|error| Problem::Forbidden(format!("the token's tenant {error}")))?;
        let app = identity.app.as_deref().map(str::parse).transpose();
        let app = app.map_err(|error| Problem::Forbidden(format!("the token's application {error}")))?;
        let has = |scope| identity.scopes.is_empty() || identity.scopes.contains(&scope);
        let writes = has_role(identity, &[ROLE_ADMIN]) && has(Scope::WebhooksWrite);
        let reads_events = has(Scope::EventsRead);
        Ok(Self { tenant, app, subject: identity.subject.clone(), reads_events, writes })
    }

    /// Refuses applications: this is for the tenant's own admins.
    ///
    /// # Errors
    ///
    /// [`Problem::Forbidden`] for a token of an application.
    pub fn of_the_tenant(&self) -> Result<(), Problem> {
        match self.app {
            Some(_) => Err(Problem::Forbidden("this is for admins of the tenant, not for applications".to_owned())),
            None => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let identity = allowed(parts)?;
        require_role(identity, &[ROLE_OPERATOR])?;
        Ok(Self { subject: identity.subject.clone() })
    }
}

/// Returns the roles of which a tenant's caller needs one, by the request's method.
pub(crate) fn roles_of_tenant(method: &Method) -> &'static [&'static str] {
    if method == Method::GET || method == Method::HEAD { &[ROLE_ADMIN, ROLE_VIEWER] } else { &[ROLE_ADMIN] }
}

/// Returns whether a caller has one of the roles.
pub(crate) fn has_role(identity: &Identity, roles: &[&str]) -> bool {
    identity.roles.iter().any(|has| roles.contains(&has.as_str()))
}

/// Checks that a caller has one of the roles.
pub(crate) fn require_role(identity: &Identity, roles: &[&str]) -> Result<(), Problem> {
    if has_role(identity, roles) {
        Ok(())
    } else {
        Err(Problem::Forbidden(format!("this needs the role {}", roles.join(" or "))))
    }
}

/// Returns the caller that `access` allowed. A route that is not behind [`access`](crate::access) refuses every caller.
fn allowed(parts: &Parts) -> Result<&Identity, Problem> {
    let allowed = parts.extensions.get::<Allowed>();
    allowed
        .map(|Allowed(identity)| identity)
        .ok_or_else(|| Problem::Unauthenticated("the request was not authorized".to_owned()))
}

/// Returns the route of a request, as the router names it (`/webhooks/{id}`).
pub(crate) fn route(parts: &Parts) -> &str {
    let path = parts.extensions.get::<MatchedPath>().map_or(parts.uri.path(), MatchedPath::as_str);
    path.strip_prefix("/api/v1/integration").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn the_route_is_what_the_router_says() {
        async fn say(request: Request) -> String {
            let (parts, _) = request.into_parts();
            route(&parts).to_owned()
        }
        let below = Router::new().route("/webhooks/{id}/pause", post(say)).route("/webhooks/{id}/{entity}", post(say));
        let router = Router::new().nest("/api/v1/integration", below);
        for (path, route) in [
            ("/webhooks/contact.changed/7", "/webhooks/{id}/{entity}"),
            ("/webhooks/contact.changed/pause", "/webhooks/{id}/pause"),
        ] {
            let request = Request::post(format!("/api/v1/integration{path}")).body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(to_bytes(answer.into_body(), 1000).await.unwrap(), route);
        }
    }
}
