//! What happens to an admitted message: it is attempted, parked, deferred, moved to the slow queue or given up, by the
//! webhook's state, its breaker, the tenant's budget and the number of hops.

use super::*;
use crate::attempt::outcome::Verdict;
use crate::budget::Deferral;
use crate::delivery::breaker::{Breaker, BreakerState};
use crate::delivery::decide::{Admission, Decision, Stale, Waiting, dead_letter, decide, waiting};
use crate::delivery::patience::Patience;
use crate::webhook::tests::webhook;
use crate::webhook::{Pause, Webhook};

/// No request is made beyond the limit and one is made below it, whether the message knows the count or only the row
/// does, as when the sweep sent the message.
#[rstest]
#[case::none(0, None, false)]
#[case::the_last_hop(4, None, false)]
#[case::too_many(5, None, true)]
#[case::the_row_knows(0, Some(5), true)]
#[case::both_know(3, Some(3), false)]
fn a_loop_is_given_up_before_its_request(#[case] message_hops: u8, #[case] row_hops: Option<u8>, #[case] looped: bool) {
    let hops = |count: u8| (0..count).fold(Hops::NONE, |hops, _| hops.next().unwrap());
    let row = row_hops.map(|count| Delivery {
        hops: hops(count),
        body: Some(Body::Inline(String::new())),
        ..row(State::Retrying, 0, 2)
    });
    let message = Message { hops: hops(message_hops), ..if row.is_some() { message(0, 2) } else { message(0, 1) } };
    let (_, decision) = decide(&message, row.as_ref(), Some(&webhook()), None, now());
    assert_eq!(matches!(decision, Decision::GiveUp(Verdict::Looped, _)), looped, "{decision:?}");
    assert_eq!(matches!(decision, Decision::Attempt { .. }), !looped, "{decision:?}");
    let row = row.unwrap_or_else(|| {
        Delivery::first(message.clone(), Progress { state: State::Exhausted, cycle: 0, attempt: 1, next_at: None })
    });
    assert_eq!(dead_letter(row.next_message()).hops, row.hops, "what is sent again keeps the count");
}

#[rstest]
#[case::within_the_budget(None, false, ATTEMPT)]
#[case::over_it(Some(Deferral::Until(at(60))), false, Decision::Defer(at(60)))]
#[case::its_turn_has_come(Some(Deferral::Until(now())), false, ATTEMPT)]
#[case::a_copy(Some(Deferral::Until(at(60))), true, Decision::Drop(Stale::Superseded))]
fn a_delivery_over_its_budget_waits_once(
    #[case] deferral: Option<Deferral>,
    #[case] has_row: bool,
    #[case] expected: Decision,
) {
    let message = Message { deferral, ..message(0, 1) };
    let row = has_row.then(|| {
        let progress = Progress { state: State::Pending, cycle: 0, attempt: 1, next_at: Some(at(60)) };
        Delivery::first(message.clone(), progress)
    });
    assert_eq!(decide(&message, row.as_ref(), Some(&webhook()), None, now()).1, expected);
    if let Some(row) = &row {
        // Like any other delivery, it waits for its webhook's rate limit.
        let woken = decide(&row.next_message(), Some(row), Some(&webhook()), None, now()).1;
        assert_eq!(woken, ATTEMPT, "a later message is attempted");
    }
    assert_eq!(row.and_then(|row| row.deferred_until), has_row.then(|| at(60)));
}

#[test]
fn a_delivery_without_a_turn_is_a_dead_letter_that_can_be_redriven() {
    let message = Message { deferral: Some(Deferral::Never), ..message(0, 1) };
    let decision = decide(&message, None, Some(&webhook()), None, now()).1;
    assert!(matches!(decision, Decision::GiveUp(Verdict::OverBudget, _)), "{decision:?}");
    let row =
        Delivery::first(message.clone(), Progress { state: State::Exhausted, cycle: 0, attempt: 1, next_at: None });
    assert!(row.body.is_some());
    // It waited behind an earlier delivery of its entity. It is given up when its turn comes, whichever message asks
    // for it.
    let held =
        Delivery::first(message.clone(), Progress { state: State::Pending, cycle: 0, attempt: 1, next_at: None });
    for message in [message.clone(), held.next_message()] {
        let (admission, decision) = decide(&message, Some(&held), Some(&webhook()), None, now());
        assert_eq!(admission, Admission::Again);
        assert!(matches!(decision, Decision::GiveUp(Verdict::OverBudget, _)), "{decision:?}");
    }
    for again in [dead_letter(message), dead_letter(row.next_message())] {
        let (admission, decision) = decide(&again, Some(&row), Some(&webhook()), None, now());
        assert_eq!((admission, decision), (Admission::Redriven, ATTEMPT));
    }
}

fn at(seconds: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_secs(seconds)
}

const ATTEMPT: Decision = Decision::Attempt { probe: false, had_turn: false };

#[rstest]
#[case::usual(false, false, false, None, Some((250, true)))]
#[case::learned(false, false, false, Some((800, -1)), Some((800, true)))]
#[case::marked_already(false, false, false, Some((800, 1)), None)]
#[case::test(true, false, false, None, None)]
#[case::in_the_slow_queue(false, true, false, Some((800, -1)), Some((5000, false)))]
#[case::probe(false, false, true, None, Some((5000, false)))]
fn waits_for_a_response(
    #[case] test: bool,
    #[case] slow: bool,
    #[case] probe: bool,
    // The learned patience in milliseconds, and for how many seconds the receiver is still marked.
    #[case] row: Option<(u64, i64)>,
    #[case] expected: Option<(u64, bool)>,
) {
    let message = Message { test, slow, ..message(0, 1) };
    let row = row.map(|(patience_ms, slow_for)| {
        let patience =
            Some(Patience { wait: Duration::from_millis(patience_ms), until: now() + Duration::from_mins(1) });
        Breaker { patience, state: BreakerState::Closed, ..breaker(0, slow_for) }
    });
    let expected = expected.map(|(mark_after, may_leave)| {
        let mark_after = Duration::from_millis(mark_after);
        Waiting { mark_after, may_leave }
    });
    assert_eq!(waiting(&message, probe, row.as_ref(), now()), expected);
}

/// An open breaker whose probe has been due for `probe_since` seconds, of a receiver marked as slow for another
/// `slow_for` seconds.
fn breaker(probe_since: i64, slow_for: i64) -> Breaker {
    let at = |seconds| Some(now() + jiff::SignedDuration::from_secs(seconds));
    let (probe_at, slow_until) = (at(-probe_since), at(slow_for));
    let state = BreakerState::Open;
    Breaker { probe_at, slow_until, ..Breaker::new(state, now()) }
}

fn paused(webhook: &mut Webhook) {
    webhook.pause = Some(Pause { at: now(), by_failures: false });
}

#[rstest]
#[case::healthy(message(0, 1), |_: &mut Webhook| (), None, ATTEMPT)]
#[case::disabled(message(0, 1), |webhook: &mut Webhook| webhook.settings.enabled = false, None, Decision::Cancel)]
#[case::deleted(message(0, 1), |webhook: &mut Webhook| webhook.delete(now(), "anna"), None, Decision::Cancel)]
#[case::paused(message(0, 1), paused, None, Decision::Park)]
#[case::broken(message(0, 1), |_: &mut Webhook| (), Some(breaker(-1, 0)), Decision::Park)]
#[case::probe(message(0, 1), |_: &mut Webhook| (), Some(breaker(0, 0)), Decision::Attempt { probe: true, had_turn: false })]
#[case::slow(message(0, 1), |_: &mut Webhook| (), Some(Breaker { state: BreakerState::Closed, ..breaker(0, 1) }), Decision::SlowQueue)]
#[case::slow_and_ordered(Message { entity: Some("orders/7".to_owned()), ..message(0, 1) }, |_: &mut Webhook| (), Some(Breaker { state: BreakerState::Closed, ..breaker(0, 1) }), Decision::RecordThenSlowQueue)]
#[case::slow_and_broken(message(0, 1), |_: &mut Webhook| (), Some(breaker(-1, 1)), Decision::Park)]
#[case::on_the_slow_way(Message { slow: true, ..message(0, 1) }, |_: &mut Webhook| (), Some(Breaker { state: BreakerState::Closed, ..breaker(0, 1) }), ATTEMPT)]
#[case::test_of_a_paused_one(Message { test: true, ..message(0, 1) }, paused, None, Decision::Attempt { probe: false, had_turn: true })]
#[case::no_payload(
    Message { body: Some(Body::Failed("x".to_owned())), ..message(0, 1) }, paused, None,
    Decision::GiveUp(Verdict::Unrendered, "the template failed: x".to_owned())
)]
fn decides(
    #[case] message: Message,
    #[case] change: fn(&mut Webhook),
    #[case] breaker: Option<Breaker>,
    #[case] expected: Decision,
) {
    let mut webhook = webhook();
    change(&mut webhook);
    let decided = decide(&message, None, Some(&webhook), breaker.as_ref(), now());
    assert_eq!(decided, (Admission::First, expected));
}

#[test]
fn a_delivery_that_had_a_turn_needs_no_other() {
    let row = row(State::Pending, 0, 2);
    let (_, decision) = decide(&message(0, 2), Some(&row), Some(&webhook()), None, now());
    assert_eq!(decision, Decision::Attempt { probe: false, had_turn: true });
}

#[test]
fn a_stale_message_is_dropped_whatever_the_webhooks_state() {
    let row = row(State::Delivered, 0, 1);
    assert_eq!(decide(&message(0, 1), Some(&row), None, None, now()).1, Decision::Drop(Stale::Ended));
}
