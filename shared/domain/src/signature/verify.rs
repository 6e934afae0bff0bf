//! Verifying: whether an inbound call comes from who knows the secret, and is not an old one played again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::SignatureScheme;
use crate::secret::WebhookSecret;

/// How far a call's time may be from ours, where the scheme signs one.
const REPLAY_WINDOW: Duration = Duration::from_mins(5);

/// Why a call is not believed. Says nothing that would help to forge one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header is missing or cannot be read.
    #[error("the header {0} is missing or malformed")]
    Header(&'static str),
    /// The signature is of another body, another time or another secret.
    #[error("the signature does not match")]
    Signature,
    /// It was signed too long ago, or in the future.
    #[error("the timestamp is more than five minutes away from now")]
    Timestamp,
}

/// Checks a call and returns the sender's id of it, the same whenever the sender sends it again, if the scheme signs one.
///
/// Signatures are compared in constant time.
///
/// # Errors
///
/// If any part of the signature is missing or wrong, or the call is too old.
pub fn verify<'a>(
    scheme: SignatureScheme,
    secrets: &[&WebhookSecret],
    header: impl Fn(&'static str) -> Option<&'a str>,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<String>, VerifyError> {
    let need = |name: &'static str| header(name).ok_or(VerifyError::Header(name));
    match scheme {
        SignatureScheme::StandardWebhooks => {
            let (id, timestamp) = (need("webhook-id")?, need("webhook-timestamp")?);
            let parts: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
            let versions = need("webhook-signature")?.split(' ').filter_map(|version| version.strip_prefix("v1,"));
            let given: Vec<Vec<u8>> = versions.filter_map(|encoded| BASE64.decode(encoded).ok()).collect();
            matches(&given, secrets.iter().map(|secret| secret.hmac_decoded(&parts)))?;
            within_window("webhook-timestamp", timestamp, now)?;
            Ok(Some(id.to_owned()))
        }
        SignatureScheme::Stripe => {
            let fields = need("stripe-signature")?;
            let values = |key: &'static str| {
                fields.split(',').filter_map(move |field| field.split_once('=')).filter(move |(name, _)| *name == key)
            };
            let (_, timestamp) = values("t").next().ok_or(VerifyError::Header("stripe-signature"))?;
            let given: Vec<Vec<u8>> = values("v1").filter_map(|(_, digits)| hex::decode(digits).ok()).collect();
            let parts: [&[u8]; 3] = [timestamp.as_bytes(), b".", body];
            matches(&given, secrets.iter().map(|secret| secret.hmac_text(&parts)))?;
            within_window("stripe-signature", timestamp, now)?;
            Ok(None)
        }
        SignatureScheme::Github => {
            let digits = need("x-hub-signature-256")?.strip_prefix("sha256=");
            let given = digits.and_then(|digits| hex::decode(digits).ok());
            let given = given.ok_or(VerifyError::Header("x-hub-signature-256"))?;
            matches(&[given], secrets.iter().map(|secret| secret.hmac_text(&[body])))?;
            Ok(None)
        }
        SignatureScheme::HmacSha256 => {
            let given = hex::decode(need("x-signature-256")?).map_err(|_| VerifyError::Header("x-signature-256"))?;
            matches(&[given], secrets.iter().map(|secret| secret.hmac_text(&[body])))?;
            Ok(None)
        }
    }
}

/// Says whether any of the given signatures is any of the expected ones.
fn matches(given: &[Vec<u8>], expected: impl Iterator<Item = [u8; 32]>) -> Result<(), VerifyError> {
    // All are compared, whichever matches: how long it takes says nothing.
    let mut found = subtle::Choice::from(0);
    for expected in expected {
        for given in given {
            found |= given.as_slice().ct_eq(&expected);
        }
    }
    if found.into() { Ok(()) } else { Err(VerifyError::Signature) }
}

fn within_window(name: &'static str, timestamp: &str, now: Timestamp) -> Result<(), VerifyError> {
    let at = timestamp.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    let at = at.ok_or(VerifyError::Header(name))?;
    let distance = now.duration_since(at).unsigned_abs();
    if distance <= REPLAY_WINDOW { Ok(()) } else { Err(VerifyError::Timestamp) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::sign;
    use super::*;

    const SCHEMES: [SignatureScheme; 4] = [
        SignatureScheme::StandardWebhooks,
        SignatureScheme::HmacSha256,
        SignatureScheme::Github,
        SignatureScheme::Stripe,
    ];

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::parse(text).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn check(
        scheme: SignatureScheme,
        secrets: &[&WebhookSecret],
        headers: &[(&'static str, String)],
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<String>, VerifyError> {
        let header = |name| headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str());
        verify(scheme, secrets, header, body, now)
    }

    proptest! {
        /// What one side signs the other believes, and nothing else: not another body, not another secret.
        #[test]
        fn believes_exactly_what_was_signed(
            scheme in prop::sample::select(&SCHEMES),
            body in prop::collection::vec(any::<u8>(), 0..200),
            other in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (ours, theirs) = (secret("a secret of ours"), secret("a secret of theirs"));
            let now = at(1_700_000_000);
            let headers = sign(scheme, &[&ours], "msg_1", now, &body);
            prop_assert!(check(scheme, &[&ours], &headers, &body, now).is_ok());
            prop_assert!(check(scheme, &[&theirs, &ours], &headers, &body, now).is_ok());
            prop_assert_eq!(check(scheme, &[&theirs], &headers, &body, now), Err(VerifyError::Signature));
            if other != body {
                prop_assert_eq!(check(scheme, &[&ours], &headers, &other, now), Err(VerifyError::Signature));
            }
        }

        /// Whatever stands in the headers, the answer is no, and not a panic.
        #[test]
        fn believes_no_noise(scheme in prop::sample::select(&SCHEMES), noise in "\\PC{0,80}") {
            let answer = verify(scheme, &[&secret("a secret of ours")], |_| Some(&noise), b"x", at(0));
            prop_assert!(answer.is_err());
        }
    }

    #[rstest]
    #[case::in_time(300, Ok(Some("msg_1".to_owned())))]
    #[case::too_late(301, Err(VerifyError::Timestamp))]
    #[case::as_early(-300, Ok(Some("msg_1".to_owned())))]
    #[case::too_early(-301, Err(VerifyError::Timestamp))]
    fn an_old_call_is_not_believed(#[case] seconds: i64, #[case] expected: Result<Option<String>, VerifyError>) {
        let secret = secret("a secret of ours");
        let signed_at = at(1_700_000_000);
        let now = at(1_700_000_000 + seconds);
        let headers = sign(SignatureScheme::StandardWebhooks, &[&secret], "msg_1", signed_at, b"{}");
        assert_eq!(check(SignatureScheme::StandardWebhooks, &[&secret], &headers, b"{}", now), expected);
        let headers = sign(SignatureScheme::Stripe, &[&secret], "msg_1", signed_at, b"{}");
        let stripe = check(SignatureScheme::Stripe, &[&secret], &headers, b"{}", now);
        assert_eq!(stripe, expected.map(|_| None));
    }

    #[test]
    fn says_which_header_is_missing() {
        for (scheme, name) in [
            (SignatureScheme::StandardWebhooks, "webhook-id"),
            (SignatureScheme::HmacSha256, "x-signature-256"),
            (SignatureScheme::Github, "x-hub-signature-256"),
            (SignatureScheme::Stripe, "stripe-signature"),
        ] {
            let secret = secret("a secret of ours");
            assert_eq!(verify(scheme, &[&secret], |_| None, b"", at(0)), Err(VerifyError::Header(name)));
        }
    }
}
