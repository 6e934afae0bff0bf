//! The circuit breaker: whether a webhook's deliveries are sent, are parked, or one of them is sent as a probe.
//!
//! A closed breaker needs no row. An open one is a row stored with the webhook's deliveries. The sweep reads it: when a
//! probe is due, it sends one parked delivery, and after a successful probe it releases the parked deliveries, oldest
//! first, in growing portions. Nothing is dropped, and no process runs while deliveries wait.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::patience::{Patience, SLOW_FOR, learn, renew};
use crate::attempt::outcome::Verdict;
use crate::time::after;
use crate::webhook::settings::Direction;
use crate::webhook::statistics::Statistics;
use crate::webhook::{Pause, Webhook};

/// How many consecutive failures open the breaker.
pub const TRIP_FAILURES: u64 = 10;

/// How many consecutive timeouts open it. Fewer than failures, because each timeout occupies a process for its whole
/// duration.
pub const TRIP_TIMEOUTS: u64 = 3;

/// How many waiting messages are normal for a queue, whatever a drain releases: retries of all tenants wait there for a
/// batch. They must not slow down a drain.
const USUAL_BACKLOG: usize = 500;

/// The time between two runs of the sweep.
pub const RUN: Duration = Duration::from_mins(1);

/// How long an open breaker waits before the first probe. The wait doubles after each failed probe.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// The longest time between two probes.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// How many parked deliveries per second are released in the first run after the breaker closes. Each step doubles the
/// pace.
const FIRST_PACE: u32 = 10;

/// The last step: 320 deliveries per second, which is about what a run of the sweep can move.
pub const LAST_STEP: u32 = 5;

/// How long after closing every run of the sweep looks for parked deliveries: longer than the lifetime of a process
/// that read the breaker while it was open.
const LINGER: Duration = Duration::from_mins(3);

/// When it looks again after that. The index that it reads is eventually consistent, and AWS gives no bound for the
/// lag.
const LATE_CHECKS: [Duration; 2] = [Duration::from_hours(1), Duration::from_hours(24)];

/// The longest time between two looks at an open breaker whose probe no process makes, although deliveries are parked:
/// the webhook is paused, or the probe's message is late.
const LONGEST_UNPROBED: Duration = LONGEST_WAIT;

/// The longest time between two looks at an open breaker without parked deliveries. The next event becomes the probe
/// without the sweep.
const LONGEST_IDLE: Duration = Duration::from_hours(24);

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Deliveries are sent, and none is known to be parked. The row marks the receiver as slow, or the sweep has yet to
    /// look for deliveries that the index shows late.
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
    /// When it opened, or when it closed.
    pub since: Timestamp,
    /// How many probes have failed since it opened.
    pub failed_probes: u32,
    /// When the next probe may be made, while it is open.
    pub probe_at: Option<Timestamp>,
    /// When the lease of the probing process ends.
    pub probe_until: Option<Timestamp>,
    /// One more than the [step] of the last run of the sweep that released deliveries since it closed; 0 before the
    /// first.
    pub drained: u32,
    /// Until when the receiver counts as slow.
    pub slow_until: Option<Timestamp>,
    /// The patience that its answers have shown to be needed.
    pub patience: Option<Patience>,
    /// When the sweep looks at it next.
    pub look_at: Option<Timestamp>,
    /// When the failures began that were reported with `webhook.failing`. Reset when `webhook.recovered` is.
    pub failing_since: Option<Timestamp>,
}

impl Breaker {
    /// Returns a breaker that has just entered a state.
    #[must_use]
    pub const fn new(state: BreakerState, since: Timestamp) -> Self {
        Self {
            state,
            since,
            failed_probes: 0,
            probe_at: None,
            probe_until: None,
            drained: 0,
            slow_until: None,
            patience: None,
            look_at: None,
            failing_since: None,
        }
    }
}

/// Returns whether a write of the webhook releases its parked deliveries, so that they are sent or cancelled: unless it
/// is paused and still wants events. An owner who repairs a webhook expects its backlog to be sent.
#[must_use]
pub fn is_released_by_write(webhook: &Webhook) -> bool {
    let waits = webhook.pause.is_some() && webhook.wants_events();
    webhook.audit.version > 1 && webhook.settings.direction == Direction::Outbound && !waits
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

/// Returns how many parked deliveries a run of the sweep releases at a step, and the time between two of them. A
/// receiver with a rate gets no more than that, because what is sent too early waits for its turn in a row.
#[must_use]
pub fn pace(step: u32, rate: Option<u32>) -> (usize, Duration) {
    let a_second = (FIRST_PACE << step.min(LAST_STEP)).min(rate.unwrap_or(u32::MAX)).max(1);
    (usize::try_from(a_second * 60).unwrap_or(usize::MAX), Duration::from_secs(1) / a_second)
}

/// Returns the step of the next run. `drained` is that of the [breaker](Breaker), and `backlog` is how many messages
/// wait in the queue that the released deliveries go through, if that is known.
///
/// The pace doubles while the queue keeps up. It halves if a quarter of what a run at this pace releases still waits: the
/// receiver answers more slowly than that, or the queue has too little concurrency. Deliveries whose message waits for
/// two minutes would be sent a second one. A backlog that is [usual](USUAL_BACKLOG) changes nothing.
#[must_use]
pub fn step(drained: u32, backlog: Option<usize>) -> u32 {
    let Some(last) = drained.checked_sub(1) else { return 0 };
    let a_run = pace(last, None).0;
    match backlog {
        Some(backlog) if backlog > (a_run / 4).max(2 * USUAL_BACKLOG) => last.saturating_sub(1).min(LAST_STEP),
        Some(backlog) if backlog <= (a_run / 8).max(USUAL_BACKLOG) => (last + 1).min(LAST_STEP),
        Some(_) | None => last.min(LAST_STEP),
    }
}

/// Returns when to look for waiting deliveries again if none were found, for a breaker that closed, or a line that had
/// its last delivery, at `since`. `None` means never.
#[must_use]
pub fn next_look(since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    if now <= since + LINGER {
        return Some(now + RUN);
    }
    LATE_CHECKS.into_iter().map(|after| since + after).find(|at| *at > now)
}

/// Returns a breaker after the sweep has looked for parked deliveries. `breaker` is as it was when the sweep moved its
/// next look to the next run.
///
/// One without parked deliveries is closed unless it is open, and is [looked at](next_look) more and more rarely. While
/// an open one is due and no process makes the probe, the time until the next look doubles, up to a limit.
#[must_use]
pub fn after_look(breaker: &Breaker, found: bool, now: Timestamp) -> Breaker {
    match breaker.state {
        BreakerState::Open => {
            let longest = if found { LONGEST_UNPROBED } else { LONGEST_IDLE };
            let due_at = breaker.probe_at.max(breaker.probe_until).unwrap_or(breaker.since);
            let overdue = Duration::try_from(now.duration_since(due_at)).unwrap_or_default();
            Breaker { look_at: breaker.look_at.max(Some(after(now, overdue.min(longest)))), ..*breaker }
        }
        BreakerState::Closed | BreakerState::Draining if found => *breaker,
        BreakerState::Closed | BreakerState::Draining => {
            let look_at = next_look(breaker.since, now).map(|at| breaker.look_at.map_or(at, |moved| at.max(moved)));
            Breaker { state: BreakerState::Closed, look_at, ..*breaker }
        }
    }
}

/// What an invocation observed of a webhook's receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observation {
    /// The verdict of the probe, if this invocation sent it.
    pub probe: Option<Verdict>,
    /// How many attempts were not tests.
    pub attempts: usize,
    /// How many of these showed that the receiver is up.
    pub answered: usize,
    /// Whether a test succeeded: it shows as well as a probe that the receiver is up.
    pub tested: bool,
    /// The status of the last response to an attempt that was not a test.
    pub status: Option<u16>,
    /// Whether the receiver asked for no more events.
    pub gone: bool,
    /// Whether it answered slowly or not at all.
    pub slow: bool,
    /// The longest time that a response took.
    pub longest: Duration,
    /// The end of the mark that this invocation set while a request waited.
    pub marked_until: Option<Timestamp>,
}

/// How the breaker and the webhook change after an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// The receiver is slow: its deliveries move to the slow queue.
    MarkSlow,
    /// The receiver answered after all: this invocation's mark, which ends at that time, is removed.
    Unmark(Timestamp, Patience),
    /// The learned patience is still needed.
    KeepPatience(Patience),
    /// Too many failures: deliveries are parked.
    Open,
    /// Half as many failures, not reported yet: the tenant is notified.
    ReportFailing,
    /// The failures that were reported have ended: the tenant is notified.
    ReportRecovered,
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
    let reported = breaker.is_some_and(|breaker| breaker.failing_since.is_some());
    let ends = if paused { Reaction::Resume } else { Reaction::Close };
    if seen.tested && (is_open || paused) {
        // Tests are not counted. Without the reset, the next failure would open the breaker again.
        reactions.extend([Reaction::ResetFailures, ends]);
        reactions.extend(reported.then_some(Reaction::ReportRecovered));
        return reactions;
    }
    if seen.attempts == 0 {
        // A test has no other consequence, whatever the counters say.
        return reactions;
    }
    reactions.extend(pace_reaction(breaker, seen, now));
    match seen.probe {
        // Any answer shows that the receiver is up, even if it rejects this event.
        Some(Verdict::Accepted | Verdict::Aborted) => {
            reactions.push(ends);
            reactions.extend(reported.then_some(Reaction::ReportRecovered));
            return reactions;
        }
        Some(_) => reactions.push(Reaction::StayOpen),
        None if !is_open && trips(webhook, statistics) => reactions.push(Reaction::Open),
        None => {}
    }
    match is_failing(webhook, statistics) {
        true if !reported => reactions.push(Reaction::ReportFailing),
        false if reported && seen.answered > 0 && !is_open => reactions.push(Reaction::ReportRecovered),
        true | false => {}
    }
    if webhook.pause.is_none() && pauses(webhook, statistics, now) {
        reactions.push(Reaction::Pause);
    }
    reactions
}

/// Returns the reaction to how long the receiver took. A mark is renewed in its second half, so that the deliveries to
/// a receiver that stays slow do not return to the other queue in between.
fn pace_reaction(breaker: Option<&Breaker>, seen: Observation, now: Timestamp) -> Option<Reaction> {
    let learned = breaker.and_then(|breaker| breaker.patience);
    match seen.marked_until {
        _ if seen.slow => (!is_slow(breaker, after(now, SLOW_FOR / 2))).then_some(Reaction::MarkSlow),
        Some(until) => Some(Reaction::Unmark(until, learn(learned, seen.longest, now))),
        None => renew(learned, seen.longest, now).map(Reaction::KeepPatience),
    }
}

/// Returns how many consecutive failures open the webhook's breaker.
pub(crate) fn trip_failures(webhook: &Webhook) -> u64 {
    TRIP_FAILURES.min(webhook.settings.auto_pause.failures.into())
}

fn trips(webhook: &Webhook, statistics: &Statistics) -> bool {
    statistics.consecutive_failures >= trip_failures(webhook) || statistics.consecutive_timeouts >= TRIP_TIMEOUTS
}

/// Returns whether the webhook counts as failing: it has half of the consecutive failures or timeouts that open its
/// breaker.
#[must_use]
pub fn is_failing(webhook: &Webhook, statistics: &Statistics) -> bool {
    statistics.consecutive_failures >= trip_failures(webhook).div_ceil(2)
        || statistics.consecutive_timeouts >= TRIP_TIMEOUTS.div_ceil(2)
}

fn pauses(webhook: &Webhook, statistics: &Statistics, now: Timestamp) -> bool {
    let limit = webhook.settings.auto_pause;
    let long_enough =
        statistics.failing_since.is_some_and(|since| since + Duration::from_secs(limit.after_seconds.into()) <= now);
    statistics.consecutive_failures >= limit.failures.into() && long_enough
}

#[cfg(test)]
mod tests;
