//! Checks whether a table can be read, for the health of the deployment.

use std::time::Duration;

use aws_sdk_dynamodb::Client;

use crate::StoreError;
use crate::items::key;

/// The partition and sort key of an item that does not exist.
const ABSENT: &str = "HEALTH";

/// How long a table may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads an item that does not exist, which costs half a read unit.
pub(crate) async fn probe(client: &Client, table: &str) -> Result<(), StoreError> {
    let read = client.get_item().table_name(table).set_key(Some(key(ABSENT, ABSENT))).send();
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(answer) => answer.map(|_| ()).map_err(|error| StoreError::unavailable(&error)),
        Err(_) => Err(StoreError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}
