//! The ordering chain of an entity: an item in its own partition, with a pointer to each delivery that waits in the
//! chain. A pointer also contains the time until which the tenant's budget defers the delivery. The chain and the rows
//! of its deliveries are written in one transaction.

use std::time::Duration;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use domain::delivery::chain::{Chain, released};
use domain::delivery::message::Message;
use domain::delivery::{Delivery, Progress, State};
use domain::id::{DeliveryId, WebhookId};
use jiff::Timestamp;

use super::chain_item::{CHAIN, ChainItem, PointerItem, chain_expires_at, pk, pointer_sk};
use super::delivery_item::{DeliveryItem, expires_at, item_key, lane_of};
use super::outcome::outcome_written;
use super::{AttemptKey, Ledger, Made, Written, state};
use crate::items::{IS_LIVE, IS_NEW, Item, from_item, is_live, key, live_at, number, text, to_item};
use crate::{StoreError, batch};

/// How often a write is tried while other processes change the chain.
const ROUNDS: u32 = 5;

/// How many pointers a call reads to find the first one that has not expired.
const FIRST: i32 = 10;

/// The message of a delivery that its chain has released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The message.
    pub message: Message,
    /// The delay of the message: the tenant's budget has no room for the delivery before.
    pub delay: Duration,
}

/// The result of ending a chain's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    /// The end is written, and the next delivery, if one waits, is the head. This is its message, unless the sweep
    /// sends it later.
    Yes(Option<Box<Released>>),
    /// The delivery is not the head; nothing was written.
    NotHead,
    /// The row has changed since the writer read it; nothing was written.
    TooLate,
}

impl Ledger {
    /// Returns the chain of an entity, if there is one that has not expired.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn chain(&self, webhook: WebhookId, entity: &str, now: Timestamp) -> Result<Option<Chain>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(&pk(webhook, entity), CHAIN)));
        let item = get.consistent_read(true).send().await.map_err(|error| StoreError::unavailable(&error))?.item;
        let item = item.filter(|item| is_live(item, now)).map(from_item::<ChainItem>).transpose()?;
        Ok(item.map(|ChainItem { head, tail, .. }| Chain { head, tail }))
    }

    /// Writes the first row of a delivery that has not ended, and the chain in which it holds its entity; unless there
    /// is a row already.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or another delivery holds the entity.
    pub async fn record_head(&self, delivery: &Delivery, entity: &str, now: Timestamp) -> Result<Written, StoreError> {
        self.put_head(&self.first_item(delivery, now)?, delivery.webhook, delivery.id, entity, now).await
    }

    pub(super) async fn put_head(
        &self,
        row: &DeliveryItem,
        webhook: WebhookId,
        delivery: DeliveryId,
        entity: &str,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let chain = ChainItem {
            pk: pk(webhook, entity),
            sk: CHAIN.to_owned(),
            v: 1,
            head: delivery,
            tail: 0,
            expires_at: chain_expires_at(now),
        };
        let writes = vec![self.put_new(to_item(row)?, now)?, self.put_new(to_item(&chain)?, now)?];
        let refused = self.transact(writes).await?;
        match refused.as_deref() {
            None => Ok(Written::Yes),
            Some([true, ..]) => Ok(Written::TooLate),
            Some(_) => Err(StoreError::Conflict { key: chain.pk }),
        }
    }

    /// Writes the row of a delivery that waits at the end of the chain. Fails with [`Written::TooLate`] if the chain
    /// has changed since it was read, or there is a row already.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn append(&self, message: &Message, chain: Chain, now: Timestamp) -> Result<Written, StoreError> {
        let Some(entity) = &message.entity else { return Ok(Written::TooLate) };
        let progress = Progress { state: State::Held, cycle: message.cycle, attempt: message.attempt, next_at: None };
        let row = to_item(&DeliveryItem::new(&Delivery::first(message.clone(), progress), now)?)?;
        let pointer = PointerItem {
            pk: pk(message.webhook, entity),
            sk: pointer_sk(chain.tail + 1),
            v: 1,
            message: Message { body: None, ..message.clone() },
            expires_at: expires_at(now),
        };
        let longer = self
            .update_chain(message.webhook, entity, now)
            .update_expression("SET tail = :longer, expires_at = :expires")
            .condition_expression("tail = :tail")
            .expression_attribute_values(":longer", number(chain.tail + 1))
            .expression_attribute_values(":tail", number(chain.tail));
        let writes = vec![self.put_new(row, now)?, self.put_new(to_item(&pointer)?, now)?, in_transaction(&longer)?];
        Ok(if self.transact(writes).await?.is_none() { Written::Yes } else { Written::TooLate })
    }

    /// Writes an outcome like [`record`](Self::record), and releases the next delivery of the entity in the same
    /// transaction.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or too many processes change the chain at once.
    pub async fn record_end(
        &self,
        attempt_key: AttemptKey,
        entity: &str,
        made: Made<'_>,
        progress: &Progress,
        now: Timestamp,
    ) -> Result<(Written, Option<Box<Released>>), StoreError> {
        let expires_at = self.expires_at(progress.state, now);
        let row = self.outcome(attempt_key, made, progress, Some(expires_at), now)?;
        match self.end(attempt_key.webhook, entity, attempt_key.delivery, Some(&row), now).await? {
            Advance::Yes(next) => Ok((Written::Yes, next)),
            Advance::NotHead => Ok((outcome_written(row, attempt_key, made).await?, None)),
            Advance::TooLate => Ok((Written::TooLate, None)),
        }
    }

    /// Releases the next delivery of an entity whose head has ended without releasing it.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or too many processes change the chain at once.
    pub async fn advance(
        &self,
        webhook: WebhookId,
        entity: &str,
        head: DeliveryId,
        now: Timestamp,
    ) -> Result<Advance, StoreError> {
        self.end(webhook, entity, head, None, now).await
    }

    /// Cancels a delivery that holds its entity, and releases the next one; unless the row has changed since it was
    /// read or a process has its lease.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or too many processes change the chain at once.
    pub async fn skip(&self, head: &Delivery, now: Timestamp) -> Result<Advance, StoreError> {
        let Some(entity) = &head.entity else { return Ok(Advance::NotHead) };
        let Progress { state: read, cycle, attempt, .. } = head.progress;
        let row = self
            .update(AttemptKey { webhook: head.webhook, delivery: head.id, cycle, attempt })
            .update_expression(
                "SET delivery_state = :cancelled, expires_at = :expires \
                 REMOVE lane, lane_at, next_at, lease_until, body_zstd, body_ref",
            )
            .condition_expression(
                "delivery_state = :read AND delivery_cycle = :cycle AND next_attempt = :attempt \
                 AND (attribute_not_exists(lease_until) OR lease_until <= :now)",
            )
            .expression_attribute_values(":cancelled", state(State::Cancelled))
            .expression_attribute_values(":read", state(read))
            .expression_attribute_values(":cycle", number(cycle))
            .expression_attribute_values(":attempt", number(attempt))
            .expression_attribute_values(":expires", number(expires_at(now)))
            .expression_attribute_values(":now", number(now.as_millisecond()));
        self.end(head.webhook, entity, head.id, Some(&row), now).await
    }

    /// Ends a chain's head: writes the new head, and the old head's row if one is given.
    async fn end(
        &self,
        webhook: WebhookId,
        entity: &str,
        head: DeliveryId,
        row: Option<&UpdateItemFluentBuilder>,
        now: Timestamp,
    ) -> Result<Advance, StoreError> {
        for round in 0..ROUNDS {
            batch::pause(round).await?;
            // Read the chain before the pointers, so that every delivery that was appended up to this tail is seen.
            let Some(chain) = self.chain(webhook, entity, now).await?.filter(|chain| chain.head == head) else {
                return Ok(Advance::NotHead);
            };
            let next = self.first_waiting(webhook, entity, now).await?;
            let mut writes = row.map(in_transaction).transpose()?.into_iter().collect::<Vec<_>>();
            match &next {
                None => writes.push(self.delete_chain(webhook, entity, chain)?),
                Some(next) => {
                    writes.push(self.let_go(&next.message, &released(&next.message, now), now)?);
                    writes.push(in_transaction(&self.shift(webhook, entity, head, next.message.delivery, now))?);
                    writes.push(self.delete_pointer(next)?);
                }
            }
            let Some(refused) = self.transact(writes).await? else {
                return Ok(Advance::Yes(next.and_then(|next| to_send(next.message, now)).map(Box::new)));
            };
            let own = usize::from(row.is_some());
            if own == 1 && refused.first() == Some(&true) {
                return Ok(Advance::TooLate);
            }
            let refused = next.filter(|_| refused.get(own) == Some(&true));
            // A deferred one may have been released from its deferral in the meantime.
            if let Some(next) = refused.filter(|next| released(&next.message, now).next_at.is_none()) {
                // Its row has expired, so its pointer is obsolete.
                self.transact(vec![self.delete_pointer(&next)?]).await?;
            }
        }
        Err(StoreError::Unavailable(format!("too many processes change an ordering chain of {webhook} at once")))
    }

    /// Returns the first waiting delivery. Expired pointers are skipped, because their rows have expired too. An operator
    /// may have [released](Self::release) it from its deferral, which its row shows.
    async fn first_waiting(
        &self,
        webhook: WebhookId,
        entity: &str,
        now: Timestamp,
    ) -> Result<Option<PointerItem>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND begins_with(sk, :waits)")
            .expression_attribute_values(":pk", text(pk(webhook, entity)))
            .expression_attribute_values(":waits", text("WAIT#"))
            .filter_expression(IS_LIVE)
            .expression_attribute_values(":live_at", live_at(now))
            .limit(FIRST);
        let first = query.into_paginator().items().send().next().await.transpose();
        let first =
            first.map_err(|error| StoreError::unavailable(&error))?.map(from_item::<PointerItem>).transpose()?;
        let Some(mut first) = first else { return Ok(None) };
        if released(&first.message, now).next_at.is_some() {
            // Not all of the row, which another version may have written.
            let get = self.client.get_item().table_name(&self.table).consistent_read(true);
            let get = get.set_key(Some(item_key(webhook, first.message.delivery)));
            let row = get.projection_expression("deferred_until").send().await;
            let row = row.map_err(|error| StoreError::unavailable(&error))?.item;
            if row.is_none_or(|row| !row.contains_key("deferred_until")) {
                first.message.deferral = None;
            }
        }
        Ok(Some(first))
    }

    /// Releases the next delivery: its row becomes due at the time that the tenant's budget allows. If that is now, its
    /// message is sent at once, and the row becomes due later, so that the sweep replaces a lost message.
    fn let_go(&self, next: &Message, progress: &Progress, now: Timestamp) -> Result<TransactWriteItem, StoreError> {
        let (lane, at) = lane_of(progress, next.webhook, next.delivery, now).unzip();
        let mut set = "SET delivery_state = :pending, lane = :lane, lane_at = :due, expires_at = :expires".to_owned();
        let mut is_expected = format!("delivery_state = :held AND {IS_LIVE}");
        let mut update = self.update(AttemptKey::of(next));
        if let Some(next_at) = progress.next_at {
            set.push_str(", next_at = :next_at");
            is_expected.push_str(" AND deferred_until = :next_at");
            update = update.expression_attribute_values(":next_at", number(next_at.as_millisecond()));
        }
        let update = update
            .update_expression(set)
            .condition_expression(is_expected)
            .expression_attribute_values(":live_at", live_at(now))
            .expression_attribute_values(":pending", state(progress.state))
            .expression_attribute_values(":held", state(State::Held))
            .expression_attribute_values(":lane", text(lane.unwrap_or_default()))
            .expression_attribute_values(":due", number(at.unwrap_or(now).as_millisecond()))
            .expression_attribute_values(":expires", number(expires_at(now)));
        in_transaction(&update)
    }

    fn shift(
        &self,
        webhook: WebhookId,
        entity: &str,
        head: DeliveryId,
        next: DeliveryId,
        now: Timestamp,
    ) -> UpdateItemFluentBuilder {
        self.update_chain(webhook, entity, now)
            .update_expression("SET head = :next, expires_at = :expires")
            .condition_expression("head = :head")
            .expression_attribute_values(":head", text(head.to_string()))
            .expression_attribute_values(":next", text(next.to_string()))
    }

    fn update_chain(&self, webhook: WebhookId, entity: &str, now: Timestamp) -> UpdateItemFluentBuilder {
        let key = key(&pk(webhook, entity), CHAIN);
        let update = self.client.update_item().table_name(&self.table).set_key(Some(key));
        update.expression_attribute_values(":expires", number(chain_expires_at(now)))
    }

    fn delete_chain(&self, webhook: WebhookId, entity: &str, chain: Chain) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key(&pk(webhook, entity), CHAIN)))
            .condition_expression("head = :head AND tail = :tail")
            .expression_attribute_values(":head", text(chain.head.to_string()))
            .expression_attribute_values(":tail", number(chain.tail));
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(unbuilt)?).build())
    }

    fn delete_pointer(&self, pointer: &PointerItem) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder().table_name(&self.table).set_key(Some(key(&pointer.pk, &pointer.sk))).build();
        Ok(TransactWriteItem::builder().delete(delete.map_err(unbuilt)?).build())
    }

    fn put_new(&self, item: Item, now: Timestamp) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).condition_expression(IS_NEW);
        let put = put.expression_attribute_values(":live_at", live_at(now)).build().map_err(unbuilt)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Executes all writes or none. Returns `None` on success; otherwise, for each write, whether its condition did not
    /// hold. All are `false` if the transaction conflicted with other writes to the same items.
    async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<Option<Vec<bool>>, StoreError> {
        let request = self.client.transact_write_items();
        let request = writes.into_iter().fold(request, TransactWriteItemsFluentBuilder::transact_items);
        let Err(error) = request.send().await else { return Ok(None) };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons().iter();
                Ok(Some(reasons.map(|reason| reason.code() == Some("ConditionalCheckFailed")).collect()))
            }
            _ => Err(StoreError::unavailable(&error)),
        }
    }
}

/// Returns the message of a delivery that its chain has released, unless its wait is too long for a queue.
fn to_send(first: Message, now: Timestamp) -> Option<Released> {
    let delay = released(&first, now).delay(now)?;
    // A message with a deferral is treated as a copy of the first message, and dropped while the row waits.
    Some(Released { message: Message { deferral: None, ..first }, delay })
}

/// Converts an update to a part of a transaction.
fn in_transaction(update: &UpdateItemFluentBuilder) -> Result<TransactWriteItem, StoreError> {
    let update = Update::builder()
        .set_table_name(update.get_table_name().clone())
        .set_key(update.get_key().clone())
        .set_update_expression(update.get_update_expression().clone())
        .set_condition_expression(update.get_condition_expression().clone())
        .set_expression_attribute_values(update.get_expression_attribute_values().clone());
    Ok(TransactWriteItem::builder().update(update.build().map_err(unbuilt)?).build())
}

fn unbuilt(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::inconsistent("a request", error)
}
