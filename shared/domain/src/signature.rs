//! Signing: what proves to a receiver that a delivery is ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::EventId;
use crate::secret::WebhookSecret;

/// How a webhook's deliveries are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureScheme {
    /// [Standard Webhooks][1] 1.0.0, symmetric: `v1,` and HMAC-SHA256 over `<id>.<timestamp>.<body>`.
    ///
    /// [1]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    #[default]
    StandardWebhooks,
}

/// A header of a signed request: name and value.
pub type Header = (&'static str, String);

/// Returns the headers that sign `body`.
///
/// `webhook-id` is the event's id, the same for every attempt, by which a receiver recognises a duplicate. The timestamp is
/// the attempt's, so that a late retry still passes a receiver's replay window.
#[must_use]
pub fn sign(
    scheme: SignatureScheme,
    secret: &WebhookSecret,
    event: EventId,
    attempted_at: Timestamp,
    body: &[u8],
) -> Vec<Header> {
    match scheme {
        SignatureScheme::StandardWebhooks => standard_webhooks(secret, &event.to_string(), attempted_at, body).into(),
    }
}

fn standard_webhooks(secret: &WebhookSecret, id: &str, at: Timestamp, body: &[u8]) -> [Header; 3] {
    let timestamp = at.as_second().to_string();
    let digest = secret.hmac_sha256(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", format!("v1,{}", BASE64.encode(digest))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the official JavaScript and Go libraries test themselves with.
    #[test]
    fn reproduces_the_standard_vector() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let [id, timestamp, signature] =
            standard_webhooks(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#);
        assert_eq!(id, ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()));
        assert_eq!(timestamp, ("webhook-timestamp", "1614265330".to_owned()));
        assert_eq!(signature, ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()));
    }
}
