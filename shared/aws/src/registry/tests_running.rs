//! The tests of webhooks that are running: a tenant has a few places for them, whichever processes they were started in.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use domain::access::tenant::TenantId;
use domain::event::types::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Registry;
use crate::items::{from_item, key, number, text, to_item};
use crate::{StoreError, batch};

/// How many tests of a tenant run at once.
pub const TEST_PLACES: u8 = 2;

/// A test that is running: its delivery, before the ledger knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTest {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The webhook that is tested.
    pub webhook: WebhookId,
    /// The made-up event.
    pub event: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it has ended for certain, in seconds since 1970: its place is free from then on, whatever became of it.
    pub expires_at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct TestItem {
    pk: String,
    sk: String,
    v: u8,
    #[serde(flatten)]
    test: RunningTest,
}

impl Registry {
    /// Takes a place for a test, if it is free, or held by the test `instead_of`. Returns who holds it otherwise.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the item cannot be read.
    pub async fn take_test_place(
        &self,
        tenant: &TenantId,
        place: u8,
        test: &RunningTest,
        instead_of: Option<DeliveryId>,
        now: Timestamp,
    ) -> Result<Option<RunningTest>, StoreError> {
        let item = TestItem { pk: pk(tenant), sk: place.to_string(), v: 1, test: test.clone() };
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(&item)?))
            // A put whose answer was lost finds itself.
            .condition_expression(
                "attribute_not_exists(pk) OR expires_at <= :now OR delivery = :own OR delivery = :instead_of",
            )
            .expression_attribute_values(":now", number(now.as_second()))
            .expression_attribute_values(":own", text(test.delivery.to_string()))
            .expression_attribute_values(":instead_of", text(instead_of.unwrap_or(test.delivery).to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(None) };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() else {
            return Err(StoreError::unavailable(&error));
        };
        let held = match &failed.item {
            Some(item) => Some(item.clone()),
            None => self.get(&item.pk, &item.sk).await?,
        };
        match held {
            Some(held) => Ok(Some(from_item::<TestItem>(held)?.test)),
            None => Err(StoreError::Unavailable("a place for a test was given up just now".to_owned())),
        }
    }

    /// Gives the place of a test up, if the test still holds it.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn leave_test_place(&self, tenant: &TenantId, place: u8, test: DeliveryId) -> Result<(), StoreError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(&pk(tenant), &place.to_string())))
            .condition_expression("delivery = :own")
            .expression_attribute_values(":own", text(test.to_string()));
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(StoreError::unavailable(&error)),
        }
    }

    /// Returns the test whose delivery that is, if it is still running.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or an item cannot be read.
    pub async fn running_test(
        &self,
        tenant: &TenantId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<RunningTest>, StoreError> {
        let place = |place: u8| (self.table.clone(), key(&pk(tenant), &place.to_string()));
        let found = batch::get(&self.client, (0..TEST_PLACES).map(place).collect()).await?;
        for item in found.into_values().flatten() {
            let test = from_item::<TestItem>(item)?.test;
            if test.delivery == delivery && test.expires_at > now.as_second() {
                return Ok(Some(test));
            }
        }
        Ok(None)
    }
}

fn pk(tenant: &TenantId) -> String {
    format!("TEST#{tenant}")
}
