//! What attempts mean for their webhooks: breakers open and close, webhooks are paused, resumed or disabled.
//!
//! Nothing here is needed for a delivery: what is lost with a process, the next one that sees the same does.

use aws::StoreError;
use aws::ledger::Loaded;
use domain::attempt::Attempt;
use domain::attempt::outcome::Verdict;
use domain::delivery::breaker::{Observation, Reaction, SLOW, react};
use domain::delivery::notices::{ITSELF, lifecycle_events};
use domain::id::WebhookId;
use domain::webhook::statistics::Statistics;
use domain::webhook::{Pause, Webhook};
use jiff::Timestamp;

use crate::App;

/// How often a change of a webhook is retried if the webhook was changed at the same time.
const ROUNDS: usize = 5;

/// What attempts show of a webhook's receiver; tests show nothing. A probe for which there was nothing to send is as one whose
/// process died: another one follows.
pub(crate) fn observe<'a>(attempts: impl Iterator<Item = (&'a Attempt, bool)>) -> Observation {
    let mut seen = Observation::default();
    for (attempt, probe) in attempts {
        let outcome = &attempt.outcome;
        seen.gone |= outcome.verdict == Verdict::Gone;
        seen.slow |= outcome.verdict == Verdict::TimedOut || u128::from(outcome.duration_ms) >= SLOW.as_millis();
        if probe && outcome.verdict.tells_of_receiver() {
            seen.probe = Some(outcome.verdict);
        }
    }
    seen
}

/// Does what follows for a webhook from what this invocation saw of its receiver.
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
            Reaction::Open => app.ledger.open_breaker(id, now).await.map(|_| ()),
            Reaction::StayOpen => app.ledger.keep_open(id, failed_probes + 1, now).await.map(|_| ()),
            Reaction::Close => app.ledger.close_breaker(id, now).await.map(|_| ()),
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
            Ok(()) => tracing::info!(webhook.id = %id, tenant.id = %webhook.tenant, ?reaction, "webhook follows"),
            Err(error) => tracing::warn!(webhook.id = %id, ?reaction, %error, "it is left to the next attempt"),
        }
    }
}

/// Changes a webhook as it is now, and tells its tenant's others; nothing is written if it is so already.
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
        let attempt = Attempt { cycle: 0, number: 1, at, outcome, secret_fingerprint, request_headers };
        let seen = observe(std::iter::once((&attempt, probe)));
        assert_eq!((seen.probe, seen.slow), (shown, verdict == Verdict::TimedOut));
    }
}
