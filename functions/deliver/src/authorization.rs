//! Provides the `Authorization` header of a webhook's requests, made from a secret or from a token that an
//! authorization server issues for it.

use std::time::Duration;

use aws::StoreError;
use domain::attempt::outcome::{Outcome, Verdict};
use domain::webhook::Webhook;
use domain::webhook::authorization::{Authorization, Method};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::App;
use crate::watch::Watch;

/// The longest time to wait for a token, so that time is left for the receiver.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The authorization of an attempt, and the time that it took.
#[derive(Debug)]
pub(crate) struct Authorized {
    /// The header, or `None` if the webhook has no authorization. If the header may not be sent or there is no token,
    /// the outcome of the attempt.
    pub(crate) header: Result<Option<SecretString>, Outcome>,
    /// How long the attempt waited for its authorization server, if it did. This is part of the attempt's duration.
    pub(crate) waited: Option<Duration>,
}

impl Authorized {
    fn at_once(header: Result<Option<SecretString>, Outcome>) -> Self {
        Self { header, waited: None }
    }
}

/// Returns the `Authorization` header of a webhook's request.
///
/// `timeout` is the time that the whole attempt may take. Waiting for a token may take half of it, so that the receiver
/// has the other half. If the wait is long, `watch` marks the receiver as slow.
///
/// # Errors
///
/// If the secret cannot be read, which is an internal fault.
pub(crate) async fn header(
    app: &App,
    webhook: &Webhook,
    timeout: Duration,
    watch: &Watch<'_>,
) -> Result<Authorized, StoreError> {
    match &webhook.authorization {
        Some(authorization) => Box::pin(authorize(app, webhook, authorization, timeout, watch)).await,
        None => Ok(Authorized::at_once(Ok(None))),
    }
}

async fn authorize(
    app: &App,
    webhook: &Webhook,
    authorization: &Authorization,
    timeout: Duration,
    watch: &Watch<'_>,
) -> Result<Authorized, StoreError> {
    // The API refuses a URL of an origin other than the credential's. If a row has one nevertheless, its credential is
    // not even read.
    if let Err(other) = authorization.allows(&webhook.settings.url) {
        return Ok(Authorized::at_once(Err(unauthorized(other))));
    }
    let Method::OAuth2(client) = &authorization.method else {
        let secret = app.keyring.authorizing(authorization).await?;
        return Ok(Authorized::at_once(Ok(authorization.method.header(secret.to_text()))));
    };
    let now = app.clock.now();
    if let Some(kept) = app.tokens.kept(authorization, now) {
        return Ok(Authorized::at_once(kept.map(Some).map_err(unauthorized)));
    }
    // Read only now, because a valid token makes the secret unnecessary. Read before the clock starts, because the
    // authorization server does not cause the wait for AWS.
    let secret = app.keyring.authorizing(authorization).await?;
    let started = Instant::now();
    let fetch = async || {
        let (request, timeout) = (client.request(secret.to_text()), TOKEN_TIMEOUT.min(timeout / 2));
        Ok(watch.token(app.receivers.token(&request, timeout)).await)
    };
    let header = app.tokens.header(authorization, now, fetch).await?.map(Some);
    let header = header.map_err(unauthorized);
    Ok(Authorized { header, waited: Some(started.elapsed()) })
}

fn unauthorized(why: impl std::error::Error) -> Outcome {
    Outcome::unanswered(Verdict::Unauthorized, why.to_string())
}

/// Forgets a token that the receiver rejected with 401, so that the next attempt fetches another one.
pub(crate) fn answered(app: &App, webhook: &Webhook, header: Option<&SecretString>, outcome: &Outcome) {
    if let (Some(authorization), Some(header), Some(401)) = (&webhook.authorization, header, outcome.status) {
        app.tokens.forget(authorization, header);
    }
}
