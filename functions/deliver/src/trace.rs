//! The span of an attempt, and the trace context that its receiver gets.

use domain::attempt::Attempt;
use domain::attempt::outcome::Verdict;
use domain::delivery::decide::traceparent;
use domain::delivery::message::Message;
use domain::delivery::{Delivery, Progress};
use domain::event::trace::{EventTrace, SpanId, TraceParent};
use domain::webhook::Webhook;
use runtime::traces::{Attribute, Kind, Span, attribute};
use url::Url;

use crate::App;

/// Returns the context that the receiver gets. Without a tracer it is that of the publisher, if there is one.
pub(crate) fn context(app: &App, message: &Message, row: Option<&Delivery>) -> Option<TraceParent> {
    let given = traceparent(message, row);
    let Some(tracer) = &app.tracer else { return given };
    let EventTrace { trace, sampled, .. } = tracer.sampling().of_event(message.event, given);
    Some(TraceParent { trace, span: span_of(message), sampled })
}

fn span_of(message: &Message) -> SpanId {
    SpanId::of_attempt(message.delivery, message.cycle, message.attempt)
}

/// Records the span of an attempt that has just ended, if its trace is sampled.
///
/// Its parent is the span in which fan-out made the delivery. A retry has a link to the attempt before it. The path of
/// the URL is left out, because it may be a secret, such as that of a chat's hook.
pub(crate) fn record(
    app: &App,
    message: &Message,
    row: Option<&Delivery>,
    webhook: &Webhook,
    attempt: &Attempt,
    progress: &Progress,
) {
    let Some(tracer) = &app.tracer else { return };
    let EventTrace { trace, sampled, .. } = tracer.sampling().of_event(message.event, traceparent(message, row));
    if !sampled {
        return;
    }
    let outcome = &attempt.outcome;
    let mut attributes = vec![
        Attribute::text("dynahook.tenant.id", &message.tenant),
        Attribute::text("dynahook.webhook.id", &message.webhook),
        Attribute::text("dynahook.event.id", &message.event),
        Attribute::text("dynahook.event.type", &message.event_type),
        Attribute::text("dynahook.delivery.id", &message.delivery),
        Attribute::number("dynahook.delivery.cycle", message.cycle),
        Attribute::number("dynahook.attempt.number", message.attempt),
        Attribute::text("dynahook.attempt.verdict", outcome.verdict.as_str()),
        Attribute::text("dynahook.delivery.state", progress.state.as_str()),
    ];
    // A notice goes through SES, SNS or a chat, whose address is not the webhook's.
    if webhook.notice.is_none() {
        attributes.push(Attribute::text(attribute::HTTP_REQUEST_METHOD, "POST"));
        if let Ok(url) = Url::parse(&webhook.settings.url) {
            attributes.push(Attribute::text(attribute::URL_SCHEME, url.scheme()));
            attributes.push(Attribute::text(attribute::SERVER_ADDRESS, url.host_str().unwrap_or_default()));
            attributes.extend(url.port_or_known_default().map(|port| Attribute::number(attribute::SERVER_PORT, port)));
        }
    }
    attributes.extend(outcome.status.map(|status| Attribute::number(attribute::HTTP_RESPONSE_STATUS_CODE, status)));
    let failed = outcome.verdict != Verdict::Accepted;
    if failed {
        let status = outcome.status.filter(|status| *status >= 400).map(|status| status.to_string());
        let kind = status.unwrap_or_else(|| outcome.verdict.as_str().to_owned());
        attributes.push(Attribute::text(attribute::ERROR_TYPE, &kind));
    }
    let before = row.and_then(|row| row.attempts.last());
    let before = before.map(|before| (trace, SpanId::of_attempt(message.delivery, before.cycle, before.number)));
    let end = app.clock.now();
    tracer.record(Span {
        trace,
        id: span_of(message),
        // The API sends a test to the queue itself, without fan-out.
        parent: (!message.test).then(|| SpanId::of_event(message.event)),
        links: before.into_iter().collect(),
        name: if webhook.notice.is_none() { "POST".into() } else { "notify".into() },
        kind: Kind::Client,
        start: end - std::time::Duration::from_millis(outcome.duration_ms.into()),
        end,
        attributes,
        failed,
    });
}
