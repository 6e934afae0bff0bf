//! The `Authorization` header of a webhook's requests: made of its secret, or of a token that the secret buys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws::StoreError;
use domain::authorization::{Authorization, Method, Token, bearer};
use domain::breaker::SLOW;
use domain::delivery::{Outcome, Verdict};
use domain::webhook::Webhook;
use jiff::Timestamp;
use outbound::TokenError;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::App;
use crate::watch::Watch;

/// The longest that a token is waited for: the receiver must have its time too.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How many webhooks' tokens are kept; all are forgotten when there are more.
const CAPACITY: usize = 10_000;

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
        return Ok(Authorized::at_once(Err(Outcome::unanswered(Verdict::Unauthorized, other.to_string()))));
    }
    let Method::OAuth2(client) = &authorization.method else {
        let secret = app.keyring.authorizing(authorization).await?;
        return Ok(Authorized::at_once(Ok(authorization.method.header(secret.to_text()))));
    };
    let now = app.clock.now();
    if let Some(header) = app.tokens.kept(authorization, now) {
        return Ok(Authorized::at_once(Ok(Some(header))));
    }
    // Read only now: while there is a token nothing needs the secret. Before the clock starts: the wait for AWS is not the server's.
    let secret = app.keyring.authorizing(authorization).await?;
    let started = Instant::now();
    let fetch = async || {
        let (request, timeout) = (client.request(secret.to_text()), TOKEN_TIMEOUT.min(timeout / 2));
        Ok(watch.wait(SLOW, app.receivers.token(&request, timeout)).await)
    };
    let header = app.tokens.header(authorization, now, fetch).await?.map(Some);
    let header = header.map_err(|error| Outcome::unanswered(Verdict::Unauthorized, error.to_string()));
    Ok(Authorized { header, waited: Some(started.elapsed()) })
}

/// Notes what a receiver said to the header: a token that it does not take is used no more, and the next attempt fetches another.
pub(crate) fn answered(app: &App, webhook: &Webhook, header: Option<&SecretString>, outcome: &Outcome) {
    if let (Some(authorization), Some(header), Some(401)) = (&webhook.authorization, header, outcome.status) {
        app.tokens.forget(authorization, header);
    }
}

/// The header that a token makes, and until when.
#[derive(Debug)]
struct Held {
    header: SecretString,
    until: Timestamp,
}

/// What came of a fetch; of one that is under way nothing yet.
type Fetch = Arc<OnceCell<Result<Held, TokenError>>>;

/// Tokens, each fetched once and kept until shortly before it ends. Whoever comes while one is being fetched shares what comes of it,
/// be it a failure; whoever comes later fetches anew.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    fetches: Mutex<HashMap<Authorization, Fetch>>,
}

impl Tokens {
    /// Returns the header of the token that the authorization has now, or gets by `fetch`.
    async fn header(
        &self,
        authorization: &Authorization,
        now: Timestamp,
        fetch: impl AsyncFnOnce() -> Result<Result<Token, TokenError>, StoreError>,
    ) -> Result<Result<SecretString, TokenError>, StoreError> {
        let held = async || {
            let token = fetch().await?;
            // From before it was asked for: so it ends too early rather than too late.
            Ok::<_, StoreError>(token.map(|token| Held { header: bearer(&token.text), until: now + token.lifetime }))
        };
        let fetched = self.fetch(authorization, now);
        let held = fetched.get_or_try_init(held).await?;
        Ok(held.as_ref().map(|held| held.header.clone()).map_err(Clone::clone))
    }

    /// Returns the header of a token that was fetched before and is still good.
    fn kept(&self, authorization: &Authorization, now: Timestamp) -> Option<SecretString> {
        let fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let held = fetches.get(authorization)?.get()?.as_ref().ok().filter(|held| held.until > now)?;
        Some(held.header.clone())
    }

    /// Returns the fetch that is under way, or one whose token is still good, or a new one.
    fn fetch(&self, authorization: &Authorization, now: Timestamp) -> Fetch {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        if fetches.len() >= CAPACITY && !fetches.contains_key(authorization) {
            fetches.clear();
        }
        let fetch = fetches.entry(authorization.clone()).or_default();
        let is_over = fetch.get().is_some_and(|done| done.as_ref().map_or(true, |held| held.until <= now));
        if is_over {
            *fetch = Fetch::default();
        }
        Arc::clone(fetch)
    }

    /// Forgets a token, unless another one took its place already.
    fn forget(&self, authorization: &Authorization, header: &SecretString) {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let held = fetches.get(authorization).and_then(|fetch| fetch.get()?.as_ref().ok());
        if held.is_some_and(|held| held.header.expose_secret() == header.expose_secret()) {
            fetches.remove(authorization);
        }
    }
}

#[cfg(test)]
mod tests;
