//! One request for authorization.

use aws::{Aws, Registry, StoreError};
use aws_lambda_events::event::apigw::{
    ApiGatewayV2CustomAuthorizerSimpleResponse, ApiGatewayV2CustomAuthorizerV2Request,
};
use domain::access::api_key::KeyText;
use domain::access::caller::{CallerContext, Identity};
use domain::time::Clock;
use jiff::Timestamp;
use runtime::SystemClock;

use crate::config::Config;
use crate::keys::{Keys, KeysError};
use crate::token::{TokenError, Unverified};

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
/// If there is nothing to check the token with: a fault of ours, not of the token. API Gateway answers 500 then and, other than an
/// answer, keeps nothing of it: the same token is looked at again with the next request.
#[tracing::instrument(name = "authorizer.request", skip_all)]
pub async fn handle(
    app: &App,
    request: ApiGatewayV2CustomAuthorizerV2Request,
) -> Result<ApiGatewayV2CustomAuthorizerSimpleResponse<CallerContext>, AuthorizerError> {
    let header = request.headers.get("authorization").and_then(|value| value.to_str().ok());
    let mut response = ApiGatewayV2CustomAuthorizerSimpleResponse::<CallerContext>::default();
    response.is_authorized = true;
    response.context = match identify(app, header).await? {
        Ok(identity) => CallerContext::of(identity),
        Err(error) => {
            tracing::info!(reason = %error, "token refused");
            CallerContext::refusing(error.to_string())
        }
    };
    Ok(response)
}

async fn identify(app: &App, header: Option<&str>) -> Result<Result<Identity, TokenError>, AuthorizerError> {
    let token = match bearer(header) {
        Ok(token) if KeyText::is_meant(token) => return Ok(api_key(app, token).await?.ok_or(TokenError::ApiKey)),
        Ok(token) => token,
        Err(error) => return Ok(Err(error)),
    };
    let unverified = match Unverified::read(token, &app.config, app.clock.now()) {
        Ok(unverified) => unverified,
        Err(error) => return Ok(Err(error)),
    };
    let keys = app.keys.containing(|keys| unverified.key(keys).is_some(), app.clock.as_ref()).await?;
    Ok(unverified.verify(&keys, &app.config))
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
        api_key: Some(key.id),
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
