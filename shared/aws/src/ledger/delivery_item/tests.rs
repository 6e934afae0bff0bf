use domain::attempt::outcome::{Outcome, Timing, Verdict};
use domain::attempt::redact::Masked;

use super::*;
use crate::items::tests::size;
use crate::items::{from_item, to_item};

/// A delivery that the receiver accepted at the first attempt, as most are.
pub(in crate::ledger) fn delivered() -> Delivery {
    let at = Timestamp::from_nanosecond(1_795_246_444_123_456_789).unwrap();
    let event = EventId::derive(at, &["1"]);
    let headers = [
        ("X-Team", "erp"),
        ("content-type", "application/json"),
        ("user-agent", "Dynahook/0.1.0"),
        ("webhook-attempt", "1"),
        ("webhook-sequence", "000000000000040000000000000000000123456"),
        ("webhook-id", &event.to_string()),
        ("webhook-timestamp", "1795246444"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let timing = Timing {
        dns_ms: Some(12),
        connect_ms: Some(14),
        tls_ms: Some(35),
        first_byte_ms: Some(141),
        ..Timing::default()
    };
    let outcome = Outcome {
        verdict: Verdict::Accepted,
        status: Some(200),
        error: None,
        response_excerpt: Some(r#"{"received":true}"#.to_owned()),
        duration_ms: 142,
        timing,
        ..Outcome::unanswered(Verdict::Accepted, "")
    };
    Delivery {
        id: DeliveryId::derive(at, &["2"]),
        event,
        event_type: "packet.status_changed".parse().unwrap(),
        webhook: WebhookId::derive(at, &["3"]),
        tenant: "0d9f1c4e-6f0a-4b60-9d6f-2f6f5f0a7c11".parse().unwrap(),
        app: Some("application-1".parse().unwrap()),
        entity: None,
        entity_path: Some("pipelinesPackets/5b0e2b6e-9f0c-4a53-8d6d-3f4f0f6f0c11".to_owned()),
        hops: Hops::NONE,
        traceparent: None,
        deferred_until: None,
        over_budget: false,
        test: false,
        sequence: Some("000000000000040000000000000000000123456".to_owned()),
        progress: Progress { state: State::Delivered, cycle: 0, attempt: 1, next_at: None },
        lease_until: None,
        body: None,
        body_digest: Some(BodyDigest::of("{}")),
        last_response: None,
        content_type: ContentType::Json,
        attempts: vec![Attempt {
            cycle: 0,
            number: 1,
            at,
            outcome,
            secret_fingerprint: serde_json::from_value("f".repeat(64).into()).unwrap(),
            request_headers: Masked::of(&headers, &[("X-Team".to_owned(), "erp".to_owned())].into()).headers,
            url: Some("https://hooks.erp.example.com/dynahook/packets".to_owned()),
        }],
    }
}

#[test]
fn the_row_of_a_delivered_event_is_one_write_unit() {
    let delivery = delivered();
    let item = DeliveryItem::new(&delivery, delivery.attempts[0].at).unwrap().counted_later();
    let size = size(&to_item(&item).unwrap());
    assert!(size <= 1024, "{size} bytes");
}

#[test]
fn a_row_is_read_as_it_was_written() {
    let delivery = delivered();
    let item = to_item(&DeliveryItem::new(&delivery, delivery.attempts[0].at).unwrap()).unwrap();
    let read = Delivery::try_from(from_item::<DeliveryItem>(item).unwrap()).unwrap();
    assert_eq!(read, delivery);
}

/// It waits, held or over a budget. Once it is attempted, it ends with this reason.
#[test]
fn a_row_remembers_why_there_is_no_body() {
    let body = Some(Body::Failed("line 1: unknown field".to_owned()));
    let progress = Progress { state: State::Held, cycle: 0, attempt: 1, next_at: None };
    let mut delivery = Delivery { body, body_digest: None, attempts: Vec::new(), progress, ..delivered() };
    let read = |delivery: &Delivery| {
        let item = to_item(&DeliveryItem::new(delivery, Timestamp::UNIX_EPOCH).unwrap()).unwrap();
        Delivery::try_from(from_item::<DeliveryItem>(item).unwrap()).unwrap()
    };
    assert_eq!(read(&delivery), delivery);
    delivery.attempts = delivered().attempts;
    assert_eq!(read(&delivery).body, None, "the attempt has the reason");
}

#[test]
fn a_row_has_the_whole_answer_to_the_last_attempt() {
    let mut delivery = delivered();
    let whole = "no column total ".repeat(1_000);
    delivery.attempts[0].outcome.response_body = Some(whole.clone());
    let item = to_item(&DeliveryItem::new(&delivery, delivery.attempts[0].at).unwrap()).unwrap();
    let read = Delivery::try_from(from_item::<DeliveryItem>(item).unwrap()).unwrap();
    assert_eq!((read.last_response, &read.attempts[0].outcome.response_body), (Some(whole), &None));
}

#[test]
fn a_row_does_not_repeat_what_its_headers_say() {
    let delivery = delivered();
    let item = DeliveryItem::new(&delivery, delivery.attempts[0].at).unwrap();
    let stored = String::from(item.attempts[0].request_headers.clone());
    let lines: Vec<_> = stored.lines().filter(|line| line.starts_with("webhook-")).collect();
    let short = ["webhook-attempt: 1", "webhook-sequence=s", "webhook-id=e", "webhook-timestamp: 1795246444"];
    assert_eq!(lines, [short.as_slice(), &["webhook-signature: v1,***"]].concat());
}

#[test]
fn a_row_of_an_earlier_version_has_all_headers_and_neither_entity_nor_url() {
    let mut delivery = delivered();
    let mut item = DeliveryItem::new(&delivery, delivery.attempts[0].at).unwrap();
    item.entity_path = None;
    item.attempts.clone_from(&delivery.attempts);
    item.attempts[0].url = None;
    delivery.entity_path = None;
    delivery.attempts[0].url = None;
    let read = Delivery::try_from(from_item::<DeliveryItem>(to_item(&item).unwrap()).unwrap()).unwrap();
    assert_eq!(read, delivery);
}
