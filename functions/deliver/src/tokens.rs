//! Caches the tokens of authorization servers for all attempts of a process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws::StoreError;
use domain::webhook::authorization::token::Token;
use domain::webhook::authorization::{Authorization, bearer};
use jiff::{SignedDuration, Timestamp};
use outbound::TokenError;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

/// How many webhooks' tokens are kept. One more clears the cache.
const CAPACITY: usize = 10_000;

/// How long a server that refused is not asked again. The pause doubles with each refusal in a row.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// A request for a token, and its result once it has ended.
#[derive(Debug, Default)]
struct Fetch {
    /// How many refusals in a row came before it.
    refusals: u32,
    done: OnceCell<Done>,
}

/// The result of a request for a token, and when it expires.
#[derive(Debug)]
struct Done {
    /// The header that the token makes.
    header: Result<SecretString, TokenError>,
    until: Timestamp,
}

/// A server refused a moment ago, and would do so again.
#[derive(Debug, thiserror::Error)]
#[error("{error}, and is not asked again before {until:.0}")]
pub(crate) struct Pause {
    error: TokenError,
    until: Timestamp,
}

/// Tokens, each fetched once and kept until shortly before it expires. Requests that arrive during a fetch share its
/// result, even a failure; a later request fetches again, after a refusal not at once. A changed credential is another
/// key here, so it is fetched with at once.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    fetches: Mutex<HashMap<Authorization, Arc<Fetch>>>,
}

impl Tokens {
    /// Returns the header of the authorization's cached token, or of a new one from `fetch`.
    pub(crate) async fn header(
        &self,
        authorization: &Authorization,
        now: Timestamp,
        fetch: impl AsyncFnOnce() -> Result<Result<Token, TokenError>, StoreError>,
    ) -> Result<Result<SecretString, TokenError>, StoreError> {
        let current = self.fetch(authorization, now);
        let done = async || {
            // `now` is from before the request, so the token expires here no later than at the server.
            Ok::<_, StoreError>(match fetch().await? {
                Ok(token) => Done { header: Ok(bearer(&token.text)), until: now + token.lifetime },
                Err(error) => Done { until: now + pause(&error, current.refusals), header: Err(error) },
            })
        };
        Ok(current.done.get_or_try_init(done).await?.header.clone())
    }

    /// Returns the header of a cached token that is still valid, or that the server must not be asked yet.
    pub(crate) fn kept(&self, authorization: &Authorization, now: Timestamp) -> Option<Result<SecretString, Pause>> {
        let fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let Done { header, until } = fetches.get(authorization)?.done.get().filter(|done| done.until > now)?;
        Some(header.clone().map_err(|error| Pause { error, until: *until }))
    }

    /// Returns the request in progress, or one whose result is still valid, or a new one.
    fn fetch(&self, authorization: &Authorization, now: Timestamp) -> Arc<Fetch> {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        if fetches.len() >= CAPACITY && !fetches.contains_key(authorization) {
            fetches.clear();
        }
        let fetch = fetches.entry(authorization.clone()).or_default();
        if let Some(done) = fetch.done.get().filter(|done| done.until <= now) {
            let refused = done.header.as_ref().is_err_and(is_refusal);
            let refusals = if refused { fetch.refusals.saturating_add(1) } else { 0 };
            *fetch = Arc::new(Fetch { refusals, done: OnceCell::new() });
        }
        Arc::clone(fetch)
    }

    /// Forgets a token, unless it has already been replaced.
    pub(crate) fn forget(&self, authorization: &Authorization, header: &SecretString) {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let held = fetches.get(authorization).and_then(|fetch| fetch.done.get()?.header.as_ref().ok());
        if held.is_some_and(|held| held.expose_secret() == header.expose_secret()) {
            fetches.remove(authorization);
        }
    }
}

/// Returns how long a server is not asked again after an error.
fn pause(error: &TokenError, refusals: u32) -> SignedDuration {
    if is_refusal(error) {
        let times = 2_i32.saturating_pow(refusals.min(10));
        FIRST_PAUSE.saturating_mul(times).min(LONGEST_PAUSE)
    } else {
        SignedDuration::ZERO
    }
}

/// Returns whether the server gave an answer that it will repeat. One that fails or is down may be back at once.
fn is_refusal(error: &TokenError) -> bool {
    match error {
        TokenError::Refused { status, .. } => (400..500).contains(status),
        TokenError::Redirected(_) | TokenError::TooLarge | TokenError::Unusable(_) => true,
        TokenError::Url(_) | TokenError::Unanswered(_) | TokenError::Unsendable => false,
    }
}

#[cfg(test)]
mod tests;
