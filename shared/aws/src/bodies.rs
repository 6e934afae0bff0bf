//! Bodies that do not fit a message: compressed, and in as many items as it takes.

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

/// How much of a body one item holds; an item may have 400 KB, keys and names included.
pub(crate) const CHUNK_BYTES: usize = 380_000;

/// The most that a stored body may be unpacked to, in bytes. DynamoDB's two largest images, every byte of them escaped, fit.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The stored bodies, in the Events table.
#[derive(Debug, Clone)]
pub struct Bodies {
    client: Client,
    table: String,
}

/// A part of a body, as the table knows it. Not `published`, so the table's own stream does not wake fan-out for it.
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

    /// Returns the body as a message can carry it, after storing it if it is larger than `inline` bytes. The same body of
    /// the same event is stored once, however often it is seen.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or does not take the body.
    pub async fn carry(&self, event: &str, body: &str, inline: usize, now: Timestamp) -> Result<Body, StoreError> {
        if body.len() <= inline {
            return Ok(Body::Inline(body.to_string()));
        }
        let packed = pack(body)?;
        // Named by its content: a part is never overwritten by another one, whichever version of zstd packed it.
        let key = format!("{event}-{}", hex::encode(&Sha256::digest(&packed)[..8]));
        let pk = format!("BODY#{key}");
        for (number, chunk) in packed.chunks(CHUNK_BYTES).enumerate() {
            let item = to_item(&BodyItem {
                pk: pk.clone(),
                sk: format!("{number:04}"),
                v: 1,
                kind: "body".to_owned(),
                zstd: chunk.to_vec(),
                // A delivery is kept for so long after its last attempt, and that may come late.
                expires_at: (now + 2 * KEPT).as_second(),
            })?;
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
            put.send().await.map_err(|error| StoreError::of_write(&error))?;
        }
        Ok(Body::Stored(key))
    }

    /// Renders the body of an event as a message can carry it; a template that fails makes one that says why. Returns the work that it
    /// took, too.
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

    /// Returns the text of a body, wherever it is.
    ///
    /// # Errors
    ///
    /// If the table is unavailable, or the body has expired. DynamoDB deletes the parts of an expired body one by one, so a body
    /// counts as gone from the time that it expires.
    pub async fn text<'a>(&self, body: &'a Body, now: Timestamp) -> Result<Cow<'a, str>, StoreError> {
        let key = match body {
            Body::Inline(text) => return Ok(Cow::Borrowed(text)),
            Body::Stored(key) => format!("BODY#{key}"),
            Body::Failed(_) => return Err(StoreError::Missing { key: "a body that was never made".to_owned() }),
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
    zstd::bulk::compress(body.as_bytes(), 3).map_err(|error| StoreError::inconsistent("a body to be packed", error))
}

/// Undoes [`pack`].
pub(crate) fn unpack(packed: &[u8]) -> Result<String, String> {
    let bytes = zstd::bulk::decompress(packed, MAX_BYTES).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
