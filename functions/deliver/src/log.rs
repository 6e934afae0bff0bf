//! The lines of the log about attempts: one for each that failed, and one for all that succeeded in an invocation.
//!
//! Most attempts succeed, and a line for each of them would cost as much as the reads of its delivery.

use std::sync::{Mutex, PoisonError};

use domain::attempt::Attempt;
use domain::attempt::outcome::{Outcome, Verdict};
use domain::delivery::Progress;
use domain::delivery::message::Message;
use domain::id::{DeliveryId, EventId, WebhookId};
use serde::Serialize;
use tracing::field;

/// The successful attempts that are not logged yet.
pub(crate) type Successes = Mutex<Vec<Entry>>;

/// An attempt, as the saved queries of the template read it.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    delivery: DeliveryId,
    event: EventId,
    webhook: WebhookId,
    tenant: String,
    number: u32,
    /// The status of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// How long the request took, in milliseconds.
    ms: u32,
}

impl Entry {
    fn of(message: &Message, attempt: &Attempt) -> Self {
        let Outcome { status, duration_ms, .. } = attempt.outcome;
        Self {
            delivery: message.delivery,
            event: message.event,
            webhook: message.webhook,
            tenant: message.tenant.to_string(),
            number: attempt.number,
            status,
            ms: duration_ms,
        }
    }
}

/// Returns attempts as the field `attempts` of a line. It is text, because a list in a line would take several of the
/// 200 fields that Logs Insights finds in it.
fn listed(entries: &[Entry]) -> String {
    serde_json::to_string(entries).unwrap_or_default()
}

/// Logs a failed attempt, and keeps a successful one until [`flush`]. The fields are in the line and not in the span,
/// which would be formatted again for each field.
pub(crate) fn attempted(successes: &Successes, message: &Message, attempt: &Attempt, progress: &Progress) {
    let entry = Entry::of(message, attempt);
    let Outcome { verdict, status, duration_ms, error, .. } = &attempt.outcome;
    if *verdict == Verdict::Accepted {
        successes.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        return;
    }
    let (state, next_at) = (progress.state.as_str(), progress.next_at.map(field::display));
    tracing::warn!(
        attempt.verdict = verdict.as_str(),
        attempt.duration_ms = duration_ms,
        http.response.status_code = status,
        delivery.state = state,
        delivery.next_at = next_at,
        error = error.as_deref(),
        attempts = listed(&[entry]),
        "attempt failed"
    );
}

/// Logs the successful attempts of the invocation.
pub(crate) fn flush(successes: &Successes) {
    let entries = std::mem::take(&mut *successes.lock().unwrap_or_else(PoisonError::into_inner));
    if !entries.is_empty() {
        tracing::info!(attempts = listed(&entries), "attempts succeeded");
    }
}

#[cfg(test)]
mod tests {
    use domain::delivery::message::Body;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    /// The names that the queries of the template use.
    #[test]
    fn an_entry_names_what_an_operator_searches_for() {
        let (event, webhook) =
            (EventId::from_parts(Timestamp::UNIX_EPOCH, 1), WebhookId::from_parts(Timestamp::UNIX_EPOCH, 2));
        let body = Body::Inline("{}".to_owned());
        let message = Message::first(event, "order.created".parse().unwrap(), webhook, "acme".parse().unwrap(), body);
        let outcome =
            Outcome { status: Some(204), duration_ms: 120, error: None, ..Outcome::unanswered(Verdict::Accepted, "") };
        let attempt: Attempt = serde_json::from_value(json!({
            "cycle": 0, "number": 2, "at": Timestamp::UNIX_EPOCH, "outcome": outcome, "secret_fingerprint": "f",
        }))
        .unwrap();
        let listed: serde_json::Value = serde_json::from_str(&listed(&[Entry::of(&message, &attempt)])).unwrap();
        let expected = json!([{
            "delivery": message.delivery, "event": event, "webhook": webhook, "tenant": "acme", "number": 2, "status": 204, "ms": 120,
        }]);
        assert_eq!(listed, expected);
    }
}
