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
use crate::keys::{Keys, KeysError, PAUSE};
use crate::token::{TokenError, Unverified};

/// How long an answer about an API key is valid, in seconds. API Gateway caches it for less, and that decides.
const API_KEY_SECONDS: i64 = 120;

/// What survives between invocations.
pub struct App {
    config: Config,
    registry: Registry,
    keys: Keys,
    clock: Box<dyn Clock>,
}

/// Why a bearer has no identity.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
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
/// If an API key cannot be looked up: a fault of ours, which is over in a moment. API Gateway answers 500 then and,
/// other than an answer, keeps nothing of it: the same key is looked at again with the next request.
#[tracing::instrument(name = "authorizer.request", skip_all)]
pub async fn handle(
    app: &App,
    request: ApiGatewayV2CustomAuthorizerV2Request,
) -> Result<ApiGatewayV2CustomAuthorizerSimpleResponse<CallerContext>, StoreError> {
    let header = request.headers.get("authorization").and_then(|value| value.to_str().ok());
    let mut response = ApiGatewayV2CustomAuthorizerSimpleResponse::<CallerContext>::default();
    response.is_authorized = true;
    response.context = context(identify(app, header).await)?;
    Ok(response)
}

/// Returns what the api is to know of a bearer.
///
/// API Gateway keeps the answer for a minute, which is how long the authorizer waits until it asks for keys again.
fn context(identified: Result<Identity, Failure>) -> Result<CallerContext, StoreError> {
    match identified {
        Ok(identity) => Ok(CallerContext::of(identity)),
        Err(Failure::Token(error)) => {
            tracing::info!(reason = %error, "token refused");
            Ok(CallerContext::refusing(error.to_string()))
        }
        Err(Failure::Keys(error)) => {
            // The failed fetch is in the log; the tokens of the minute after it would repeat it.
            tracing::debug!(%error, "token not checked");
            Ok(CallerContext::unchecked(u32::try_from(PAUSE.as_secs()).unwrap_or(u32::MAX)))
        }
        Err(Failure::Store(error)) => Err(error),
    }
}

async fn identify(app: &App, header: Option<&str>) -> Result<Identity, Failure> {
    let token = bearer(header)?;
    if KeyText::is_meant(token) {
        return Ok(api_key(app, token).await?.ok_or(TokenError::ApiKey)?);
    }
    let unverified = Unverified::read(token, &app.config, app.clock.now())?;
    let keys = app.keys.containing(|keys| unverified.key(keys).is_some(), app.clock.as_ref()).await?;
    Ok(unverified.verify(&keys, &app.config)?)
}

/// Returns the identity of an API key: its application, as an admin, until the key is revoked.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_refused_for_its_token_and_asked_to_wait_for_want_of_keys() {
        let refused = context(Err(Failure::Token(TokenError::ApiKey))).unwrap();
        assert_eq!(refused, CallerContext::refusing(TokenError::ApiKey.to_string()));
        let unchecked = context(Err(Failure::Keys(KeysError::Pause))).unwrap();
        assert_eq!(unchecked, CallerContext::unchecked(60));
        let store = StoreError::Unavailable("throttled".to_owned());
        assert!(context(Err(Failure::Store(store))).is_err(), "no answer that API Gateway would keep");
    }
}
