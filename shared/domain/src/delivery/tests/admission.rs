//! Which messages are admitted: first, repeated, redriven and stale ones, leases, and the body that is sent.

use super::*;
use crate::delivery::decide::{Admission, Stale, admit, dead_letter, to_send};

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

#[test]
fn a_dead_letter_that_comes_back_starts_a_new_cycle() {
    let letter = dead_letter(message(0, 3));
    assert_eq!(admit(&letter, Some(&row(State::Exhausted, 0, 3)), now()), Admission::Redriven);
}
