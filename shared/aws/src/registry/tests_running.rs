//! Running tests of webhooks. A tenant has a few slots for them, shared by all processes.

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

/// How many tests of a tenant may run at once.
pub const TEST_PLACES: u8 = 2;

/// A running test: its delivery, which is not in the ledger yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTest {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The webhook that is tested.
    pub webhook: WebhookId,
    /// The generated event.
    pub event: EventId,
    /// The type of the event.
    pub event_type: EventType,
    /// The path of the event's entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_path: Option<String>,
    /// When the test has certainly ended, in seconds since 1970. Its slot is free from then on, whatever happened to
    /// it.
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
    /// Takes a slot for a test, if the slot is free or held by the test `instead_of`. Otherwise returns the test that
    /// holds it.
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
            // `delivery = :own` lets a retry succeed if the answer of the first put was lost.
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
            None => Err(StoreError::Unavailable("a slot for a test was released just now; try again".to_owned())),
        }
    }

    /// Releases the slot of a test, if the test still holds it.
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

    /// Returns the running test with that delivery, if there is one.
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
