//! Who calls, and what they may do. A handler that takes an [`Admin`] or an [`Operator`] cannot forget to ask.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, MatchedPath};
use axum::http::Method;
use axum::http::request::Parts;
use domain::api_key::Scope;
use domain::caller::CallerContext;
use domain::tenant::{AppId, TenantId};
use lambda_http::request::RequestContext;

use crate::App;
use crate::problem::Problem;

/// Somebody who may manage the webhooks of a tenant: the role `ADMIN`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The tenant, from the token alone.
    pub tenant: TenantId,
    /// The application, if the token is one's: it sees its own webhooks and no others.
    pub app: Option<AppId>,
    /// The subject of the token.
    pub subject: String,
}

/// Somebody who runs the deployment: the role `OPERATOR`.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The subject of the token.
    pub subject: String,
}

/// A caller with a valid token or API key, whatever its role, tenant and scopes.
#[derive(Debug, Clone, Copy)]
pub struct Caller;

impl<S> FromRequestParts<S> for Caller
where
    Arc<App>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let app = Arc::from_ref(state);
        let (_, context) = identity(parts, &app)?;
        context.tenant.map_or(Ok(()), |tenant| app.limits.take(&tenant))?;
        Ok(Self)
    }
}

impl<S> FromRequestParts<S> for Admin
where
    Arc<App>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let app = Arc::from_ref(state);
        let (subject, context) = identity(parts, &app)?;
        require(&context, "ADMIN")?;
        require_scopes(&context, scopes(&parts.method, route(parts)))?;
        let tenant = context.tenant.ok_or_else(|| Problem::Forbidden("the token names no tenant".to_owned()))?;
        app.limits.take(&tenant)?;
        let tenant = tenant.parse().map_err(|error| Problem::Forbidden(format!("the token's tenant {error}")))?;
        let app = context.app.map(|app| app.parse()).transpose();
        let app = app.map_err(|error| Problem::Forbidden(format!("the token's application {error}")))?;
        Ok(Self { tenant, app, subject })
    }
}

impl Admin {
    /// Refuses whoever is an application: this is for the tenant's own admins.
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

impl<S> FromRequestParts<S> for Operator
where
    Arc<App>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let (subject, context) = identity(parts, &Arc::from_ref(state))?;
        require(&context, "OPERATOR")?;
        Ok(Self { subject })
    }
}

/// Returns the identity that the authorizer vouches for; nothing that the caller sends is believed.
pub(crate) fn identity(parts: &Parts, app: &App) -> Result<(String, CallerContext), Problem> {
    let context = context(parts).unwrap_or_default();
    let refused = |why: &str| Problem::Unauthenticated(why.to_owned());
    let subject = context.subject.clone().ok_or_else(|| {
        refused(context.refusal.as_deref().unwrap_or("send a token as Authorization: Bearer <token>"))
    })?;
    if context.expires_at.is_none_or(|at| at <= app.clock.now().as_second()) {
        return Err(refused("the token has expired"));
    }
    Ok((subject, context))
}

fn context(parts: &Parts) -> Option<CallerContext> {
    let RequestContext::ApiGatewayV2(gateway) = parts.extensions.get::<RequestContext>()? else { return None };
    let fields = &gateway.authorizer.as_ref()?.fields;
    let object = fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    serde_json::from_value(serde_json::Value::Object(object)).ok()
}

/// Returns the route of a request, as the router names it (`/webhooks/{id}`).
pub(crate) fn route(parts: &Parts) -> &str {
    let path = parts.extensions.get::<MatchedPath>().map_or(parts.uri.path(), MatchedPath::as_str);
    path.strip_prefix("/api/v1/integration").unwrap_or(path)
}

/// Returns what a narrowed token must be narrowed to for a request.
fn scopes(method: &Method, route: &str) -> &'static [Scope] {
    let reads = method == Method::GET || method == Method::HEAD;
    match route {
        "/webhooks/{id}/{entity}" => &[Scope::EventsWrite],
        // They show what is in events, and change nothing.
        "/webhooks/{id}/explain" | "/webhooks/{id}/dry-run" => &[Scope::WebhooksRead, Scope::EventsRead],
        _ if reads && route.starts_with("/event") => &[Scope::EventsRead],
        _ if route.starts_with("/event") => &[Scope::EventsWrite],
        _ if reads && route.contains("/deliveries") => &[Scope::DeliveriesRead],
        _ if reads && (route.starts_with("/dead-letters") || route.starts_with("/jobs")) => &[Scope::DeliveriesRead],
        _ if reads => &[Scope::WebhooksRead],
        _ => &[Scope::WebhooksWrite],
    }
}

fn require_scopes(context: &CallerContext, needed: &[Scope]) -> Result<(), Problem> {
    let Some(scopes) = &context.scopes else { return Ok(()) };
    match needed.iter().find(|scope| !scopes.split_whitespace().any(|has| has == scope.to_string())) {
        None => Ok(()),
        Some(missing) => Err(Problem::Forbidden(format!("this needs the scope {missing}"))),
    }
}

fn require(context: &CallerContext, role: &str) -> Result<(), Problem> {
    let roles = context.roles.as_deref().unwrap_or_default();
    if roles.split_whitespace().any(|has| has == role) {
        Ok(())
    } else {
        Err(Problem::Forbidden(format!("this needs the role {role}")))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::routing::post;
    use rstest::rstest;
    use tower::ServiceExt as _;

    use super::*;

    #[rstest]
    #[case::list(Method::GET, "/webhooks", "webhooks:read")]
    #[case::patch(Method::PATCH, "/webhooks/{id}", "webhooks:write")]
    #[case::pause(Method::POST, "/webhooks/{id}/pause", "webhooks:write")]
    #[case::deliveries(Method::GET, "/webhooks/{id}/deliveries/{delivery}", "deliveries:read")]
    #[case::redeliver(Method::POST, "/webhooks/{id}/deliveries/{delivery}/redeliver", "webhooks:write")]
    #[case::dead_letters(Method::GET, "/dead-letters", "deliveries:read")]
    #[case::redrive(Method::POST, "/dead-letters/redrive", "webhooks:write")]
    #[case::jobs(Method::GET, "/jobs/{id}", "deliveries:read")]
    #[case::cancel(Method::POST, "/jobs/{id}/cancel", "webhooks:write")]
    #[case::explain(Method::POST, "/webhooks/{id}/explain", "webhooks:read events:read")]
    #[case::dry_run(Method::POST, "/webhooks/{id}/dry-run", "webhooks:read events:read")]
    #[case::publish(Method::POST, "/events", "events:write")]
    #[case::publish_about(Method::POST, "/webhooks/{id}/{entity}", "events:write")]
    #[case::events(Method::GET, "/events/{event_id}", "events:read")]
    #[case::catalog(Method::GET, "/event-types", "events:read")]
    #[case::describe(Method::PUT, "/event-types/{type}", "events:write")]
    fn a_route_needs_scopes(#[case] method: Method, #[case] route: &str, #[case] needed: &str) {
        let scopes: Vec<_> = scopes(&method, route).iter().map(ToString::to_string).collect();
        assert_eq!(scopes.join(" "), needed);
    }

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
