use proptest::prelude::*;

use super::*;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn in_ms(milliseconds: u64) -> Timestamp {
    now() + Duration::from_millis(milliseconds)
}

fn delivery(number: u128) -> DeliveryId {
    DeliveryId::from_parts(now(), number)
}

/// Asks of the deliveries with these numbers, none of which had a turn.
fn asks(numbers: impl IntoIterator<Item = u128>) -> Vec<Ask> {
    numbers.into_iter().map(|number| Ask { delivery: delivery(number), had_turn: false }).collect()
}

fn takes(concurrency: u32) -> ReceiverLimits {
    ReceiverLimits { rate: None, concurrency: Some(concurrency) }
}

/// How many of the asks may be made now.
fn may_go(turns: &[Turn]) -> usize {
    turns.iter().filter(|turn| matches!(turn, Turn::At(_))).count()
}

#[test]
fn a_second_s_worth_at_once_and_then_one_by_one() {
    let limits = ReceiverLimits { rate: Some(2), concurrency: None };
    let turns = Flow::default().take(limits, &asks(0..8), "a", in_ms(60_000), now());
    let at = |milliseconds| Turn::At(in_ms(milliseconds));
    let expected =
        [at(0), at(0), at(500), at(1000), at(1500), at(2000), Turn::Later(in_ms(2500)), Turn::Later(in_ms(3000))];
    assert_eq!(turns, expected);
}

proptest! {
    /// No request is before its turn, by no part of a second, and the first second's worth goes at once.
    #[test]
    fn the_rate_is_not_exceeded(rate in 1_u32..=1000, offset in 0..1_000_000_000_u64) {
        let (limits, now) = (ReceiverLimits { rate: Some(rate), concurrency: None }, now() + Duration::from_nanos(offset));
        let turns = Flow::default().take(limits, &asks(0..1200), "a", in_ms(60_000), now);
        for (number, turn) in turns.into_iter().enumerate() {
            let (Turn::At(at) | Turn::Later(at)) = turn else { panic!("there are places") };
            let number = i128::try_from(number).unwrap() + 1 - i128::from(rate);
            prop_assert!(at.duration_since(now).as_nanos() * i128::from(rate) >= number.max(0) * 1_000_000_000);
            prop_assert!(number > 0 || at == now);
        }
    }
}

#[test]
fn a_rate_that_is_raised_counts_at_once() {
    let limits = |rate| ReceiverLimits { rate: Some(rate), concurrency: None };
    let mut flow = Flow::default();
    flow.take(limits(1), &asks(0..86_400), "a", in_ms(1), now());
    assert_eq!(flow.take(limits(1), &asks(0..1), "a", in_ms(1), now()), [Turn::Later(in_ms(86_400_000))]);
    // One of the ten a second belongs to those that wait already.
    let turns = flow.take(limits(10), &asks(0..18), "a", in_ms(1), now());
    assert_eq!(turns[..9], [Turn::At(now()); 9]);
    assert!(matches!(turns[17], Turn::At(at) if at > in_ms(990) && at < in_ms(1_010)), "{:?}", turns[17]);
    // A rate that is lowered comes after what was given.
    let last = flow.take(limits(2), &asks(0..1), "a", in_ms(1), now());
    assert!(matches!(last[0], Turn::Later(at) if at >= in_ms(2_000)), "{last:?}");
    // When the earlier turns are over, the rate is whole.
    let later = in_ms(86_500_000);
    let turns = flow.take(limits(10), &asks(0..11), "a", later, later);
    assert_eq!((turns[9], turns[10]), (Turn::At(later), Turn::At(later + Duration::from_millis(100))));
}

proptest! {
    /// However the rate is changed: in no time are there more requests than the highest rate allows, and a second's
    /// worth.
    #[test]
    fn a_changed_rate_is_not_exceeded(steps in prop::collection::vec((1_u32..40, 0_u128..200, 0_u64..3_000), 1..6)) {
        let (mut flow, mut at, mut turns) = (Flow::default(), now(), Vec::new());
        let highest = steps.iter().map(|(rate, ..)| *rate).max().unwrap();
        for (rate, count, passes) in steps {
            let limits = ReceiverLimits { rate: Some(rate), concurrency: None };
            for turn in flow.take(limits, &asks(0..count), "a", at, at) {
                let (Turn::At(turn) | Turn::Later(turn)) = turn else { panic!("there are places") };
                turns.push(turn);
            }
            at += Duration::from_millis(passes);
        }
        turns.sort_unstable();
        for (first, from) in turns.iter().enumerate() {
            for (last, to) in turns.iter().enumerate().skip(first) {
                let seconds = i64::try_from(to.duration_since(*from).as_millis()).unwrap() + 1;
                let most = i64::from(highest) * (seconds / 1_000 + 2);
                prop_assert!(i64::try_from(last - first).unwrap() <= most, "{} in {seconds} ms at {highest} a second", last - first);
            }
        }
    }
}

#[test]
fn a_delivery_that_had_a_turn_takes_no_other() {
    let limits = ReceiverLimits { rate: Some(1), concurrency: None };
    let mut flow = Flow::default();
    let mut asks = asks(0..3);
    (asks[0].had_turn, asks[1].had_turn) = (true, true);
    assert_eq!(flow.take(limits, &asks, "a", in_ms(1), now()), [Turn::At(now()); 3]);
}

#[test]
fn concurrency_is_limited_until_requests_or_processes_end() {
    let mut flow = Flow::default();
    let mut at_once = |holder: &str, wanted: u128, at| {
        let turns = flow.take(takes(3), &asks(0..wanted), holder, at + Duration::from_mins(1), at);
        if holder == "b" {
            flow.release(["a"], at);
        }
        may_go(&turns)
    };
    assert_eq!(at_once("a", 2, now()), 2);
    assert_eq!(at_once("b", 2, now()), 1, "and the first two end");
    assert_eq!(at_once("c", 5, now()), 2);
    assert_eq!(at_once("d", 5, now()), 0);
    assert_eq!(at_once("e", 5, in_ms(60_000)), 3, "all of them ended with their processes");
}

#[test]
fn a_returned_place_is_reserved_for_the_oldest_waiting_delivery() {
    let mut flow = Flow::default();
    let turns = flow.take(takes(1), &asks([1, 2, 3]), "a", in_ms(60_000), now());
    assert_eq!(turns, [Turn::At(now()), Turn::Wait, Turn::Wait]);
    flow.release(["a"], now());
    assert_eq!(flow.keep(takes(1), &[delivery(2), delivery(3)], now()), [delivery(2)]);
    let newcomer = flow.take(takes(1), &asks([4]), "b", in_ms(60_000), now());
    assert_eq!(newcomer, [Turn::Wait], "a later delivery takes no place that is kept");
    assert_eq!(flow.keep(takes(1), &[delivery(2), delivery(3)], now()), [], "the index may still show who was woken");
    assert_eq!(may_go(&flow.take(takes(1), &asks([2]), "c", in_ms(60_000), now())), 1);
    assert_eq!(flow.free(takes(1)), 0, "the place has changed hands");
}

#[test]
fn a_place_is_not_kept_for_ever() {
    let mut flow = Flow::default();
    assert_eq!(flow.keep(takes(1), &[delivery(1)], now()), [delivery(1)]);
    assert_eq!(may_go(&flow.take(takes(1), &asks([2]), "a", in_ms(60_000), in_ms(59_999))), 0);
    assert_eq!(may_go(&flow.take(takes(1), &asks([2]), "a", in_ms(120_000), in_ms(60_000))), 1);
    let late = flow.take(takes(1), &asks([1]), "b", in_ms(120_000), in_ms(60_001));
    assert_eq!(late, [Turn::Wait], "a late delivery asks like any other");
}

#[test]
fn waiting_for_a_place_uses_up_nothing_of_the_rate() {
    let limits = ReceiverLimits { rate: Some(1), concurrency: Some(1) };
    let mut flow = Flow::default();
    flow.take(limits, &asks([1]), "a", in_ms(60_000), now());
    let before = flow.next;
    assert_eq!(flow.take(limits, &asks([2, 3, 4]), "b", in_ms(60_000), now()), [Turn::Wait; 3]);
    assert_eq!(flow.next, before);
    flow.release(["a"], now());
    assert_eq!(flow.keep(limits, &[delivery(2)], now()), [delivery(2)]);
    let woken = flow.take(limits, &asks([2]), "c", in_ms(60_000), in_ms(100));
    assert_eq!(woken, [Turn::At(in_ms(1000))], "and the rate holds for who is woken");
}

#[test]
fn a_delivery_whose_turn_of_the_rate_is_late_holds_no_place() {
    let limits = ReceiverLimits { rate: Some(1), concurrency: Some(9) };
    let mut flow = Flow::default();
    flow.keep(limits, &[delivery(9)], now());
    let turns = flow.take(limits, &asks([1, 2, 3, 9]), "a", in_ms(60_000), now());
    assert_eq!(turns[3], Turn::Later(in_ms(3000)));
    assert_eq!(flow.free(limits), 6);
}

#[test]
fn the_line_is_read_while_a_delivery_may_wait_there() {
    let mut flow = Flow::default();
    flow.take(takes(1), &asks([1]), "a", in_ms(60_000), now());
    assert!(!flow.may_have_line(now()), "no delivery had to wait");
    flow.take(takes(1), &asks([2]), "b", in_ms(60_000), now());
    assert!(flow.may_have_line(in_ms(180_000)) && !flow.may_have_line(in_ms(180_001)));
    flow.release(["a"], in_ms(170_000));
    flow.keep(takes(1), &[delivery(2), delivery(3)], in_ms(170_000));
    assert!(flow.may_have_line(in_ms(350_000)), "one was left");
}

#[test]
fn joining_a_known_line_writes_nothing() {
    let mut flow = Flow::default();
    flow.take(takes(1), &asks([1, 2]), "a", in_ms(60_000), now());
    let before = flow.clone();
    flow.take(takes(1), &asks([3]), "b", in_ms(60_000), in_ms(9_999));
    assert_eq!(flow, before);
    flow.take(takes(1), &asks([4]), "b", in_ms(60_000), in_ms(10_000));
    assert_eq!(flow.waited(), Some(in_ms(10_000)));
}

#[test]
fn a_limit_that_is_changed_counts_at_once() {
    let mut flow = Flow::default();
    flow.take(takes(3), &asks(0..3), "a", in_ms(60_000), now());
    let line: Vec<_> = (3..9).map(delivery).collect();
    assert_eq!(flow.keep(takes(2), &line, now()), [], "less");
    assert_eq!(flow.keep(takes(5), &line, now()), line[..2], "more");
    assert_eq!(
        may_go(&flow.take(ReceiverLimits { rate: None, concurrency: None }, &asks(9..99), "b", in_ms(1), now())),
        90
    );
}

#[test]
fn rows_of_earlier_versions_without_lines_are_read() {
    let flow: Flow = serde_json::from_str(r#"{"next":null,"leases":[]}"#).unwrap();
    assert_eq!(flow, Flow::default());
}

/// An operation in the simulation of a receiver and its deliveries.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// This many deliveries arrive in one batch.
    Arrive(u128),
    /// A batch ends and returns its places.
    End(usize),
    /// The process of a batch dies.
    Die(usize),
    /// The message of a woken delivery arrives.
    Woken(usize),
    /// The message of a woken delivery is lost.
    Lost(usize),
    /// A process reads the line.
    Look,
    /// This many seconds pass.
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1_u128..6).prop_map(Op::Arrive),
        any::<usize>().prop_map(Op::End),
        any::<usize>().prop_map(Op::Die),
        any::<usize>().prop_map(Op::Woken),
        any::<usize>().prop_map(Op::Lost),
        Just(Op::Look),
        (0_u64..70).prop_map(Op::Pass),
    ]
}

/// The time when a delivery last had to wait is written every ten seconds, so one that began to wait since then counts
/// too.
#[test]
fn a_delivery_may_have_joined_since_that_was_last_written() {
    let mut flow = Flow::default();
    let within = Duration::from_secs(2);
    assert!(!flow.may_have_joined(within, now()));
    flow.see_waiting(now());
    flow.see_waiting(in_ms(5_000));
    assert_eq!(flow.waited(), Some(now()), "not written again so soon");
    assert!(flow.may_have_joined(within, in_ms(5_000)));
    assert!(flow.may_have_joined(within, in_ms(12_000)));
    assert!(!flow.may_have_joined(within, in_ms(12_001)));
}

proptest! {
    /// Invariant: the requests in flight never exceed the limit, no waiting delivery is passed over by a later one, and
    /// a line that is read gets every free place.
    #[test]
    fn places_are_kept_in_order(most in 1_u32..5, ops in prop::collection::vec(op(), 1..80)) {
        let limits = takes(most);
        let (mut flow, mut at, mut number, mut asked_so_often) = (Flow::default(), now(), 0, 0_u32);
        let mut line: std::collections::BTreeSet<DeliveryId> = std::collections::BTreeSet::new();
        let (mut woken, mut batches): (Vec<DeliveryId>, Vec<(String, u32, Timestamp)>) = (Vec::new(), Vec::new());
        for op in ops {
            let asked = match op {
                Op::Arrive(count) => {
                    number += count;
                    asks(number - count..number)
                }
                Op::Woken(which) if !woken.is_empty() => {
                    let delivery = woken.swap_remove(which % woken.len());
                    vec![Ask { delivery, had_turn: false }]
                }
                Op::End(which) | Op::Die(which) if !batches.is_empty() => {
                    let (holder, ..) = batches.swap_remove(which % batches.len());
                    if matches!(op, Op::End(_)) {
                        flow.release([holder.as_str()], at);
                    }
                    Vec::new()
                }
                Op::Lost(which) if !woken.is_empty() => {
                    // Its row is due, so the sweep sends it and it asks again.
                    line.insert(woken.swap_remove(which % woken.len()));
                    Vec::new()
                }
                Op::Pass(seconds) => {
                    at += Duration::from_secs(seconds);
                    batches.retain(|(.., until)| *until > at);
                    Vec::new()
                }
                Op::End(_) | Op::Die(_) | Op::Woken(_) | Op::Lost(_) | Op::Look => Vec::new(),
            };
            if !asked.is_empty() {
                // Batches need distinct names, or the places of the second would replace those of the first.
                asked_so_often += 1;
                let (holder, until) = (format!("batch {asked_so_often}"), at + Duration::from_mins(1));
                let turns = flow.take(limits, &asked, &holder, until, at);
                let count = may_go(&turns);
                line.extend(asked.iter().zip(&turns).filter(|(_, turn)| **turn == Turn::Wait).map(|(ask, _)| ask.delivery));
                if count > 0 {
                    batches.push((holder, u32::try_from(count).unwrap(), until));
                }
            }
            if matches!(op, Op::End(_) | Op::Look) {
                let all: Vec<_> = line.iter().copied().collect();
                let kept = flow.keep(limits, &all, at);
                let mut free: Vec<_> = all.iter().filter(|one| !flow.holds(&one.to_string()) || kept.contains(one)).collect();
                free.truncate(kept.len());
                prop_assert!(kept.iter().eq(free), "the oldest go first");
                prop_assert!(flow.free(limits) == 0 || all.iter().all(|one| flow.holds(&one.to_string())));
                line.retain(|one| !kept.contains(one));
                woken.extend(kept);
            }
            let under_way: u32 = batches.iter().map(|(_, count, _)| count).sum();
            prop_assert!(under_way <= most, "{under_way} of {most}");
        }
    }
}

proptest! {
    /// Whatever the order of the asks, no second has more requests than twice the rate, and none is refused.
    #[test]
    fn the_rate_holds_over_all_processes(rate in 1_u32..50, arrivals in prop::collection::vec((0_u64..5000, 1_u128..20), 1..20)) {
        let limits = ReceiverLimits { rate: Some(rate), concurrency: None };
        let mut flow = Flow::default();
        let mut arrivals = arrivals;
        arrivals.sort_unstable();
        let mut turns: Vec<Timestamp> = arrivals
            .iter()
            .flat_map(|(at, count)| flow.take(limits, &asks(0..*count), "a", in_ms(1), in_ms(*at)))
            .map(|turn| match turn { Turn::At(at) | Turn::Later(at) => at, Turn::Wait => panic!("there is no limit of places") })
            .collect();
        turns.sort_unstable();
        for first in &turns {
            let within = turns.iter().filter(|turn| *turn >= first && **turn < *first + Duration::from_secs(1)).count();
            prop_assert!(within <= usize::try_from(2 * rate).unwrap(), "{within} in a second");
        }
    }
}
