use rstest::rstest;

use super::message::Message;
use super::*;
use crate::event::hops::Hops;

mod admission;
mod decisions;
mod rows;
mod settling;
mod waits;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn message(cycle: u32, attempt: u32) -> Message {
    let first = Message::first(
        EventId::from_parts(now(), 1),
        "film.created".parse().unwrap(),
        WebhookId::from_parts(now(), 2),
        "acme".parse().unwrap(),
        Body::Inline("{}".to_owned()),
    );
    let body = first.body.clone().filter(|_| (cycle, attempt) == (0, 1));
    Message { cycle, attempt, body, ..first }
}

fn row(state: State, cycle: u32, attempt: u32) -> Delivery {
    let Message { delivery, event, event_type, webhook, tenant, .. } = message(0, 1);
    let progress = Progress { state, cycle, attempt, next_at: Some(now()) };
    Delivery {
        id: delivery,
        event,
        event_type,
        webhook,
        tenant,
        progress,
        lease_until: None,
        body: None,
        body_digest: None,
        last_response: None,
        app: None,
        sequence: None,
        entity: None,
        entity_path: None,
        hops: Hops::NONE,
        traceparent: None,
        deferred_until: None,
        over_budget: false,
        test: false,
        content_type: ContentType::Json,
        attempts: vec![],
    }
}
