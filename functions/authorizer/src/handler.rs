//! One request for authorization.

use aws::{Aws, Registry, StoreError};
use aws_lambda_events::event::apigw::{
    ApiGatewayV2CustomAuthorizerSimpleResponse, ApiGatewayV2CustomAuthorizerV2Request,
};
use domain::api_key::{KeyText, Scope};
use domain::caller::{CallerContext, for_log};
use domain::time::Clock;
use jiff::Timestamp;
use runtime::SystemClock;

use crate::config::Config;
use crate::keys::{Keys, KeysError};
use crate::token::{Identity, KeyName, TokenError, verify};

/// How long an answer about an API key stands, in seconds: longer than API Gateway keeps it, which is what decides.
const API_KEY_SECONDS: i64 = 120;

/// What survives between invocations.
pub struct App {
    config: Config,
    registry: Registry,
    keys: Keys,
    clock: Box<dyn Clock>,
}

/// Why nothing can be said of a bearer: a fault of ours, not of the token.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizerError {
    /// There are no keys to check a JWT with.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// There is no table to look an API key up in.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Makes the clients; no call is made.
    pub async fn connect(config: Config) -> Self {
        let registry = Aws::connect().await.registry(config.registry_table.clone());
        let keys = Keys::new(config.keys.clone(), config.max_stale);
        Self { keys, config, registry, clock: Box::new(SystemClock) }
    }

    /// Does what no answer waits for. To be called when one is out, before the process is frozen.
    pub async fn after_answer(&self) {
        self.keys.refresh(self.clock.as_ref()).await;
    }
}

/// Answers who the bearer is.
///
/// # Errors
///
/// If there is nothing to check the token with: a fault of ours, not of the token.
#[tracing::instrument(name = "authorizer.request", skip_all)]
pub async fn handle(
    app: &App,
    request: ApiGatewayV2CustomAuthorizerV2Request,
) -> Result<ApiGatewayV2CustomAuthorizerSimpleResponse<CallerContext>, AuthorizerError> {
    let header = request.headers.get("authorization").and_then(|value| value.to_str().ok());
    let mut response = ApiGatewayV2CustomAuthorizerSimpleResponse::<CallerContext>::default();
    response.is_authorized = true;
    response.context = match identify(app, header).await? {
        Ok(identity) => CallerContext {
            log_subject: Some(for_log(&identity.subject)),
            log_tenant: identity.tenant.as_deref().map(for_log),
            subject: Some(identity.subject),
            tenant: identity.tenant,
            app: identity.app,
            roles: Some(identity.roles.join(" ")),
            scopes: (!identity.scopes.is_empty()).then(|| join(&identity.scopes)),
            expires_at: Some(identity.expires_at),
            refusal: None,
        },
        Err(error) => {
            tracing::info!(reason = %error, "token refused");
            CallerContext { refusal: Some(error.to_string()), ..CallerContext::default() }
        }
    };
    Ok(response)
}

fn join(scopes: &[Scope]) -> String {
    scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

async fn identify(app: &App, header: Option<&str>) -> Result<Result<Identity, TokenError>, AuthorizerError> {
    let token = match bearer(header) {
        Ok(token) if KeyText::is_meant(token) => return Ok(api_key(app, token).await?.ok_or(TokenError::ApiKey)),
        Ok(token) => token,
        Err(error) => return Ok(Err(error)),
    };
    let name = match KeyName::of(token) {
        Ok(name) => name,
        Err(error) => return Ok(Err(error)),
    };
    let keys = app.keys.containing(|keys| name.find(keys).is_some(), app.clock.as_ref()).await?;
    Ok(verify(token, &keys, &app.config))
}

/// Returns whom an API key stands for: its application, as an admin, for as long as nobody revokes it.
async fn api_key(app: &App, text: &str) -> Result<Option<Identity>, StoreError> {
    let Ok(text) = text.parse::<KeyText>() else { return Ok(None) };
    let Some((key, hash)) = app.registry.find_api_key(text.id()).await? else { return Ok(None) };
    let now = app.clock.now();
    if !text.hash().matches(&hash) || !key.is_good(now) {
        return Ok(None);
    }
    let ends = key.expires_at.map_or(i64::MAX, Timestamp::as_second);
    Ok(Some(Identity {
        subject: key.id.to_string(),
        tenant: Some(key.tenant.to_string()),
        app: Some(key.app.to_string()),
        roles: vec!["ADMIN".to_owned()],
        scopes: key.scopes,
        expires_at: ends.min(now.as_second() + API_KEY_SECONDS),
    }))
}

fn bearer(header: Option<&str>) -> Result<&str, TokenError> {
    header
        .and_then(|header| header.split_once(' '))
        .filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty())
        .map(|(_, token)| token.trim())
        .ok_or(TokenError::Absent)
}
