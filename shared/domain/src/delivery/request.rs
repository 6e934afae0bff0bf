//! The HTTP request of an attempt: every header and every body byte that a receiver gets, in one place.

use jiff::Timestamp;

use crate::event::hops::{self, Hops};
use crate::event::trace::{self, TraceParent};
use crate::event::types::EventType;
use crate::id::EventId;
use crate::payload::ContentType;
use crate::signing::sign::{Header, Keys, Signed, sign};
use crate::webhook::encoding::ContentEncoding;
use crate::webhook::settings::Settings;

/// The `User-Agent` header.
pub const USER_AGENT: &str = concat!("Dynahook/", env!("CARGO_PKG_VERSION"));

/// The header that marks a test, so that its receiver can tell it from a real event.
const TEST: &str = "webhook-test";

/// What an attempt sends.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    /// The event. Its id is the `webhook-id` of every attempt.
    pub event: EventId,
    /// The event's type.
    pub event_type: &'a EventType,
    /// The event's position in the order of its entity's changes, if known.
    pub sequence: Option<&'a str>,
    /// How many deliveries led to this one, including itself.
    pub hops: Hops,
    /// The trace of the event, with the span of this attempt if spans are exported.
    pub traceparent: Option<TraceParent>,
    /// Whether it is a test.
    pub test: bool,
    /// The number of the attempt within its cycle, as in the log of attempts. It starts at 1, also after a redrive.
    pub attempt: u32,
    /// The content type of the body.
    pub content_type: ContentType,
    /// The payload.
    pub body: &'a str,
    /// When the attempt is made.
    pub at: Timestamp,
}

/// An HTTP request as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its headers without those of the connection, beginning with the owner's.
    pub headers: Vec<Header>,
    /// Its encoded body.
    pub body: Vec<u8>,
}

/// Builds the request of an attempt. The signature covers the bytes that are sent.
#[must_use]
pub fn request(settings: &Settings, keys: Keys<'_>, sending: &Sending<'_>) -> Request {
    let body = settings.content_encoding.encode(sending.body);
    let (id, attempt) = (sending.event.to_string(), sending.attempt);
    let signed = Signed { id: &id, event_type: sending.event_type.as_str(), attempt, at: sending.at, body: &body };
    let signatures = sign(&settings.signatures(), keys, &signed);
    // An owner could set the header in earlier versions.
    let is_set = || settings.headers.keys().any(|name| name.eq_ignore_ascii_case(trace::HEADER));
    let traceparent = sending.traceparent.filter(|_| !is_set()).map(|traceparent| traceparent.to_string());
    let content_encoding = (settings.content_encoding == ContentEncoding::Gzip).then_some("gzip");
    let ours = [
        ("content-type", Some(sending.content_type.as_str())),
        ("content-encoding", content_encoding),
        ("user-agent", Some(USER_AGENT)),
        ("webhook-attempt", Some(attempt.to_string().as_str())),
        ("webhook-sequence", sending.sequence),
        (hops::HEADER, Some(sending.hops.get().to_string().as_str())),
        (trace::HEADER, traceparent.as_deref()),
        (TEST, sending.test.then_some("true")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
    .collect::<Vec<_>>();
    let headers = settings.headers.clone().into_iter().chain(ours).chain(signatures).collect();
    Request { headers, body }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::signing::secret::WebhookSecret;
    use crate::signing::signature::SignatureScheme;
    use crate::signing::verify::verify;
    use crate::webhook::tests::webhook;

    fn at() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn make(settings: &Settings, body: &str) -> Request {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let event_type = "order.created".parse().unwrap();
        let sending = Sending {
            event: EventId::from_parts(at(), 1),
            event_type: &event_type,
            sequence: Some("0001"),
            hops: Hops::NONE.next().unwrap(),
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok(),
            test: true,
            attempt: 3,
            content_type: ContentType::Json,
            body,
            at: at(),
        };
        request(settings, Keys { secrets: &[&secret], signing_keys: &[] }, &sending)
    }

    #[test]
    fn has_the_owners_headers_and_ours() {
        let mut settings = webhook().settings;
        settings.headers.insert("X-Team".to_owned(), "erp".to_owned());
        let request = make(&settings, "{}");
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        insta::assert_snapshot!(headers.join("\n"), @r"
        X-Team: erp
        content-type: application/json
        user-agent: Dynahook/0.1.0
        webhook-attempt: 3
        webhook-sequence: 0001
        webhook-hops: 1
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
        webhook-test: true
        webhook-id: evt_01M7YRRT800000000000000001
        webhook-timestamp: 1795255200
        webhook-signature: v1,jHHmR/8sRj9sWCcEeQ7ES0rcROQz7jPwXtjHjlhQvRU=
        ");
        assert_eq!(request.body, b"{}");
    }

    proptest! {
        /// A compressed body decompresses to the payload, is signed in compressed form, and is the same each time.
        #[test]
        fn a_compressed_body_is_signed_in_compressed_form(body in "\\PC{0,200}") {
            let mut settings = webhook().settings;
            settings.content_encoding = ContentEncoding::Gzip;
            settings.signature_scheme = SignatureScheme::StandardWebhooks;
            let request = make(&settings, &body);
            prop_assert_eq!(&request, &make(&settings, &body));
            let mut unpacked = String::new();
            GzDecoder::new(request.body.as_slice()).read_to_string(&mut unpacked).unwrap();
            prop_assert_eq!(&unpacked, &body);
            let header = |name: &str| request.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
            prop_assert_eq!(header("content-encoding"), Some("gzip"));
            let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
            let signature = settings.signatures().remove(0);
            prop_assert!(verify(&signature, &[&secret], header, &request.body, at()).is_ok());
        }
    }
}
