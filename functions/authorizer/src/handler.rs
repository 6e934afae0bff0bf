//! Handles one request for authorization.

use aws::{Aws, Registry, StoreError};
use aws_lambda_events::event::apigw::{
    ApiGatewayV2CustomAuthorizerSimpleResponse, ApiGatewayV2CustomAuthorizerV2Request,
};
use domain::access::api_key::KeyText;
use domain::access::caller::{CallerContext, Identity};
use domain::id::PortalLinkId;
use domain::time::Clock;
use jiff::Timestamp;
use runtime::SystemClock;

use crate::config::Config;
use crate::keys::{Keys, KeysError, PAUSE};
use crate::token::{TokenError, Unverified};

/// How long the identity of an API key or a portal link is valid, in seconds. API Gateway caches it for less, so the
/// cache decides.
const API_KEY_SECONDS: i64 = 120;

/// State that survives between invocations.
pub struct App {
    config: Config,
    registry: Registry,
    keys: Keys,
    clock: Box<dyn Clock>,
}

/// Why a caller has no identity.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No keys are available to check a JWT with.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// API keys cannot be looked up.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Creates the clients, without making a call.
    pub async fn connect(config: Config) -> Self {
        let registry = Aws::connect().await.registry(config.registry_table.clone());
        let keys = Keys::new(config.keys.clone(), config.max_stale);
        Self { keys, config, registry, clock: Box::new(SystemClock) }
    }

    /// Does the work that no response waits for. Call it after the response was sent, before the process is frozen.
    pub async fn after_answer(&self) {
        self.keys.refresh(self.clock.as_ref()).await;
    }
}

/// Returns who the caller is, or why that is unknown.
///
/// # Errors
///
/// If an API key cannot be looked up, which is a temporary internal fault. API Gateway then answers 500 and caches
/// nothing, so the next request looks the key up again.
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

/// Returns what the api learns about the caller.
///
/// API Gateway caches it for a minute. That is also how long the authorizer waits before it fetches keys again.
fn context(identified: Result<Identity, Failure>) -> Result<CallerContext, StoreError> {
    match identified {
        Ok(identity) => Ok(CallerContext::of(identity)),
        Err(Failure::Token(error)) => {
            tracing::info!(reason = %error, "a token was refused; its caller gets 401");
            Ok(CallerContext::refusing(error.to_string()))
        }
        Err(Failure::Keys(error)) => {
            // The failed fetch is logged once. The tokens of the next minute would only repeat it.
            tracing::debug!(%error, "token not checked");
            Ok(CallerContext::unchecked(u32::try_from(PAUSE.as_secs()).unwrap_or(u32::MAX)))
        }
        Err(Failure::Store(error)) => Err(error),
    }
}

async fn identify(app: &App, header: Option<&str>) -> Result<Identity, Failure> {
    let token = bearer(header)?;
    if KeyText::is_meant(token) {
        let text: KeyText = token.parse().map_err(|_| TokenError::ApiKey)?;
        return Ok(match text.portal_link() {
            Some(link) => portal_link(app, &text, link).await?.ok_or(TokenError::PortalLink)?,
            None => api_key(app, &text).await?.ok_or(TokenError::ApiKey)?,
        });
    }
    let unverified = Unverified::read(token, &app.config, app.clock.now())?;
    let keys = app.keys.containing(|keys| unverified.key(keys).is_some(), app.clock.as_ref()).await?;
    Ok(unverified.verify(&keys, &app.config)?)
}

/// Returns the identity of an API key: its application or its whole tenant, with the role of an admin. `None` if the
/// key is unknown, expired or revoked.
async fn api_key(app: &App, text: &KeyText) -> Result<Option<Identity>, StoreError> {
    let Some((key, hash)) = app.registry.find_api_key(text.id()).await? else { return Ok(None) };
    let now = app.clock.now();
    if !text.hash().matches(&hash) || !key.is_good(now) {
        return Ok(None);
    }
    let ends = key.expires_at.map_or(i64::MAX, Timestamp::as_second);
    Ok(Some(Identity {
        subject: key.id.to_string(),
        tenant: Some(key.tenant.to_string()),
        app: key.app.map(String::from),
        roles: vec!["ADMIN".to_owned()],
        scopes: key.scopes,
        api_key: Some(key.id),
        expires_at: ends.min(now.as_second() + API_KEY_SECONDS),
    }))
}

/// Returns the identity of a portal link: its application or its whole tenant, with the role of a viewer or an admin.
/// `None` if the link is unknown, has ended or was revoked.
async fn portal_link(app: &App, text: &KeyText, id: PortalLinkId) -> Result<Option<Identity>, StoreError> {
    let Some((link, hash)) = app.registry.find_portal_link(id).await? else { return Ok(None) };
    let now = app.clock.now();
    if !text.hash().matches(&hash) || !link.is_good(now) {
        return Ok(None);
    }
    Ok(Some(Identity {
        // From the subject and the key, the API knows that it is a link.
        subject: link.id.to_string(),
        tenant: Some(link.tenant.to_string()),
        app: link.app.map(String::from),
        roles: vec![if link.read_only { "VIEWER" } else { "ADMIN" }.to_owned()],
        scopes: Vec::new(),
        api_key: Some(text.id()),
        expires_at: link.expires_at.as_second().min(now.as_second() + API_KEY_SECONDS),
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
