//! Signing: the headers that identify and sign a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::keys::SigningKey;
use super::secret::WebhookSecret;
use super::signature::{Encoding, Signature, SignatureScheme};
use crate::id::EventId;

/// A header of a signed request: name, in the case in which it is sent, and value.
pub type Header = (String, String);

/// The keys that sign. Of each kind the current one comes first, followed by the previous one while both sign.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys<'a> {
    /// The webhook's secrets.
    pub secrets: &'a [&'a WebhookSecret],
    /// The private keys, if a scheme uses them.
    pub signing_keys: &'a [&'a SigningKey],
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The event's id, the same for every attempt, so that a receiver can recognize duplicates.
    pub id: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// The number of the attempt; the first is 1.
    pub attempt: u32,
    /// The time of the attempt rather than of the event, so that a late retry still passes a receiver's replay window.
    pub at: Timestamp,
    /// The bytes of the body as sent.
    pub body: &'a [u8],
}

/// Returns the headers that identify and sign a request.
///
/// `webhook-id` and `webhook-timestamp` are sent with every scheme. Schemes that support several signatures list those
/// of all keys in one header. For other schemes, the header has the signature of the current secret, and
/// `<header>-previous` that of the previous one.
#[must_use]
pub fn sign(signatures: &[Signature], keys: Keys<'_>, request: &Signed<'_>) -> Vec<Header> {
    let timestamp = request.at.as_second().to_string();
    let mut headers =
        vec![("webhook-id".to_owned(), request.id.to_owned()), ("webhook-timestamp".to_owned(), timestamp.clone())];
    for signature in signatures {
        for (name, value) in write(signature, keys, request, &timestamp) {
            match headers.iter_mut().find(|(other, _)| *other == name) {
                // The two schemes of Standard Webhooks share a header, which is a list.
                Some((_, values)) => {
                    values.push(' ');
                    values.push_str(&value);
                }
                None => headers.push((name, value)),
            }
        }
    }
    headers
}

/// Returns the headers of one signature.
fn write(signature: &Signature, keys: Keys<'_>, request: &Signed<'_>, timestamp: &str) -> Vec<Header> {
    let Signed { id, event_type, attempt, body, .. } = *request;
    let standard: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let texts = |parts: &[&[u8]], text: &dyn Fn([u8; 32]) -> String| -> Vec<String> {
        keys.secrets.iter().map(|secret| text(secret.hmac_text(parts))).collect()
    };
    let list = |values: Vec<String>, between: &str| vec![(signature.header().to_owned(), values.join(between))];
    let one_each = |values: Vec<String>| -> Vec<Header> {
        [signature.header().to_owned(), signature.previous_header()].into_iter().zip(values).collect()
    };
    let more = |headers: Vec<Header>, values: &[&str]| -> Vec<Header> {
        let names = signature.scheme.companions().iter();
        let companions = names.zip(values).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        headers.into_iter().chain(companions).collect()
    };
    match signature.scheme {
        SignatureScheme::StandardWebhooks => {
            let secrets = keys.secrets.iter();
            list(secrets.map(|secret| format!("v1,{}", BASE64.encode(secret.hmac_decoded(&standard)))).collect(), " ")
        }
        SignatureScheme::StandardWebhooksEd25519 => {
            let keys = keys.signing_keys.iter();
            list(keys.map(|key| format!("v1a,{}", BASE64.encode(key.sign(&standard)))).collect(), " ")
        }
        SignatureScheme::HmacSha256 => one_each(texts(&[body], &|bytes| signature.encoding.write(bytes))),
        SignatureScheme::Github => one_each(texts(&[body], &|bytes| format!("sha256={}", hex::encode(bytes)))),
        SignatureScheme::Stripe => {
            let versions = texts(&[timestamp.as_bytes(), b".", body], &|bytes| format!("v1={}", hex::encode(bytes)));
            list([vec![format!("t={timestamp}")], versions].concat(), ",")
        }
        SignatureScheme::SuperOffice => {
            // SuperOffice uses GUIDs as ids and calls an update a change, as in its payload.
            let guid = id.parse::<EventId>().map_or_else(|_| id.to_owned(), |id| id.guid());
            let changed = event_type.strip_suffix(".updated").map(|entity| format!("{entity}.changed"));
            let event = changed.as_deref().unwrap_or(event_type);
            let retries = attempt.saturating_sub(1).to_string();
            more(one_each(texts(&[body], &|bytes| BASE64.encode(bytes))), &[event, &guid, &retries])
        }
        SignatureScheme::Shopify => more(one_each(texts(&[body], &|bytes| BASE64.encode(bytes))), &[event_type, id]),
    }
}

impl Encoding {
    fn write(self, bytes: [u8; 32]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => BASE64.encode(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::parse(text).unwrap()
    }

    /// Signs with one scheme; returns the headers after the id and the timestamp.
    fn signed(signature: impl Into<Signature>, secrets: &[&WebhookSecret], request: &Signed<'_>) -> Vec<Header> {
        sign(&[signature.into()], Keys { secrets, signing_keys: &[] }, request).split_off(2)
    }

    fn of(body: &[u8]) -> Signed<'_> {
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        Signed { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", event_type: "order.created", attempt: 3, at, body }
    }

    fn owned(headers: &[(&str, &str)]) -> Vec<Header> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const STANDARD_BODY: &[u8] = br#"{"test": 2432232314}"#;
    const STANDARD_V1: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    /// The signature of `STANDARD_BODY` in the specification.
    const STANDARD_V1A: &str =
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

    /// The test vectors of the official JavaScript and Go libraries and of Svix's server.
    #[test]
    fn reproduces_the_standard_vectors() {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let key = SigningKey::parse(
            "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        )
        .unwrap();
        let keys = Keys { secrets: &[&secret], signing_keys: &[&key] };
        let schemes = [SignatureScheme::StandardWebhooks, SignatureScheme::StandardWebhooksEd25519];
        let expected = |signature: &str| {
            owned(&[
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ])
        };
        for (scheme, signature) in schemes.into_iter().zip([STANDARD_V1, STANDARD_V1A]) {
            assert_eq!(sign(&[scheme.into()], keys, &of(STANDARD_BODY)), expected(signature));
        }
        let both = sign(&schemes.map(Signature::from), keys, &of(STANDARD_BODY));
        assert_eq!(both, expected(&format!("{STANDARD_V1} {STANDARD_V1A}")));
    }

    /// The example in GitHub's documentation.
    #[test]
    fn reproduces_githubs_vector() {
        let secret = secret("It's a Secret to Everybody");
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = signed(SignatureScheme::Github, &[&secret], &of(b"Hello, World!"));
        assert_eq!(headers, owned(&[("X-Hub-Signature-256", expected)]));
    }

    /// The same signature, `openssl dgst -sha256 -hmac "It's a Secret to Everybody"` of the text, in every form.
    #[rstest]
    #[case::plain(SignatureScheme::HmacSha256.into(), &[("X-Signature-256", HEX)])]
    #[case::by_another_name(
        Signature { header: Some("X-ACME-Signature".to_owned()), encoding: Encoding::Base64, ..SignatureScheme::HmacSha256.into() },
        &[("X-ACME-Signature", BASE_64)]
    )]
    #[case::superoffice(SignatureScheme::SuperOffice.into(), &[
        ("X-SuperOffice-Signature", BASE_64),
        ("X-SuperOffice-Event", "order.created"),
        ("X-SuperOffice-EventId", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("X-SuperOffice-Retry", "2"),
    ])]
    #[case::shopify(SignatureScheme::Shopify.into(), &[
        ("X-Shopify-Hmac-Sha256", BASE_64),
        ("X-Shopify-Topic", "order.created"),
        ("X-Shopify-Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
    ])]
    fn writes_the_vendors_forms(#[case] signature: Signature, #[case] expected: &[(&str, &str)]) {
        let headers = signed(signature.clone(), &[&secret("It's a Secret to Everybody")], &of(b"Hello, World!"));
        assert_eq!(headers, owned(expected));
        let announced: Vec<_> = signature.headers().collect();
        assert!(headers.iter().all(|(name, _)| announced.contains(&name.to_ascii_lowercase())), "{announced:?}");
    }

    #[test]
    fn uses_superoffices_names() {
        let request = Signed { id: "evt_01M7YRRT800000000000000001", event_type: "contact.updated", ..of(b"{}") };
        let headers = signed(SignatureScheme::SuperOffice, &[&secret("a secret of ours")], &request);
        let expected = [
            ("X-SuperOffice-Event", "contact.changed"),
            ("X-SuperOffice-EventId", "01a1fd8c-6900-0000-0000-000000000001"),
            ("X-SuperOffice-Retry", "2"),
        ];
        assert_eq!(headers[1..], owned(&expected));
    }

    const HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    const BASE_64: &str = "dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc=";

    #[rstest]
    #[case::standard(SignatureScheme::StandardWebhooks, true)]
    #[case::stripe(SignatureScheme::Stripe, true)]
    #[case::plain(SignatureScheme::HmacSha256, false)]
    #[case::github(SignatureScheme::Github, false)]
    #[case::superoffice(SignatureScheme::SuperOffice, false)]
    #[case::shopify(SignatureScheme::Shopify, false)]
    fn both_secrets_sign_while_they_overlap(#[case] scheme: SignatureScheme, #[case] in_one_header: bool) {
        let (new, old) = (secret("a secret of today"), secret("a secret of yesterday"));
        let both = signed(scheme, &[&new, &old], &of(b"{}"));
        let [only_new, only_old] = [&new, &old].map(|secret| signed(scheme, &[secret], &of(b"{}")).swap_remove(0));
        assert_eq!(both[0].0, only_new.0);
        if in_one_header {
            assert!(both[0].1.starts_with(&only_new.1) && both[0].1.len() > only_new.1.len());
        } else {
            assert_eq!((&both[0].1, &both[1].1), (&only_new.1, &only_old.1));
            assert_eq!(both[1].0, format!("{}-Previous", both[0].0));
        }
    }

    #[test]
    fn both_keys_sign_while_they_overlap() {
        let [new, old] = [1, 2].map(|byte| SigningKey::from_random([byte; 32]));
        let by = |signing_keys: &[&SigningKey]| {
            let keys = Keys { secrets: &[], signing_keys };
            sign(&[SignatureScheme::StandardWebhooksEd25519.into()], keys, &of(b"{}")).swap_remove(2).1
        };
        assert_eq!(by(&[&new, &old]), format!("{} {}", by(&[&new]), by(&[&old])));
    }
}
