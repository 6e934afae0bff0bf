//! The health of a webhook: whether its deliveries arrive, fail or wait, since when, and until when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::breaker::{Breaker, BreakerState, is_failing};
use crate::webhook::settings::Direction;
use crate::webhook::statistics::Statistics;
use crate::webhook::{Pause, Webhook};

/// What a webhook's deliveries do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// They are sent, and arrive or fail only now and then.
    Ok,
    /// They are sent, and fail. Half of the failures have occurred that open the breaker.
    Failing,
    /// They are parked, because the receiver is down: the breaker is open.
    Open,
    /// They are parked, and one of them is being sent as a probe.
    Probing,
    /// They are sent again, and parked ones are being released.
    Draining,
    /// They are parked until the webhook is resumed, or until a probe succeeds if failures paused it.
    Paused,
}

/// The health of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// What its deliveries do.
    pub state: HealthState,
    /// Since when; `None` if they are sent and arrive.
    pub since: Option<Timestamp>,
    /// When the next probe is due. It is sent within the minute, or with the next event if no delivery is parked.
    pub next_probe_at: Option<Timestamp>,
}

impl Health {
    /// Returns the health of a webhook. `parked` says whether any of its deliveries is parked. `None` for a webhook
    /// that sends nothing: an inbound, disabled or deleted one.
    #[must_use]
    pub fn of(
        webhook: &Webhook,
        breaker: Option<&Breaker>,
        statistics: &Statistics,
        parked: bool,
        now: Timestamp,
    ) -> Option<Self> {
        if !webhook.wants_events() || webhook.settings.direction == Direction::Inbound {
            return None;
        }
        let open = breaker.filter(|breaker| breaker.state == BreakerState::Open);
        let is_probing = open.and_then(|open| open.probe_until).is_some_and(|until| until > now);
        let probe_at = open.filter(|_| !is_probing).and_then(|open| open.probe_at);
        let health = |state, since| Some(Self { state, since, next_probe_at: None });
        match (webhook.pause, open, breaker) {
            (Some(Pause { at, by_failures }), ..) => {
                let next_probe_at = probe_at.filter(|_| by_failures);
                Some(Self { state: HealthState::Paused, since: Some(at), next_probe_at })
            }
            (None, Some(open), _) => {
                let state = if is_probing { HealthState::Probing } else { HealthState::Open };
                Some(Self { state, since: Some(open.since), next_probe_at: probe_at })
            }
            (None, None, Some(closed)) if parked => health(HealthState::Draining, Some(closed.since)),
            _ if is_failing(webhook, statistics) => health(HealthState::Failing, statistics.failing_since),
            _ => health(HealthState::Ok, None),
        }
    }
}

/// Returns whether deliveries of the webhook may be parked, so that it is worth counting them.
#[must_use]
pub fn may_be_parked(webhook: &Webhook, breaker: Option<&Breaker>) -> bool {
    webhook.pause.is_some() || breaker.is_some_and(|breaker| breaker.state != BreakerState::Closed)
}

/// Returns when a parked delivery of the webhook may be sent: with the next probe, or when the sweep releases parked
/// deliveries next. `None` if it waits until someone resumes the webhook.
#[must_use]
pub fn parked_until(webhook: &Webhook, breaker: Option<&Breaker>) -> Option<Timestamp> {
    if matches!(webhook.pause, Some(Pause { by_failures: false, .. })) {
        return None;
    }
    let breaker = breaker?;
    match breaker.state {
        BreakerState::Open => breaker.probe_at.max(breaker.probe_until),
        BreakerState::Closed | BreakerState::Draining => breaker.look_at,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::webhook::tests::webhook;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000 + second).unwrap()
    }

    const MANUAL: Option<bool> = Some(false);
    const BY_FAILURES: Option<bool> = Some(true);

    fn open(probe_at: i64, probe_until: Option<i64>) -> Breaker {
        let probe_until = probe_until.map(at);
        Breaker { probe_at: Some(at(probe_at)), probe_until, ..Breaker::new(BreakerState::Open, at(-9)) }
    }

    fn draining() -> Breaker {
        Breaker { look_at: Some(at(40)), ..Breaker::new(BreakerState::Draining, at(-8)) }
    }

    fn closed() -> Breaker {
        Breaker { look_at: Some(at(3600)), ..Breaker::new(BreakerState::Closed, at(-8)) }
    }

    #[rstest]
    #[case::new(None, None, 0, 0, (HealthState::Ok, None, None))]
    #[case::slow(None, Some(closed()), 0, 0, (HealthState::Ok, None, None))]
    #[case::a_few_failures(None, None, 4, 0, (HealthState::Ok, None, None))]
    #[case::failures(None, None, 5, 0, (HealthState::Failing, Some(-99), None))]
    #[case::open(None, Some(open(30, None)), 10, 7, (HealthState::Open, Some(-9), Some(30)))]
    #[case::open_and_due(None, Some(open(-30, None)), 10, 0, (HealthState::Open, Some(-9), Some(-30)))]
    #[case::probing(None, Some(open(-30, Some(5))), 10, 7, (HealthState::Probing, Some(-9), None))]
    #[case::the_prober_died(None, Some(open(-30, Some(0))), 10, 7, (HealthState::Open, Some(-9), Some(-30)))]
    #[case::draining(None, Some(draining()), 0, 7, (HealthState::Draining, Some(-8), None))]
    #[case::drained(None, Some(draining()), 0, 0, (HealthState::Ok, None, None))]
    #[case::drained_and_failing(None, Some(draining()), 5, 0, (HealthState::Failing, Some(-99), None))]
    #[case::released_late(None, Some(closed()), 0, 1, (HealthState::Draining, Some(-8), None))]
    #[case::paused(MANUAL, None, 0, 7, (HealthState::Paused, Some(-7), None))]
    #[case::paused_and_open(MANUAL, Some(open(30, None)), 10, 7, (HealthState::Paused, Some(-7), None))]
    #[case::paused_by_failures(BY_FAILURES, Some(open(30, None)), 50, 7, (HealthState::Paused, Some(-7), Some(30)))]
    #[case::paused_and_probing(BY_FAILURES, Some(open(-30, Some(5))), 50, 7, (HealthState::Paused, Some(-7), None))]
    #[case::paused_without_a_row(BY_FAILURES, None, 50, 0, (HealthState::Paused, Some(-7), None))]
    fn says_what_deliveries_do(
        #[case] by_failures: Option<bool>,
        #[case] breaker: Option<Breaker>,
        #[case] consecutive_failures: u64,
        #[case] parked: usize,
        #[case] (state, since, next_probe_at): (HealthState, Option<i64>, Option<i64>),
    ) {
        let pause = by_failures.map(|by_failures| Pause { at: at(-7), by_failures });
        let failing_since = Some(at(-99));
        let statistics = Statistics { consecutive_failures, failing_since, ..Statistics::default() };
        let found =
            Health::of(&Webhook { pause, ..webhook() }, breaker.as_ref(), &statistics, parked > 0, at(0)).unwrap();
        let expected = Health { state, since: since.map(at), next_probe_at: next_probe_at.map(at) };
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case::inbound(|webhook: &mut Webhook| webhook.settings.direction = Direction::Inbound)]
    #[case::disabled(|webhook: &mut Webhook| webhook.settings.enabled = false)]
    #[case::deleted(|webhook: &mut Webhook| webhook.delete(at(0), "anna"))]
    fn a_webhook_that_sends_nothing_has_none(#[case] change: fn(&mut Webhook)) {
        let mut webhook = webhook();
        change(&mut webhook);
        assert_eq!(Health::of(&webhook, Some(&open(30, None)), &Statistics::default(), true, at(0)), None);
    }

    #[rstest]
    #[case::open(None, Some(open(30, Some(-5))), Some(30))]
    #[case::probing(None, Some(open(-30, Some(5))), Some(5))]
    #[case::draining(None, Some(draining()), Some(40))]
    #[case::late(None, Some(closed()), Some(3600))]
    #[case::paused_by_failures(BY_FAILURES, Some(open(30, None)), Some(30))]
    #[case::paused(MANUAL, Some(open(30, None)), None)]
    #[case::no_row(None, None, None)]
    fn a_parked_delivery_waits_until_the_next_probe_or_release(
        #[case] by_failures: Option<bool>,
        #[case] breaker: Option<Breaker>,
        #[case] expected: Option<i64>,
    ) {
        let pause = by_failures.map(|by_failures| Pause { at: at(-7), by_failures });
        assert_eq!(parked_until(&Webhook { pause, ..webhook() }, breaker.as_ref()), expected.map(at));
    }

    #[rstest]
    #[case::healthy(None, None, false)]
    #[case::closed(None, Some(closed()), false)]
    #[case::draining(None, Some(draining()), true)]
    #[case::open(None, Some(open(30, None)), true)]
    #[case::paused(MANUAL, None, true)]
    fn parked_deliveries_are_counted_only_where_there_may_be_some(
        #[case] by_failures: Option<bool>,
        #[case] breaker: Option<Breaker>,
        #[case] expected: bool,
    ) {
        let pause = by_failures.map(|by_failures| Pause { at: at(-7), by_failures });
        assert_eq!(may_be_parked(&Webhook { pause, ..webhook() }, breaker.as_ref()), expected);
    }
}
