//! Logs and counts the calls of a webhook. What a caller without the secret can cause here is limited.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws::{Events, Registry};
use domain::access::quota::Quota;
use domain::id::WebhookId;
use domain::inbound::log::{CallOutcome, LoggedCall};

/// How many refused calls of a webhook, and how many others, a process logs in a minute.
const REFUSED_PER_MINUTE: u32 = 10;
const OTHERS_PER_MINUTE: u32 = 30;

/// How long a count may take. A caller waits for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// For how many webhooks a process remembers refused calls that are not counted yet.
const MAX_WEBHOOKS: usize = 1_000;

/// What this process has logged, and the refused calls that it has not counted yet.
#[derive(Debug)]
pub(crate) struct CallLog(Mutex<Logged>);

#[derive(Debug)]
struct Logged {
    refused: Quota,
    others: Quota,
    uncounted: HashMap<WebhookId, u64>,
}

/// What happens with a call.
#[derive(Debug, PartialEq, Eq)]
enum Noted {
    /// It is remembered, and counted with a later one.
    Later,
    /// It is counted now, with so many earlier ones, and logged or not.
    Now { earlier: u64, logged: bool },
}

impl Default for CallLog {
    fn default() -> Self {
        let (refused, others) = (Quota::new(REFUSED_PER_MINUTE), Quota::new(OTHERS_PER_MINUTE));
        Self(Mutex::new(Logged { refused, others, uncounted: HashMap::new() }))
    }
}

impl CallLog {
    /// Refused calls that are not logged are not counted at once either: anyone can cause them, and a count is a write.
    fn take(&self, webhook: WebhookId, call: &LoggedCall) -> Noted {
        let Logged { refused, others, uncounted } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_refused = call.outcome == CallOutcome::Refused;
        let quota = if is_refused { refused } else { others };
        let logged = quota.take(&webhook.to_string(), call.at);
        if is_refused && !logged {
            if uncounted.len() < MAX_WEBHOOKS || uncounted.contains_key(&webhook) {
                *uncounted.entry(webhook).or_default() += 1;
            }
            return Noted::Later;
        }
        Noted::Now { earlier: uncounted.remove(&webhook).unwrap_or(0), logged }
    }
}

/// Logs and counts a call. A fault is only written to the log: the caller gets its answer whatever happens here.
pub(crate) async fn note(
    log: &CallLog,
    (registry, events): (&Registry, &Events),
    webhook: WebhookId,
    call: &LoggedCall,
    duration: Duration,
) {
    let Noted::Now { earlier, logged } = log.take(webhook, call) else { return };
    let tally = call.tally(earlier, duration);
    let log = async { if logged { events.log_call(webhook, call).await } else { Ok(()) } };
    let count = tokio::time::timeout(PATIENCE, registry.count(webhook, &tally));
    let (written, counted) = tokio::join!(log, count);
    if let Err(error) = written {
        tracing::warn!(%error, "a call is missing in the webhook's list of calls");
    }
    match counted {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a call is missing in the webhook's statistics"),
        Err(_) => {
            tracing::warn!("a call may be missing in the webhook's statistics: the Registry did not answer in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::id::CallId;
    use lambda_http::http::StatusCode;

    use super::*;

    fn call(second: i64, outcome: CallOutcome) -> LoggedCall {
        let at = jiff::Timestamp::from_second(second).unwrap();
        let id = CallId::from_parts(at, 1);
        let status = StatusCode::ACCEPTED.as_u16();
        LoggedCall { id, at, outcome, status, event: None, duplicate: false, event_type: None, reason: None, bytes: 2 }
    }

    #[test]
    fn a_flood_of_refused_calls_is_counted_with_a_later_one() {
        let log = CallLog::default();
        let [webhook, other] = [1, 2].map(|random| WebhookId::from_parts(jiff::Timestamp::UNIX_EPOCH, random));
        let noted: Vec<_> = (0..50).map(|_| log.take(webhook, &call(0, CallOutcome::Refused))).collect();
        assert_eq!(noted.iter().filter(|noted| **noted == Noted::Later).count(), 40);
        assert_eq!(log.take(other, &call(0, CallOutcome::Refused)), Noted::Now { earlier: 0, logged: true });
        assert_eq!(log.take(webhook, &call(1, CallOutcome::Accepted)), Noted::Now { earlier: 40, logged: true });
        assert_eq!(log.take(webhook, &call(60, CallOutcome::Refused)), Noted::Now { earlier: 0, logged: true });
    }

    #[test]
    fn every_verified_call_is_counted_and_some_are_logged() {
        let log = CallLog::default();
        let webhook = WebhookId::from_parts(jiff::Timestamp::UNIX_EPOCH, 1);
        let noted: Vec<_> = (0..50).map(|_| log.take(webhook, &call(0, CallOutcome::Accepted))).collect();
        assert_eq!(noted.iter().filter(|noted| **noted == Noted::Now { earlier: 0, logged: true }).count(), 30);
        assert!(noted.iter().all(|noted| *noted != Noted::Later));
    }
}
