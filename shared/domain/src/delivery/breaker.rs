//! The circuit breaker: whether a webhook's deliveries are sent, are parked, or one of them is sent as a probe.
//!
//! A closed breaker has no row. An open one is a row stored with the webhook's deliveries. The sweep reads it: when a
//! probe is due, it sends one parked delivery, and after a successful probe it releases the parked deliveries, oldest
//! first, in growing portions. Nothing is dropped, and no process runs while deliveries wait.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attempt::outcome::Verdict;
use crate::time::after;
use crate::webhook::statistics::Statistics;
use crate::webhook::{Pause, Webhook};

/// How many consecutive failures open the breaker.
pub const TRIP_FAILURES: u64 = 10;

/// How many consecutive timeouts open it. Fewer than failures, because each timeout occupies a process for its whole
/// duration.
pub const TRIP_TIMEOUTS: u64 = 3;

/// The time between two runs of the sweep.
pub const RUN: Duration = Duration::from_mins(1);

/// How long an open breaker waits before the first probe. The wait doubles after each failed probe.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// The longest time between two probes.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// How many parked deliveries per second are released in the first run after the breaker closes. Each later run doubles
/// the pace.
const FIRST_PACE: u32 = 10;

/// The highest pace, in deliveries per second.
const FASTEST_PACE: u32 = 80;

/// How long after closing every run of the sweep looks for parked deliveries: longer than the lifetime of a process
/// that read the breaker while it was open.
const LINGER: Duration = Duration::from_mins(3);

/// When it looks again after that. The index that it reads is eventually consistent, and AWS gives no bound for the
/// lag.
const LATE_CHECKS: [Duration; 2] = [Duration::from_hours(1), Duration::from_hours(24)];

/// Response time above which a receiver counts as slow. Its deliveries then use a queue of their own.
pub const SLOW: Duration = Duration::from_secs(5);

/// How long a receiver stays marked as slow.
pub const SLOW_FOR: Duration = Duration::from_mins(10);

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Deliveries are sent. The row exists only to mark the receiver as slow.
    Closed,
    /// Deliveries wait. Half-open until `probe_until` while one process probes.
    Open,
    /// Deliveries are sent, and parked ones are being released.
    Draining,
}

/// A webhook's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Its state.
    pub state: BreakerState,
    /// When it entered this state.
    pub since: Timestamp,
    /// How many probes have failed since it opened.
    pub failed_probes: u32,
    /// When the next probe may be made, while it is open.
    pub probe_at: Option<Timestamp>,
    /// When the lease of the probing process ends.
    pub probe_until: Option<Timestamp>,
    /// How many runs of the sweep have released deliveries since it closed.
    pub drained: u32,
    /// Until when the receiver counts as slow.
    pub slow_until: Option<Timestamp>,
}

/// What to do with a delivery that is ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Send it.
    Send,
    /// Send it, unless another process is already probing.
    Probe,
    /// Let it wait.
    Park,
}

/// Returns what to do with a delivery of the webhook that is ready to be sent.
#[must_use]
pub fn gate(webhook: &Webhook, breaker: Option<&Breaker>, now: Timestamp) -> Gate {
    let paused = match webhook.pause {
        Some(Pause { by_failures: false, .. }) => return Gate::Park,
        Some(Pause { by_failures: true, .. }) => true,
        None => false,
    };
    match breaker {
        Some(Breaker { state: BreakerState::Open, probe_at, probe_until, .. }) => {
            let is_time = probe_at.is_none_or(|at| at <= now) && probe_until.is_none_or(|until| until <= now);
            if is_time { Gate::Probe } else { Gate::Park }
        }
        // It was paused after too many failures and its breaker row is gone: probe the receiver.
        _ if paused => Gate::Probe,
        _ => Gate::Send,
    }
}

/// Returns whether the receiver is marked as slow.
#[must_use]
pub fn is_slow(breaker: Option<&Breaker>, now: Timestamp) -> bool {
    breaker.and_then(|breaker| breaker.slow_until).is_some_and(|until| until > now)
}

/// Returns when the next probe may be made.
#[must_use]
pub fn next_probe(failed_probes: u32, now: Timestamp) -> Timestamp {
    let wait = FIRST_WAIT.saturating_mul(1 << failed_probes.min(10));
    after(now, wait.min(LONGEST_WAIT))
}

/// Returns how many parked deliveries a run of the sweep releases, and the time between two of them.
#[must_use]
pub fn pace(drained: u32) -> (usize, Duration) {
    let a_second = FIRST_PACE.saturating_mul(1 << drained.min(10)).min(FASTEST_PACE);
    (usize::try_from(a_second * 60).unwrap_or(usize::MAX), Duration::from_secs(1) / a_second)
}

/// Returns when to look for parked deliveries again if none were found, for a breaker that closed at `since`. `None`
/// means never.
#[must_use]
pub fn next_look(since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    if now <= since + LINGER {
        return Some(now + RUN);
    }
    LATE_CHECKS.into_iter().map(|after| since + after).find(|at| *at > now)
}

/// What an invocation observed of a webhook's receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observation {
    /// The verdict of the probe, if this invocation sent it.
    pub probe: Option<Verdict>,
    /// How many attempts were not tests.
    pub attempts: usize,
    /// Whether a test succeeded: it shows as well as a probe that the receiver is up.
    pub tested: bool,
    /// Whether the receiver asked for no more events.
    pub gone: bool,
    /// Whether it answered slowly or not at all.
    pub slow: bool,
}

/// How the breaker and the webhook change after an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// The receiver is slow: its deliveries move to the slow queue.
    MarkSlow,
    /// Too many failures: deliveries are parked.
    Open,
    /// The probe failed: deliveries stay parked.
    StayOpen,
    /// A test succeeded: earlier failures no longer count.
    ResetFailures,
    /// The probe arrived: parked deliveries are released.
    Close,
    /// Failures for too long: the webhook is paused and its tenant notified.
    Pause,
    /// The webhook was paused after failures and the probe arrived: it is resumed.
    Resume,
    /// The receiver wants no more events: the webhook is disabled and its tenant notified.
    Disable,
}

/// Returns the reactions to an observation, given the webhook's statistics.
///
/// A process may die before it carries out a reaction. The next invocation then makes the same observation again.
#[must_use]
pub fn react(
    webhook: &Webhook,
    breaker: Option<&Breaker>,
    statistics: &Statistics,
    seen: Observation,
    now: Timestamp,
) -> Vec<Reaction> {
    if seen.gone {
        return vec![Reaction::Disable];
    }
    let mut reactions = Vec::new();
    let is_open = breaker.is_some_and(|breaker| breaker.state == BreakerState::Open);
    let paused = webhook.pause.is_some_and(|pause| pause.by_failures);
    let ends = if paused { Reaction::Resume } else { Reaction::Close };
    if seen.tested && (is_open || paused) {
        // Tests are not counted. Without the reset, the next failure would open the breaker again.
        return vec![Reaction::ResetFailures, ends];
    }
    if seen.attempts == 0 {
        // A test has no other consequence, whatever the counters say.
        return reactions;
    }
    if seen.slow && !is_slow(breaker, now) {
        reactions.push(Reaction::MarkSlow);
    }
    match seen.probe {
        // Any answer shows that the receiver is up, even if it rejects this event.
        Some(Verdict::Accepted | Verdict::Aborted) => {
            reactions.push(ends);
            return reactions;
        }
        Some(_) => reactions.push(Reaction::StayOpen),
        None if !is_open && trips(webhook, statistics) => reactions.push(Reaction::Open),
        None => {}
    }
    if webhook.pause.is_none() && pauses(webhook, statistics, now) {
        reactions.push(Reaction::Pause);
    }
    reactions
}

fn trips(webhook: &Webhook, statistics: &Statistics) -> bool {
    let failures = TRIP_FAILURES.min(webhook.settings.auto_pause.failures.into());
    statistics.consecutive_failures >= failures || statistics.consecutive_timeouts >= TRIP_TIMEOUTS
}

fn pauses(webhook: &Webhook, statistics: &Statistics, now: Timestamp) -> bool {
    let limit = webhook.settings.auto_pause;
    let long_enough =
        statistics.failing_since.is_some_and(|since| since + Duration::from_secs(limit.after_seconds.into()) <= now);
    statistics.consecutive_failures >= limit.failures.into() && long_enough
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::webhook::limits::AutoPause;
    use crate::webhook::tests::webhook;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn seconds(seconds: i64) -> jiff::SignedDuration {
        jiff::SignedDuration::from_secs(seconds)
    }

    fn breaker(state: BreakerState) -> Breaker {
        let (probe_at, probe_until, slow_until) = (None, None, None);
        Breaker { state, since: now(), failed_probes: 0, probe_at, probe_until, drained: 0, slow_until }
    }

    fn open(probe_in: i64, probing_for: i64) -> Breaker {
        let probe_at = Some(now() + seconds(probe_in));
        let probe_until = Some(now() + seconds(probing_for));
        Breaker { probe_at, probe_until, ..breaker(BreakerState::Open) }
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
    #[case::nearly(9, 2, None, observation(), &[])]
    #[case::failures(10, 0, None, observation(), &[Reaction::Open])]
    #[case::timeouts(3, 3, None, Observation { slow: true, ..observation() }, &[Reaction::MarkSlow, Reaction::Open])]
    #[case::open_already(11, 0, Some(open(1, 0)), observation(), &[])]
    #[case::opens_again(11, 0, Some(breaker(BreakerState::Draining)), observation(), &[Reaction::Open])]
    #[case::probe_failed(11, 0, Some(open(0, 1)), Observation { probe: Some(Verdict::ServerFailed), ..observation() }, &[Reaction::StayOpen])]
    #[case::probe_arrived(0, 0, Some(open(0, 1)), Observation { probe: Some(Verdict::Accepted), ..observation() }, &[Reaction::Close])]
    #[case::probe_answered(1, 0, Some(open(0, 1)), Observation { probe: Some(Verdict::Aborted), ..observation() }, &[Reaction::Close])]
    #[case::tested(11, 0, Some(open(1, 0)), Observation { tested: true, attempts: 0, ..observation() }, &[Reaction::ResetFailures, Reaction::Close])]
    #[case::tested_after_failures(11, 0, None, Observation { tested: true, attempts: 0, ..observation() }, &[])]
    #[case::failing_test(11, 0, None, Observation { attempts: 0, ..observation() }, &[])]
    #[case::tested_while_healthy(9, 0, None, Observation { tested: true, attempts: 0, ..observation() }, &[])]
    #[case::gone(99, 0, None, Observation { gone: true, ..observation() }, &[Reaction::Disable])]
    #[case::for_too_long(50, 0, Some(open(1, 0)), Observation { probe: Some(Verdict::TimedOut), ..observation() }, &[Reaction::StayOpen, Reaction::Pause])]
    fn reacts(
        #[case] consecutive_failures: u64,
        #[case] consecutive_timeouts: u64,
        #[case] breaker: Option<Breaker>,
        #[case] seen: Observation,
        #[case] expected: &[Reaction],
    ) {
        let failing_since = Some(now() - Duration::from_hours(5 * 24));
        let statistics =
            Statistics { consecutive_failures, failing_since, consecutive_timeouts, ..Statistics::default() };
        assert_eq!(react(&webhook(), breaker.as_ref(), &statistics, seen, now()), expected);
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
        let reactions = react(&webhook, Some(&open(1, 0)), &statistics, observation(), now());
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

    proptest! {
        #[test]
        fn probes_get_rarer_and_never_stop(failed in 0_u32..1000) {
            let wait = |failed| next_probe(failed, now()).duration_since(now());
            prop_assert!(wait(failed) <= wait(failed + 1));
            prop_assert!(wait(failed) >= seconds(30) && wait(failed) <= seconds(600));
        }

        /// Everything that a run releases is sent before the next run.
        #[test]
        fn a_run_releases_one_minute_of_deliveries(drained in 0_u32..1000) {
            let (count, apart) = pace(drained);
            let all = apart * u32::try_from(count).unwrap();
            prop_assert!(all <= Duration::from_mins(1) && all > Duration::from_secs(59));
        }
    }
}
