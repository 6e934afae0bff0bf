//! The `Authorization` header of a webhook's requests: made of its secret, or of a token that the secret buys.

use std::time::Duration;

use aws::StoreError;
use domain::attempt::outcome::{Outcome, Verdict};
use domain::delivery::breaker::SLOW;
use domain::webhook::Webhook;
use domain::webhook::authorization::Method;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::App;
use crate::watch::Watch;

/// The longest that a token is waited for: the receiver must have its time too.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What an attempt needs to be authorized, and what that took.
#[derive(Debug)]
pub(crate) struct Authorized {
    /// The header, if the webhook has one; or, if it may not be sent or there is no token, the outcome of the attempt.
    pub(crate) header: Result<Option<SecretString>, Outcome>,
    /// How long its authorization server was waited for, if it was: part of the attempt.
    pub(crate) waited: Option<Duration>,
}

impl Authorized {
    fn at_once(header: Result<Option<SecretString>, Outcome>) -> Self {
        Self { header, waited: None }
    }
}

/// Returns the header of a webhook's request.
///
/// `timeout` is what the attempt may take: a token is waited for for half of it at most, so that the receiver has the other half.
/// While that takes long, `watch` notes that the receiver is slow.
///
/// # Errors
///
/// If the secret cannot be read: a fault of ours.
pub(crate) async fn header(
    app: &App,
    webhook: &Webhook,
    timeout: Duration,
    watch: &Watch<'_>,
) -> Result<Authorized, StoreError> {
    let Some(authorization) = &webhook.authorization else { return Ok(Authorized::at_once(Ok(None))) };
    // The API refuses a URL that leads elsewhere; a row that holds one all the same gets no credential read for it.
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
    // Read only now: while there is a token nothing needs the secret. Before the clock starts: the wait for AWS is not the server's.
    let secret = app.keyring.authorizing(authorization).await?;
    let started = Instant::now();
    let fetch = async || {
        let (request, timeout) = (client.request(secret.to_text()), TOKEN_TIMEOUT.min(timeout / 2));
        Ok(watch.wait(SLOW, app.receivers.token(&request, timeout)).await)
    };
    let header = app.tokens.header(authorization, now, fetch).await?.map(Some);
    let header = header.map_err(unauthorized);
    Ok(Authorized { header, waited: Some(started.elapsed()) })
}

fn unauthorized(why: impl std::error::Error) -> Outcome {
    Outcome::unanswered(Verdict::Unauthorized, why.to_string())
}

/// Notes what a receiver said to the header: a token that it does not take is used no more, and the next attempt fetches another.
pub(crate) fn answered(app: &App, webhook: &Webhook, header: Option<&SecretString>, outcome: &Outcome) {
    if let (Some(authorization), Some(header), Some(401)) = (&webhook.authorization, header, outcome.status) {
        app.tokens.forget(authorization, header);
    }
}
