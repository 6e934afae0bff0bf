//! Signing: what proves to a receiver that a delivery is ours, and to us that a call is a sender's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secret::{SecretFormat, WebhookSecret};

mod verify;

pub use verify::{VerifyError, verify};

/// How requests are signed: always HMAC-SHA256 under the webhook's secret, each scheme over other bytes and in another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureScheme {
    /// [Standard Webhooks][1] 1.0.0: `v1,` and base64 over `<id>.<timestamp>.<body>`; the key is what `whsec_` encodes.
    ///
    /// [1]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    #[default]
    StandardWebhooks,
    /// `X-Signature-256`: hexadecimal over the body; the key is the secret's text.
    HmacSha256,
    /// [`X-Hub-Signature-256`][1]: `sha256=` and hexadecimal over the body; the key is the secret's text.
    ///
    /// [1]: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    Github,
    /// [`Stripe-Signature`][1]: `t=…,v1=` and hexadecimal over `<timestamp>.<body>`; the key is the secret's text.
    ///
    /// [1]: https://docs.stripe.com/webhooks#verify-manually
    Stripe,
}

impl SignatureScheme {
    /// Says whether a secret that looks like this can sign.
    #[must_use]
    pub fn takes(self, format: SecretFormat) -> bool {
        self != Self::StandardWebhooks || format == SecretFormat::Whsec
    }
}

/// A header of a signed request: name and value.
pub type Header = (&'static str, String);

/// Returns the headers that identify and sign `body`.
///
/// `webhook-id` is the event's id, the same for every attempt, by which a receiver recognises a duplicate. The timestamp is
/// the attempt's, so that a late retry still passes a receiver's replay window. Both are sent with every scheme.
///
/// `secrets` are those that sign, the current one first. Schemes that know several signatures carry them in one header;
/// for the others that of the current secret stands in the header and that of the previous one in `<header>-previous`.
#[must_use]
pub fn sign(
    scheme: SignatureScheme,
    secrets: &[&WebhookSecret],
    id: &str,
    attempted_at: Timestamp,
    body: &[u8],
) -> Vec<Header> {
    let timestamp = attempted_at.as_second().to_string();
    let signed = |parts: &[&[u8]]| -> Vec<String> {
        secrets.iter().map(|secret| hex::encode(secret.hmac_text(parts))).collect()
    };
    let signatures = match scheme {
        SignatureScheme::StandardWebhooks => {
            let parts: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
            let versions = secrets.iter().map(|secret| format!("v1,{}", BASE64.encode(secret.hmac_decoded(&parts))));
            vec![("webhook-signature", versions.collect::<Vec<_>>().join(" "))]
        }
        SignatureScheme::Stripe => {
            let signed = signed(&[timestamp.as_bytes(), b".", body]);
            let versions: Vec<String> = signed.into_iter().map(|signature| format!("v1={signature}")).collect();
            vec![("stripe-signature", format!("t={timestamp},{}", versions.join(",")))]
        }
        SignatureScheme::HmacSha256 => {
            ["x-signature-256", "x-signature-256-previous"].into_iter().zip(signed(&[body])).collect()
        }
        SignatureScheme::Github => {
            let signatures = signed(&[body]).into_iter().map(|signature| format!("sha256={signature}"));
            ["x-hub-signature-256", "x-hub-signature-256-previous"].into_iter().zip(signatures).collect()
        }
    };
    let mut headers = vec![("webhook-id", id.to_owned()), ("webhook-timestamp", timestamp)];
    headers.extend(signatures);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::parse(text).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The vector that the official JavaScript and Go libraries test themselves with.
    #[test]
    fn reproduces_the_standard_vector() {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let headers = sign(SignatureScheme::StandardWebhooks, &[&secret], id, at(1_614_265_330), body);
        let expected = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    }

    /// The example of GitHub's documentation.
    #[test]
    fn reproduces_githubs_vector() {
        let secret = secret("It's a Secret to Everybody");
        let headers = sign(SignatureScheme::Github, &[&secret], "evt_1", at(0), b"Hello, World!");
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(headers[2], ("x-hub-signature-256", expected.to_owned()));
    }

    #[test]
    fn both_secrets_sign_while_they_overlap() {
        let (new, old) = (secret("a secret of today"), secret("a secret of yesterday"));
        let signatures = |scheme, secrets: &[&WebhookSecret]| sign(scheme, secrets, "evt_1", at(0), b"{}").split_off(2);
        for scheme in [SignatureScheme::StandardWebhooks, SignatureScheme::Stripe] {
            let [both, only] = [&[&new, &old][..], &[&new]].map(|secrets| signatures(scheme, secrets)[0].1.clone());
            assert!(both.starts_with(&only) && both.len() > only.len());
        }
        for scheme in [SignatureScheme::HmacSha256, SignatureScheme::Github] {
            let both = signatures(scheme, &[&new, &old]);
            assert_eq!(both[0], signatures(scheme, &[&new])[0]);
            assert_eq!(both[1].1, signatures(scheme, &[&old])[0].1);
            assert_eq!(both[1].0, format!("{}-previous", both[0].0));
        }
    }
}
