//! Who calls, and what they may do. A handler that takes an [`Admin`] or an [`Operator`] cannot forget to ask.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
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
        require_scope(&context, scope(parts))?;
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

/// Returns what a narrowed token must be narrowed to for a request.
fn scope(parts: &Parts) -> Scope {
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    match reads {
        true if parts.uri.path().contains("/deliveries") => Scope::DeliveriesRead,
        true => Scope::WebhooksRead,
        false => Scope::WebhooksWrite,
    }
}

fn require_scope(context: &CallerContext, scope: Scope) -> Result<(), Problem> {
    let Some(scopes) = &context.scopes else { return Ok(()) };
    if scopes.split_whitespace().any(|has| has == scope.to_string()) {
        Ok(())
    } else {
        Err(Problem::Forbidden(format!("this needs the scope {scope}")))
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
