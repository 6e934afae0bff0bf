use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::delivery::OVERDUE_AFTER;
use crate::delivery::patience::PATIENT_FOR;
use crate::webhook::limits::AutoPause;
use crate::webhook::tests::webhook;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn seconds(seconds: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_secs(seconds)
}

fn breaker(state: BreakerState) -> Breaker {
    Breaker::new(state, now())
}

fn open(probe_in: i64, probing_for: i64) -> Breaker {
    let probe_at = Some(now() + seconds(probe_in));
    let probe_until = Some(now() + seconds(probing_for));
    Breaker { probe_at, probe_until, ..breaker(BreakerState::Open) }
}

fn reported(state: BreakerState) -> Breaker {
    Breaker { failing_since: Some(now()), ..breaker(state) }
}

/// What an invocation sees whose attempt arrives.
fn success() -> Observation {
    Observation { answered: 1, ..observation() }
}

/// What an invocation sees that makes an attempt.
fn observation() -> Observation {
    Observation { attempts: 1, ..Observation::default() }
}

#[rstest]
#[case::closed(None, None, Gate::Send)]
#[case::slow(None, Some(breaker(BreakerState::Closed)), Gate::Send)]
#[case::draining(None, Some(breaker(BreakerState::Draining)), Gate::Send)]
#[case::open(None, Some(open(1, 0)), Gate::Park)]
#[case::time_for_a_probe(None, Some(open(0, 0)), Gate::Probe)]
#[case::probe_in_flight(None, Some(open(0, 1)), Gate::Park)]
#[case::the_prober_died(None, Some(open(-100, -1)), Gate::Probe)]
#[case::paused_by_hand(Some(false), None, Gate::Park)]
#[case::paused_by_hand_and_open(Some(false), Some(open(0, 0)), Gate::Park)]
#[case::paused_by_failures(Some(true), Some(open(1, 0)), Gate::Park)]
#[case::paused_by_failures_and_time_for_a_probe(Some(true), Some(open(0, 0)), Gate::Probe)]
#[case::paused_by_failures_without_a_row(Some(true), None, Gate::Probe)]
fn gates(#[case] by_failures: Option<bool>, #[case] breaker: Option<Breaker>, #[case] expected: Gate) {
    let pause = by_failures.map(|by_failures| Pause { at: now(), by_failures });
    let webhook = Webhook { pause, ..webhook() };
    assert_eq!(gate(&webhook, breaker.as_ref(), now()), expected);
}

#[rstest]
#[case::healthy(0, 0, None, observation(), &[])]
#[case::a_few_failures(4, 1, None, observation(), &[])]
#[case::failing(5, 0, None, observation(), &[Reaction::ReportFailing])]
#[case::timing_out(2, 2, None, observation(), &[Reaction::ReportFailing])]
#[case::reported(9, 2, Some(reported(BreakerState::Closed)), observation(), &[])]
#[case::recovered(0, 0, Some(reported(BreakerState::Closed)), success(), &[Reaction::ReportRecovered])]
#[case::recovered_while_draining(0, 0, Some(reported(BreakerState::Draining)), success(), &[Reaction::ReportRecovered])]
#[case::answered_now_and_then(5, 0, Some(reported(BreakerState::Closed)), success(), &[])]
#[case::answered_while_open(0, 0, Some(reported(BreakerState::Open)), success(), &[])]
#[case::nothing_to_report(0, 0, Some(breaker(BreakerState::Closed)), success(), &[])]
#[case::reported_probe_arrived(0, 0, Some(reported(BreakerState::Open)), Observation { probe: Some(Verdict::Accepted), ..success() }, &[Reaction::Close, Reaction::ReportRecovered])]
#[case::reported_and_tested(11, 0, Some(reported(BreakerState::Open)), Observation { tested: true, attempts: 0, ..observation() }, &[Reaction::ResetFailures, Reaction::Close, Reaction::ReportRecovered])]
#[case::reported_and_opens(10, 0, Some(reported(BreakerState::Closed)), observation(), &[Reaction::Open])]
#[case::failures(10, 0, None, observation(), &[Reaction::Open, Reaction::ReportFailing])]
#[case::timeouts(3, 3, None, Observation { slow: true, ..observation() }, &[Reaction::MarkSlow, Reaction::Open, Reaction::ReportFailing])]
#[case::open_already(11, 0, Some(reported(BreakerState::Open)), observation(), &[])]
#[case::opened_without_a_report(11, 0, Some(open(1, 0)), observation(), &[Reaction::ReportFailing])]
#[case::opens_again(11, 0, Some(breaker(BreakerState::Draining)), observation(), &[Reaction::Open, Reaction::ReportFailing])]
#[case::probe_failed(11, 0, Some(open(0, 1)), Observation { probe: Some(Verdict::ServerFailed), ..observation() }, &[Reaction::StayOpen, Reaction::ReportFailing])]
#[case::probe_arrived(0, 0, Some(open(0, 1)), Observation { probe: Some(Verdict::Accepted), ..observation() }, &[Reaction::Close])]
#[case::probe_answered(1, 0, Some(open(0, 1)), Observation { probe: Some(Verdict::Aborted), ..observation() }, &[Reaction::Close])]
#[case::tested(11, 0, Some(open(1, 0)), Observation { tested: true, attempts: 0, ..observation() }, &[Reaction::ResetFailures, Reaction::Close])]
#[case::tested_after_failures(11, 0, None, Observation { tested: true, attempts: 0, ..observation() }, &[])]
#[case::failing_test(11, 0, None, Observation { attempts: 0, ..observation() }, &[])]
#[case::tested_while_healthy(9, 0, None, Observation { tested: true, attempts: 0, ..observation() }, &[])]
#[case::gone(99, 0, None, Observation { gone: true, ..observation() }, &[Reaction::Disable])]
#[case::for_too_long(50, 0, Some(open(1, 0)), Observation { probe: Some(Verdict::TimedOut), ..observation() }, &[Reaction::StayOpen, Reaction::ReportFailing, Reaction::Pause])]
fn reacts(
    #[case] consecutive_failures: u64,
    #[case] consecutive_timeouts: u64,
    #[case] breaker: Option<Breaker>,
    #[case] seen: Observation,
    #[case] expected: &[Reaction],
) {
    let failing_since = Some(now() - Duration::from_hours(5 * 24));
    let statistics = Statistics { consecutive_failures, failing_since, consecutive_timeouts, ..Statistics::default() };
    assert_eq!(react(&webhook(), breaker.as_ref(), &statistics, seen, now()), expected);
}

fn marked(slow_for: i64) -> Breaker {
    Breaker { slow_until: Some(now() + seconds(slow_for)), ..breaker(BreakerState::Closed) }
}

/// How long a patience is kept, in seconds.
const KEPT: i64 = PATIENT_FOR.as_secs().cast_signed();

fn patient(milliseconds: u64, for_seconds: i64) -> Patience {
    Patience { wait: Duration::from_millis(milliseconds), until: now() + seconds(for_seconds) }
}

fn learned(milliseconds: u64, for_seconds: i64) -> Breaker {
    Breaker { patience: Some(patient(milliseconds, for_seconds)), ..breaker(BreakerState::Closed) }
}

/// What an invocation sees whose longest response took so long.
fn answered_after(milliseconds: u64) -> Observation {
    Observation { longest: Duration::from_millis(milliseconds), ..success() }
}

/// The same, if this invocation has marked the receiver meanwhile.
fn unmarked_after(milliseconds: u64) -> Observation {
    Observation { marked_until: Some(now() + seconds(50)), ..answered_after(milliseconds) }
}

#[rstest]
#[case::fast(None, answered_after(20), None)]
#[case::slow(None, Observation { slow: true, ..observation() }, Some(Reaction::MarkSlow))]
#[case::hung_although_it_marked(None, Observation { slow: true, ..unmarked_after(9000) }, Some(Reaction::MarkSlow))]
#[case::marked_already(Some(marked(301)), Observation { slow: true, ..observation() }, None)]
#[case::still_slow(Some(marked(300)), Observation { slow: true, ..observation() }, Some(Reaction::MarkSlow))]
#[case::fast_again(Some(marked(300)), answered_after(20), None)]
#[case::answered_after_all(None, unmarked_after(400), Some(Reaction::Unmark(now() + seconds(50), patient(800, KEPT))))]
#[case::answered_even_later(Some(learned(800, 60)), unmarked_after(1000), Some(Reaction::Unmark(now() + seconds(50), patient(2000, KEPT))))]
#[case::failed_without_an_answer(None, Observation { longest: Duration::ZERO, ..unmarked_after(0) }, Some(Reaction::Unmark(now() + seconds(50), patient(250, KEPT))))]
#[case::needs_its_patience(
    Some(learned(800, 1800)),
    answered_after(400),
    Some(Reaction::KeepPatience(patient(800, KEPT)))
)]
#[case::needs_it_no_more(
    Some(learned(800, 1800)),
    answered_after(20),
    Some(Reaction::KeepPatience(patient(400, KEPT)))
)]
#[case::has_just_needed_it(Some(learned(800, KEPT)), answered_after(20), None)]
fn reacts_to_how_long_the_receiver_took(
    #[case] breaker: Option<Breaker>,
    #[case] seen: Observation,
    #[case] expected: Option<Reaction>,
) {
    let reactions = react(&webhook(), breaker.as_ref(), &Statistics::default(), seen, now());
    assert_eq!(reactions, Vec::from_iter(expected));
}

#[rstest]
#[case::too_few(2, 100, None)]
#[case::too_short(3, 59, None)]
#[case::both(3, 60, Some(Reaction::Pause))]
fn pauses_after_many_failures_over_a_long_time(
    #[case] consecutive_failures: u64,
    #[case] failing_for: u64,
    #[case] expected: Option<Reaction>,
) {
    let mut webhook = webhook();
    webhook.settings.auto_pause = AutoPause { failures: 3, after_seconds: 60 };
    let failing_since = Some(now() - Duration::from_secs(failing_for));
    let statistics = Statistics { consecutive_failures, failing_since, ..Statistics::default() };
    let breaker = Breaker { failing_since, ..open(1, 0) };
    let reactions = react(&webhook, Some(&breaker), &statistics, observation(), now());
    assert_eq!(reactions.first().copied(), expected);
}

#[test]
fn a_probe_that_arrives_resumes_what_failures_paused() {
    let webhook = Webhook { pause: Some(Pause { at: now(), by_failures: true }), ..webhook() };
    let seen = Observation { probe: Some(Verdict::Accepted), ..observation() };
    let reactions = react(&webhook, Some(&open(0, 1)), &Statistics::default(), seen, now());
    assert_eq!(reactions, [Reaction::Resume]);
    let seen = Observation { tested: true, attempts: 0, ..observation() };
    let reactions = react(&webhook, None, &Statistics::default(), seen, now());
    assert_eq!(reactions, [Reaction::ResetFailures, Reaction::Resume]);
}

#[rstest]
#[case::just_closed(60, Some(120))]
#[case::for_a_while(180, Some(240))]
#[case::once_more(181, Some(3600))]
#[case::and_once_more(3600, Some(86_400))]
#[case::over(86_400, None)]
fn looks_again(#[case] after: i64, #[case] expected: Option<i64>) {
    assert_eq!(next_look(now(), now() + seconds(after)), expected.map(|after| now() + seconds(after)));
}

#[rstest]
#[case::just_closed(60, false, (BreakerState::Closed, Some(120)))]
#[case::once_more(181, false, (BreakerState::Closed, Some(3600)))]
#[case::over(86_400, false, (BreakerState::Closed, None))]
#[case::it_found_some(181, true, (BreakerState::Draining, Some(241)))]
#[case::it_found_some_at_last(86_400, true, (BreakerState::Draining, Some(86_460)))]
fn a_breaker_is_closed_once_nothing_is_parked(
    #[case] after: i64,
    #[case] found: bool,
    #[case] (state, look_at): (BreakerState, Option<i64>),
) {
    let then = now() + seconds(after);
    let moved = Breaker { look_at: Some(then + RUN), ..breaker(BreakerState::Draining) };
    let expected = Breaker { state, look_at: look_at.map(|at| now() + seconds(at)), ..moved };
    assert_eq!(after_look(&moved, found, then), expected);
    let closed = Breaker { state: BreakerState::Closed, ..moved };
    assert_eq!(after_look(&closed, found, then), Breaker { state: BreakerState::Closed, ..expected });
}

#[rstest]
#[case::not_due_yet(-30, false, 120)]
#[case::just_due(0, false, 120)]
#[case::a_lost_message(60, true, 120)]
#[case::not_probed(300, true, 300)]
#[case::paused(86_400, true, 600)]
#[case::no_events(300, false, 300)]
#[case::no_events_for_long(20_000, false, 20_000)]
#[case::no_events_for_days(300_000, false, 86_400)]
fn an_open_breaker_without_a_probe_is_looked_at_rarely(
    #[case] overdue: i64,
    #[case] found: bool,
    #[case] expected: i64,
) {
    let (probe_at, probe_until) = (Some(now() - seconds(overdue)), Some(now() - seconds(400_000)));
    let look_at = Some(now() + OVERDUE_AFTER);
    let moved = Breaker { probe_at, probe_until, look_at, ..breaker(BreakerState::Open) };
    assert_eq!(after_look(&moved, found, now()), Breaker { look_at: Some(now() + seconds(expected)), ..moved });
}

#[rstest]
#[case::healthy(50, 0, 0, false)]
#[case::a_few_failures(50, 4, 1, false)]
#[case::half_of_the_failures(50, 5, 0, true)]
#[case::half_of_the_timeouts(50, 2, 2, true)]
#[case::few_failures_pause_it(3, 1, 0, false)]
#[case::half_of_few_failures(3, 2, 0, true)]
#[case::the_first_failure_pauses_it(1, 1, 0, true)]
fn a_webhook_is_failing_at_half_of_what_opens_its_breaker(
    #[case] pauses_at: u32,
    #[case] consecutive_failures: u64,
    #[case] consecutive_timeouts: u64,
    #[case] expected: bool,
) {
    let mut webhook = webhook();
    webhook.settings.auto_pause.failures = pauses_at;
    let statistics = Statistics { consecutive_failures, consecutive_timeouts, ..Statistics::default() };
    assert_eq!(is_failing(&webhook, &statistics), expected);
}

#[rstest]
#[case::first(0, None, 0)]
#[case::first_with_a_backlog(0, Some(1_000_000), 0)]
#[case::others_wait_too(1, Some(500), 1)]
#[case::the_queue_keeps_up(5, Some(1200), 5)]
#[case::it_nearly_does(5, Some(1201), 4)]
#[case::it_nearly_does_at_the_limit(5, Some(2400), 4)]
#[case::it_does_not(5, Some(2401), 3)]
#[case::it_does_not_at_a_low_pace(3, Some(1001), 1)]
#[case::not_below_the_first(1, Some(1_000_000), 0)]
#[case::the_last(6, Some(0), LAST_STEP)]
#[case::unknown(3, None, 2)]
#[case::of_an_earlier_version(400, None, LAST_STEP)]
fn a_run_is_as_fast_as_the_queue_allows(#[case] drained: u32, #[case] backlog: Option<usize>, #[case] expected: u32) {
    assert_eq!(step(drained, backlog), expected);
}

proptest! {
    #[test]
    fn probes_get_rarer_and_never_stop(failed in 0_u32..1000) {
        let wait = |failed| next_probe(failed, now()).duration_since(now());
        prop_assert!(wait(failed) <= wait(failed + 1));
        prop_assert!(wait(failed) >= seconds(30) && wait(failed) <= seconds(600));
    }

    /// Everything that a run releases is sent before the next run.
    #[test]
    fn a_run_releases_one_minute_of_deliveries(step in 0_u32..1000, rate in proptest::option::of(1_u32..1000)) {
        let (count, apart) = pace(step, rate);
        prop_assert!(rate.is_none_or(|rate| count <= usize::try_from(rate * 60).unwrap()));
        let all = apart * u32::try_from(count).unwrap();
        prop_assert!(all <= Duration::from_mins(1) && all > Duration::from_secs(59));
    }
}
