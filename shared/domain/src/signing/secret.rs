//! Signing secrets: created once, shown once, never logged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// The number of random bytes in a generated secret.
pub const GENERATED_BYTES: usize = 32;

/// The shortest secret that a user may choose, in characters.
pub const MIN_PLAIN_CHARACTERS: usize = 8;

/// The longest secret that a user may choose, in bytes.
pub const MAX_PLAIN_BYTES: usize = 400;

/// Plain secrets with fewer characters than this can be guessed; their users are warned.
pub const WEAK_BELOW_CHARACTERS: usize = 24;

/// A webhook's secret: shared with the receiver to sign its deliveries, or used to
/// [authorize](crate::webhook::authorization) them. `Debug` shows nothing of it.
#[derive(Debug)]
pub struct WebhookSecret(SecretString);

/// The format of a secret, which decides what schemes it can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretFormat {
    /// `whsec_` and 24 to 64 bytes in base64, as [Standard Webhooks][1] requires. Works with every scheme.
    ///
    /// [1]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    Whsec,
    /// Any other text of at least 8 characters, for schemes whose key is the text itself.
    Plain,
}

/// The text cannot be a secret. The error contains nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be whsec_ followed by 24 to 64 bytes in base64, or a text of {MIN_PLAIN_CHARACTERS} characters to {MAX_PLAIN_BYTES} bytes"
)]
pub struct ParseSecretError;

impl WebhookSecret {
    /// Creates a secret from the caller's random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; GENERATED_BYTES]) -> Self {
        Self(format!("whsec_{}", BASE64.encode(bytes)).into())
    }

    /// Wraps a text that was already validated: by rules other than those of [`parse`](Self::parse), or before it was
    /// stored.
    #[must_use]
    pub fn checked(text: SecretString) -> Self {
        Self(text)
    }

    /// Parses a signing secret that a user has chosen.
    ///
    /// # Errors
    ///
    /// If it is too short, too long, or contains control characters.
    pub fn parse(text: &str) -> Result<Self, ParseSecretError> {
        let long_enough = text.chars().count() >= MIN_PLAIN_CHARACTERS && text.len() <= MAX_PLAIN_BYTES;
        if long_enough && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned().into()))
        } else {
            Err(ParseSecretError)
        }
    }

    /// Returns the text, to be shown once or stored in Secrets Manager.
    #[must_use]
    pub fn to_text(&self) -> &SecretString {
        &self.0
    }

    /// Returns the format of the text.
    #[must_use]
    pub fn format(&self) -> SecretFormat {
        if self.decoded().is_some() { SecretFormat::Whsec } else { SecretFormat::Plain }
    }

    /// Returns whether it looks like the format `whsec_…` but is not valid in it: probably a part of it is missing.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.0.expose_secret().starts_with("whsec_") && self.decoded().is_none()
    }

    /// Returns whether it can be guessed.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.0.expose_secret().chars().count() < WEAK_BELOW_CHARACTERS
    }

    fn decoded(&self) -> Option<SecretBox<[u8]>> {
        let encoded = self.0.expose_secret().strip_prefix("whsec_")?;
        let bytes = BASE64.decode(encoded).ok().filter(|bytes| (24..=64).contains(&bytes.len()))?;
        Some(SecretBox::new(bytes.into_boxed_slice()))
    }

    /// Signs with the bytes that the text encodes, as Standard Webhooks requires, or with the text itself if it is not
    /// encoded.
    pub(crate) fn hmac_decoded(&self, parts: &[&[u8]]) -> [u8; 32] {
        match self.decoded() {
            Some(key) => hmac_sha256(key.expose_secret(), parts),
            None => self.hmac_text(parts),
        }
    }

    /// Signs with the text itself, as all other schemes require.
    pub(crate) fn hmac_text(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac_sha256(self.0.expose_secret().as_bytes(), parts)
    }
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // Cannot fail: HMAC accepts keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Identifies a secret without revealing it.
///
/// HMAC-SHA256 with a key of the deployment, in hexadecimal, so that even a weak secret cannot be guessed from a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Returns the fingerprint of no secret: a notice has none.
    #[must_use]
    pub fn none() -> Self {
        Self(String::new())
    }

    /// Returns the hexadecimal text.
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
    /// Wraps the key from Secrets Manager.
    #[must_use]
    pub fn new(key: SecretString) -> Self {
        Self(key)
    }

    /// Returns a keyed digest of data that may contain a secret. The label separates purposes: different labels give
    /// different digests.
    #[must_use]
    pub fn digest(&self, label: &str, parts: &[&[u8]]) -> String {
        let parts: Vec<&[u8]> = [label.as_bytes(), b"\0"].into_iter().chain(parts.iter().copied()).collect();
        hex::encode(hmac_sha256(self.0.expose_secret().as_bytes(), &parts))
    }

    /// Returns the fingerprint of a secret.
    #[must_use]
    pub fn fingerprint(&self, secret: &WebhookSecret) -> Fingerprint {
        let digest = hmac_sha256(self.0.expose_secret().as_bytes(), &[secret.0.expose_secret().as_bytes()]);
        Fingerprint(hex::encode(digest))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rstest::rstest;

    use super::*;

    /// Returns a distinct fingerprint for each number.
    pub(crate) fn fingerprint(number: u8) -> Fingerprint {
        let key = FingerprintKey::new("key".to_owned().into());
        key.fingerprint(&WebhookSecret::from_random([number; GENERATED_BYTES]))
    }

    fn whsec(bytes: usize) -> String {
        format!("whsec_{}", BASE64.encode(vec![7; bytes]))
    }

    #[rstest]
    #[case::shortest_key(&whsec(24), Some((SecretFormat::Whsec, false)))]
    #[case::longest_key(&whsec(64), Some((SecretFormat::Whsec, false)))]
    #[case::key_too_short(&whsec(23), Some((SecretFormat::Plain, false)))]
    #[case::key_too_long(&whsec(65), Some((SecretFormat::Plain, false)))]
    #[case::the_guide_s_example("12345678", Some((SecretFormat::Plain, true)))]
    #[case::no_longer_weak("123456789012345678901234", Some((SecretFormat::Plain, false)))]
    #[case::too_short("1234567", None)]
    #[case::two_lines("12345678\n", None)]
    #[case::empty("", None)]
    fn distinguishes_formats(#[case] text: &str, #[case] expected: Option<(SecretFormat, bool)>) {
        let secret = WebhookSecret::parse(text).ok();
        assert_eq!(secret.map(|secret| (secret.format(), secret.is_weak())), expected);
    }

    #[test]
    fn a_secret_is_bounded() {
        assert!(WebhookSecret::parse(&"x".repeat(MAX_PLAIN_BYTES)).is_ok());
        assert!(WebhookSecret::parse(&"x".repeat(MAX_PLAIN_BYTES + 1)).is_err());
    }

    #[test]
    fn text_round_trips_and_debug_is_silent() {
        let secret = WebhookSecret::from_random([0x2a; GENERATED_BYTES]);
        let text = secret.to_text().expose_secret();
        let again = WebhookSecret::parse(text).unwrap();
        assert_eq!(again.to_text().expose_secret(), text);
        assert_eq!(again.format(), SecretFormat::Whsec);
        assert!(!format!("{secret:?}").contains(text));
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
