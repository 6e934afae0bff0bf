use proptest::prelude::*;
use rstest::rstest;

use super::breaker::{Breaker, BreakerState};
use super::decide::{
    Admission, Decision, Stale, Waiting, Wake, admit, dead_letter, decide, give_up, settle, to_send, waiting, wake,
};
use super::message::Message;
use super::patience::Patience;
use super::*;
use crate::attempt::outcome::{Outcome, Verdict};
use crate::attempt::redact::SentHeaders;
use crate::attempt::retry::RetryPolicy;
use crate::budget::Deferral;
use crate::event::hops::{Hops, MAX_HOPS};
use crate::webhook::tests::webhook;
use crate::webhook::{Pause, Webhook};

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn message(cycle: u32, attempt: u32) -> Message {
    let first = Message::first(
        EventId::from_parts(now(), 1),
        "film.created".parse().unwrap(),
        WebhookId::from_parts(now(), 2),
        "acme".parse().unwrap(),
        Body::Inline("{}".to_owned()),
    );
    let body = first.body.clone().filter(|_| (cycle, attempt) == (0, 1));
    Message { cycle, attempt, body, ..first }
}

fn row(state: State, cycle: u32, attempt: u32) -> Delivery {
    let Message { delivery, event, event_type, webhook, tenant, .. } = message(0, 1);
    let progress = Progress { state, cycle, attempt, next_at: Some(now()) };
    Delivery {
        id: delivery,
        event,
        event_type,
        webhook,
        tenant,
        progress,
        lease_until: None,
        body: None,
        body_digest: None,
        last_response: None,
        app: None,
        sequence: None,
        entity: None,
        entity_path: None,
        hops: Hops::NONE,
        traceparent: None,
        deferred_until: None,
        over_budget: false,
        test: false,
        content_type: ContentType::Json,
        attempts: vec![],
    }
}

#[rstest]
#[case::never_attempted(message(0, 1), None, Admission::First)]
#[case::row_is_gone(message(0, 2), None, Admission::Stale(Stale::Unknown))]
#[case::redriven_row_is_gone(message(1, 1), None, Admission::Stale(Stale::Unknown))]
#[case::its_turn(message(0, 2), Some(row(State::Retrying, 0, 2)), Admission::Again)]
#[case::first_copy_again(message(0, 1), Some(row(State::Retrying, 0, 2)), Admission::Stale(Stale::Superseded))]
#[case::older_attempt(message(0, 2), Some(row(State::Retrying, 0, 3)), Admission::Stale(Stale::Superseded))]
#[case::older_cycle(message(0, 2), Some(row(State::Retrying, 1, 2)), Admission::Stale(Stale::Superseded))]
#[case::delivered(message(0, 1), Some(row(State::Delivered, 0, 1)), Admission::Stale(Stale::Ended))]
#[case::cancelled(message(0, 2), Some(row(State::Cancelled, 0, 2)), Admission::Stale(Stale::Ended))]
#[case::parked(message(0, 2), Some(row(State::Parked, 0, 2)), Admission::Again)]
#[case::parked_before_the_first(message(0, 1), Some(row(State::Parked, 0, 1)), Admission::Again)]
#[case::held(message(0, 1), Some(row(State::Held, 0, 1)), Admission::Stale(Stale::Held))]
#[case::exhausted(message(0, 3), Some(row(State::Exhausted, 0, 3)), Admission::Stale(Stale::Ended))]
#[case::redriven(message(1, 1), Some(row(State::Exhausted, 0, 3)), Admission::Redriven)]
#[case::redelivered(message(1, 1), Some(row(State::Delivered, 0, 1)), Admission::Redriven)]
#[case::redelivered_after_a_cancellation(message(1, 1), Some(row(State::Cancelled, 0, 2)), Admission::Redriven)]
#[case::of_a_later_cycle(message(2, 1), Some(row(State::Delivered, 0, 1)), Admission::Stale(Stale::Ended))]
#[case::later_in_the_next_cycle(message(1, 2), Some(row(State::Delivered, 0, 1)), Admission::Stale(Stale::Ended))]
#[case::redriven_before_its_end(message(1, 1), Some(row(State::Retrying, 0, 3)), Admission::Stale(Stale::Superseded))]
#[case::redriven_twice(message(1, 1), Some(row(State::Exhausted, 1, 3)), Admission::Stale(Stale::Ended))]
#[case::redriven_and_stranded(message(1, 1), Some(row(State::Pending, 1, 1)), Admission::Again)]
fn admits(#[case] message: Message, #[case] row: Option<Delivery>, #[case] expected: Admission) {
    assert_eq!(admit(&message, row.as_ref(), now()), expected);
}

#[rstest]
#[case::first(true, false, None, Some("brought"), ContentType::CloudEvents)]
#[case::again(false, true, Some("kept"), Some("kept"), ContentType::Json)]
#[case::first_copy_again(true, true, Some("kept"), Some("kept"), ContentType::Json)]
#[case::sent_again_without_a_body_kept(true, true, None, Some("brought"), ContentType::CloudEvents)]
#[case::nothing_anywhere(false, true, None, None, ContentType::Json)]
fn sends_what_the_ledger_keeps(
    #[case] brings: bool,
    #[case] has_row: bool,
    #[case] kept: Option<&str>,
    #[case] expected: Option<&str>,
    #[case] content_type: ContentType,
) {
    let inline = |text: &str| Body::Inline(text.to_owned());
    let body = brings.then(|| inline("brought"));
    let message = Message { body, content_type: ContentType::CloudEvents, ..message(1, 1) };
    let row = has_row.then(|| Delivery { body: kept.map(inline), ..row(State::Delivered, 0, 1) });
    assert_eq!(to_send(&message, row.as_ref()), (expected.map(inline).as_ref(), content_type));
}

#[rstest]
#[case::held(1, Admission::Stale(Stale::Leased))]
#[case::expired(0, Admission::Again)]
fn respects_a_lease(#[case] seconds: u64, #[case] expected: Admission) {
    let lease_until = Some(now() + Duration::from_secs(seconds));
    let row = Delivery { lease_until, ..row(State::Retrying, 0, 2) };
    assert_eq!(admit(&message(0, 2), Some(&row), now()), expected);
}

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

#[test]
fn a_loop_ends_at_once_and_is_not_a_failure_of_the_receiver() {
    let outcome = Outcome::unanswered(Verdict::Looped, "");
    let settled = settle(&message(0, 1), &outcome, &RetryPolicy::default(), now(), 0.5);
    assert_eq!(settled, Progress { state: State::Exhausted, cycle: 0, attempt: 1, next_at: None });
    assert!(!Verdict::Looped.tells_of_receiver());
    assert_eq!(MAX_HOPS, 5, "docs/use/delivery.md names it");
}

#[test]
fn a_retry_is_not_earlier_than_asked() {
    let now: Timestamp = "2026-11-21T10:00:00.000000001Z".parse().unwrap();
    let outcome = Outcome { retry_after_s: Some(60), ..Outcome::unanswered(Verdict::Throttled, "") };
    let settled = settle(&message(0, 1), &outcome, &RetryPolicy::default(), now, 0.0);
    // In whole milliseconds, as the ledger keeps it.
    assert_eq!(settled.next_at, Some("2026-11-21T10:01:00.001Z".parse().unwrap()));
}

#[test]
fn settles() {
    let policy = RetryPolicy { max_attempts: 2, ..RetryPolicy::default() };
    let after = |attempt, verdict| settle(&message(3, attempt), &Outcome::unanswered(verdict, ""), &policy, now(), 0.5);
    let progress = |state, attempt, next_at| Progress { state, cycle: 3, attempt, next_at };
    assert_eq!(after(1, Verdict::Accepted), progress(State::Delivered, 1, None));
    let in_five_seconds = Some(now() + Duration::from_secs(5));
    assert_eq!(after(1, Verdict::Refused), progress(State::Retrying, 2, in_five_seconds));
    assert_eq!(after(1, Verdict::Gone), progress(State::Exhausted, 1, None));
    let taken = Outcome { status: Some(200), ..Outcome::unanswered(Verdict::Gone, "") };
    assert_eq!(settle(&message(3, 1), &taken, &policy, now(), 0.5), progress(State::Delivered, 1, None));
    assert_eq!(after(2, Verdict::TimedOut), progress(State::Exhausted, 2, None));
}

/// A test is attempted once. A receiver that accepts it and asks to be disabled has accepted it, as any delivery.
#[rstest]
#[case::accepted(Verdict::Accepted, Some(200), State::Delivered)]
#[case::accepted_and_disabled(Verdict::Gone, Some(200), State::Delivered)]
#[case::gone(Verdict::Gone, Some(410), State::Failed)]
#[case::refused(Verdict::Refused, Some(404), State::Failed)]
#[case::no_answer(Verdict::TimedOut, None, State::Failed)]
fn a_test_is_settled_by_one_attempt(#[case] verdict: Verdict, #[case] status: Option<u16>, #[case] state: State) {
    let test = Message { test: true, ..message(0, 1) };
    let outcome = Outcome { status, ..Outcome::unanswered(verdict, "") };
    let settled = settle(&test, &outcome, &RetryPolicy::default(), now(), 0.5);
    assert_eq!(settled, Progress { state, cycle: 0, attempt: 1, next_at: None });
    assert_eq!(give_up(&test).state, State::Failed);
    assert_eq!(give_up(&message(0, 1)).state, State::Exhausted);
}

#[rstest]
#[case::on_a_queue(State::Retrying, 60, Some(due(180)))]
#[case::just_short(State::Retrying, 900, Some(due(1020)))]
#[case::left_to_the_sweep(State::Retrying, 901, Some(due(901)))]
#[case::its_turn_is_soon(State::Pending, 2, Some(due(122)))]
#[case::its_turn_is_late(State::Pending, 1000, Some(due(1000)))]
#[case::needs_a_dead_letter(State::Exhausted, 0, Some(due(120)))]
#[case::parked(State::Parked, 0, Some(Waits::Parked))]
#[case::held(State::Held, 0, Some(Waits::Held))]
#[case::delivered(State::Delivered, 0, None)]
#[case::cancelled(State::Cancelled, 0, None)]
fn says_where_it_waits(#[case] state: State, #[case] wait: u64, #[case] expected: Option<Waits>) {
    let next_at = Some(now() + seconds(wait));
    assert_eq!(Progress { state, cycle: 0, attempt: 2, next_at }.waits(now()), expected);
}

#[test]
fn a_redriven_delivery_is_overdue_if_its_process_died() {
    let progress = Progress { state: State::Pending, cycle: 1, attempt: 1, next_at: None };
    assert_eq!(progress.waits(now()), Some(due(120)));
}

fn due(after: u64) -> Waits {
    Waits::Due(now() + seconds(after))
}

#[rstest]
#[case::due_soon(State::Retrying, 40, Some(Wake::Send { delay: seconds(40), due_at: now() + seconds(160) }))]
#[case::overdue(State::Retrying, -500, Some(Wake::Send { delay: seconds(0), due_at: now() + seconds(120) }))]
#[case::stranded(State::Pending, 0, Some(Wake::Send { delay: seconds(0), due_at: now() + seconds(120) }))]
#[case::without_a_dead_letter(State::Exhausted, 0, Some(Wake::DeadLetter))]
#[case::parked(State::Parked, 0, Some(Wake::Send { delay: seconds(0), due_at: now() + seconds(120) }))]
#[case::held(State::Held, 0, None)]
#[case::over(State::Delivered, 0, None)]
fn wakes(#[case] state: State, #[case] wait: i64, #[case] expected: Option<Wake>) {
    let next_at = Some(now() + jiff::SignedDuration::from_secs(wait));
    assert_eq!(wake(&Progress { state, cycle: 0, attempt: 2, next_at }, now()), expected);
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn outcome(accepted: bool) -> Outcome {
    Outcome::unanswered(if accepted { Verdict::Accepted } else { Verdict::Refused }, "")
}

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

#[test]
fn a_dead_letter_that_comes_back_starts_a_new_cycle() {
    let letter = dead_letter(message(0, 3));
    assert_eq!(admit(&letter, Some(&row(State::Exhausted, 0, 3)), now()), Admission::Redriven);
}

proptest! {
    /// Until a delivery is terminal, something holds it: a row that has not ended is due.
    #[test]
    fn a_row_that_has_not_ended_is_due(attempt in 1_u32..30, accepted: bool, max_attempts in 1_u32..=25, draw in 0.0_f64..1.0) {
        let policy = RetryPolicy { max_attempts, ..RetryPolicy::default() };
        let progress = settle(&message(0, attempt), &outcome(accepted), &policy, now(), draw);
        prop_assert_eq!(progress.waits(now()).is_none(), progress.state == State::Delivered);
        prop_assert_eq!(progress.needs_body(), progress.state != State::Delivered);
        prop_assert_eq!(progress.state == State::Retrying, progress.next_at.is_some());
        prop_assert_eq!(progress.attempt, attempt + u32::from(progress.state == State::Retrying));
    }

    /// A message received twice is attempted once: after the attempt is settled, every copy of its message is stale.
    #[test]
    fn a_settled_attempt_is_not_made_again(attempt in 1_u32..30, accepted: bool, max_attempts in 1_u32..=25) {
        let policy = RetryPolicy { max_attempts, ..RetryPolicy::default() };
        let progress = settle(&message(0, attempt), &outcome(accepted), &policy, now(), 0.5);
        let row = Delivery { progress, ..row(State::Retrying, 0, attempt) };
        prop_assert!(matches!(admit(&message(0, attempt), Some(&row), now()), Admission::Stale(_)));
    }
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
