//! What a row keeps and shows: the body or its digest, and the lateness.

use super::*;
use crate::attempt::outcome::{Outcome, Verdict};
use crate::attempt::redact::SentHeaders;

#[rstest]
#[case::arrived(State::Delivered, Some(Body::Inline("{}".to_owned())), None, true)]
#[case::arrived_and_is_large(State::Delivered, Some(Body::Stored("k".to_owned())), Some(Body::Stored("k".to_owned())), false)]
#[case::will_be_retried(State::Retrying, Some(Body::Inline("{}".to_owned())), Some(Body::Inline("{}".to_owned())), false)]
#[case::was_not_rendered(State::Cancelled, Some(Body::Failed("why".to_owned())), None, false)]
#[case::has_none(State::Delivered, None, None, false)]
fn a_row_keeps_its_body_or_knows_it_again(
    #[case] state: State,
    #[case] body: Option<Body>,
    #[case] kept: Option<Body>,
    #[case] has_digest: bool,
) {
    let first = Message { body, ..message(0, 1) };
    let row = Delivery::first(first, Progress { state, cycle: 0, attempt: 1, next_at: None });
    assert_eq!((row.body, row.body_digest), (kept, has_digest.then(|| BodyDigest::of("{}"))));
    assert_ne!(BodyDigest::of("{}"), BodyDigest::of("{ }"));
}

#[rstest]
#[case::not_attempted(&[], None)]
#[case::failed(&[(5, Verdict::ServerFailed, 500)], None)]
#[case::at_once(&[(1, Verdict::Accepted, 204)], Some(1_250))]
#[case::at_the_second_attempt(&[(1, Verdict::ServerFailed, 500), (61, Verdict::Accepted, 204)], Some(61_250))]
#[case::sent_again_later(&[(1, Verdict::Accepted, 204), (900, Verdict::Accepted, 204)], Some(1_250))]
#[case::taken_by_a_receiver_that_wants_no_more(&[(1, Verdict::Gone, 200)], Some(1_250))]
#[case::gone(&[(1, Verdict::Gone, 410)], None)]
#[case::before_it_was_sent(&[(-5, Verdict::Accepted, 204)], Some(0))]
fn lateness_is_the_time_until_it_arrived(#[case] attempts: &[(i64, Verdict, u16)], #[case] expected: Option<u64>) {
    let mut delivery = row(State::Delivered, 0, 1);
    let at = |seconds: i64| delivery.event.timestamp() + jiff::SignedDuration::from_secs(seconds);
    let attempt = |&(seconds, verdict, status): &(i64, Verdict, u16)| Attempt {
        cycle: 0,
        number: 1,
        at: at(seconds),
        outcome: Outcome { status: Some(status), duration_ms: 250, ..Outcome::unanswered(verdict, "") },
        secret_fingerprint: serde_json::from_value("f".into()).unwrap(),
        request_headers: SentHeaders::default(),
        url: None,
    };
    delivery.attempts = attempts.iter().map(attempt).collect();
    assert_eq!(delivery.lateness_ms(), expected);
}
