//! The issuer's keys: from the configuration, or fetched and cached.
//!
//! Fetched keys outlive an outage of the issuer. A request that known keys can serve never waits for a fetch: keys that
//! are due are fetched after the response was sent (see [`Keys::refresh`]).

use std::sync::Arc;

use domain::time::Clock;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;
use outbound::FetchError;
use tokio::sync::Mutex;

use crate::config::KeySource;
use crate::key_set::{self, KeySetError};

/// The age at which fetched keys are due to be fetched again. While the issuer answers, a key that it has withdrawn is
/// refused after this time.
const FRESH: SignedDuration = SignedDuration::from_hours(1);

/// The shortest time between two fetches, successful or not, so that neither an outage nor forged tokens overload the
/// issuer.
pub(crate) const PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The key set could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The document is not a key set.
    #[error("the document at JWKS_URL is not a key set: {0}")]
    Malformed(#[from] KeySetError),
    /// The key set has no key for RS256 or ES256.
    #[error("no key of the key set can verify RS256 or ES256")]
    Empty,
    /// A fetch failed less than a minute ago.
    #[error("the key set could not be fetched; the next attempt is a minute after the last one")]
    Pause,
}

/// What to do for a request, before or after its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Answer with the known keys.
    Answer,
    /// Answer with the known keys, then fetch.
    AnswerThenFetch,
    /// Fetch, then answer with what is known.
    Fetch,
    /// Fail: no keys are known, and it is too early to fetch.
    Fail,
}

/// When keys were fetched, and when that was last attempted.
#[derive(Debug, Clone, Copy, Default)]
struct History {
    fetched_at: Option<Timestamp>,
    attempted_at: Option<Timestamp>,
}

impl History {
    /// Returns whether the known keys may still be used.
    fn is_usable(self, now: Timestamp, max_stale: SignedDuration) -> bool {
        self.fetched_at.is_some_and(|at| now.duration_since(at) < max_stale)
    }

    /// Returns what to do for a request. `has_key` is whether the known keys include the one that it needs.
    fn step(self, now: Timestamp, has_key: bool, max_stale: SignedDuration) -> Step {
        // A time in the future means that the clock has been set back. It must not delay a fetch.
        let within = |at: Option<Timestamp>, age| {
            at.is_some_and(|at| (SignedDuration::ZERO..age).contains(&now.duration_since(at)))
        };
        let may_fetch = !within(self.attempted_at, PAUSE);
        match (self.is_usable(now, max_stale), has_key) {
            (true, true) if may_fetch && !within(self.fetched_at, FRESH) => Step::AnswerThenFetch,
            (true, true) => Step::Answer,
            (_, _) if may_fetch => Step::Fetch,
            (true, false) => Step::Answer,
            (false, _) => Step::Fail,
        }
    }
}

#[derive(Default)]
struct Known {
    keys: Option<Arc<JwkSet>>,
    history: History,
}

/// The issuer's keys.
pub struct Keys {
    source: KeySource,
    max_stale: SignedDuration,
    known: Mutex<Known>,
}

impl Keys {
    /// Creates keys from a source, without fetching them. Fetched keys are used until they are as old as `max_stale`.
    #[must_use]
    pub fn new(source: KeySource, max_stale: SignedDuration) -> Self {
        Self { source, max_stale, known: Mutex::default() }
    }

    /// Returns the known keys. Fetches them first if none are known, or if they lack the key that is needed.
    ///
    /// The key may still be missing from them.
    ///
    /// # Errors
    ///
    /// If no usable keys are known, and they cannot be fetched now.
    pub async fn containing(
        &self,
        is_there: impl Fn(&JwkSet) -> bool,
        clock: &dyn Clock,
    ) -> Result<Arc<JwkSet>, KeysError> {
        let url = match &self.source {
            KeySource::Inline(keys) => return Ok(Arc::clone(keys)),
            KeySource::Url(url) => url,
        };
        let mut known = self.known.lock().await;
        let now = clock.now();
        let has_key = known.keys.as_deref().is_some_and(is_there);
        match known.history.step(now, has_key, self.max_stale) {
            Step::Answer | Step::AnswerThenFetch => {}
            Step::Fail => return Err(KeysError::Pause),
            Step::Fetch => match known.fetch(url, now).await {
                Err(error) if !known.history.is_usable(now, self.max_stale) => return Err(error),
                Ok(()) | Err(_) => {}
            },
        }
        known.keys.clone().ok_or(KeysError::Pause)
    }

    /// Fetches the keys if they are due. Call it after the response was sent. A failure is logged, and the known keys
    /// stay.
    pub async fn refresh(&self, clock: &dyn Clock) {
        let KeySource::Url(url) = &self.source else { return };
        let mut known = self.known.lock().await;
        let now = clock.now();
        if known.history.step(now, known.keys.is_some(), self.max_stale) == Step::AnswerThenFetch {
            // Logged by `fetch`.
            let _ = known.fetch(url, now).await;
        }
    }
}

impl Known {
    async fn fetch(&mut self, url: &str, now: Timestamp) -> Result<(), KeysError> {
        // Before the attempt, so that an interrupted one counts too.
        self.history.attempted_at = Some(now);
        let keys = load(url).await.inspect_err(|error| {
            let age_s = self.history.fetched_at.map(|at| now.duration_since(at).as_secs());
            tracing::warn!(%error, age_s, "the issuer's keys cannot be fetched; known ones are used until they are too old");
        })?;
        tracing::info!(keys = keys.keys.len(), "the issuer's keys were fetched");
        self.keys = Some(Arc::new(keys));
        self.history.fetched_at = Some(now);
        Ok(())
    }
}

/// Fetches a key set. A set without a usable key is an error, because it would refuse every token.
async fn load(url: &str) -> Result<JwkSet, KeysError> {
    let keys = key_set::read(&outbound::fetch(url).await?)?;
    if keys.keys.is_empty() { Err(KeysError::Empty) } else { Ok(keys) }
}

#[cfg(test)]
mod tests;
