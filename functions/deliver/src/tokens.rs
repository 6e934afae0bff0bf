//! Caches the tokens of authorization servers for all attempts of a process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws::StoreError;
use domain::webhook::authorization::token::Token;
use domain::webhook::authorization::{Authorization, bearer};
use jiff::Timestamp;
use outbound::TokenError;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

/// How many webhooks' tokens are kept. One more clears the cache.
const CAPACITY: usize = 10_000;

/// The header made from a token, and when it expires.
#[derive(Debug)]
struct Held {
    header: SecretString,
    until: Timestamp,
}

/// The result of a fetch, once it has ended.
type Fetch = Arc<OnceCell<Result<Held, TokenError>>>;

/// Tokens, each fetched once and kept until shortly before it expires. Requests that arrive during a fetch share its
/// result, even a failure; a later request fetches again.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    fetches: Mutex<HashMap<Authorization, Fetch>>,
}

impl Tokens {
    /// Returns the header of the authorization's cached token, or of a new one from `fetch`.
    pub(crate) async fn header(
        &self,
        authorization: &Authorization,
        now: Timestamp,
        fetch: impl AsyncFnOnce() -> Result<Result<Token, TokenError>, StoreError>,
    ) -> Result<Result<SecretString, TokenError>, StoreError> {
        let held = async || {
            let token = fetch().await?;
            // `now` is from before the request, so the token expires here no later than at the server.
            Ok::<_, StoreError>(token.map(|token| Held { header: bearer(&token.text), until: now + token.lifetime }))
        };
        let fetched = self.fetch(authorization, now);
        let held = fetched.get_or_try_init(held).await?;
        Ok(held.as_ref().map(|held| held.header.clone()).map_err(Clone::clone))
    }

    /// Returns the header of a cached token that is still valid.
    pub(crate) fn kept(&self, authorization: &Authorization, now: Timestamp) -> Option<SecretString> {
        let fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let held = fetches.get(authorization)?.get()?.as_ref().ok().filter(|held| held.until > now)?;
        Some(held.header.clone())
    }

    /// Returns the fetch in progress, or one whose token is still valid, or a new one.
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

    /// Forgets a token, unless it has already been replaced.
    pub(crate) fn forget(&self, authorization: &Authorization, header: &SecretString) {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        let held = fetches.get(authorization).and_then(|fetch| fetch.get()?.as_ref().ok());
        if held.is_some_and(|held| held.header.expose_secret() == header.expose_secret()) {
            fetches.remove(authorization);
        }
    }
}

#[cfg(test)]
mod tests;
