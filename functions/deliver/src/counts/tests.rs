use domain::attempt::outcome::Verdict;
use domain::delivery::message::{Body, Message};
use domain::delivery::{Progress, State};
use domain::id::EventId;
use jiff::Timestamp;
use rstest::rstest;

use super::*;

fn webhook() -> WebhookId {
    WebhookId::from_parts(Timestamp::UNIX_EPOCH, 1)
}

/// Returns rows of deliveries that arrived.
fn arrived(count: usize, test: bool) -> Vec<Delivery> {
    let row = |number: usize| {
        let event = EventId::derive(Timestamp::UNIX_EPOCH, &[&number.to_string()]);
        let (event_type, tenant) = ("order.created".parse().unwrap(), "acme".parse().unwrap());
        let message = Message::first(event, event_type, webhook(), tenant, Body::Inline("{}".to_owned()));
        let message = Message { test, ..message };
        Delivery::first(message, Progress { state: State::Delivered, cycle: 0, attempt: 1, next_at: None })
    };
    (0..count).map(row).collect()
}

fn receiver(calls: u64, errors: u64, tests: usize, probe: bool) -> Receiver {
    let tally = Tally {
        calls,
        errors,
        ignored: 0,
        duration_ms: 10,
        failures: errors,
        succeeded: errors < calls,
        failing_since: None,
        timeouts: 0,
        ended_otherwise: true,
        last_error: None,
        last_at: Timestamp::UNIX_EPOCH,
        last_status: Verdict::Accepted,
    };
    let attempts = usize::try_from(calls).unwrap() - tests;
    let seen = Observation { attempts, probe: probe.then_some(Verdict::Accepted), ..Observation::default() };
    Receiver { webhook: webhook(), tally, seen }
}

#[rstest]
#[case::all_arrived(receiver(2, 0, 0, false), arrived(2, false), Some(0), true)]
#[case::a_failure(receiver(2, 1, 0, false), arrived(1, false), Some(0), false)]
#[case::a_retry_that_arrived(receiver(2, 0, 0, false), arrived(1, false), Some(0), false)]
#[case::a_test(receiver(1, 0, 1, false), arrived(1, true), Some(0), false)]
#[case::a_probe(receiver(1, 0, 0, true), arrived(1, false), Some(0), false)]
#[case::failures_that_it_ends(receiver(2, 0, 0, false), arrived(2, false), Some(1), false)]
#[case::nothing_is_known(receiver(2, 0, 0, false), arrived(2, false), None, false)]
fn what_no_decision_depends_on_is_counted_later(
    #[case] receiver: Receiver,
    #[case] arrived: Vec<Delivery>,
    #[case] failures: Option<u64>,
    #[case] is_later: bool,
) {
    let before = failures.map(|consecutive_failures| {
        HashMap::from([(webhook(), Statistics { consecutive_failures, ..Statistics::default() })])
    });
    let (later, at_once) = split(&[receiver], before.as_ref(), &arrived);
    assert_eq!((later.contains(&webhook()), at_once.is_empty()), (is_later, is_later));
}

#[test]
fn a_failure_after_an_arrival_starts_a_new_series() {
    let statistics = Statistics { is_series_over: true, ..Statistics::default() };
    let (_, at_once) = split(&[receiver(1, 1, 0, false)], Some(&HashMap::from([(webhook(), statistics)])), &[]);
    assert!(at_once[0].1.succeeded, "the stored count is replaced");
}
