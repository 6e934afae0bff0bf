//! Idempotency keys: a repeated request gets the response of the first one.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Registry;
use crate::StoreError;
use crate::items::{Item, from_item, key, number, text, to_item};

/// How long a response is kept, in seconds.
const KEPT_SECONDS: i64 = 24 * 3600;

/// How long a request may run before a repeated one may take over, in milliseconds: longer than the api function's
/// timeout.
const RUNNING_MILLISECONDS: i64 = 30_000;

/// A key, in the scope of one caller and one path.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// The caller and the path; the same key in another scope is another key.
    pub scope: String,
    /// The hash of the key.
    pub key: String,
    /// The hash of the request; a key is valid for one request only.
    pub request: String,
}

/// A stored response, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResponse {
    /// The status.
    pub status: u16,
    /// The headers to repeat.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// The result of claiming a key.
#[derive(Debug)]
pub enum Claim {
    /// The key is unused, or its request died: process the request. The time is that of the first try, and the same in
    /// every later one.
    Ours(Timestamp),
    /// The request was already answered.
    Answered(StoredResponse),
    /// The request is still running.
    Running,
    /// The key belongs to another request.
    Another,
}

#[derive(Debug, Serialize, Deserialize)]
struct IdempotencyItem {
    pk: String,
    sk: String,
    v: u8,
    // Not `request`: that is a reserved word of DynamoDB's expressions.
    request_hash: String,
    claimed_at: i64,
    first_claimed_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<StoredResponse>,
    expires_at: i64,
}

impl Registry {
    /// Claims a key for a request.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn claim(&self, key: &IdempotencyKey, now: Timestamp) -> Result<Claim, StoreError> {
        let mut item = IdempotencyItem {
            pk: pk(key),
            sk: key.key.clone(),
            v: 1,
            request_hash: key.request.clone(),
            claimed_at: now.as_millisecond(),
            first_claimed_at: now.as_millisecond(),
            answer: None,
            expires_at: now.as_second() + KEPT_SECONDS,
        };
        // DynamoDB deletes expired items late, so the condition checks the expiry.
        let Some(before) =
            self.put_claim(&item, "attribute_not_exists(pk) OR expires_at <= :now", now.as_second()).await?
        else {
            return Ok(Claim::Ours(now));
        };
        let before: IdempotencyItem = from_item(before)?;
        if before.request_hash != key.request {
            return Ok(Claim::Another);
        }
        if let Some(answer) = before.answer {
            return Ok(Claim::Answered(answer));
        }
        if before.claimed_at + RUNNING_MILLISECONDS > now.as_millisecond() {
            return Ok(Claim::Running);
        }
        // The process that claimed the key has died. One of the repeated requests takes over.
        item.first_claimed_at = before.first_claimed_at;
        let taken =
            self.put_claim(&item, "claimed_at = :now AND attribute_not_exists(answer)", before.claimed_at).await?;
        let first = Timestamp::from_millisecond(item.first_claimed_at)
            .map_err(|error| StoreError::inconsistent("an idempotency key", error))?;
        Ok(if taken.is_none() { Claim::Ours(first) } else { Claim::Running })
    }

    /// Puts a claim if the condition holds; otherwise returns the existing item.
    async fn put_claim(&self, item: &IdempotencyItem, condition: &str, now: i64) -> Result<Option<Item>, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(item)?))
            .condition_expression(condition)
            .expression_attribute_values(":now", number(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => match &failed.item {
                    Some(item) => Ok(Some(item.clone())),
                    None => Ok(Some(self.get(&item.pk, &item.sk).await?.unwrap_or_default())),
                },
                _ => Err(StoreError::unavailable(&error)),
            },
        }
    }

    /// Stores the response of a claimed key.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn answer(&self, claimed: &IdempotencyKey, response: &StoredResponse) -> Result<(), StoreError> {
        let answer = serde_dynamo::to_attribute_value(response)
            .map_err(|error| StoreError::inconsistent("a response", error))?;
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(&pk(claimed), &claimed.key)))
            .update_expression("SET answer = :answer")
            .condition_expression("request_hash = :request")
            .expression_attribute_values(":answer", answer)
            .expression_attribute_values(":request", text(&claimed.request));
        update.send().await.map_err(|error| StoreError::unavailable(&error))?;
        Ok(())
    }

    /// Releases a claimed key after a request that changed nothing, so that the request may be repeated.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn unclaim(&self, claimed: &IdempotencyKey) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key(&pk(claimed), &claimed.key)));
        delete.send().await.map_err(|error| StoreError::unavailable(&error))?;
        Ok(())
    }
}

fn pk(key: &IdempotencyKey) -> String {
    format!("I#{}", key.scope)
}
