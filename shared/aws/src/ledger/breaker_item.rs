//! A breaker as an item of the Deliveries table.

use std::time::Duration;

use domain::access::tenant::TenantId;
use domain::delivery::breaker::{Breaker, BreakerState};
use domain::delivery::patience::Patience;
use domain::id::WebhookId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::items::{Item, from_item, key, text};

/// Distinguishes breakers from deliveries in the due lanes.
pub(super) const KIND: &str = "breaker";

/// Returns the partition of items about a webhook as a whole.
pub(super) fn webhook_pk(webhook: WebhookId) -> String {
    format!("W#{webhook}")
}

pub(super) fn breaker_key(webhook: WebhookId) -> Item {
    key(&webhook_pk(webhook), "BREAKER")
}

/// Returns whether an item is a breaker.
pub(super) fn is_breaker(item: &Item) -> bool {
    item.get("kind").is_some_and(|kind| kind == &text(KIND))
}

/// Renaming a field here is a migration. Times are milliseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BreakerItem {
    pub(super) pk: String,
    pub(super) sk: String,
    pub(super) kind: String,
    pub(super) webhook: WebhookId,
    /// Missing in rows of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<TenantId>,
    pub(super) breaker_state: BreakerState,
    pub(super) since: i64,
    #[serde(default)]
    pub(super) failed_probes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) probe_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) probe_until: Option<i64>,
    #[serde(default)]
    pub(super) drained: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) slow_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) patience_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) patience_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failing_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lane: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lane_at: Option<i64>,
}

impl BreakerItem {
    pub(super) fn breaker(&self) -> Result<Breaker, StoreError> {
        let time = |milliseconds: i64| {
            Timestamp::from_millisecond(milliseconds).map_err(|error| StoreError::inconsistent(&self.pk, error))
        };
        let patience = self.patience_ms.zip(self.patience_until).map(|(wait, until)| {
            Ok::<_, StoreError>(Patience { wait: Duration::from_millis(wait), until: time(until)? })
        });
        Ok(Breaker {
            state: self.breaker_state,
            since: time(self.since)?,
            failed_probes: self.failed_probes,
            probe_at: self.probe_at.map(time).transpose()?,
            probe_until: self.probe_until.map(time).transpose()?,
            drained: self.drained,
            slow_until: self.slow_until.map(time).transpose()?,
            patience: patience.transpose()?,
            failing_since: self.failing_since.map(time).transpose()?,
            look_at: self.lane.as_ref().and(self.lane_at).map(time).transpose()?,
        })
    }
}

pub(super) fn read(item: Item) -> Result<(WebhookId, Breaker), StoreError> {
    let item: BreakerItem = from_item(item)?;
    Ok((item.webhook, item.breaker()?))
}
