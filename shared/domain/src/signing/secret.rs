//! Signing secrets: made once, shown once, never printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// How many random bytes a generated secret has.
pub const GENERATED_BYTES: usize = 32;

/// The shortest secret that a user may bring, in characters.
pub const MIN_PLAIN_CHARACTERS: usize = 8;

/// The longest secret that a user may bring, in bytes.
pub const MAX_PLAIN_BYTES: usize = 400;

/// Under how many characters a plain secret can be guessed, and its user is warned.
pub const WEAK_BELOW_CHARACTERS: usize = 24;

/// A secret of a webhook: a text that is shared with the receiver and signs its deliveries, or one that
/// [authorizes](crate::webhook::authorization) them. `Debug` shows nothing of it.
#[derive(Debug)]
pub struct WebhookSecret(SecretString);

/// What a secret looks like, and so what it can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretFormat {
    /// `whsec_` and 24 to 64 bytes in base64, as [Standard Webhooks][1] asks: every scheme takes it.
    ///
    /// [1]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    Whsec,
    /// Any other text of 8 characters or more, for the schemes whose key is the text itself.
    Plain,
}

/// A text that cannot be a secret. Says nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be whsec_ followed by 24 to 64 bytes in base64, or a text of {MIN_PLAIN_CHARACTERS} characters to {MAX_PLAIN_BYTES} bytes"
)]
pub struct ParseSecretError;

impl WebhookSecret {
    /// Makes a secret of the caller's random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; GENERATED_BYTES]) -> Self {
        Self(format!("whsec_{}", BASE64.encode(bytes)).into())
    }

    /// Takes a text that was checked: by whoever keeps to other rules than [`parse`](Self::parse), or before it was kept.
    #[must_use]
    pub fn checked(text: SecretString) -> Self {
        Self(text)
    }

    /// Reads a secret that a user brought, to sign with.
    ///
    /// # Errors
    ///
    /// If it is too short, too long, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, ParseSecretError> {
        let long_enough = text.chars().count() >= MIN_PLAIN_CHARACTERS && text.len() <= MAX_PLAIN_BYTES;
        if long_enough && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned().into()))
        } else {
            Err(ParseSecretError)
        }
    }

    /// Returns the text, to be shown once or to be kept in Secrets Manager.
    #[must_use]
    pub fn to_text(&self) -> &SecretString {
        &self.0
    }

    /// Says what it looks like.
    #[must_use]
    pub fn format(&self) -> SecretFormat {
        if self.decoded().is_some() { SecretFormat::Whsec } else { SecretFormat::Plain }
    }

    /// Says whether it can be guessed.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.0.expose_secret().chars().count() < WEAK_BELOW_CHARACTERS
    }

    fn decoded(&self) -> Option<SecretBox<[u8]>> {
        let encoded = self.0.expose_secret().strip_prefix("whsec_")?;
        let bytes = BASE64.decode(encoded).ok().filter(|bytes| (24..=64).contains(&bytes.len()))?;
        Some(SecretBox::new(bytes.into_boxed_slice()))
    }

    /// Signs with the bytes that the text stands for, as Standard Webhooks does; with those of the text if it stands for none.
    pub(crate) fn hmac_decoded(&self, parts: &[&[u8]]) -> [u8; 32] {
        match self.decoded() {
            Some(key) => hmac_sha256(key.expose_secret(), parts),
            None => self.hmac_text(parts),
        }
    }

    /// Signs with the bytes of the text, as everybody else does.
    pub(crate) fn hmac_text(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac_sha256(self.0.expose_secret().as_bytes(), parts)
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

    /// Returns a digest of what may hold a secret, for one purpose: another label gives another digest.
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

    /// Returns a fingerprint of some secret; another one for another number.
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
    fn tells_formats_apart(#[case] text: &str, #[case] expected: Option<(SecretFormat, bool)>) {
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
