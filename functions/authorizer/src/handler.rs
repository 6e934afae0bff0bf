//! One request for authorization.

use aws_lambda_events::event::apigw::{
    ApiGatewayV2CustomAuthorizerSimpleResponse, ApiGatewayV2CustomAuthorizerV2Request,
};
use domain::caller::CallerContext;
use domain::time::Clock;
use runtime::SystemClock;

use crate::config::Config;
use crate::keys::{Keys, KeysError};
use crate::token::{Identity, TokenError, key_id, verify};

/// What survives between invocations.
pub struct App {
    config: Config,
    keys: Keys,
    clock: Box<dyn Clock>,
}

impl App {
    /// Nothing is fetched yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { keys: Keys::new(config.keys.clone()), config, clock: Box::new(SystemClock) }
    }
}

/// Answers who the bearer is.
///
/// # Errors
///
/// If there are no keys to check the token with: a fault of ours, not of the token.
#[tracing::instrument(name = "authorizer.request", skip_all)]
pub async fn handle(
    app: &App,
    request: ApiGatewayV2CustomAuthorizerV2Request,
) -> Result<ApiGatewayV2CustomAuthorizerSimpleResponse<CallerContext>, KeysError> {
    let header = request.headers.get("authorization").and_then(|value| value.to_str().ok());
    let mut response = ApiGatewayV2CustomAuthorizerSimpleResponse::<CallerContext>::default();
    response.is_authorized = true;
    response.context = match identify(app, header).await? {
        Ok(identity) => CallerContext {
            subject: Some(identity.subject),
            tenant: identity.tenant,
            app: identity.app,
            roles: Some(identity.roles.join(" ")),
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

async fn identify(app: &App, header: Option<&str>) -> Result<Result<Identity, TokenError>, KeysError> {
    match bearer(header).and_then(|token| Ok((token, key_id(token)?))) {
        Ok((token, kid)) => {
            let keys = app.keys.containing(kid.as_deref(), app.clock.as_ref()).await?;
            Ok(verify(token, &keys, &app.config))
        }
        Err(error) => Ok(Err(error)),
    }
}

fn bearer(header: Option<&str>) -> Result<&str, TokenError> {
    header
        .and_then(|header| header.split_once(' '))
        .filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty())
        .map(|(_, token)| token.trim())
        .ok_or(TokenError::Absent)
}
