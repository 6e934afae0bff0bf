//! What we sign is verified, and nothing else is: whatever a call's headers say, it passes only if they hold the very signature of
//! its body, its time and its id.
//!
//! Lines: a digit for the scheme, the id, the time, the header with the signature (`$` stands for the right one); the rest is
//! the body.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use domain::signing::secret::WebhookSecret;
use domain::signing::sign::{Keys, Signed, sign};
use domain::signing::signature::SignatureScheme;
use domain::signing::verify::verify;

const NOW: i64 = 1_795_244_140;

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(5, '\n');
    let mut part = || parts.next().unwrap_or("");
    let (scheme, id, time, said, body) = (part(), part(), part(), part(), part());
    let (scheme, name) = match scheme {
        "1" => (SignatureScheme::StandardWebhooks, "webhook-signature"),
        "2" => (SignatureScheme::Stripe, "stripe-signature"),
        "3" => (SignatureScheme::Github, "x-hub-signature-256"),
        "4" => (SignatureScheme::HmacSha256, "x-signature-256"),
        "5" => (SignatureScheme::SuperOffice, "x-superoffice-signature"),
        "6" => (SignatureScheme::Shopify, "x-shopify-hmac-sha256"),
        _ => return,
    };
    let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let now = Timestamp::from_second(NOW).unwrap();
    let checked = |headers: &[(&str, &str)]| {
        let header = |name: &str| headers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        verify(&scheme.into(), &[&secret], header, body.as_bytes(), now)
    };

    // The time that is said, if it is one that signs; now otherwise.
    let at = time.parse().ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(now);
    let request = Signed { id, event_type: "a.b", attempt: 1, at, body: body.as_bytes() };
    let signed = sign(&[scheme.into()], Keys { secrets: &[&secret], signing_keys: &[] }, &request);
    let signed: Vec<_> = signed.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let right = signed.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str()).unwrap();
    let headers: Vec<_> = signed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let in_time = (at.as_second() - NOW).abs() <= 300;
    let is_dated = matches!(scheme, SignatureScheme::StandardWebhooks | SignatureScheme::Stripe);
    assert_eq!(checked(&headers).is_ok(), in_time || !is_dated, "{headers:?}");

    let said = said.replace('$', right);
    let token = right.trim_end_matches('=').rsplit(['=', ',']).next().unwrap();
    let token = if scheme == SignatureScheme::StandardWebhooks { right.strip_prefix("v1,").unwrap() } else { token };
    if checked(&[("webhook-id", id), ("webhook-timestamp", time), (name, &said)]).is_ok() {
        assert!(said.to_ascii_lowercase().contains(&token.to_ascii_lowercase()), "{said:?} is not {right:?}");
    }
});
