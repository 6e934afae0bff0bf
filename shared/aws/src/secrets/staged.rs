//! What both stores take and return.

use domain::signing::secret::{Fingerprint, WebhookSecret};
use secrecy::SecretString;

/// How long a deleted secret can be restored, in days.
pub(super) const RECOVERY_WINDOW_DAYS: i64 = 30;

/// A text of a secret, and its id: the fingerprint of a webhook's secret, or the public half of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) id: &'a str,
    pub(super) text: &'a SecretString,
}

impl<'a> Text<'a> {
    pub(super) fn of(fingerprint: &'a Fingerprint, secret: &'a WebhookSecret) -> Self {
        Self { id: fingerprint.as_str(), text: secret.to_text() }
    }
}

/// A secret that is stored next to the current one until it is promoted.
#[derive(Debug)]
#[must_use = "it waits until it is promoted"]
pub struct Staged {
    pub(super) path: String,
    pub(super) version: String,
    pub(super) current: Option<String>,
}
