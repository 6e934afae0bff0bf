//! Applies what attempts mean for their webhooks: opens and closes breakers, and pauses, resumes or disables webhooks.
//!
//! Losing a reaction is harmless: the next process that observes the same repeats it.

use std::time::Duration;

use aws::StoreError;
use aws::ledger::{Loaded, Written};
use domain::attempt::Attempt;
use domain::attempt::outcome::Verdict;
use domain::delivery::breaker::{Breaker, Observation, Reaction, react};
use domain::delivery::notices::{ITSELF, failing_event, lifecycle_events, recovered_event};
use domain::delivery::patience::SLOW;
use domain::id::WebhookId;
use domain::webhook::statistics::Statistics;
use domain::webhook::{Pause, Webhook};
use jiff::Timestamp;
use runtime::metrics::{self, Metric};

use crate::App;

/// How often a change is retried if the webhook was changed at the same time.
const ROUNDS: usize = 5;

/// Returns what attempts show about a webhook's receiver, given which are probes and which are tests. Of tests, only
/// success counts. A probe with nothing to send counts as lost; another follows.
pub(crate) fn observe<'a>(attempts: impl Iterator<Item = (&'a Attempt, bool, bool)>) -> Observation {
    let mut seen = Observation::default();
    for (attempt, probe, test) in attempts {
        let outcome = &attempt.outcome;
        if test {
            seen.tested |= matches!(outcome.verdict, Verdict::Accepted | Verdict::Aborted);
            continue;
        }
        seen.attempts += 1;
        seen.answered += usize::from(matches!(outcome.verdict, Verdict::Accepted | Verdict::Aborted));
        seen.status = outcome.status;
        seen.gone |= outcome.verdict == Verdict::Gone;
        let took = Duration::from_millis(outcome.duration_ms.into());
        seen.slow |= outcome.verdict == Verdict::TimedOut || took >= SLOW;
        if outcome.status.is_some() {
            seen.longest = seen.longest.max(took);
        }
        if probe && outcome.verdict.tells_of_receiver() {
            seen.probe = Some(outcome.verdict);
        }
    }
    seen
}

/// Applies the reactions to what this invocation observed of a webhook's receiver.
pub(crate) async fn apply_reactions(
    app: &App,
    loaded: &Loaded,
    id: WebhookId,
    statistics: &Statistics,
    seen: Observation,
) {
    let Some(webhook) = loaded.webhooks.get(&id) else { return };
    let breaker = loaded.breakers.get(&id);
    let now = app.clock.now();
    for reaction in react(webhook, breaker, statistics, seen, now) {
        let failed_probes = breaker.map_or(0, |breaker| breaker.failed_probes);
        let done = match reaction {
            Reaction::MarkSlow => app.ledger.mark_slow(id, now).await,
            Reaction::Unmark(until, patience) => app.ledger.unmark(id, until, patience).await.map(|_| ()),
            Reaction::KeepPatience(patience) => match breaker.and_then(|breaker| breaker.patience) {
                Some(before) => app.ledger.keep_patience(id, before, patience).await.map(|_| ()),
                None => Ok(()),
            },
            Reaction::Open => {
                let opened = app.ledger.open_breaker(webhook, now).await;
                opened.map(|written| count_change(Metric::BreakersOpened, written))
            }
            Reaction::ReportFailing => report_failing(app, webhook, statistics, seen.status, now).await,
            Reaction::ReportRecovered => report_recovered(app, webhook, breaker, now).await,
            Reaction::StayOpen => app.ledger.keep_open(id, failed_probes + 1, now).await.map(|_| ()),
            Reaction::ResetFailures => app.registry.reset_failures(id).await,
            Reaction::Close => {
                let closed = app.ledger.close_breaker(id, now).await;
                closed.map(|written| count_change(Metric::BreakersClosed, written))
            }
            Reaction::Pause => {
                let pause = |webhook: &mut Webhook| {
                    webhook.pause.get_or_insert(Pause { at: now, by_failures: true });
                };
                change(app, webhook, now, pause).await
            }
            Reaction::Resume => {
                let resume = |webhook: &mut Webhook| {
                    webhook.pause.take_if(|pause| pause.by_failures);
                };
                change(app, webhook, now, resume).await
            }
            Reaction::Disable => change(app, webhook, now, |webhook| webhook.settings.enabled = false).await,
        };
        match done {
            Ok(()) if matches!(reaction, Reaction::Unmark(..) | Reaction::KeepPatience(_)) => {}
            Ok(()) => {
                tracing::info!(webhook.id = %id, tenant.id = %webhook.tenant, ?reaction, "the webhook was changed because of its receiver's answers");
            }
            Err(error) => {
                tracing::warn!(webhook.id = %id, ?reaction, %error, "the webhook was not changed although its receiver's answers ask for it; the next attempt tries again");
            }
        }
    }
}

/// Counts a change of a breaker, unless another process made it first.
fn count_change(metric: Metric, written: Written) {
    metrics::count(metric, usize::from(written == Written::Yes));
}

/// Publishes that the webhook's deliveries fail, once for each series of failures.
async fn report_failing(
    app: &App,
    webhook: &Webhook,
    statistics: &Statistics,
    status: Option<u16>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(event) = failing_event(webhook, statistics, status, now) else { return Ok(()) };
    app.webhooks.report_failing(webhook, statistics.failing_since.unwrap_or(now), &event, now).await
}

/// Publishes that the failures that were reported have ended.
async fn report_recovered(
    app: &App,
    webhook: &Webhook,
    breaker: Option<&Breaker>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(since) = breaker.and_then(|breaker| breaker.failing_since) else { return Ok(()) };
    let Some(event) = recovered_event(webhook, since, now) else { return Ok(()) };
    app.webhooks.report_recovered(webhook, since, &event, now).await
}

/// Changes the current version of a webhook, and publishes the change to its tenant's other webhooks. Writes nothing if
/// the change makes no difference or the webhook is deleted.
async fn change(app: &App, read: &Webhook, now: Timestamp, change: impl Fn(&mut Webhook)) -> Result<(), StoreError> {
    let mut before = read.clone();
    for _ in 0..ROUNDS {
        let mut after = before.clone();
        change(&mut after);
        if after == before || before.is_deleted() {
            return Ok(());
        }
        after.touch(now, ITSELF);
        match app.webhooks.update(&after, &lifecycle_events(&before, &after)).await {
            Err(StoreError::Conflict { .. }) => {}
            written => return written,
        }
        let Some(record) = app.registry.webhook(&read.tenant, read.id).await? else { return Ok(()) };
        before = record.webhook;
    }
    Err(StoreError::Conflict { key: read.id.to_string() })
}

#[cfg(test)]
mod tests {
    use domain::attempt::outcome::Outcome;
    use domain::attempt::redact::SentHeaders;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::arrived(Verdict::Accepted, true, Some(Verdict::Accepted))]
    #[case::failed(Verdict::TimedOut, true, Some(Verdict::TimedOut))]
    #[case::nothing_to_send(Verdict::Unrendered, true, None)]
    #[case::no_probe(Verdict::Accepted, false, None)]
    fn a_probe_shows_what_was_answered(#[case] verdict: Verdict, #[case] probe: bool, #[case] shown: Option<Verdict>) {
        let secret_fingerprint = serde_json::from_value("f".into()).unwrap();
        let (outcome, request_headers) = (Outcome::unanswered(verdict, ""), SentHeaders::default());
        let at = Timestamp::UNIX_EPOCH;
        let attempt = Attempt { cycle: 0, number: 1, at, outcome, secret_fingerprint, request_headers, url: None };
        let seen = observe(std::iter::once((&attempt, probe, false)));
        assert_eq!((seen.probe, seen.slow), (shown, verdict == Verdict::TimedOut));
    }
}
