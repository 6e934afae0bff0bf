//! Which deliveries an event can have. Their ids are derived, so they can be looked up without an index.

use jiff::Timestamp;

use super::job::{Job, JobKind};
use crate::id::{DeliveryId, EventId, JobId, WebhookId};

/// A replay of events to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    job: JobId,
    webhook: WebhookId,
    from: Option<Timestamp>,
    to: Timestamp,
}

impl Replay {
    /// Returns what a job replays, or `None` if it is not a replay that sends anything.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        let replays = job.kind == JobKind::Replay && !job.dry_run;
        let webhook = job.scope.webhook.filter(|_| replays)?;
        Some(Self { job: job.id, webhook, from: job.scope.from, to: job.scope.to })
    }

    fn covers(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && at < self.to
    }
}

/// Returns the ids that an event's deliveries to these webhooks can have, the greatest first.
#[must_use]
pub fn possible(event: EventId, webhooks: &[WebhookId], replays: &[Replay]) -> Vec<(DeliveryId, WebhookId)> {
    // An id has whole milliseconds, and the event may have happened later within its millisecond.
    let (start, end) = (event.timestamp(), event.timestamp() + std::time::Duration::from_nanos(999_999));
    let of_event = webhooks.iter().map(|webhook| (DeliveryId::first(event, *webhook), *webhook));
    let of_jobs = replays
        .iter()
        .filter(|replay| webhooks.contains(&replay.webhook) && (replay.covers(start) || replay.covers(end)))
        .map(|replay| (DeliveryId::replayed(event, replay.webhook, replay.job), replay.webhook));
    let mut all: Vec<_> = of_event.chain(of_jobs).collect();
    all.sort_unstable_by(|one, other| other.cmp(one));
    all
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::delivery::message::{Body, Message};

    fn at() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn event() -> EventId {
        EventId::from_parts(at(), 1)
    }

    fn webhook(number: u128) -> WebhookId {
        WebhookId::from_parts(Timestamp::UNIX_EPOCH, number)
    }

    fn replay(number: u128, webhook_number: u128, from: Option<&str>, to: &str) -> Replay {
        Replay {
            job: JobId::from_parts(at(), number),
            webhook: webhook(webhook_number),
            from: from.map(|from| from.parse().unwrap()),
            to: to.parse().unwrap(),
        }
    }

    #[test]
    fn an_id_is_that_of_the_message() {
        let body = Body::Inline(String::new());
        let message = Message::first(event(), "a.b".parse().unwrap(), webhook(1), "acme".parse().unwrap(), body);
        assert_eq!(message.delivery, DeliveryId::first(event(), webhook(1)));
    }

    #[rstest]
    #[case::before(None, "2026-11-21T10:00:00Z", false)]
    #[case::until_after(None, "2026-11-21T10:00:01Z", true)]
    #[case::from_then_on(Some("2026-11-21T10:00:00Z"), "2026-11-22T00:00:00Z", true)]
    #[case::within_its_millisecond(Some("2026-11-21T10:00:00.0005Z"), "2026-11-22T00:00:00Z", true)]
    #[case::from_later_on(Some("2026-11-21T10:00:00.001Z"), "2026-11-22T00:00:00Z", false)]
    fn a_replay_covers_events_of_its_time(#[case] from: Option<&str>, #[case] to: &str, #[case] covers: bool) {
        let found = possible(event(), &[webhook(1)], &[replay(1, 1, from, to)]);
        assert_eq!(found.len(), 1 + usize::from(covers));
    }

    #[test]
    fn every_webhook_has_one_and_every_replay_to_one_of_them() {
        let replays = [replay(1, 1, None, "2027-01-01T00:00:00Z"), replay(2, 3, None, "2027-01-01T00:00:00Z")];
        let found = possible(event(), &[webhook(1), webhook(2)], &replays);
        let mut expected = vec![
            (DeliveryId::first(event(), webhook(1)), webhook(1)),
            (DeliveryId::first(event(), webhook(2)), webhook(2)),
            (DeliveryId::replayed(event(), webhook(1), replays[0].job), webhook(1)),
        ];
        expected.sort_unstable();
        expected.reverse();
        assert_eq!(found, expected);
        assert!(found.iter().all(|(id, _)| id.timestamp() == at()));
    }
}
