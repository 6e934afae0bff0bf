//! The issuer's keys: from the configuration, or fetched and kept.

use std::sync::Arc;

use domain::time::Clock;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;
use outbound::FetchError;
use tokio::sync::Mutex;

use crate::config::KeySource;

/// How long fetched keys are used: a key that the issuer withdrew is refused after this.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// How soon keys are fetched again for a token whose key is not among them: a new key works at once, and a stranger's
/// tokens do not become a load on the issuer.
const REFETCH_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The key set could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What was fetched is not a key set.
    #[error("the key set is not one: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The issuer's keys.
pub struct Keys {
    source: KeySource,
    fetched: Mutex<Option<(Arc<JwkSet>, Timestamp)>>,
}

impl Keys {
    /// Takes keys from a source; nothing is fetched yet.
    #[must_use]
    pub fn new(source: KeySource) -> Self {
        Self { source, fetched: Mutex::default() }
    }

    /// Returns the key set, fetched again if it is old, or if it lacks the key that is wanted.
    ///
    /// # Errors
    ///
    /// If it cannot be fetched and was never fetched before.
    pub async fn containing(&self, kid: Option<&str>, clock: &dyn Clock) -> Result<Arc<JwkSet>, KeysError> {
        let url = match &self.source {
            KeySource::Inline(keys) => return Ok(Arc::new(keys.clone())),
            KeySource::Url(url) => url,
        };
        let mut fetched = self.fetched.lock().await;
        let now = clock.now();
        if let Some((keys, at)) = fetched.as_ref() {
            let age = now.duration_since(*at);
            let has_it = kid.is_none_or(|kid| keys.find(kid).is_some());
            if age < REFETCH_AFTER || (has_it && age < KEPT) {
                return Ok(Arc::clone(keys));
            }
        }
        let keys = Arc::new(serde_json::from_slice::<JwkSet>(&outbound::fetch(url).await?)?);
        *fetched = Some((Arc::clone(&keys), now));
        Ok(keys)
    }
}
