//! The flow of a receiver with limits (a row with its turns and slots), and its line (deliveries without a free slot).
//!
//! A waiting delivery is a row in a lane of its webhook, without a message. While there may be any, the flow's row is
//! due, so the sweep reads the line every minute. The flow is written before a row joins, so no row is missed.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::access::tenant::TenantId;
use domain::attempt::rate_limit::{Ask, Flow, MOST_WOKEN, ReceiverLimits, Turn};
use domain::delivery::breaker::{RUN, next_look};
use domain::delivery::message::Message;
use domain::delivery::{Delivery, OVERDUE_AFTER, State};
use domain::id::WebhookId;
use futures::future::join_all;
use jiff::Timestamp;
use serde::Deserialize;

mod lost_answer;

use lost_answer::written_before;

use super::delivery_item::{DUE_SHARDS, DeliveryItem, PARKED_SHARDS, due_lane, expires_at, waiting_lane};
use super::{AttemptKey, Ledger, NO_OTHER_LEASE, WAITS, Written, state, written};
use crate::error::is_conflict;
use crate::items::{IS_LIVE, Item, from_item, key, live_at, number, text};
use crate::{StoreError, rounds};

/// How often the line is read again because some of its deliveries had already left it.
const LINE_READS: u32 = 3;

/// Distinguishes flows from deliveries in the due lanes.
pub(super) const KIND: &str = "flow";

/// A flow whose line is due for the sweep.
#[derive(Debug, Clone, Deserialize)]
pub struct DueFlow {
    /// The webhook.
    pub webhook: WebhookId,
    /// The tenant that owns the webhook.
    pub tenant: TenantId,
    #[serde(rename = "lane_at")]
    seen_lane_at: i64,
}

/// A receiver and its limits.
#[derive(Debug, Clone, Copy)]
pub struct Receiver<'a> {
    /// The webhook.
    pub webhook: WebhookId,
    /// The tenant that owns the webhook.
    pub tenant: &'a TenantId,
    /// The limits that the webhook's owner has set.
    pub limits: ReceiverLimits,
}

/// The result of returning slots.
#[derive(Debug, Default)]
pub struct Woken {
    /// The messages of the deliveries for which slots are reserved, oldest first. The caller must send them.
    pub messages: Vec<Message>,
    /// Whether slots are left although deliveries began to wait just now, so the index may not show them yet.
    pub look_again: bool,
    /// An error with other deliveries. They are still in the line, or due.
    pub fault: Option<StoreError>,
}

/// A flow as it was read.
struct Read {
    flow: Flow,
    version: Option<String>,
    lane_at: Option<i64>,
}

pub(super) fn is_flow(item: &Item) -> bool {
    item.get("kind").is_some_and(|kind| kind == &text(KIND))
}

fn flow_key(webhook: WebhookId) -> Item {
    key(&format!("W#{webhook}"), "FLOW")
}

impl DueFlow {
    pub(super) fn from_item(item: Item) -> Result<Self, StoreError> {
        from_item(item)
    }

    /// Returns when the flow is due.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.seen_lane_at).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl Ledger {
    /// Takes turns for requests to a webhook's receiver; see [`Flow::take`].
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or too many processes take turns at once.
    pub async fn take_turns(
        &self,
        receiver: Receiver<'_>,
        asks: &[Ask],
        holder: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Turn>, StoreError> {
        let mut tried = None;
        for round in 0..rounds::ROUNDS {
            rounds::pause(round, holder).await;
            let mut read = self.flow(receiver.webhook).await?;
            if let Some(turns) = written_before(tried.take(), &read.flow) {
                return Ok(turns);
            }
            let before = read.flow.clone();
            let turns = read.flow.take(receiver.limits, asks, holder, until, now);
            // A delivery may only wait if the flow is due soon, so that the sweep finds it.
            let is_due = !turns.contains(&Turn::Wait) || read.is_due_by(now + RUN);
            if (is_due && read.flow == before) || self.write_flow(receiver, &read, now).await? == Written::Yes {
                return Ok(turns);
            }
            tried = Some((read.flow, turns));
        }
        Err(StoreError::Unavailable(format!("too many processes take turns for {} at once", receiver.webhook)))
    }

    /// Returns the slots of `holders`, reserves free ones for the oldest deliveries in the line, and takes these out of
    /// it. The caller alone sends their messages. `joined` have just joined; the index may not show them yet.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or too many processes take turns at once. The sweep then wakes the line.
    pub async fn wake(
        &self,
        receiver: Receiver<'_>,
        holders: &[String],
        joined: &[Message],
        now: Timestamp,
    ) -> Result<Woken, StoreError> {
        let (mut holders, mut joined) = (holders.to_vec(), joined.to_vec());
        let mut woken = Woken::default();
        for _ in 0..LINE_READS {
            let (line, look_again) = self.pass_on(receiver, &holders, &joined, now).await?;
            woken.look_again = look_again;
            let due = now + OVERDUE_AFTER;
            let moved = join_all(line.iter().map(|message| self.leave_line(AttemptKey::of(message), due, now))).await;
            holders = Vec::new();
            for (message, moved) in line.into_iter().zip(moved) {
                joined.retain(|joined| joined.delivery != message.delivery);
                match moved {
                    Ok(Written::Yes) => woken.messages.push(message),
                    // It is no longer in the line, so its slot goes to another delivery.
                    Ok(Written::TooLate) => holders.push(message.delivery.to_string()),
                    Err(error) => woken.fault = Some(error),
                }
            }
            if holders.is_empty() {
                break;
            }
        }
        Ok(woken)
    }

    /// Returns the slots of `holders` and reserves free ones; see [`Flow::keep`]. The flag says whether to look again.
    async fn pass_on(
        &self,
        receiver: Receiver<'_>,
        holders: &[String],
        joined: &[Message],
        now: Timestamp,
    ) -> Result<(Vec<Message>, bool), StoreError> {
        let salt = holders.first().map_or("", String::as_str);
        let mut tried = None;
        for round in 0..rounds::ROUNDS {
            rounds::pause(round, salt).await;
            let mut read = self.flow(receiver.webhook).await?;
            if let Some(woken) = written_before(tried.take(), &read.flow) {
                return Ok(woken);
            }
            let before = read.flow.clone();
            read.flow.release(holders.iter().map(String::as_str), now);
            if !joined.is_empty() {
                read.flow.see_waiting(now);
            }
            let mut line = Vec::new();
            let free = usize::try_from(read.flow.free(receiver.limits)).unwrap_or(usize::MAX).min(MOST_WOKEN);
            if free > 0 && read.flow.may_have_line(now) {
                // One more than can be woken, and as many again because some may have been woken already.
                line = self.line(receiver.webhook, 2 * free + 1, now).await?;
                line.extend_from_slice(joined);
                line.sort_by_key(|message| message.delivery);
                line.dedup_by_key(|message| message.delivery);
            }
            let ids: Vec<_> = line.iter().map(|message| message.delivery).collect();
            let woken = read.flow.keep(receiver.limits, &ids, now);
            let look_again = read.flow.may_have_joined(RECENTLY, now) && woken.len() < free;
            line.retain(|message| woken.contains(&message.delivery));
            if read.flow == before || self.write_flow(receiver, &read, now).await? == Written::Yes {
                return Ok((line, look_again));
            }
            tried = Some((read.flow, (line, look_again)));
        }
        Err(StoreError::Unavailable(format!("too many processes take turns for {} at once", receiver.webhook)))
    }

    /// Returns the next messages of the oldest `limit` deliveries in a receiver's line. The index lags a little.
    /// Rows that cannot be read are logged and left out.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn line(&self, webhook: WebhookId, limit: usize, now: Timestamp) -> Result<Vec<Message>, StoreError> {
        let line = self.oldest(|shard| waiting_lane(webhook, shard), limit, now).await?;
        Ok(line.into_iter().map(|due| due.message).collect())
    }

    /// Writes the first row of a waiting delivery, unless it has one. An ordered delivery holds its entity meanwhile.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or another delivery holds the entity.
    pub async fn join_line_first(&self, delivery: &Delivery, now: Timestamp) -> Result<Written, StoreError> {
        let row = DeliveryItem::new(delivery, now)?.in_line();
        match &delivery.entity {
            Some(entity) => self.put_head(&row, delivery.webhook, delivery.id, entity, now).await,
            None => self.put_first(&row, now).await,
        }
    }

    /// Moves a delivery that has a row to the line, unless the row waits for another attempt or another process has its
    /// lease. `lease` is the end of the lease of this process, if it has one.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn join_line(
        &self,
        attempt_key: AttemptKey,
        lease: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let lease = lease.map_or(0, Timestamp::as_millisecond);
        let update = self
            .update(attempt_key)
            .update_expression(
                "SET delivery_state = :pending, lane = :lane, lane_at = :lane_at, expires_at = :expires \
                 REMOVE next_at, lease_until",
            )
            .condition_expression(format!("{WAITS} AND {NO_OTHER_LEASE}"))
            .expression_attribute_values(":retrying", state(State::Retrying))
            .expression_attribute_values(":parked", state(State::Parked))
            .expression_attribute_values(":cycle", number(attempt_key.cycle))
            .expression_attribute_values(":attempt", number(attempt_key.attempt))
            .expression_attribute_values(":lane_at", number(attempt_key.delivery.timestamp().as_millisecond()))
            .expression_attribute_values(":expires", number(expires_at(now)))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":lease", number(lease));
        written(of_line(update, attempt_key)).await
    }

    /// Takes a delivery out of its line, if it is in it, and makes it due at `until` in case its message is lost.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn leave_line(
        &self,
        attempt_key: AttemptKey,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let update = self
            .update(attempt_key)
            .update_expression("SET lane = :due, lane_at = :until")
            .condition_expression(format!(
                "lane = :lane AND delivery_state = :pending AND delivery_cycle = :cycle AND next_attempt = :attempt AND {IS_LIVE}"
            ))
            .expression_attribute_values(":live_at", live_at(now))
            .expression_attribute_values(":due", text(due_lane(attempt_key.delivery.shard(DUE_SHARDS))))
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":cycle", number(attempt_key.cycle))
            .expression_attribute_values(":attempt", number(attempt_key.attempt));
        written(of_line(update, attempt_key)).await
    }

    /// Moves the due time of a flow, unless another sweep came first.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn postpone_flow(&self, due: &DueFlow, until: Timestamp) -> Result<Written, StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(flow_key(due.webhook)))
            .update_expression("SET lane_at = :until")
            .condition_expression("lane_at = :seen")
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":seen", number(due.seen_lane_at));
        written(update).await
    }

    /// Sets when the sweep looks at an empty line again, if at all, unless the flow has changed since `moved_to`.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn rest_flow(
        &self,
        webhook: WebhookId,
        moved_to: Timestamp,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let Read { flow, version, lane_at } = self.flow(webhook).await?;
        let (Some(version), true) = (version, lane_at == Some(moved_to.as_millisecond())) else {
            return Ok(Written::TooLate);
        };
        let update = self.client.update_item().table_name(&self.table).set_key(Some(flow_key(webhook)));
        let update = match flow.waited().and_then(|waited| next_look(waited, now)) {
            Some(at) => update
                .update_expression("SET lane_at = :at")
                .expression_attribute_values(":at", number(at.as_millisecond())),
            None => update.update_expression("REMOVE lane, lane_at"),
        };
        let update = update
            .condition_expression("version = :version AND lane_at = :moved")
            .expression_attribute_values(":version", AttributeValue::N(version))
            .expression_attribute_values(":moved", number(moved_to.as_millisecond()));
        written(update).await
    }

    async fn flow(&self, webhook: WebhookId) -> Result<Read, StoreError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(flow_key(webhook))).consistent_read(true);
        let item = get.send().await.map_err(|error| StoreError::unavailable(&error))?.item.unwrap_or_default();
        let number = |name: &str| item.get(name).and_then(|value| value.as_n().ok()).cloned();
        let json = item.get("flow").and_then(|flow| flow.as_s().ok());
        // A flow that cannot be parsed must not stop deliveries: an empty one replaces it.
        let flow = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let lane_at = number("lane_at").filter(|_| item.contains_key("lane")).and_then(|at| at.parse().ok());
        Ok(Read { flow, version: number("version"), lane_at })
    }

    /// Writes a flow, unless it has changed since it was read. If deliveries may wait, it is due for the next sweep.
    async fn write_flow(&self, receiver: Receiver<'_>, read: &Read, now: Timestamp) -> Result<Written, StoreError> {
        let Receiver { webhook, tenant, .. } = receiver;
        let json = serde_json::to_string(&read.flow).map_err(|error| StoreError::inconsistent(webhook, error))?;
        let next = read.version.as_ref().and_then(|version| version.parse::<u64>().ok()).unwrap_or(0) + 1;
        let update = self.client.update_item().table_name(&self.table).set_key(Some(flow_key(webhook)));
        let update = match &read.version {
            Some(version) => update
                .condition_expression("version = :seen")
                .expression_attribute_values(":seen", AttributeValue::N(version.clone())),
            None => update.condition_expression("attribute_not_exists(version)"),
        };
        let update =
            update.expression_attribute_values(":flow", text(json)).expression_attribute_values(":next", number(next));
        let by = now + RUN;
        let update = if !read.flow.may_have_line(now) || read.is_due_by(by) {
            update.update_expression("SET flow = :flow, version = :next")
        } else {
            update
                .update_expression(
                    "SET flow = :flow, version = :next, kind = :kind, webhook = :webhook, tenant = :tenant, \
                     lane = :lane, lane_at = :by",
                )
                .expression_attribute_values(":kind", text(KIND))
                .expression_attribute_values(":webhook", text(webhook.to_string()))
                .expression_attribute_values(":tenant", text(tenant.to_string()))
                .expression_attribute_values(":lane", text(due_lane(webhook.shard(DUE_SHARDS))))
                .expression_attribute_values(":by", number(by.as_millisecond()))
        };
        match update.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) if is_conflict(&error) => Ok(Written::TooLate),
            Err(error) => Err(StoreError::unavailable(&error)),
        }
    }
}

/// How long the index may not show a delivery that joined the line.
const RECENTLY: Duration = Duration::from_secs(2);

impl Read {
    fn is_due_by(&self, by: Timestamp) -> bool {
        self.lane_at.is_some_and(|at| at <= by.as_millisecond())
    }
}

/// Adds the values that the writes of a line's deliveries have in common.
fn of_line(update: UpdateItemFluentBuilder, attempt_key: AttemptKey) -> UpdateItemFluentBuilder {
    update.expression_attribute_values(":pending", state(State::Pending)).expression_attribute_values(
        ":lane",
        text(waiting_lane(attempt_key.webhook, attempt_key.delivery.shard(PARKED_SHARDS))),
    )
}
