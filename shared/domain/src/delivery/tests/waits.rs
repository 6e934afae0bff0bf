//! What a delivery waits for, when it is due, and what the sweep does then.

use super::*;
use crate::delivery::decide::{Wake, wake};

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

#[rstest]
#[case::for_its_budget(State::Pending, Some(60), Some(60), false, true)]
#[case::no_longer(State::Pending, Some(-60), Some(-60), false, false)]
#[case::for_a_fault_of_ours(State::Pending, Some(60), Some(70), false, false)]
#[case::for_no_time(State::Pending, Some(60), None, false, false)]
#[case::held(State::Held, Some(60), None, false, true)]
#[case::held_past_its_time(State::Held, Some(-60), None, false, false)]
#[case::held_and_given_up_then(State::Held, None, None, true, true)]
#[case::held_only(State::Held, None, None, false, false)]
#[case::given_up(State::Exhausted, None, None, true, false)]
#[case::after_a_failure(State::Retrying, Some(60), Some(60), false, false)]
fn is_deferred_by_its_budget(
    #[case] state: State,
    #[case] until: Option<i64>,
    #[case] next: Option<i64>,
    #[case] over_budget: bool,
    #[case] expected: bool,
) {
    let at = |seconds| now() + jiff::SignedDuration::from_secs(seconds);
    let progress = Progress { state, cycle: 0, attempt: 1, next_at: next.map(at) };
    let row = Delivery { progress, deferred_until: until.map(at), over_budget, ..row(state, 0, 1) };
    assert_eq!(row.is_deferred(now()), expected);
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
