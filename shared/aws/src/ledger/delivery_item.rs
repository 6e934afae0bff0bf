//! A delivery as an item of the Deliveries table.

use domain::access::tenant::{AppId, TenantId};
use domain::attempt::Attempt;
use domain::delivery::message::Body;
use domain::delivery::{BodyDigest, Delivery, KEPT, Progress, State, Waits};
use domain::event::hops::Hops;
use domain::event::trace::TraceParent;
use domain::event::types::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::payload::ContentType;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::bodies::{pack, pack_response, unpack};
use crate::items::{Item, key};

/// Over how many partitions the deliveries of one webhook are spread.
pub(crate) const SHARDS: u8 = 8;

/// The value of `tally` in the row of a delivery that its webhook's statistics count from the stream.
pub(super) const COUNTED_LATER: &str = "later";

/// Over how many partitions the due rows are spread.
pub(super) const DUE_SHARDS: u8 = 16;

/// Renaming a field here is a migration. Times in keys are milliseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeliveryItem {
    pk: String,
    sk: String,
    v: u8,
    delivery: DeliveryId,
    event: EventId,
    event_type: EventType,
    webhook: WebhookId,
    tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<AppId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entity_path: Option<String>,
    #[serde(default, skip_serializing_if = "Hops::is_none")]
    hops: Hops,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<TraceParent>,
    /// Until when the delivery waits, in milliseconds since 1970, if it is over its tenant's budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deferred_until: Option<i64>,
    #[serde(default, skip_serializing_if = "is_false")]
    over_budget: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    test: bool,
    // Not `state` and `cycle`: both are reserved words of DynamoDB's expressions.
    delivery_state: State,
    delivery_cycle: u32,
    next_attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_until: Option<i64>,
    /// When the delivery was exhausted, in milliseconds since 1970, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lane: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lane_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    body_zstd: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_ref: Option<String>,
    /// Why the body could not be made, until an attempt has the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_failed: Option<String>,
    /// The digest of a body that is not in the row.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    digest: Option<Vec<u8>>,
    /// The response body of the last attempt, if it is longer than the excerpt.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    response_zstd: Option<Vec<u8>>,
    #[serde(default)]
    content_type: ContentType,
    #[serde(default)]
    attempts: Vec<Attempt>,
    #[serde(default)]
    expires_at: i64,
    /// [`COUNTED_LATER`], if the delivery was not counted when it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tally: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

pub(super) fn pk(webhook: WebhookId, delivery: DeliveryId) -> String {
    shard_pk(webhook, delivery.shard(SHARDS))
}

pub(super) fn shard_pk(webhook: WebhookId, shard: u8) -> String {
    format!("W#{webhook}#{shard}")
}

/// Returns a lane of due rows, which the sweep reads.
pub(super) fn due_lane(shard: u8) -> String {
    format!("due#{shard}")
}

/// Over how many partitions the parked deliveries of one webhook are spread.
pub(super) const PARKED_SHARDS: u8 = 4;

/// Returns a lane of a webhook's parked deliveries.
pub(super) fn parked_lane(webhook: WebhookId, shard: u8) -> String {
    format!("parked#{webhook}#{shard}")
}

/// Returns a lane of a webhook's line: the deliveries that wait for a free slot of its receiver. It has as many
/// partitions as the parked lane.
pub(super) fn waiting_lane(webhook: WebhookId, shard: u8) -> String {
    format!("waiting#{webhook}#{shard}")
}

/// Over how many partitions the dead letters of a tenant are spread.
pub(super) const DEAD_SHARDS: u8 = 4;

/// Returns a lane of a tenant's dead letters, sorted by when they were exhausted.
pub(super) fn dead_lane(tenant: &TenantId, shard: u8) -> String {
    format!("dead#{tenant}#{shard}")
}

/// Returns a lane of a webhook's held deliveries, which only counts them. It has as many partitions as the parked lane.
pub(super) fn held_lane(webhook: WebhookId, shard: u8) -> String {
    format!("held#{webhook}#{shard}")
}

/// Returns the lane in which a delivery waits, and its position there: the due time of a due delivery, or the event's
/// time of a parked or held one.
pub(super) fn lane_of(
    progress: &Progress,
    webhook: WebhookId,
    delivery: DeliveryId,
    now: Timestamp,
) -> Option<(String, Timestamp)> {
    progress.waits(now).map(|waits| match waits {
        Waits::Due(at) => (due_lane(delivery.shard(DUE_SHARDS)), at),
        Waits::Parked => (parked_lane(webhook, delivery.shard(PARKED_SHARDS)), delivery.timestamp()),
        Waits::Held => (held_lane(webhook, delivery.shard(PARKED_SHARDS)), delivery.timestamp()),
    })
}

pub(super) fn item_key(webhook: WebhookId, delivery: DeliveryId) -> Item {
    key(&pk(webhook, delivery), &delivery.to_string())
}

pub(super) fn expires_at(now: Timestamp) -> i64 {
    (now + KEPT).as_second()
}

/// Returns a body as a row stores it: compressed, or the key of the stored body.
pub(super) fn stored(body: Option<&Body>) -> Result<(Option<Vec<u8>>, Option<String>), StoreError> {
    Ok(match body {
        Some(Body::Inline(text)) => (Some(pack(text)?), None),
        Some(Body::Stored(key)) => (None, Some(key.clone())),
        Some(Body::Failed(_)) | None => (None, None),
    })
}

/// Returns the values of a row that request headers repeat, with the keys that replace them there.
fn values<'a>(event: &'a str, sequence: Option<&'a str>) -> Vec<(char, &'a str)> {
    [('e', Some(event)), ('s', sequence)].into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

impl DeliveryItem {
    /// Returns the item of a delivery that is written for the first time.
    pub(super) fn new(delivery: &Delivery, now: Timestamp) -> Result<Self, StoreError> {
        let Delivery { id, event, event_type, webhook, tenant, app, progress, lease_until, body, .. } = delivery;
        let (lane, lane_at) = lane_of(progress, *webhook, *id, now).unzip();
        let (body_zstd, body_ref) = stored(body.as_ref())?;
        let body_failed = match body {
            Some(Body::Failed(why)) if delivery.attempts.is_empty() => Some(why.clone()),
            Some(_) | None => None,
        };
        let response_zstd = delivery.attempts.last().and_then(|attempt| attempt.outcome.response_body.as_deref());
        let (event_id, sequence) = (event.to_string(), delivery.sequence.as_deref());
        let mut attempts = delivery.attempts.clone();
        for attempt in &mut attempts {
            let headers = std::mem::take(&mut attempt.request_headers);
            attempt.request_headers = headers.without(&values(&event_id, sequence));
        }
        Ok(Self {
            pk: pk(*webhook, *id),
            sk: id.to_string(),
            v: 1,
            delivery: *id,
            event: *event,
            event_type: event_type.clone(),
            webhook: *webhook,
            tenant: tenant.clone(),
            app: app.clone(),
            sequence: delivery.sequence.clone(),
            entity: delivery.entity.clone(),
            entity_path: delivery.entity_path.clone(),
            hops: delivery.hops,
            traceparent: delivery.traceparent,
            deferred_until: delivery.deferred_until.map(Timestamp::as_millisecond),
            over_budget: delivery.over_budget,
            test: delivery.test,
            delivery_state: progress.state,
            delivery_cycle: progress.cycle,
            next_attempt: progress.attempt,
            next_at: progress.next_at.map(Timestamp::as_millisecond),
            lease_until: lease_until.map(Timestamp::as_millisecond),
            ended_at: (progress.state == State::Exhausted).then(|| now.as_millisecond()),
            lane,
            lane_at: lane_at.map(Timestamp::as_millisecond),
            body_zstd,
            body_ref,
            body_failed,
            digest: delivery.body_digest.map(|BodyDigest(bytes)| bytes.to_vec()),
            response_zstd: response_zstd.map(pack_response).transpose()?,
            content_type: delivery.content_type,
            attempts,
            expires_at: expires_at(now),
            tally: None,
        })
    }

    /// Has the delivery counted from the stream, which sees the row as it is written first.
    pub(super) fn counted_later(self) -> Self {
        Self { tally: Some(COUNTED_LATER.to_owned()), ..self }
    }

    /// Sets when the row expires, in seconds since 1970.
    pub(super) fn expiring_at(self, expires_at: i64) -> Self {
        Self { expires_at, ..self }
    }

    /// Moves the row to its webhook's line, sorted by the event's time.
    pub(super) fn in_line(self) -> Self {
        let lane = waiting_lane(self.webhook, self.delivery.shard(PARKED_SHARDS));
        let at = self.delivery.timestamp().as_millisecond();
        Self { lane: Some(lane), lane_at: Some(at), ..self }
    }

    /// Returns when the delivery was exhausted, in milliseconds since 1970, if it is.
    pub(super) fn ended_at(&self) -> Option<i64> {
        self.ended_at
    }

    /// Returns the lane of the row, and its position there.
    pub(super) fn place(&self) -> (Option<String>, i64) {
        (self.lane.clone(), self.lane_at.unwrap_or_default())
    }
}

impl TryFrom<DeliveryItem> for Delivery {
    type Error = StoreError;

    fn try_from(item: DeliveryItem) -> Result<Self, Self::Error> {
        let inconsistent = |why: String| StoreError::inconsistent(item.delivery, why);
        let time = |milliseconds: Option<i64>| {
            let time = milliseconds.map(Timestamp::from_millisecond).transpose();
            time.map_err(|error| inconsistent(error.to_string()))
        };
        let body = match (&item.body_zstd, &item.body_ref) {
            (Some(packed), _) => Some(Body::Inline(unpack(packed).map_err(inconsistent)?)),
            (None, Some(key)) => Some(Body::Stored(key.clone())),
            (None, None) => item.body_failed.map(Body::Failed),
        };
        let progress = Progress {
            state: item.delivery_state,
            cycle: item.delivery_cycle,
            attempt: item.next_attempt,
            next_at: time(item.next_at)?,
        };
        let (lease_until, deferred_until) = (time(item.lease_until)?, time(item.deferred_until)?);
        let (event_id, mut attempts) = (item.event.to_string(), item.attempts);
        for attempt in &mut attempts {
            let headers = std::mem::take(&mut attempt.request_headers);
            attempt.request_headers = headers.with(&values(&event_id, item.sequence.as_deref()));
        }
        Ok(Self {
            id: item.delivery,
            event: item.event,
            event_type: item.event_type,
            webhook: item.webhook,
            tenant: item.tenant,
            app: item.app,
            sequence: item.sequence,
            entity: item.entity,
            entity_path: item.entity_path,
            hops: item.hops,
            traceparent: item.traceparent,
            deferred_until,
            over_budget: item.over_budget,
            test: item.test,
            progress,
            lease_until,
            body,
            body_digest: item.digest.and_then(|bytes| bytes.try_into().ok()).map(BodyDigest),
            content_type: item.content_type,
            last_response: item.response_zstd.map(|packed| unpack(&packed)).transpose().map_err(inconsistent)?,
            attempts,
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
