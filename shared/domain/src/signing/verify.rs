//! Verifies that an inbound call comes from someone who knows the secret, and is not a replay.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::secret::WebhookSecret;
use super::signature::{Encoding, Signature, SignatureScheme};

/// The largest difference between the time of a call and the current time, for schemes that sign the time.
const REPLAY_WINDOW: Duration = Duration::from_mins(5);

/// Why a call is refused. The error contains nothing that helps to forge one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header is missing or cannot be read.
    #[error("the header {0} is missing or malformed")]
    Header(String),
    /// The signature was made for a different body, time or secret.
    #[error("the signature does not match")]
    Signature,
    /// It was signed too long ago, or in the future.
    #[error("the timestamp is more than five minutes away from now")]
    Timestamp,
}

/// Verifies a call. If the scheme signs an id, returns the sender's id of the call, which is the same when the sender
/// retries it.
///
/// Signatures are compared in constant time.
///
/// # Errors
///
/// If any part of the signature is missing or wrong, or the call is too old.
pub fn verify<'a>(
    signature: &Signature,
    secrets: &[&WebhookSecret],
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<String>, VerifyError> {
    let need = |name: &str| header(name).ok_or_else(|| VerifyError::Header(name.to_owned()));
    let name = signature.header().to_ascii_lowercase();
    let of_body = |given: Option<Vec<u8>>| {
        let given = given.ok_or_else(|| VerifyError::Header(name.clone()))?;
        matches(&[given], secrets.iter().map(|secret| secret.hmac_text(&[body])))?;
        Ok(None)
    };
    match signature.scheme {
        SignatureScheme::StandardWebhooks => {
            // Svix sends the same values under names of its own.
            let is_svix = header("webhook-id").is_none() && header("svix-id").is_some();
            let (id, timestamp, name) = if is_svix {
                (need("svix-id")?, need("svix-timestamp")?, "svix-signature".to_owned())
            } else {
                (need("webhook-id")?, need("webhook-timestamp")?, name)
            };
            // The parts are joined by dots, so with a dot in the id the same bytes could mean a different time and
            // body.
            if id.is_empty() || id.contains('.') {
                return Err(VerifyError::Header("webhook-id".to_owned()));
            }
            let parts: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
            let versions = need(&name)?.split(' ').filter_map(|version| version.strip_prefix("v1,"));
            let given: Vec<Vec<u8>> = versions.filter_map(|encoded| BASE64.decode(encoded).ok()).collect();
            matches(&given, secrets.iter().map(|secret| secret.hmac_decoded(&parts)))?;
            within_window("webhook-timestamp", timestamp, now)?;
            Ok(Some(id.to_owned()))
        }
        // Inbound webhooks cannot use this scheme, because the sender has no registered public key.
        SignatureScheme::StandardWebhooksEd25519 => Err(VerifyError::Signature),
        SignatureScheme::Stripe => {
            let fields = need(&name)?;
            let values = |key: &'static str| {
                fields.split(',').filter_map(move |field| field.split_once('=')).filter(move |(name, _)| *name == key)
            };
            let (_, timestamp) = values("t").next().ok_or_else(|| VerifyError::Header(name.clone()))?;
            let given: Vec<Vec<u8>> = values("v1").filter_map(|(_, digits)| hex::decode(digits).ok()).collect();
            let parts: [&[u8]; 3] = [timestamp.as_bytes(), b".", body];
            matches(&given, secrets.iter().map(|secret| secret.hmac_text(&parts)))?;
            within_window(&name, timestamp, now)?;
            Ok(None)
        }
        SignatureScheme::Github => {
            of_body(need(&name)?.strip_prefix("sha256=").and_then(|digits| hex::decode(digits).ok()))
        }
        SignatureScheme::HmacSha256 => of_body(signature.encoding.read(need(&name)?)),
        SignatureScheme::SuperOffice | SignatureScheme::Shopify => of_body(Encoding::Base64.read(need(&name)?)),
    }
}

impl Encoding {
    fn read(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => BASE64.decode(text).ok(),
        }
    }
}

/// Returns whether any given signature equals any expected one.
fn matches(given: &[Vec<u8>], expected: impl Iterator<Item = [u8; 32]>) -> Result<(), VerifyError> {
    // Compare all of them even after a match, so that the duration reveals nothing.
    let mut found = subtle::Choice::from(0);
    for expected in expected {
        for given in given {
            found |= given.as_slice().ct_eq(&expected);
        }
    }
    if found.into() { Ok(()) } else { Err(VerifyError::Signature) }
}

fn within_window(name: &str, timestamp: &str, now: Timestamp) -> Result<(), VerifyError> {
    let at = timestamp.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    let at = at.ok_or_else(|| VerifyError::Header(name.to_owned()))?;
    let distance = now.duration_since(at).unsigned_abs();
    if distance <= REPLAY_WINDOW { Ok(()) } else { Err(VerifyError::Timestamp) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::signing::sign::{Header, Keys, Signed, sign};

    /// All signatures that a call can have.
    fn signatures() -> Vec<Signature> {
        use SignatureScheme::{Github, HmacSha256, Shopify, StandardWebhooks, Stripe, SuperOffice};
        let mut all: Vec<Signature> =
            [StandardWebhooks, HmacSha256, Github, Stripe, SuperOffice, Shopify].map(Signature::from).into();
        let header = Some("X-Acme-Signature".to_owned());
        all.push(Signature { header, encoding: Encoding::Base64, ..HmacSha256.into() });
        all
    }

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::parse(text).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn signed(signature: &Signature, secret: &WebhookSecret, at: Timestamp, body: &[u8]) -> Vec<Header> {
        let keys = Keys { secrets: &[secret], signing_keys: &[] };
        let request = Signed { id: "msg_1", event_type: "a.created", attempt: 1, at, body };
        sign(std::slice::from_ref(signature), keys, &request)
    }

    fn check(
        signature: &Signature,
        secrets: &[&WebhookSecret],
        headers: &[Header],
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<String>, VerifyError> {
        let is = |other: &str, name: &str| other.eq_ignore_ascii_case(name);
        let header = |name: &str| headers.iter().find(|(other, _)| is(other, name)).map(|(_, value)| value.as_str());
        verify(signature, secrets, header, body, now)
    }

    proptest! {
        /// A signed call verifies, and not with a different body or secret.
        #[test]
        fn accepts_exactly_what_was_signed(
            signature in prop::sample::select(signatures()),
            body in prop::collection::vec(any::<u8>(), 0..200),
            other in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (ours, theirs) = (secret("a secret of ours"), secret("a secret of theirs"));
            let now = at(1_700_000_000);
            let headers = signed(&signature, &ours, now, &body);
            prop_assert!(check(&signature, &[&ours], &headers, &body, now).is_ok());
            prop_assert!(check(&signature, &[&theirs, &ours], &headers, &body, now).is_ok());
            prop_assert_eq!(check(&signature, &[&theirs], &headers, &body, now), Err(VerifyError::Signature));
            if other != body {
                prop_assert_eq!(check(&signature, &[&ours], &headers, &other, now), Err(VerifyError::Signature));
            }
        }

        /// Arbitrary header values are refused without a panic.
        #[test]
        fn refuses_noise(signature in prop::sample::select(signatures()), noise in "\\PC{0,80}") {
            let answer = verify(&signature, &[&secret("a secret of ours")], |_| Some(&noise), b"x", at(0));
            prop_assert!(answer.is_err());
        }
    }

    #[test]
    fn a_call_of_svix_has_names_of_its_own() {
        let (secret, now) = (secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), at(1_700_000_000));
        let scheme = SignatureScheme::StandardWebhooks.into();
        let mut headers = signed(&scheme, &secret, now, b"{}");
        for (name, _) in &mut headers {
            *name = name.replace("webhook-", "svix-");
        }
        assert_eq!(check(&scheme, &[&secret], &headers, b"{}", now), Ok(Some("msg_1".to_owned())));
        assert_eq!(check(&scheme, &[&secret], &headers, b"[]", now), Err(VerifyError::Signature));
        headers.retain(|(name, _)| name != "svix-timestamp");
        let missing = VerifyError::Header("svix-timestamp".to_owned());
        assert_eq!(check(&scheme, &[&secret], &headers, b"{}", now), Err(missing));
    }

    #[rstest]
    #[case::in_time(300, Ok(Some("msg_1".to_owned())))]
    #[case::too_late(301, Err(VerifyError::Timestamp))]
    #[case::as_early(-300, Ok(Some("msg_1".to_owned())))]
    #[case::too_early(-301, Err(VerifyError::Timestamp))]
    fn an_old_call_is_refused(#[case] seconds: i64, #[case] expected: Result<Option<String>, VerifyError>) {
        let secret = secret("a secret of ours");
        let (signed_at, now) = (at(1_700_000_000), at(1_700_000_000 + seconds));
        let answer = |scheme: SignatureScheme| {
            let headers = signed(&scheme.into(), &secret, signed_at, b"{}");
            check(&scheme.into(), &[&secret], &headers, b"{}", now)
        };
        assert_eq!(answer(SignatureScheme::StandardWebhooks), expected);
        assert_eq!(answer(SignatureScheme::Stripe), expected.map(|_| None));
    }

    /// The bytes `msg_1.1700000000.1700000060.{}` are signed once but could be read in two ways.
    #[rstest]
    #[case::moved("msg_1.1700000000", "1700000060", "{}")]
    #[case::empty("", "1700000000", "1700000060.{}")]
    fn bytes_do_not_move_between_the_parts(#[case] id: &str, #[case] timestamp: &str, #[case] body: &str) {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let mac = secret.hmac_decoded(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body.as_bytes()]);
        let headers = [
            ("webhook-id".to_owned(), id.to_owned()),
            ("webhook-timestamp".to_owned(), timestamp.to_owned()),
            ("webhook-signature".to_owned(), format!("v1,{}", BASE64.encode(mac))),
        ];
        let answer =
            check(&SignatureScheme::StandardWebhooks.into(), &[&secret], &headers, body.as_bytes(), at(1_700_000_030));
        assert_eq!(answer, Err(VerifyError::Header("webhook-id".to_owned())));
    }

    #[test]
    fn says_which_header_is_missing() {
        let names = [
            "webhook-id",
            "x-signature-256",
            "x-hub-signature-256",
            "stripe-signature",
            "x-superoffice-signature",
            "x-shopify-hmac-sha256",
            "x-acme-signature",
        ];
        for (signature, name) in signatures().iter().zip(names) {
            let secret = secret("a secret of ours");
            let answer = verify(signature, &[&secret], |_| None, b"", at(0));
            assert_eq!(answer, Err(VerifyError::Header(name.to_owned())));
        }
    }

    #[test]
    fn inbound_calls_cannot_use_the_tenants_key() {
        let signature = SignatureScheme::StandardWebhooksEd25519.into();
        let answer = verify(&signature, &[&secret("a secret of ours")], |_| Some("v1a,"), b"", at(0));
        assert_eq!(answer, Err(VerifyError::Signature));
    }
}
