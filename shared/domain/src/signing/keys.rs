//! Key pairs of webhooks and tenants. The private key signs, and anyone who has the public key can verify.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use ed25519_dalek::ed25519::signature::MultipartSigner as _;
use jiff::Timestamp;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::access::tenant::TenantId;
use crate::id::WebhookId;

/// How long a key is published after it has stopped signing, because its last deliveries may still be in flight or
/// waiting at the receiver.
const SHOWN_AFTERWARDS: Duration = Duration::from_mins(5);

/// A private key. `Debug` shows nothing of it, and its memory is wiped when it is dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

/// The text is not a key. The error contains nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be {0} followed by an Ed25519 key in base64")]
pub struct ParseKeyError(&'static str);

impl SigningKey {
    /// Creates a key from the caller's random bytes.
    #[must_use]
    pub fn from_random(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Parses a key: `whsk_`, followed in base64 by the seed, or by the seed and the public key.
    ///
    /// # Errors
    ///
    /// If it is invalid, or the public key does not belong to the seed.
    pub fn parse(text: &str) -> Result<Self, ParseKeyError> {
        let read = || {
            let bytes = Zeroizing::new(BASE64.decode(text.strip_prefix("whsk_")?).ok()?);
            match <&[u8; 64]>::try_from(bytes.as_slice()) {
                Ok(pair) => ed25519_dalek::SigningKey::from_keypair_bytes(pair).ok(),
                Err(_) => bytes.as_slice().try_into().ok(),
            }
        };
        read().map(Self).ok_or(ParseKeyError("whsk_"))
    }

    /// Returns the form stored in Secrets Manager: `whsk_`, followed in base64 by the seed and the public key.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        let pair = Zeroizing::new(self.0.to_keypair_bytes());
        format!("whsk_{}", BASE64.encode(pair.as_slice())).into()
    }

    /// Returns the public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs the concatenation of the parts.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; 64] {
        self.0.multipart_sign(parts).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

/// A public key: `whpk_` and its 32 bytes in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Returns the bytes in base64url, as in a JSON Web Key.
    #[must_use]
    pub fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Returns the key's id: its [thumbprint](https://www.rfc-editor.org/rfc/rfc7638), which is the same everywhere.
    #[must_use]
    pub fn id(&self) -> String {
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x());
        URL_SAFE_NO_PAD.encode(Sha256::digest(members))
    }

    /// Returns the bytes in hexadecimal. Secrets Manager accepts this as the id of a version.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "whpk_{}", BASE64.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_prefix("whpk_").and_then(|encoded| BASE64.decode(encoded).ok());
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(ParseKeyError("whpk_"))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = ParseKeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// The owner of a key pair.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyOwner {
    /// The tenant.
    pub tenant: TenantId,
    /// The tenant's webhook, or `None` for the key pair that the tenant's webhooks share.
    pub webhook: Option<WebhookId>,
}

impl KeyOwner {
    /// Returns the path of the private key: `<prefix>/<tenant>/signing-key`, or
    /// `<prefix>/<tenant>/<webhook>/signing-key`, below the webhook's secret. The first cannot be mistaken for the path
    /// of a webhook, because no webhook id looks like it.
    #[must_use]
    pub fn path(&self, prefix: &str) -> String {
        match self.webhook {
            Some(webhook) => format!("{prefix}/{}/{webhook}/signing-key", self.tenant),
            None => format!("{prefix}/{}/signing-key", self.tenant),
        }
    }
}

impl fmt::Display for KeyOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.webhook {
            Some(webhook) => write!(f, "{}/{webhook}", self.tenant),
            None => self.tenant.fmt(f),
        }
    }
}

/// An owner's public keys: which sign, and which are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeys {
    /// The path in Secrets Manager of the private keys.
    pub vault_path: String,
    /// The number of writes; the first is 1.
    pub version: u64,
    /// The key that signs.
    pub current: PublicKey,
    /// When it began to sign.
    pub since: Timestamp,
    /// The previous key, until it is removed.
    pub previous: Option<PreviousKey>,
    /// Identifies the request that made the current key by a rotation, if a later try of that request can be
    /// recognised.
    pub rotation: Option<String>,
}

/// A rotated key that still signs together with its successor for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousKey {
    /// The rotated key.
    pub key: PublicKey,
    /// When it stops signing.
    pub until: Timestamp,
}

impl SigningKeys {
    /// Returns the keys of an owner with a first key.
    #[must_use]
    pub fn first(vault_path: String, key: PublicKey, at: Timestamp) -> Self {
        Self { vault_path, version: 1, current: key, since: at, previous: None, rotation: None }
    }

    /// Replaces the current key, which still signs together with the new one for the overlap; with an overlap of zero
    /// it stops at once.
    #[must_use]
    pub fn rotated(&self, key: PublicKey, overlap: Duration, at: Timestamp) -> Self {
        let previous = (!overlap.is_zero()).then_some(PreviousKey { key: self.current, until: at + overlap });
        let vault_path = self.vault_path.clone();
        Self { vault_path, version: self.version + 1, current: key, since: at, previous, rotation: None }
    }

    /// Returns the keys that sign at that time, the current one first.
    pub fn signing(&self, now: Timestamp) -> impl Iterator<Item = PublicKey> {
        let previous = self.previous.filter(|previous| previous.until > now);
        std::iter::once(self.current).chain(previous.map(|previous| previous.key))
    }

    /// Returns the previous key as long as it is published to receivers, which is a little longer than it signs.
    #[must_use]
    pub fn shown_previous(&self, now: Timestamp) -> Option<PreviousKey> {
        self.previous.filter(|previous| previous.until + SHOWN_AFTERWARDS > now)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, VerifyingKey};
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::ExposeSecret as _;

    use super::*;

    /// Svix's key, which was used for the example in the specification of Standard Webhooks.
    const PRIVATE: &str = "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn reads_what_others_write() {
        let key = SigningKey::parse(&format!("whsk_{PRIVATE}")).unwrap();
        assert_eq!(key.public().to_string(), PUBLIC);
        let seed = &BASE64.decode(PRIVATE).unwrap()[..32];
        let short = SigningKey::parse(&format!("whsk_{}", BASE64.encode(seed))).unwrap();
        assert_eq!(short.to_text().expose_secret(), format!("whsk_{PRIVATE}"));
    }

    #[rstest]
    #[case::no_prefix(PRIVATE)]
    #[case::a_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    #[case::too_short("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    #[case::no_base64("whsk_!")]
    #[case::halves_of_two(
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg=="
    )]
    fn refuses(#[case] text: &str) {
        let error = SigningKey::parse(text).unwrap_err();
        assert_eq!(error.to_string(), "must be whsk_ followed by an Ed25519 key in base64");
        assert!(text.parse::<PublicKey>().is_err());
    }

    #[test]
    fn each_owner_has_a_path_of_its_own() {
        let (tenant, id) = ("acme".parse().unwrap(), "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK");
        let shared = KeyOwner { tenant, webhook: None };
        let own = KeyOwner { webhook: Some(id.parse().unwrap()), ..shared.clone() };
        assert_eq!(shared.path("/dev/webhooks"), "/dev/webhooks/acme/signing-key");
        assert_eq!(own.path("/dev/webhooks"), format!("/dev/webhooks/acme/{id}/signing-key"));
        assert!("signing-key".parse::<WebhookId>().is_err());
    }

    #[test]
    fn debug_is_silent() {
        let key = SigningKey::from_random([0x2a; 32]);
        let (shown, text) = (format!("{key:?}"), key.to_text());
        assert!(!text.expose_secret().contains(&shown) && !shown.contains(&text.expose_secret()[5..40]), "{shown}");
    }

    /// The example from [RFC 8037](https://www.rfc-editor.org/rfc/rfc8037#appendix-A.3).
    #[test]
    fn the_id_is_the_thumbprint() {
        let bytes: [u8; 32] =
            URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap().try_into().unwrap();
        assert_eq!(PublicKey(bytes).id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(PublicKey(bytes).to_hex().len(), 64);
    }

    #[test]
    fn two_keys_sign_until_the_overlap_ends_and_the_old_one_is_shown_a_little_longer() {
        let [old, new] = [1, 2].map(|byte| SigningKey::from_random([byte; 32]).public());
        let first = SigningKeys::first("/dev/webhooks/acme/signing-key".to_owned(), old, at(0));
        let keys = first.rotated(new, Duration::from_mins(1), at(100));
        assert_eq!((keys.version, keys.since), (2, at(100)));
        assert_eq!(keys.signing(at(159)).collect::<Vec<_>>(), [new, old]);
        assert_eq!(keys.signing(at(160)).collect::<Vec<_>>(), [new]);
        assert_eq!(keys.shown_previous(at(459)).map(|previous| previous.key), Some(old));
        assert_eq!(keys.shown_previous(at(460)), None);
        let at_once = first.rotated(new, Duration::ZERO, at(100));
        assert_eq!((at_once.signing(at(100)).count(), at_once.shown_previous(at(100))), (1, None));
    }

    proptest! {
        /// A signature verifies with the signer's public key and with no other key.
        #[test]
        fn a_signature_verifies_with_its_own_key_only(seed: [u8; 32], other: [u8; 32], parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6)) {
            let key = SigningKey::from_random(seed);
            let again = SigningKey::parse(key.to_text().expose_secret()).unwrap();
            prop_assert_eq!(key.public().to_string().parse::<PublicKey>().unwrap(), again.public());
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let signature = Signature::from_bytes(&again.sign(&parts));
            let verifies = |key: PublicKey| {
                VerifyingKey::from_bytes(&key.0).unwrap().verify_strict(&parts.concat(), &signature).is_ok()
            };
            prop_assert!(verifies(key.public()));
            prop_assert_eq!(verifies(SigningKey::from_random(other).public()), seed == other);
        }
    }
}
