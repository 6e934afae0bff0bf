//! An ordering chain and its pointers as items of the Deliveries table.

use domain::delivery::message::Message;
use domain::id::{DeliveryId, WebhookId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::items::json_text;

/// The sort key of a chain.
pub(super) const CHAIN: &str = "CHAIN";

/// How long a chain is kept after its last write. It must outlive the row of its head, which is kept longer with each
/// attempt and each redrive, and it holds nothing without that row.
const KEPT: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Renaming a field here is a migration.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChainItem {
    pub(super) pk: String,
    pub(super) sk: String,
    pub(super) v: u8,
    pub(super) head: DeliveryId,
    pub(super) tail: u32,
    pub(super) expires_at: i64,
}

/// A waiting delivery, with the message that is sent when it is released.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PointerItem {
    pub(super) pk: String,
    pub(super) sk: String,
    pub(super) v: u8,
    #[serde(with = "json_text")]
    pub(super) message: Message,
    pub(super) expires_at: i64,
}

pub(super) fn pk(webhook: WebhookId, entity: &str) -> String {
    format!("W#{webhook}#E#{entity}")
}

/// Returns when a chain expires that is written now, in seconds since 1970.
pub(super) fn chain_expires_at(now: Timestamp) -> i64 {
    (now + KEPT).as_second()
}

/// Returns the sort key of a pointer. The number is padded so that pointers sort by it.
pub(super) fn pointer_sk(number: u32) -> String {
    format!("WAIT#{number:010}")
}
