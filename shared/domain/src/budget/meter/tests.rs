use proptest::prelude::*;
use rstest::rstest;

use super::super::limits::tests::limits;
use super::*;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn day(back: i64) -> Date {
    today(now() - SignedDuration::from_hours(24 * back))
}

fn meter(limit: u64, days: &[(i64, Counts)]) -> Meter {
    let days: Vec<_> = days.iter().map(|(back, counts)| (day(*back), *counts)).collect();
    Meter::new(limits(limit), &days, 7, now())
}

fn deliveries(deliveries: u64) -> Counts {
    Counts { deliveries, ..Counts::default() }
}

fn published(events: u64, published_bytes: u64) -> Counts {
    Counts { events, published_bytes, ..Counts::default() }
}

#[rstest]
#[case::within(0, 4, None)]
#[case::the_last_of_the_day(3, 4, None)]
#[case::the_first_of_the_next_day(4, 4, Some("2026-11-22T00:00:00Z"))]
#[case::in_the_middle_of_it(6, 4, Some("2026-11-22T12:00:00Z"))]
#[case::the_day_after(8, 4, Some("2026-11-23T00:00:00Z"))]
#[case::on_the_last_day(27, 4, Some("2026-11-27T18:00:00Z"))]
fn a_delivery_has_its_turn(#[case] before: u64, #[case] limit: u64, #[case] until: Option<&str>) {
    assert_eq!(turn(before, limit, day(0)), until.map(|text| Deferral::Until(text.parse().unwrap())));
}

#[rstest]
#[case::too_late(28, 4)]
#[case::much_too_late(u64::MAX, 1)]
#[case::no_budget_at_all(0, 0)]
fn a_delivery_has_no_turn(#[case] before: u64, #[case] limit: u64) {
    assert_eq!(turn(before, limit, day(0)), Some(Deferral::Never));
}

#[test]
fn what_is_not_sent_is_not_counted() {
    let mut meter = meter(2, &[]);
    for _ in 0..5 {
        assert_eq!(meter.deliver(), None, "an outage uses up nothing");
        assert!(meter.has_pending());
        meter.not_sent();
    }
    assert_eq!(meter.deliver(), None);
    meter.sent();
    assert_eq!((meter.take_pending(), meter.take_pending()), (deliveries(1), deliveries(0)));
}

#[rstest]
#[case::nothing(&[], 0)]
#[case::within_the_budget(&[(1, 10)], 0)]
#[case::over_it(&[(1, 14)], 4)]
#[case::worked_off_meanwhile(&[(2, 14), (1, 6)], 0)]
#[case::added_up(&[(2, 14), (1, 9)], 3)]
#[case::longer_than_any_waits(&[(1, 1_000)], 60)]
#[case::long_ago(&[(8, 1_000)], 0)]
#[case::handed_on_from_day_to_day(&[(10, 30), (9, 30), (8, 30), (7, 30), (6, 10), (5, 10), (4, 10), (3, 10), (2, 10), (1, 10)], 60)]
fn days_leave_a_backlog(#[case] days: &[(i64, u64)], #[case] backlog: u64) {
    let days: Vec<_> = days.iter().map(|(back, made)| (*back, deliveries(*made))).collect();
    assert_eq!(meter(10, &days).backlog, backlog);
}

#[test]
fn new_deliveries_share_the_day_with_those_that_waited() {
    let mut meter = meter(10, &[(1, deliveries(14)), (0, deliveries(5))]);
    assert_eq!(meter.deliver(), None, "four waited, five were made, and this is the tenth");
    assert_eq!(meter.deliver(), Some(Deferral::Until("2026-11-22T00:00:00Z".parse().unwrap())));
    meter.sent();
    assert_eq!(meter.take_pending(), deliveries(2));
    assert_eq!(meter.take_pending(), Counts::default());
}

#[test]
fn stored_bytes_are_those_of_events_that_are_kept() {
    let of = |published_bytes, archived_bytes| Counts { published_bytes, archived_bytes, ..Counts::default() };
    let meter =
        meter(1_000_000, &[(0, of(1, 10)), (7, of(100, 1_000)), (8, of(10_000, 100_000)), (31, of(1 << 20, 1 << 20))]);
    assert_eq!(meter.used(Budget::StoredBytes), 11_111);
}

#[rstest]
#[case::room(90, 0, published(10, 1), None)]
#[case::one_too_many(91, 0, published(10, 1), Some((Budget::EventsPerDay, 91)))]
#[case::more_than_a_day_has(0, 0, published(101, 1), Some((Budget::EventsPerDay, 0)))]
#[case::bytes(0, 60, published(1, 41), Some((Budget::StoredBytes, 60)))]
#[case::nothing_is_asked(200, 200, Counts { jobs: 1, ..Counts::default() }, None)]
fn refuses_requests_over_the_budget(
    #[case] events: u64,
    #[case] bytes: u64,
    #[case] more: Counts,
    #[case] refused: Option<(Budget, u64)>,
) {
    let meter = meter(100, &[(0, published(events, bytes))]);
    let found = meter.check(more, now()).err();
    assert_eq!(found.as_ref().map(|found| (found.budget, found.used)), refused);
    if let Some(found) = found {
        assert_eq!(found.resets_at, "2026-11-22T00:00:00Z".parse().unwrap());
        assert!(found.to_string().contains("of 100 are used"), "{found}");
    }
}

#[rstest]
#[case::below(79, &[])]
#[case::eighty(80, &[80])]
#[case::between(99, &[80])]
#[case::all(100, &[80, 100])]
#[case::more(150, &[80, 100])]
fn thresholds_are_announced_once(#[case] used: u64, #[case] percents: &[u8]) {
    let mut meter = meter(100, &[(0, deliveries(used))]);
    let told = |meter: &mut Meter| meter.thresholds().into_iter().map(|(_, percent, _)| percent).collect::<Vec<_>>();
    assert_eq!(told(&mut meter), percents);
    assert_eq!(told(&mut meter), [0_u8; 0]);
    let read = meter.clone();
    assert_eq!(told(&mut meter.renewed(&read)), [0_u8; 0], "nor after the next read");
}

#[rstest]
#[case::with_nothing_used(0, &[100])]
#[case::below(79, &[100])]
#[case::just_below_the_limit(99, &[80, 100])]
#[case::at_it(100, &[80, 100])]
fn a_refusal_reaches_the_last_threshold(#[case] used: u64, #[case] percents: &[u8]) {
    let mut meter = meter(100, &[(0, published(0, used))]);
    let refused = meter.check(published(0, 101), now()).unwrap_err();
    meter.refused(refused.budget);
    let expected: Vec<_> = percents.iter().map(|percent| (Budget::StoredBytes, *percent, used)).collect();
    assert_eq!(meter.thresholds(), expected);
    let read = meter.clone();
    let mut renewed = meter.renewed(&read);
    renewed.refused(Budget::StoredBytes);
    assert_eq!(renewed.thresholds(), []);
    // It is announced again on the next day if something is refused then.
    let tomorrow = now() + SignedDuration::from_hours(24);
    let mut renewed = renewed.renewed(&Meter::new(limits(100), &[], 7, tomorrow));
    assert_eq!(renewed.thresholds(), []);
    renewed.refused(Budget::StoredBytes);
    assert_eq!(renewed.thresholds(), [(Budget::StoredBytes, 100, 0)]);
}

#[test]
fn webhooks_have_thresholds() {
    let mut meter = meter(10, &[]);
    let mut reached = |webhooks| {
        meter.learn_webhooks(webhooks);
        meter.thresholds()
    };
    assert_eq!(reached(7), []);
    assert_eq!(reached(8), [(Budget::Webhooks, 80, 8)]);
    assert_eq!(reached(9), []);
    assert_eq!(reached(10), [(Budget::Webhooks, 100, 10)]);
    // The count of another day is no longer valid and announces nothing.
    let tomorrow = now() + SignedDuration::from_hours(24);
    let mut renewed = meter.renewed(&Meter::new(limits(10), &[], 7, tomorrow));
    assert_eq!((renewed.used(Budget::Webhooks), renewed.thresholds()), (0, Vec::new()));
}

#[test]
fn counts_are_read_again_after_a_minute_and_on_the_next_day() {
    let meter = meter(1, &[]);
    let after = |seconds| meter.is_stale(now() + SignedDuration::from_secs(seconds));
    assert_eq!([after(0), after(59), after(60), after(-1)], [false, false, true, true]);
    let late = "2026-11-21T23:59:59Z".parse().unwrap();
    let late = Meter::new(limits(1), &[], 7, late);
    assert!(late.is_stale("2026-11-22T00:00:00Z".parse().unwrap()));
}

proptest! {
    /// For any days: no day makes more than the budget, later deliveries come later, and each is either made or has no
    /// turn.
    #[test]
    fn no_day_makes_more_than_its_budget(limit in 1_u64..20, days in prop::collection::vec(0_u64..100, 1..12)) {
        let mut made: std::collections::BTreeMap<Date, u64> = std::collections::BTreeMap::new();
        let mut counted: Vec<(Date, Counts)> = Vec::new();
        let mut last = Timestamp::MIN;
        for (index, count) in days.iter().enumerate() {
            let at = now() + SignedDuration::from_hours(24 * i64::try_from(index).unwrap());
            let mut meter = Meter::new(limits(limit), &counted, 7, at);
            for _ in 0..*count {
                match meter.deliver() {
                    None => *made.entry(today(at)).or_default() += 1,
                    Some(Deferral::Never) => {}
                    Some(Deferral::Until(until)) => {
                        prop_assert!(until >= resets_at(at) && until < resets_at(at) + SignedDuration::from_hours(24 * 6));
                        prop_assert!(until >= last);
                        last = until;
                        *made.entry(today(until)).or_default() += 1;
                    }
                }
            }
            meter.sent();
            counted.push((today(at), meter.take_pending()));
        }
        prop_assert!(made.values().all(|made| *made <= limit), "{made:?}");
    }

    /// The room allows exactly what is within the budget, whatever the counter is.
    #[test]
    fn room_is_exact(limit in 0_u64..50, used in 0_u64..60, more in 1_u64..60) {
        let meter = meter(limit, &[]);
        let admitted = meter.room(published(more, 0), now()).is_ok_and(|room| used <= room.events);
        prop_assert_eq!(admitted, used + more <= limit);
    }

    /// Whatever a tenant publishes, each threshold is announced once; 100 % is announced when something is refused or
    /// everything is used.
    #[test]
    fn no_refusal_goes_unannounced(limit in 0_u64..50, asked in prop::collection::vec(1_u64..20, 0..30)) {
        let mut meter = meter(limit, &[]);
        let (mut used, mut announced, mut is_refused) = (0, Vec::new(), false);
        for more in asked {
            match meter.check(published(0, more), now()) {
                Ok(()) => {
                    used += more;
                    meter.learn(published(0, used));
                }
                Err(refused) => {
                    is_refused = true;
                    meter.refused(refused.budget);
                }
            }
            announced.extend(meter.thresholds().into_iter().map(|(_, percent, _)| percent));
            prop_assert_eq!(announced.contains(&100), is_refused || (used > 0 && used == limit));
            prop_assert_eq!(announced.contains(&80), used > 0 && used * 100 >= limit * 80);
        }
        prop_assert!(announced.len() <= 2);
    }
}
