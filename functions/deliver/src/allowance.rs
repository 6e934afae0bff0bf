//! What an attempt may use of its invocation: time, and a slot at the receiver's host.

use std::time::Duration;

use aws::StoreError;
use domain::webhook::Webhook;
use jiff::Timestamp;
use outbound::HostSlot;

use crate::App;

/// The time that an invocation reserves for writing outcomes.
const RESERVE: Duration = Duration::from_secs(3);

/// How long a lease outlives the invocation that took it.
pub(crate) const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Waits for a slot at the receiver's host. The receiver does not cause this wait, so a delivery that gets no slot in
/// time counts as not attempted.
pub(crate) async fn place(app: &App, url: &str, deadline: Timestamp) -> Result<HostSlot, StoreError> {
    let left = Duration::try_from(deadline.duration_since(app.clock.now())).unwrap_or_default().saturating_sub(RESERVE);
    let waited = tokio::time::timeout(left, app.receivers.place(url)).await;
    waited.map_err(|_| StoreError::Unavailable("too many requests to this host are in flight".to_owned()))
}

/// Returns the timeout of the attempt: what the webhook allows, limited by the time that the invocation has left.
pub(crate) fn time_left(now: Timestamp, deadline: Timestamp, webhook: &Webhook) -> Result<Duration, StoreError> {
    let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default().saturating_sub(RESERVE);
    if left < Duration::from_secs(1) {
        return Err(StoreError::Unavailable("the invocation has no time left for an attempt".to_owned()));
    }
    Ok(webhook.settings.retry_policy.timeout().min(left))
}
