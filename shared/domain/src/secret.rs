//! Signing secrets: made once, shown once, never printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::id::WebhookId;
use crate::tenant::TenantId;

/// How many random bytes a generated secret has.
pub const GENERATED_BYTES: usize = 32;

/// The key of a webhook's signatures: 24 to 64 bytes, as [Standard Webhooks][1] asks.
///
/// Its text form is `whsec_` and base64. `Debug` shows nothing of it.
///
/// [1]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
#[derive(Debug)]
pub struct WebhookSecret(SecretBox<[u8]>);

/// A text that is not a secret. Says nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be whsec_ followed by 24 to 64 bytes in base64")]
pub struct ParseSecretError;

impl WebhookSecret {
    /// Makes a secret of the caller's random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; GENERATED_BYTES]) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    /// Reads `whsec_<base64>`.
    ///
    /// # Errors
    ///
    /// If the prefix is missing, the rest is not base64, or it holds fewer than 24 or more than 64 bytes.
    pub fn parse(text: &str) -> Result<Self, ParseSecretError> {
        text.strip_prefix("whsec_")
            .and_then(|encoded| BASE64.decode(encoded).ok())
            .filter(|bytes| (24..=64).contains(&bytes.len()))
            .map(|bytes| Self(SecretBox::new(bytes.into_boxed_slice())))
            .ok_or(ParseSecretError)
    }

    /// Returns the text form, to be shown once or to be kept in Secrets Manager.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        format!("whsec_{}", BASE64.encode(self.0.expose_secret())).into()
    }

    pub(crate) fn hmac_sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac_sha256(self.0.expose_secret(), parts)
    }
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // Safe: HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// What is known of a secret without knowing it: which one it is.
///
/// HMAC-SHA256 under a key of the deployment, in hexadecimal, so that not even a weak secret can be guessed from a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

/// The deployment's key for fingerprints.
#[derive(Debug)]
pub struct FingerprintKey(SecretString);

impl FingerprintKey {
    /// Takes the key as Secrets Manager holds it.
    #[must_use]
    pub fn new(key: SecretString) -> Self {
        Self(key)
    }

    /// Returns the fingerprint of a secret.
    #[must_use]
    pub fn fingerprint(&self, secret: &WebhookSecret) -> Fingerprint {
        let digest = hmac_sha256(self.0.expose_secret().as_bytes(), &[secret.0.expose_secret()]);
        Fingerprint(hex::encode(digest))
    }
}

/// Returns the path of a webhook's secret, `<prefix>/<tenant>/<webhook>`.
///
/// Built here and never taken from a request: the role that reads secrets may read every tenant's.
#[must_use]
pub fn vault_path(prefix: &str, tenant: &TenantId, webhook: WebhookId) -> String {
    format!("{prefix}/{tenant}/{webhook}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::shortest(24, true)]
    #[case::longest(64, true)]
    #[case::too_short(23, false)]
    #[case::too_long(65, false)]
    fn checks_the_length(#[case] bytes: usize, #[case] valid: bool) {
        let text = format!("whsec_{}", BASE64.encode(vec![7; bytes]));
        assert_eq!(WebhookSecret::parse(&text).is_ok(), valid);
    }

    #[test]
    fn text_round_trips_and_debug_is_silent() {
        let secret = WebhookSecret::from_random([0x2a; GENERATED_BYTES]);
        let text = secret.to_text();
        let again = WebhookSecret::parse(text.expose_secret()).unwrap();
        assert_eq!(again.to_text().expose_secret(), text.expose_secret());
        assert_eq!(format!("{secret:?}"), "WebhookSecret(SecretBox<[u8]>([REDACTED]))");
    }

    #[test]
    fn fingerprints_depend_on_secret_and_key() {
        let print = |key: &str, byte| {
            FingerprintKey::new(key.to_owned().into()).fingerprint(&WebhookSecret::from_random([byte; GENERATED_BYTES]))
        };
        assert!(print("a", 1).matches(&print("a", 1)));
        assert!(!print("a", 1).matches(&print("b", 1)));
        assert!(!print("a", 1).matches(&print("a", 2)));
        assert_eq!(print("a", 1).as_str().len(), 64);
    }
}
