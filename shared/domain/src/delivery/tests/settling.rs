//! What the outcome of an attempt makes of a delivery: its next state and the time of its next attempt.

use proptest::prelude::*;

use super::*;
use crate::attempt::outcome::{Outcome, Verdict};
use crate::attempt::retry::RetryPolicy;
use crate::delivery::decide::{Admission, admit, give_up, settle};
use crate::event::hops::MAX_HOPS;

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

fn outcome(accepted: bool) -> Outcome {
    Outcome::unanswered(if accepted { Verdict::Accepted } else { Verdict::Refused }, "")
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
