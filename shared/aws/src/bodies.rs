//! Bodies that are too large for a message: compressed, and split into as many items as needed.

use std::borrow::Cow;

use aws_sdk_dynamodb::Client;
use domain::delivery::KEPT;
use domain::delivery::message::Body;
use domain::event::Event;
use domain::event::types::EventType;
use domain::payload::Rendering;
use domain::payload::work::Work;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::StoreError;
use crate::items::{IS_LIVE, from_item, live_at, text, to_item};

/// The most bytes of a body in one item. DynamoDB's limit for an item is 400 KB, keys and names included.
pub(crate) const CHUNK_BYTES: usize = 380_000;

/// The most bytes that a stored body may unpack to. Two images of DynamoDB's maximum size fit, even with every byte
/// escaped.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// How many bytes of a response a row keeps, compressed or not.
const MAX_RESPONSE_BYTES: usize = 4_096;

/// The stored bodies, in the Events table.
#[derive(Debug, Clone)]
pub struct Bodies {
    client: Client,
    table: String,
}

/// A part of a body as an item. Its `kind` is not `published`, so the table's stream does not pass it to fan-out.
#[derive(Debug, Serialize, Deserialize)]
struct BodyItem {
    pk: String,
    sk: String,
    v: u8,
    kind: String,
    #[serde(with = "serde_bytes")]
    zstd: Vec<u8>,
    expires_at: i64,
}

impl Bodies {
    pub(crate) fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Returns the body in a form that fits a message: inline, or a reference after storing it if it is larger than
    /// `inline` bytes. Storing the same body of the same event again overwrites it with the same items.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or refuses the body.
    pub async fn carry(&self, event: &str, body: &str, inline: usize, now: Timestamp) -> Result<Body, StoreError> {
        if body.len() <= inline {
            return Ok(Body::Inline(body.to_string()));
        }
        let packed = pack(body)?;
        // The key contains a hash of the packed bytes. Another version of zstd may pack differently; with the hash, it
        // cannot overwrite parts of this body.
        let key = format!("{event}-{}", hex::encode(&Sha256::digest(&packed)[..8]));
        let pk = format!("BODY#{key}");
        for (number, chunk) in packed.chunks(CHUNK_BYTES).enumerate() {
            let item = to_item(&BodyItem {
                pk: pk.clone(),
                sk: format!("{number:04}"),
                v: 1,
                kind: "body".to_owned(),
                zstd: chunk.to_vec(),
                // A delivery is kept for `KEPT` after its last write, which may come almost `KEPT` after the first one.
                expires_at: (now + 2 * KEPT).as_second(),
            })?;
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
            put.send().await.map_err(|error| StoreError::of_write(&error))?;
        }
        Ok(Body::Stored(key))
    }

    /// Renders the body of an event, and returns it in a form that fits a message, with the work that the rendering
    /// took. If the template fails, the body is [`Body::Failed`] with the error.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn render(
        &self,
        rendering: &Rendering,
        event: &Event,
        event_type: &EventType,
        inline: usize,
        now: Timestamp,
    ) -> Result<(Body, Work), StoreError> {
        let (result, work) = rendering.render_metered(event, event_type);
        let body = match result {
            Ok(body) => self.carry(&event.id.to_string(), &body, inline, now).await?,
            Err(error) => Body::Failed(error.to_string()),
        };
        Ok((body, work))
    }

    /// Returns the text of a body, inline or stored.
    ///
    /// # Errors
    ///
    /// If the table is unavailable or the body has expired. DynamoDB deletes the parts of an expired body one by one,
    /// so an expired body counts as missing even while parts of it are left.
    pub async fn text<'a>(&self, body: &'a Body, now: Timestamp) -> Result<Cow<'a, str>, StoreError> {
        let key = match body {
            Body::Inline(text) => return Ok(Cow::Borrowed(text)),
            Body::Stored(key) => format!("BODY#{key}"),
            Body::Failed(_) => return Err(StoreError::Missing { key: "a body whose rendering failed".to_owned() }),
        };
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(&key))
            .filter_expression(IS_LIVE)
            .expression_attribute_values(":live_at", live_at(now))
            .into_paginator()
            .items()
            .send();
        let mut packed = Vec::new();
        while let Some(item) = pages.next().await {
            let item: BodyItem = from_item(item.map_err(|error| StoreError::unavailable(&error))?)?;
            packed.extend(item.zstd);
        }
        if packed.is_empty() {
            return Err(StoreError::Missing { key });
        }
        unpack(&packed).map(Cow::Owned).map_err(|why| StoreError::inconsistent(key, why))
    }
}

/// Compresses a body.
pub(crate) fn pack(body: &str) -> Result<Vec<u8>, StoreError> {
    compress(body, zstd::DEFAULT_COMPRESSION_LEVEL)
}

/// Compresses a text at a level of zstd.
pub(crate) fn compress(text: &str, level: i32) -> Result<Vec<u8>, StoreError> {
    zstd::bulk::compress(text.as_bytes(), level).map_err(|error| StoreError::inconsistent("a text to compress", error))
}

/// Compresses a receiver's response for a row. Of one that compresses badly less is kept, so that no receiver makes its
/// rows expensive.
pub(crate) fn pack_response(body: &str) -> Result<Vec<u8>, StoreError> {
    let packed = pack(body)?;
    if packed.len() <= MAX_RESPONSE_BYTES {
        return Ok(packed);
    }
    pack(&body[..body.floor_char_boundary(MAX_RESPONSE_BYTES)])
}

/// Undoes [`pack`].
pub(crate) fn unpack(packed: &[u8]) -> Result<String, String> {
    let bytes = zstd::bulk::decompress(packed, MAX_BYTES).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_response_takes_little_room(response in "\\PC{0,6000}") {
            let packed = pack_response(&response).unwrap();
            prop_assert!(packed.len() <= MAX_RESPONSE_BYTES + 64, "{} bytes", packed.len());
            prop_assert!(response.starts_with(&unpack(&packed).unwrap()));
        }
    }

    #[test]
    fn a_page_of_text_is_kept_whole() {
        let page = "<p>no column total</p>\n".repeat(700);
        assert_eq!(unpack(&pack_response(&page).unwrap()).unwrap(), page);
    }
}
